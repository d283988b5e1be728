package wsframe

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience bounds what would otherwise hang a test. Nothing is measured with it.
const patience = 30 * time.Second

// serve starts an HTTP server on the loopback interface.
func serve(t testing.TB, h http.Handler) (addr string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func serveTLS(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// dialRaw opens a TCP connection and sends literal bytes.
func dialRaw(t testing.TB, addr, send string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	return c
}

// An answer is what a raw client got.
type answer struct {
	status int
	header http.Header
	names  []string // of the header lines, as spelled
	body   string   // unless the status is 101
	r      *bufio.Reader
}

func readAnswer(t testing.TB, c net.Conn) answer {
	t.Helper()
	a := answer{header: make(http.Header), r: bufio.NewReader(c)}
	var lines []string
	for !slices.Contains(lines, "") {
		line, err := a.r.ReadString('\n')
		text, ok := strings.CutSuffix(line, "\r\n")
		if err != nil || !ok {
			t.Fatalf("answer has %q behind %q: %v", line, lines, err)
		}
		lines = append(lines, text)
	}
	var minor int
	if n, err := fmt.Sscanf(lines[0], "HTTP/1.%d %d ", &minor, &a.status); n != 2 {
		t.Fatalf("status line %q: %v", lines[0], err)
	}
	for _, line := range lines[1 : len(lines)-1] {
		name, value, ok := strings.Cut(line, ": ")
		if !ok || !isToken(name) {
			t.Fatalf("header line %q", line)
		}
		a.names = append(a.names, name)
		a.header.Add(name, value)
	}
	if a.status != 101 {
		body, err := io.ReadAll(a.r) // the server closes the connection behind it
		if err != nil {
			t.Fatalf("body of %d: %v", a.status, err)
		}
		a.body = string(body)
	}
	return a
}

const (
	testKey    = "dGhlIHNhbXBsZSBub25jZQ=="     // of RFC 6455, section 1.3
	testAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" // likewise
)

// handshake returns the bytes of a request with lines changed: "Name: value" sets
// a line, "Name:" alone removes it, "+Name: value" adds a line.
func handshake(changes ...string) string {
	lines := []string{
		"Host: example.com",
		"Upgrade: websocket",
		"Connection: Upgrade",
		"Sec-WebSocket-Key: " + testKey,
		"Sec-WebSocket-Version: 13",
	}
	start := "GET /chat HTTP/1.1"
	for _, change := range changes {
		name, value, _ := strings.Cut(change, ":")
		if strings.Contains(change, " HTTP/1.") {
			start = change
			continue
		}
		if more, ok := strings.CutPrefix(change, "+"); ok {
			lines = append(lines, more)
			continue
		}
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, name+":") })
		if value != "" {
			lines = append(lines, change)
		}
	}
	return start + "\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// acceptAll is a handler that accepts and ends the connection with 1000.
func acceptAll(o *AcceptOptions, failed chan<- error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, o)
		if err != nil {
			if failed != nil {
				failed <- err
			}
			return
		}
		c.WriteClose(CloseNormal, "")
		c.Close(CloseNormal, "")
	})
}

// numbered is a list of different elements.
func numbered(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprint("x", i))
	}
	return strings.Join(list, ", ")
}

