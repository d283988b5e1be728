package wsframe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A rawServer answers each request head that arrives with what a function makes of it.
type rawServer struct {
	addr     string
	requests chan string // the heads, as they came
}

// serveRaw starts a server whose answers can be wrong. In the text that answer
// returns, ACCEPT stands for the right value. The connection is closed behind it
// unless hang is set.
func serveRaw(t *testing.T, network, addr string, answer func(head string) string, hang bool) *rawServer {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{addr: ln.Addr().String(), requests: make(chan string, 20)}
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				head, req := readRawRequest(c)
				if req == nil {
					return
				}
				s.requests <- head
				io.WriteString(c, strings.ReplaceAll(answer(head), "ACCEPT", acceptValue(req.Header.Get("Sec-WebSocket-Key"))))
				if hang {
					<-stop
					return
				}
				c.(interface{ CloseWrite() error }).CloseWrite()
				io.Copy(io.Discard, c)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); close(stop); all.Wait() })
	return s
}

// readRawRequest reads a request head, literally and parsed.
func readRawRequest(c net.Conn) (string, *http.Request) {
	var head strings.Builder
	r := bufio.NewReader(io.TeeReader(c, &head))
	req, err := http.ReadRequest(r)
	if err != nil {
		return "", nil
	}
	return head.String(), req
}

func same(text string) func(string) string { return func(string) string { return text } }

// direct uses no proxy and gives up in the end.
func direct(o DialOptions) *DialOptions {
	if o.Proxy == nil {
		o.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	}
	if o.HandshakeTimeout == 0 {
		o.HandshakeTimeout = patience
	}
	return &o
}

const good101 = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n"