func TestHandshakeAnswers(t *testing.T) {
	tests := []struct {
		name    string
		request string
		status  int
		reason  string   // part of it
		header  []string // "Name: value" of the answer
	}{
		{"the plain request is accepted", handshake(), 101, "", []string{
			"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: " + testAccept}},
		{"tokens in any case and among others are accepted",
			handshake("Upgrade: h2c, WebSocket", "Connection: keep-alive, uPGRADE"), 101, "", nil},
		{"lists over several lines are accepted",
			handshake("+Connection: x", "Upgrade: foo", "+Upgrade: ,websocket"), 101, "", nil},
		{"an absolute request target is accepted", handshake("GET http://example.com/chat HTTP/1.1"), 101, "", nil},

		{"POST gets 405", handshake("POST /chat HTTP/1.1"), 405, "GET", []string{"Allow: GET"}},
		{"HEAD gets 405", handshake("HEAD /chat HTTP/1.1"), 405, "", []string{"Allow: GET"}},
		{"CONNECT gets 405", handshake("CONNECT /chat HTTP/1.1"), 405, "GET", []string{"Allow: GET"}},
		{"HTTP/1.0 gets 400", handshake("GET /chat HTTP/1.0"), 400, "HTTP/1.1", nil},
		{"an empty Host gets 400", handshake("Host: "), 400, "Host", nil},
		{"a body gets 400", handshake("+Content-Length: 3") + "abc", 400, "body", nil},
		{"a chunked body gets 400", handshake("+Transfer-Encoding: chunked") + "0\r\n\r\n", 400, "body", nil},

		{"a page view gets 426", handshake("Upgrade:", "Connection:", "Sec-WebSocket-Key:", "Sec-WebSocket-Version:"),
			426, "Upgrade", []string{"Upgrade: websocket", "Connection: close", "Connection: Upgrade"}},
		{"another Upgrade gets 426", handshake("Upgrade: websocket2, h2c"), 426, "Upgrade", []string{"Upgrade: websocket"}},
		{"no upgrade in Connection gets 426", handshake("Connection: keep-alive"), 426, "Connection", []string{"Upgrade: websocket"}},

		{"version 8 gets 426", handshake("Sec-WebSocket-Version: 8"), 426, "13", []string{"Sec-WebSocket-Version: 13"}},
		{"version 0 gets 426", handshake("Sec-WebSocket-Version: 0"), 426, "13", []string{"Sec-WebSocket-Version: 13"}},
		{"version 255 gets 426", handshake("Sec-WebSocket-Version: 255"), 426, "13", nil},
		{"no version gets 400", handshake("Sec-WebSocket-Version:"), 400, "missing", []string{"Sec-WebSocket-Version: 13"}},
		{"an empty version gets 400", handshake("Sec-WebSocket-Version: "), 400, "number", nil},
		{"version 256 gets 400", handshake("Sec-WebSocket-Version: 256"), 400, "number", nil},
		{"version 013 gets 400", handshake("Sec-WebSocket-Version: 013"), 400, "number", nil},
		{"a list of versions gets 400", handshake("Sec-WebSocket-Version: 13, 8"), 400, "number", nil},
		{"version +13 gets 400", handshake("Sec-WebSocket-Version: +13"), 400, "number", nil},
		{"version 99999999999999999999 gets 400", handshake("Sec-WebSocket-Version: 99999999999999999999"), 400, "number", nil},
		{"a repeated version gets 400", handshake("+Sec-WebSocket-Version: 13"), 400, "repeated", nil},

		{"no key gets 400", handshake("Sec-WebSocket-Key:"), 400, "missing", nil},
		{"an empty key gets 400", handshake("Sec-WebSocket-Key: "), 400, "base64", nil},
		{"a key of 13 bytes gets 400", handshake("Sec-WebSocket-Key: SGVsbG8sIHdvcmxkIQ=="), 400, "base64", nil},
		{"a key of 17 bytes gets 400", handshake("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE="), 400, "base64", nil},
		{"a key without padding gets 400", handshake("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"), 400, "base64", nil},
		{"a key with stray bits gets 400", handshake("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="), 400, "base64", nil},
		{"a key in URL letters gets 400", handshake("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j_Q=="), 400, "base64", nil},
		{"a repeated key gets 400", handshake("+Sec-WebSocket-Key: " + testKey), 400, "repeated", nil},

		{"a protocol with a blank gets 400", handshake("+Sec-WebSocket-Protocol: a b"), 400, "token", nil},
		{"a quoted protocol gets 400", handshake(`+Sec-WebSocket-Protocol: "a"`), 400, "token", nil},
		{"a protocol beyond ASCII gets 400", handshake("+Sec-WebSocket-Protocol: \xe4"), 400, "token", nil},
		{"the same protocol twice gets 400", handshake("+Sec-WebSocket-Protocol: a, b", "+Sec-WebSocket-Protocol: a"), 400, "twice", nil},
		{"65 protocols get 400", handshake("+Sec-WebSocket-Protocol: " + numbered(65)), 400, "64", nil},
		{"empty protocols are skipped", handshake("+Sec-WebSocket-Protocol: , ,a,,", "+Sec-WebSocket-Protocol:"), 101, "", nil},

		{"broken extensions get 400", handshake("+Sec-WebSocket-Extensions: a;;b"), 400, "Extensions", nil},
		{"65 extensions get 400", handshake("+Sec-WebSocket-Extensions: " + numbered(65)), 400, "64", nil},
		{"extensions are not answered", handshake("+Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), 101, "", nil},

		{"the same origin is accepted", handshake("+Origin: http://example.com"), 101, "", nil},
		{"a foreign origin gets 403", handshake("+Origin: http://evil.example"), 403, "origin not allowed", nil},
		{"two origins get 400", handshake("+Origin: http://example.com", "+Origin: http://example.com"), 400, "Origin", nil},

		{"hostile cookies are accepted", handshake("+Cookie: a=%ZZ; =; ;;; b=\"x; c(=1; \xff=\xff; d=ok"), 101, "", nil},
	}
	addr := serve(t, acceptAll(nil, nil))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := readAnswer(t, dialRaw(t, addr, tt.request))
			if a.status != tt.status {
				t.Fatalf("status %d %q, want %d", a.status, a.body, tt.status)
			}
			for _, line := range tt.header {
				name, value, _ := strings.Cut(line, ": ")
				if !slices.Contains(a.header.Values(name), value) {
					t.Errorf("%s is %q, want %q", name, a.header.Values(name), value)
				}
			}
			for _, name := range []string{"Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"} {
				if got := values(a.header, name); got != nil {
					t.Errorf("answer has %s %q", name, got)
				}
			}
			if a.status == 101 {
				return
			}
			reason := a.header.Get("X-WebSocket-Reject-Reason")
			if reason == "" || !strings.Contains(reason, tt.reason) {
				t.Errorf("reason %q, want part %q", reason, tt.reason)
			}
			if want := reason + "\n"; a.body != want && !strings.HasPrefix(tt.request, "HEAD") {
				t.Errorf("body %q, want %q", a.body, want)
			}
			if a.header.Get("Content-Length") == "" || a.header.Get("Connection") != "close" ||
				a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("header %q", a.header)
			}
		})
	}
}

func TestHandshakeNamesAreSpelledAsInTheRFC(t *testing.T) {
	addr := serve(t, acceptAll(&AcceptOptions{Protocol: "chat"}, nil))
	a := readAnswer(t, dialRaw(t, addr, handshake("+sec-websocket-protocol: chat")))
	for _, name := range []string{"Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Upgrade", "Connection"} {
		if !slices.Contains(a.names, name) {
			t.Errorf("names %q lack %s", a.names, name)
		}
	}
}

func TestParseRequestKeepsOrderAndSpelling(t *testing.T) {
	got := make(chan *Request, 1)
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := ParseRequest(r)
		if err != nil {
			t.Error(err)
		}
		got <- req
	}))
	dialRaw(t, addr, handshake(
		"+Sec-WebSocket-Protocol: Zeta, alpha,", "+Sec-WebSocket-Protocol: ALPHA",
		`+Sec-WebSocket-Extensions: A; x="a\b";y`, "+Sec-WebSocket-Extensions: b",
		"+Origin: null", "+Cookie: a=1; b", "+Cookie: c=3"))
	r := <-got
	if r == nil {
		t.FailNow()
	}
	if want := []string{"Zeta", "alpha", "ALPHA"}; !slices.Equal(r.Protocols, want) {
		t.Errorf("protocols %q, want %q", r.Protocols, want)
	}
	var extensions []string
	for _, e := range r.Extensions {
		extensions = append(extensions, e.String())
	}
	if want := []string{"A; x=ab; y", "b"}; !slices.Equal(extensions, want) {
		t.Errorf("extensions %q, want %q", extensions, want)
	}
	var cookies []string
	for _, c := range r.Cookies {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	if want := []string{"a=1", "b=", "c=3"}; !slices.Equal(cookies, want) {
		t.Errorf("cookies %q, want %q", cookies, want)
	}
	if r.Origin != "null" || r.Version != 13 || r.Key != testKey || r.URL.Path != "/chat" || r.RemoteAddr == "" {
		t.Errorf("request %+v", r)
	}
	for ask, want := range map[string]string{"zeta": "Zeta", "alpha": "alpha", "ALPHA": "ALPHA", "Alpha": "alpha"} {
		if p, ok := r.Offers(ask); p != want || !ok {
			t.Errorf("Offers(%q) = %q", ask, p)
		}
	}
	if p, ok := r.Offers("beta"); ok || p != "" {
		t.Errorf("Offers(beta) = %q", p)
	}
	if p := Prefer("x", "ALPHA", "zeta")(r); p != "Zeta" {
		t.Errorf("Prefer picks %q, want the client's first", p)
	}
	if p := Prefer("x")(r); p != "" {
		t.Errorf("Prefer picks %q", p)
	}
}