func TestDialChecksTheAnswer(t *testing.T) {
	without := func(line string) string { return strings.Replace(good101, line+"\r\n", "", 1) }
	tests := []struct {
		name   string
		o      DialOptions
		answer string
		err    string // part of the error; "" means none
		proto  string
	}{
		{"the plain answer is good", DialOptions{}, good101 + "\r\n", "", ""},
		{"Upgrade in any case, Connection as a list", DialOptions{},
			"HTTP/1.1 101 x\r\nUPGRADE: WebSocket\r\nConnection: keep-alive, UPGRADE\r\nsec-websocket-accept: ACCEPT\r\n\r\n", "", ""},
		{"informational answers are skipped", DialOptions{},
			"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + good101 + "\r\n", "", ""},
		{"an empty extensions header is none", DialOptions{}, good101 + "Sec-WebSocket-Extensions: \r\n\r\n", "", ""},
		{"a protocol that was asked for", DialOptions{Protocols: []string{"a", "b"}}, good101 + "Sec-WebSocket-Protocol: b\r\n\r\n", "", "b"},
		{"no protocol though asked for", DialOptions{Protocols: []string{"a"}}, good101 + "\r\n", "", ""},
		{"RequireProtocol without protocols", DialOptions{RequireProtocol: true}, good101 + "\r\n", "", ""},

		{"no Upgrade", DialOptions{}, without("Upgrade: websocket") + "\r\n", "Upgrade", ""},
		{"another Upgrade", DialOptions{}, without("Upgrade: websocket") + "Upgrade: h2c\r\n\r\n", "Upgrade", ""},
		{"an Upgrade in letters beyond ASCII", DialOptions{}, without("Upgrade: websocket") + "Upgrade: websoc\u212aet\r\n\r\n", "Upgrade", ""},
		{"two Upgrades", DialOptions{}, good101 + "Upgrade: websocket\r\n\r\n", "Upgrade", ""},
		{"no Connection", DialOptions{}, without("Connection: Upgrade") + "\r\n", "Connection", ""},
		{"no accept", DialOptions{}, without("Sec-WebSocket-Accept: ACCEPT") + "\r\n", "Sec-WebSocket-Accept", ""},
		{"wrong accept", DialOptions{}, without("Sec-WebSocket-Accept: ACCEPT") + "Sec-WebSocket-Accept: " + testAccept + "\r\n\r\n", "Sec-WebSocket-Accept", ""},
		{"two accepts", DialOptions{}, good101 + "Sec-WebSocket-Accept: ACCEPT\r\n\r\n", "Sec-WebSocket-Accept", ""},
		{"an extension that was not asked for", DialOptions{}, good101 + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "not asked for", ""},
		{"broken extensions", DialOptions{}, good101 + "Sec-WebSocket-Extensions: ;\r\n\r\n", "not asked for", ""},
		{"a protocol though none asked for", DialOptions{}, good101 + "Sec-WebSocket-Protocol: a\r\n\r\n", "not asked for", ""},
		{"another protocol", DialOptions{Protocols: []string{"a"}}, good101 + "Sec-WebSocket-Protocol: b\r\n\r\n", "not asked for", ""},
		{"a protocol in another case", DialOptions{Protocols: []string{"a"}}, good101 + "Sec-WebSocket-Protocol: A\r\n\r\n", "not asked for", ""},
		{"two protocols", DialOptions{Protocols: []string{"a", "b"}}, good101 + "Sec-WebSocket-Protocol: a, b\r\n\r\n", "not asked for", ""},
		{"an empty protocol", DialOptions{Protocols: []string{"a"}}, good101 + "Sec-WebSocket-Protocol: \r\n\r\n", "not asked for", ""},
		{"no protocol though required", DialOptions{Protocols: []string{"a"}, RequireProtocol: true}, good101 + "\r\n", "no subprotocol", ""},

		{"no HTTP", DialOptions{}, "SSH-2.0-x\r\n", "read answer", ""},
		{"nothing", DialOptions{}, "", "read answer", ""},
		{"half a head", DialOptions{}, "HTTP/1.1 101 x\r\nUpgrade: webso", "unexpected EOF", ""},
		{"a giant line", DialOptions{}, good101 + "X: " + strings.Repeat("x", maxHead) + "\r\n\r\n", "larger than 16384 bytes", ""},
		{"many lines", DialOptions{}, good101 + strings.Repeat("X: y\r\n", maxHead/6) + "\r\n", "larger than 16384 bytes", ""},
		{"informational answers without end", DialOptions{}, strings.Repeat("HTTP/1.1 102 x\r\n\r\n", maxHead/18+1), "larger than 16384 bytes", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serveRaw(t, "tcp", "127.0.0.1:0", same(tt.answer), false)
			c, resp, err := Dial(t.Context(), "ws://"+s.addr+"/chat", direct(tt.o))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || c != nil {
					t.Errorf("error %v, want part %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseNow()
			if c.Subprotocol() != tt.proto || resp.StatusCode != 101 || resp.Body != http.NoBody {
				t.Errorf("protocol %q, response %+v", c.Subprotocol(), resp)
			}
		})
	}
}

func TestDialSendsTheRequest(t *testing.T) {
	s := serveRaw(t, "tcp", "127.0.0.1:0", same(good101+"\r\n"), false)
	c, _, err := Dial(t.Context(), "ws://user:p%3As@"+s.addr+"/a%2Fb?q=1", direct(DialOptions{
		Protocols: []string{"b", "a"},
		Origin:    "https://example.com",
		Header:    http.Header{"host": {"other.example:1"}, "X-Token": {"t", "u"}, "User-Agent": {"test"}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	c.CloseNow()
	lines := strings.Split(strings.TrimSuffix(<-s.requests, "\r\n\r\n"), "\r\n")
	key := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Sec-WebSocket-Key: ") })
	if key < 0 || !isKey(strings.TrimPrefix(lines[key], "Sec-WebSocket-Key: ")) {
		t.Fatalf("no key in %q", lines)
	}
	lines = slices.Delete(lines, key, key+1)
	slices.Sort(lines[1:])
	want := []string{
		"GET /a%2Fb?q=1 HTTP/1.1",
		"Authorization: Basic dXNlcjpwOnM=",
		"Connection: Upgrade",
		"Host: other.example:1",
		"Origin: https://example.com",
		"Sec-WebSocket-Protocol: b, a",
		"Sec-WebSocket-Version: 13",
		"Upgrade: websocket",
		"User-Agent: test",
		"X-Token: t",
		"X-Token: u",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("request %q, want %q", lines, want)
	}
}

func TestDialUsesAFreshKey(t *testing.T) {
	o, seen := new(DialOptions), make(map[string]bool)
	for range 100 {
		_, key := o.request(&target{url: &url.URL{Scheme: "http", Host: "h"}})
		if seen[key] {
			t.Fatal("a key came twice")
		}
		seen[key] = true
	}
}

func TestDialKeepsBytesGluedToTheAnswer(t *testing.T) {
	frames := AppendFrame(nil, Server, Frame{Fin: true, Op: OpText, Payload: []byte(strings.Repeat("x", 5000))})
	frames = AppendFrame(frames, Server, Frame{Fin: true, Op: OpText, Payload: []byte("last")})
	s := serveRaw(t, "tcp", "127.0.0.1:0", same(good101+"\r\n"+string(frames)), false)
	c, _, err := Dial(t.Context(), "http://"+s.addr, direct(DialOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	for _, want := range []int{5000, 4} {
		if _, p, err := c.ReadMessage(nil); err != nil || len(p) != want {
			t.Fatalf("read %d bytes, %v, want %d", len(p), err, want)
		}
	}
}

func TestDialReportsARefusal(t *testing.T) {
	body := strings.Repeat("x", 3*maxErrorBody)
	s := serveRaw(t, "tcp", "127.0.0.1:0", same("HTTP/1.1 403 Forbidden\r\nX-WebSocket-Reject-Reason: not you\r\n"+
		"Retry-After: 7\r\nContent-Length: "+fmt.Sprint(len(body))+"\r\n\r\n"+body), false)
	_, resp, err := Dial(t.Context(), "ws://"+s.addr, direct(DialOptions{}))
	var status *StatusError
	if !errors.As(err, &status) || *status != (StatusError{403, "not you"}) {
		t.Fatalf("error %v", err)
	}
	if want := "dial ws://" + s.addr + ": server answered 403 Forbidden: not you"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || len(got) != maxErrorBody || resp.Header.Get("Retry-After") != "7" {
		t.Errorf("response %+v with %d bytes, %v", resp, len(got), err)
	}
}

func TestDialTimesOut(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connections are made, and nobody accepts them
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	halfway := serveRaw(t, "tcp", "127.0.0.1:0", same("HTTP/1.1 101 x\r\nUpgr"), true)
	refusing := serveRaw(t, "tcp", "127.0.0.1:0", same("HTTP/1.1 401 x\r\nContent-Length: 10\r\n\r\nabc"), true)
	proxy := func(scheme string) func(*http.Request) (*url.URL, error) {
		return func(*http.Request) (*url.URL, error) {
			return &url.URL{Scheme: scheme, Host: silent.Addr().String()}, nil
		}
	}
	for name, tt := range map[string]struct {
		url string
		o   DialOptions
	}{
		"before the answer":      {"ws://" + silent.Addr().String(), DialOptions{}},
		"inside the head":        {"ws://" + halfway.addr, DialOptions{}},
		"in the TLS handshake":   {"wss://" + silent.Addr().String(), DialOptions{}},
		"before a proxy answers": {"ws://example.com", DialOptions{Proxy: proxy("http")}},
		"before SOCKS answers":   {"ws://example.com", DialOptions{Proxy: proxy("socks5")}},
		"while connecting": {"ws://example.com", DialOptions{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, errors.New("some other text")
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			o := direct(tt.o)
			o.HandshakeTimeout = 50 * time.Millisecond
			_, _, err := Dial(t.Context(), tt.url, o)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no connection within 50ms") {
				t.Errorf("error %v", err)
			}
		})
		t.Run(name+", cancelled", func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			cause := errors.New("user pressed a key")
			time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
			_, _, err := Dial(ctx, tt.url, direct(tt.o))
			if !errors.Is(err, cause) {
				t.Errorf("error %v, want the cause", err)
			}
		})
	}
	t.Run("inside the body of a refusal", func(t *testing.T) {
		o := direct(DialOptions{})
		o.HandshakeTimeout = 2 * time.Second
		_, resp, err := Dial(t.Context(), "ws://"+refusing.addr, o)
		var status *StatusError
		if !errors.As(err, &status) || status.Status != 401 {
			t.Fatalf("error %v", err)
		}
		if body, err := io.ReadAll(resp.Body); string(body) != "abc" || err != nil {
			t.Errorf("body %q, %v", body, err)
		}
	})
}

func TestDialLeavesNoDeadline(t *testing.T) {
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			op, p, err := c.ReadMessage(nil)
			if err != nil || c.WriteMessage(op, p) != nil {
				return
			}
		}
	}))
	ctx, cancel := context.WithCancel(t.Context())
	o := direct(DialOptions{})
	o.HandshakeTimeout = 10 * time.Second
	c, _, err := Dial(ctx, "ws://"+addr, o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	cancel()
	c.WriteMessage(OpText, []byte("still here"))
	if _, p, err := c.ReadMessage(nil); err != nil || string(p) != "still here" {
		t.Errorf("read %q, %v after the context ended", p, err)
	}
}

func TestDialTLS(t *testing.T) {
	s := serveTLS(t, acceptAll(nil, nil))
	trusting := s.Client().Transport.(*http.Transport).TLSClientConfig
	u := "wss" + strings.TrimPrefix(s.URL, "https") + "/"
	c, _, err := Dial(t.Context(), u, direct(DialOptions{TLS: trusting}))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.NetConn().(*tls.Conn); !ok {
		t.Errorf("connection is a %T", c.NetConn())
	}
	_, _, err = c.ReadMessage(nil)
	var closed *CloseError
	if !errors.As(err, &closed) || closed.Code != CloseNormal {
		t.Errorf("read: %v", err)
	}
	c.CloseNow()

	_, _, err = Dial(t.Context(), u, direct(DialOptions{}))
	var unknown *tls.CertificateVerificationError
	if !errors.As(err, &unknown) {
		t.Errorf("error %v for a certificate of an unknown authority", err)
	}
	if trusting.ServerName != "" {
		t.Error("the caller's TLS config was changed")
	}
}

func TestDialUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a:b.sock")
	s := serveRaw(t, "unix", path, same(good101+"\r\n"), false)
	for u, want := range map[string][2]string{
		"ws+unix://" + path + ":/chat%2F?x=1": {"GET /chat%2F?x=1 HTTP/1.1", "Host: localhost"},
		"ws+unix://" + path:                   {"GET / HTTP/1.1", "Host: localhost"},
		"ws+unix://" + path + ":/a:/b":        {"GET /a:/b HTTP/1.1", "Host: localhost"},
		"ws://app.example/y":                  {"GET /y HTTP/1.1", "Host: app.example"},
	} {
		o := DialOptions{Proxy: func(*http.Request) (*url.URL, error) { return nil, errors.New("no proxy for a socket") }}
		if strings.HasPrefix(u, "ws:") {
			o.UnixSocket = path
		}
		c, _, err := Dial(t.Context(), u, &o)
		if err != nil {
			t.Errorf("%s: %v", u, err)
			continue
		}
		c.CloseNow()
		head := strings.Split(<-s.requests, "\r\n")
		if head[0] != want[0] || head[1] != want[1] {
			t.Errorf("%s: request %q, want %q", u, head[:2], want)
		}
	}
}

func TestDialRefusesBadArguments(t *testing.T) {
	for name, tt := range map[string]struct {
		url string
		o   DialOptions
		err string
	}{
		"no scheme":                 {"example.com/x", DialOptions{}, "scheme"},
		"another scheme":            {"ftp://example.com", DialOptions{}, `scheme "ftp"`},
		"no host":                   {"ws:///x", DialOptions{}, "no host"},
		"only a port":               {"ws://:80/x", DialOptions{}, "no host"},
		"a fragment":                {"ws://h/x#y", DialOptions{}, "fragment"},
		"an empty fragment":         {"ws://h/x#", DialOptions{}, "fragment"},
		"a broken escape":           {"ws://h/%zz", DialOptions{}, "escape"},
		"a line break in the path":  {"ws://h/\r\nX: y", DialOptions{}, "control character"},
		"a relative socket":         {"ws+unix://run/a.sock", DialOptions{}, "absolute"},
		"an empty socket":           {"ws+unix:///", DialOptions{}, "absolute"},
		"two sockets":               {"ws+unix:///a.sock", DialOptions{UnixSocket: "/b.sock"}, "exclude"},
		"an empty protocol":         {"ws://h", DialOptions{Protocols: []string{""}}, "token"},
		"a protocol with a comma":   {"ws://h", DialOptions{Protocols: []string{"a,b"}}, "token"},
		"the same protocol twice":   {"ws://h", DialOptions{Protocols: []string{"a", "b", "a"}}, "twice"},
		"an origin that injects":    {"ws://h", DialOptions{Origin: "http://x\r\nX: y"}, "origin"},
		"a header that injects":     {"ws://h", DialOptions{Header: http.Header{"X": {"a\r\nY: b"}}}, "cannot be sent"},
		"a header of the handshake": {"ws://h", DialOptions{Header: http.Header{"sec-websocket-key": {"x"}}}, "handshake"},
		"an Upgrade header":         {"ws://h", DialOptions{Header: http.Header{"Upgrade": {"x"}}}, "handshake"},
		"two hosts":                 {"ws://h", DialOptions{Header: http.Header{"Host": {"a", "b"}}}, "host"},
		"a host with a path":        {"ws://h", DialOptions{Header: http.Header{"Host": {"a/b"}}}, "host"},
		"no host at all":            {"ws://h", DialOptions{Header: http.Header{"Host": {}}}, "host"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.o.DialContext = func(context.Context, string, string) (net.Conn, error) {
				t.Error("a connection was made")
				return nil, errors.New("no")
			}
			_, _, err := Dial(t.Context(), tt.url, &tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want part %q", err, tt.err)
			}
		})
	}
}

func TestDialTakesInternationalHosts(t *testing.T) {
	for raw, want := range map[string]string{
		"ws://B\u00fccher.example:81/x": "xn--bcher-kva.example:81",
		"wss://u@\u00fc.example":        "xn--tda.example:443",
		"ws://xn--tda.example":          "xn--tda.example:80",
	} {
		var addr string
		o := direct(DialOptions{DialContext: func(_ context.Context, _, a string) (net.Conn, error) {
			addr = a
			return nil, io.ErrUnexpectedEOF
		}})
		if _, _, err := Dial(t.Context(), raw, o); !errors.Is(err, io.ErrUnexpectedEOF) || addr != want {
			t.Errorf("%s: connects to %s (%v), want %s", raw, addr, err, want)
		}
	}
	if _, _, err := Dial(t.Context(), "ws://\u00fc\u2000.example", nil); err == nil || !strings.Contains(err.Error(), "host: idna") {
		t.Errorf("error %v for a name that cannot be", err)
	}
	start := &target{url: &url.URL{Scheme: "http", Host: "a.example"}}
	next, err := start.follow(&http.Response{Header: http.Header{"Location": {"http://\u00fc.example/"}}})
	if err != nil || next.addr() != "xn--tda.example:80" {
		t.Errorf("redirected to %v, %v", next, err)
	}
}

func TestDialErrorsHidePasswords(t *testing.T) {
	o := &DialOptions{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }}
	for _, u := range []string{"ws://u:secret@h/", "ws://u:secret@h/%zz", "ws://u:secret@h:x/"} {
		if _, _, err := Dial(t.Context(), u, o); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", u, err)
		}
	}
}