func TestSameOrigin(t *testing.T) {
	tests := []struct {
		origin, host string
		ok           bool
	}{
		{"", "example.com", true},
		{"http://example.com", "example.com", true},
		{"https://example.com", "example.com", true},
		{"https://EXAMPLE.com", "example.COM", true},
		{"https://example.com", "example.com:443", true},
		{"http://example.com:80", "example.com", true},
		{"http://example.com:8080", "example.com:8080", true},
		{"http://[::1]:8080", "[::1]:8080", true},
		{"http://[::1]", "[::1]", true},
		{"null", "example.com", false},
		{"null", "null", false},
		{"example.com", "example.com", false},
		{"//example.com", "example.com", false},
		{"http://example.com:8080", "example.com", false},
		{"http://example.com", "example.com:443", false},
		{"http://example.com", "example.com:8080", false},
		{"https://example.com.evil.example", "example.com", false},
		{"https://evilexample.com", "example.com", false},
		{"https://example.com@evil.example", "example.com", false},
		{"https://evil.example@example.com", "example.com", false},
		{"https://example.com/", "example.com", false},
		{"https://example.com?x", "example.com", false},
		{"https://example.com#x", "example.com", false},
		{"https://example.com, https://evil.example", "example.com", false},
		{"https://evil.example https://example.com", "example.com", false},
		{`https://example.com\@evil.example`, "example.com", false},
		{"https://sub.example.com", "example.com", false},
		{"chrome-extension://example.com", "example.com", false},
		{"file://", "example.com", false},
		{"http://", "", false},
		{"http://%zz", "example.com", false},
	}
	for _, tt := range tests {
		err := SameOrigin(&Request{Request: &http.Request{Host: tt.host}, Origin: tt.origin})
		if ok := err == nil; ok != tt.ok {
			t.Errorf("origin %q at host %q: %v", tt.origin, tt.host, err)
		}
		var rej *Rejection
		if err != nil && (!errors.As(err, &rej) || rej.Status != 403) {
			t.Errorf("origin %q: error %v is not a 403", tt.origin, err)
		}
	}
}

func TestAllowOriginHook(t *testing.T) {
	secret := errors.New("set origins in the config")
	for name, tt := range map[string]struct {
		err    error
		status int
		reason string
	}{
		"nil allows any origin":        {nil, 101, ""},
		"an error is 403 and not told": {secret, 403, "origin not allowed"},
		"a rejection is the answer":    {Reject(404, "no such page"), 404, "no such page"},
	} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan error, 1)
			addr := serve(t, acceptAll(&AcceptOptions{AllowOrigin: func(r *Request) error { return tt.err }}, failed))
			a := readAnswer(t, dialRaw(t, addr, handshake("+Origin: http://evil.example")))
			if a.status != tt.status || a.header.Get("X-WebSocket-Reject-Reason") != tt.reason {
				t.Errorf("answer %d %q", a.status, a.header)
			}
			if tt.err == nil {
				return
			}
			if err := <-failed; !errors.Is(err, tt.err) {
				t.Errorf("error %v does not have the cause", err)
			}
		})
	}
}

func TestAcceptAnswersWithTheClientsProtocol(t *testing.T) {
	addr := serve(t, acceptAll(&AcceptOptions{Protocol: "CHAT"}, nil))
	a := readAnswer(t, dialRaw(t, addr, handshake("+Sec-WebSocket-Protocol: super", "+Sec-WebSocket-Protocol: Chat")))
	if got := a.header.Get("Sec-WebSocket-Protocol"); a.status != 101 || got != "Chat" {
		t.Errorf("answer %d with protocol %q, want Chat", a.status, got)
	}
}

func TestAcceptRefusesMistakesOfTheServer(t *testing.T) {
	cookie := &http.Cookie{Name: "a", Value: "1"}
	for name, o := range map[string]*AcceptOptions{
		"protocol that was not asked for":  {Protocol: "other"},
		"protocol that would inject":       {Protocol: "chat\r\nX: y"},
		"header value with a line break":   {Header: http.Header{"X": {"a\r\nSet-Cookie: evil=1"}}},
		"header value with a bare newline": {Header: http.Header{"X": {"ok", "a\nb"}}},
		"header value with a NUL":          {Header: http.Header{"X": {"a\x00b"}}},
		"header value with a blank ahead":  {Header: http.Header{"X": {" a"}}},
		"header name with a line break":    {Header: http.Header{"X\r\nY": {"a"}}},
		"header name with a colon":         {Header: http.Header{"X:": {"a"}}},
		"empty header name":                {Header: http.Header{"": {"a"}}},
		"accept value":                     {Header: http.Header{"sec-websocket-accept": {"a"}}},
		"extension":                        {Header: http.Header{"Sec-WebSocket-Extensions": {"a"}}},
		"Upgrade":                          {Header: http.Header{"upgrade": {"h2c"}}},
		"Connection":                       {Header: http.Header{"Connection": {"close"}}},
		"Content-Length":                   {Header: http.Header{"content-length": {"5"}}},
		"Transfer-Encoding":                {Header: http.Header{"Transfer-Encoding": {"chunked"}}},
		"cookie without a name":            {Cookies: []*http.Cookie{{Value: "1"}}},
		"cookie value with a line break":   {Cookies: []*http.Cookie{{Name: "a", Value: "1\r\nX: y"}}},
		"cookie value with a semicolon":    {Cookies: []*http.Cookie{{Name: "a", Value: "1; HttpOnly"}}},
		"cookie path with a line break":    {Cookies: []*http.Cookie{{Name: "a", Value: "1", Path: "/\n"}}},
		"cookie domain with a blank":       {Cookies: []*http.Cookie{{Name: "a", Value: "1", Domain: "a b"}}},
		"nil cookie":                       {Cookies: []*http.Cookie{nil}},
		"cookie that is set twice":         {Cookies: []*http.Cookie{cookie, {Name: "a", Value: "2"}}},
	} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan error, 1)
			addr := serve(t, acceptAll(o, failed))
			a := readAnswer(t, dialRaw(t, addr, handshake("+Sec-WebSocket-Protocol: chat")))
			if a.status != 500 || len(a.header.Values("Set-Cookie")) > 0 || a.header.Get("X") != "" {
				t.Errorf("answer %d %q", a.status, a.header)
			}
			var rej *Rejection
			if err := <-failed; !errors.As(err, &rej) || rej.Err == nil {
				t.Errorf("error %v does not have the cause", err)
			}
		})
	}
}

func TestAcceptSendsHeaderAndCookies(t *testing.T) {
	addr := serve(t, acceptAll(&AcceptOptions{
		Header: http.Header{"X-Session": {"7"}, "Set-Cookie": {"z=0"}},
		Cookies: []*http.Cookie{
			{Name: "a", Value: "1", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode},
			{Name: "a", Value: "2", Path: "/other"},
		},
	}, nil))
	a := readAnswer(t, dialRaw(t, addr, handshake()))
	want := []string{"z=0", "a=1; Path=/; HttpOnly; SameSite=Lax", "a=2; Path=/other"}
	if a.status != 101 || a.header.Get("X-Session") != "7" || !slices.Equal(a.header.Values("Set-Cookie"), want) {
		t.Errorf("answer %d %q", a.status, a.header)
	}
}

// clientFrames are two masked messages and a Close frame.
func clientFrames() string {
	b := AppendFrame(nil, Client, Frame{Fin: true, Op: OpText, Payload: []byte("one")})
	b = AppendFrame(b, Client, Frame{Fin: true, Op: OpBinary, Payload: []byte("two")})
	return string(AppendFrame(b, Client, Frame{Fin: true, Op: OpClose, Payload: []byte{3, 232}}))
}

func TestAcceptKeepsFramesGluedToTheRequest(t *testing.T) {
	type read struct {
		messages []string
		err      error
	}
	got := make(chan read, 1)
	addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		var out read
		for out.err == nil {
			var p []byte
			if _, p, out.err = c.ReadMessage(nil); out.err == nil {
				out.messages = append(out.messages, string(p))
			}
		}
		got <- out
	}))
	for name, send := range map[string]func(net.Conn){
		"in one segment":     func(c net.Conn) {},
		"with FIN behind it": func(c net.Conn) { c.(*net.TCPConn).CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			c := dialRaw(t, addr, handshake()+clientFrames())
			send(c)
			out := <-got
			if want := []string{"one", "two"}; !slices.Equal(out.messages, want) {
				t.Errorf("messages %q, want %q", out.messages, want)
			}
			var closed *CloseError
			if !errors.As(out.err, &closed) || closed.Code != CloseNormal || !closed.Remote {
				t.Errorf("error %v, want the client's 1000", out.err)
			}
			a := readAnswer(t, c)
			rest, err := io.ReadAll(a.r)
			if want := "\x88\x02\x03\xe8"; a.status != 101 || string(rest) != want || err != nil {
				t.Errorf("client reads %d and %q, %v, want the Close frame", a.status, rest, err)
			}
		})
	}
}

func TestAcceptWithoutAHijackerAnswers500(t *testing.T) {
	r := httptest.NewRequest("GET", "http://example.com/", nil)
	r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {testKey}}
	w := httptest.NewRecorder()
	_, err := Accept(w, r, nil)
	if w.Code != 500 || !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("answer %d, error %v", w.Code, err)
	}
	if w.Header().Get("Connection") != "" {
		t.Error("Connection header on what may be an HTTP/2 stream")
	}
}

func TestAcceptReportsAClientThatIsGone(t *testing.T) {
	near, far := net.Pipe()
	far.Close()
	r := httptest.NewRequest("GET", "http://example.com/", nil)
	r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {testKey}}
	_, err := Accept(pipeWriter{httptest.NewRecorder(), near}, r, nil)
	var rej *Rejection
	if err == nil || errors.As(err, &rej) || !strings.Contains(err.Error(), "client is gone") {
		t.Errorf("error %v", err)
	}
}

// pipeWriter hijacks to one end of a pipe.
type pipeWriter struct {
	http.ResponseWriter
	conn net.Conn
}

func (p pipeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return p.conn, bufio.NewReadWriter(bufio.NewReader(p.conn), bufio.NewWriter(p.conn)), nil
}

func TestHTTP2WithoutExtendedConnectGets400(t *testing.T) {
	s := httptest.NewUnstartedServer(acceptAll(nil, nil))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	resp, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 400 || !strings.Contains(resp.Header.Get(fieldReason), "extended CONNECT") {
		t.Errorf("answer HTTP/%d %d %q", resp.ProtoMajor, resp.StatusCode, resp.Header)
	}
}

func TestAcceptOverTLS(t *testing.T) {
	s := serveTLS(t, acceptAll(nil, nil))
	nc, err := tls.Dial("tcp", s.Listener.Addr().String(), s.Client().Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, handshake()+clientFrames())
	if a := readAnswer(t, nc); a.status != 101 {
		t.Errorf("status %d", a.status)
	}
}

func TestRejectionWrite(t *testing.T) {
	tests := []struct {
		name   string
		rej    *Rejection
		status int
		body   string
		header map[string]string // "" means: not there
	}{
		{"zero value is 403 with the phrase", &Rejection{}, 403, "Forbidden\n", map[string]string{fieldReason: ""}},
		{"line breaks cannot inject", Reject(404, "no\r\nX-Evil: 1\x00such"), 404, "noX-Evil: 1 such\n",
			map[string]string{fieldReason: "noX-Evil: 1 such", "X-Evil": ""}},
		{"header is cleaned", &Rejection{Status: 302, Header: http.Header{"Location": {"/x\r\nX-Evil: 1"}, "Bad Name": {"1"}}},
			302, "Found\n", map[string]string{"Location": "/xX-Evil: 1", "X-Evil": "", "Bad Name": ""}},
		{"lines of the connection are not the application's", &Rejection{Status: 400,
			Header: http.Header{"content-length": {"99"}, "Transfer-Encoding": {"chunked"}, "Connection": {"keep-alive"}, "Sec-WebSocket-Accept": {"x"}}},
			400, "Bad Request\n", map[string]string{"Content-Length": "12", "Transfer-Encoding": "", "Connection": "close", "Sec-WebSocket-Accept": ""}},
		{"body and type replace the reason", &Rejection{Status: 401, Reason: "log in", Body: "{}",
			Header: http.Header{"Content-Type": {"application/json"}, "Www-Authenticate": {"Basic"}}},
			401, "{}", map[string]string{"Content-Type": "application/json", fieldReason: "log in", "Www-Authenticate": "Basic"}},
		{"101 is never written", Reject(101, "x"), 500, "x\n", nil},
		{"200 is a mistake", Reject(200, "x"), 500, "x\n", nil},
		{"1000 is a mistake", Reject(1000, "x"), 500, "x\n", nil},
		{"retry is in seconds, rounded up", Reject(503, "full").RetryAfter(1200 * time.Millisecond), 503, "full\n", map[string]string{"Retry-After": "2"}},
		{"retry is at least a second", Reject(429, "slow down").RetryAfter(0), 429, "slow down\n", map[string]string{"Retry-After": "1"}},
		{"a long reason is cut in the header", Reject(403, strings.Repeat("ä", 300)), 403, strings.Repeat("ä", 300) + "\n",
			map[string]string{fieldReason: strings.Repeat("ä", 256)}},
		{"a reason is cut between characters", Reject(403, "x"+strings.Repeat("ä", 300)), 403, "x" + strings.Repeat("ä", 300) + "\n",
			map[string]string{fieldReason: "x" + strings.Repeat("ä", 255)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				tt.rej.Write(w)
			}))
			a := readAnswer(t, dialRaw(t, addr, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
			if a.status != tt.status || a.body != tt.body {
				t.Errorf("answer %d %q, want %d %q", a.status, a.body, tt.status, tt.body)
			}
			for name, want := range tt.header {
				if got := a.header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if ct := a.header.Get("Content-Type"); tt.rej.Header.Get("Content-Type") == "" && ct != "text/plain; charset=utf-8" {
				t.Errorf("Content-Type %q", ct)
			}
		})
	}
}

func TestRetryAfterLeavesTheOriginalAlone(t *testing.T) {
	shared := Reject(503, "full")
	first := shared.RetryAfter(time.Second)
	second := first.RetryAfter(9 * time.Second)
	if shared.Header != nil || first.Header.Get("Retry-After") != "1" || second.Header.Get("Retry-After") != "9" {
		t.Errorf("%v %v %v", shared.Header, first.Header, second.Header)
	}
}

func TestRejectionError(t *testing.T) {
	cause := errors.New("cause")
	err := error(&Rejection{Status: 403, Reason: "no", Err: cause})
	if got, want := err.Error(), "websocket refused: 403 Forbidden: no: cause"; got != want || !errors.Is(err, cause) {
		t.Errorf("error %q, want %q", got, want)
	}
}

func TestReservedNames(t *testing.T) {
	for _, name := range []string{"upgrade", "CONNECTION", "sec-websocket-anything", "te"} {
		if !reserved(name) {
			t.Errorf("%s can be set", name)
		}
	}
	for _, name := range []string{"Sec-Fetch-Mode", textproto.CanonicalMIMEHeaderKey("set-cookie"), "Date"} {
		if reserved(name) {
			t.Errorf("%s cannot be set", name)
		}
	}
}
