package wsframe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestDialFollowsRedirectsWhenAllowed(t *testing.T) {
	var s *rawServer
	s = serveRaw(t, "tcp", "127.0.0.1:0", func(head string) string {
		to := "/two"
		switch path := strings.Fields(head)[1]; path {
		case "/two":
			to = "ws://" + s.addr + "/three"
		case "/three":
			return good101 + "\r\n"
		case "/loop":
			to = "/loop"
		case "/ftp":
			to = "ftp://" + s.addr
		case "/unix":
			to = "ws+unix:///run/x.sock"
		case "/broken":
			to = "http://%zz"
		}
		return "HTTP/1.1 307 x\r\nContent-Length: 0\r\nLocation: " + to + "\r\n\r\n"
	}, false)
	for _, tt := range []struct {
		path string
		max  int
		err  string
	}{
		{"/one", 2, ""},
		{"/one", 1, "307"},
		{"/one", 0, "307"},
		{"/loop", 5, "307"},
		{"/ftp", 5, `redirect to the scheme "ftp"`},
		{"/unix", 5, `redirect to the scheme "ws+unix"`},
		{"/broken", 5, "redirect:"},
	} {
		c, resp, err := Dial(t.Context(), "ws://"+s.addr+tt.path, direct(DialOptions{MaxRedirects: tt.max}))
		if tt.err == "" && err == nil {
			c.CloseNow()
		} else if err == nil || tt.err == "" || !strings.Contains(err.Error(), tt.err) || resp == nil {
			t.Errorf("%s with %d redirects: %v, want part %q", tt.path, tt.max, err, tt.err)
		}
	}
}

func TestRedirectsKeepSecretsWithTheFirstHost(t *testing.T) {
	second := serveRaw(t, "tcp", "127.0.0.1:0", same(good101+"\r\n"), false)
	first := serveRaw(t, "tcp", "127.0.0.1:0", same("HTTP/1.1 302 x\r\nContent-Length: 0\r\nLocation: http://"+second.addr+"/\r\n\r\n"), false)
	c, _, err := Dial(t.Context(), "ws://user:pass@"+first.addr, direct(DialOptions{
		MaxRedirects: 1,
		Header:       http.Header{"Cookie": {"a=1"}, "Host": {"virtual.example"}, "X-Other": {"1"}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	c.CloseNow()
	for s, want := range map[*rawServer]bool{first: true, second: false} {
		head := <-s.requests
		for _, line := range []string{"\r\nCookie: a=1", "\r\nAuthorization: Basic", "\r\nHost: virtual.example"} {
			if strings.Contains(head, line) != want {
				t.Errorf("request %q, want %q: %v", head, line, want)
			}
		}
		if !strings.Contains(head, "\r\nX-Other: 1") {
			t.Errorf("request %q lacks X-Other", head)
		}
	}
}

func TestFollowRefusesDowngrades(t *testing.T) {
	for _, tt := range []struct{ from, unix, to, want string }{
		{"https://h/a", "", "http://h/b", "!wss to ws"},
		{"https://h/a", "", "ws://h/b", "!wss to ws"},
		{"https://h/a", "", "b", "wss://h/b"},
		{"http://h/a", "", "wss://h/b", "wss://h/b"},
		{"http://localhost/a", "/s", "/b", "ws://localhost/b at /s"},
		{"http://localhost/a", "/s", "http://other/b", "!Unix socket"},
		{"http://h/a", "", "http:///b", "!without a host"},
		{"http://h/a", "", "/b#frag", "ws://h/b"},
	} {
		u, err := url.Parse(tt.from)
		if err != nil {
			t.Fatal(err)
		}
		next, err := (&target{url: u, unix: tt.unix}).follow(&http.Response{Header: http.Header{"Location": {tt.to}}})
		if part, bad := strings.CutPrefix(tt.want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s to %s: %v, want %q", tt.from, tt.to, err, part)
			}
		} else if err != nil || next.String() != tt.want {
			t.Errorf("%s to %s: %v, %v, want %s", tt.from, tt.to, next, err, tt.want)
		}
	}
}

// serveProxy is a proxy that knows CONNECT. It connects every tunnel to one
// address, whatever was asked for.
func serveProxy(t *testing.T, to, auth string) (addr string, asked <-chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heads := make(chan string, 10)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { tunnelOne(c, to, auth, heads) })
		}
	})
	t.Cleanup(func() { ln.Close(); all.Wait() })
	return ln.Addr().String(), heads
}

func tunnelOne(c net.Conn, to, auth string, heads chan<- string) {
	defer c.Close()
	br := bufio.NewReader(c)
	req, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	heads <- req.Method + " " + req.RequestURI + " " + req.Host
	if auth != "" && req.Header.Get("Proxy-Authorization") != auth {
		io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 3\r\n\r\nno\n")
		return
	}
	far, err := net.Dial("tcp", to)
	if err != nil {
		io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	defer far.Close()
	io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(far, br)
		far.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(c, far)
	c.(*net.TCPConn).CloseWrite()
	<-done
}

func TestDialThroughAProxy(t *testing.T) {
	plain := serve(t, acceptAll(nil, nil))
	secure := serveTLS(t, acceptAll(nil, nil))
	trusting := secure.Client().Transport.(*http.Transport).TLSClientConfig
	const auth = "Basic dXNlcjpwYXNz"
	for _, tt := range []struct{ url, to, asked, scheme string }{
		{"ws://example.com/chat", plain, "CONNECT example.com:80 example.com:80", "http"},
		{"ws://example.com:81/chat", plain, "CONNECT example.com:81 example.com:81", "http"},
		{"ws://[::1]/chat", plain, "CONNECT [::1]:80 [::1]:80", "http"},
		{"wss://example.com/chat", secure.Listener.Addr().String(), "CONNECT example.com:443 example.com:443", "https"},
	} {
		t.Run(tt.url, func(t *testing.T) {
			proxy, asked := serveProxy(t, tt.to, auth)
			o := direct(DialOptions{TLS: trusting, Proxy: func(r *http.Request) (*url.URL, error) {
				if r.URL.Scheme != tt.scheme {
					return nil, fmt.Errorf("asked for the scheme %s", r.URL.Scheme)
				}
				return url.Parse("http://user:pass@" + proxy)
			}})
			c, _, err := Dial(t.Context(), tt.url, o)
			if err != nil {
				t.Fatal(err)
			}
			if got := <-asked; got != tt.asked {
				t.Errorf("proxy was asked %q, want %q", got, tt.asked)
			}
			var closed *CloseError
			if _, _, err := c.ReadMessage(nil); !errors.As(err, &closed) || closed.Code != CloseNormal {
				t.Errorf("read: %v", err)
			}
			c.CloseNow()
		})
	}
}

func TestDialReportsWhatAProxyRefuses(t *testing.T) {
	proxy, _ := serveProxy(t, "127.0.0.1:1", "Basic x")
	for _, tt := range []struct {
		proxy  string
		err    string
		status int
	}{
		{"http://user:wrong@" + proxy, "407 Proxy Authentication Required", 407},
		{"http://" + serveRaw(t, "tcp", "127.0.0.1:0", same("HTTP/1.1 503 x\r\n\r\n"), false).addr, "503", 503},
		{"http://" + serveRaw(t, "tcp", "127.0.0.1:0", same("HTTP/1.1 200 x\r\n\r\nboo"), false).addr, "data behind", 0},
		{"http://" + serveRaw(t, "tcp", "127.0.0.1:0", same("HTTP/1.1 200 x\r\nX: "+strings.Repeat("x", maxHead)), false).addr, "larger than", 0},
		{"http://" + serveRaw(t, "tcp", "127.0.0.1:0", same(""), false).addr, "EOF", 0},
		{"socks4://127.0.0.1:1", "not http, https, socks5", 0},
		{"socks5://user:wrong@" + serveRawBytes(t, "\x05\x02\x01\x01"), "username/password authentication failed", 0},
		{"socks5h://" + serveRawBytes(t, "\x05\x00\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00"), "connection refused", 0},
		{"https://user:wrong@" + proxy, "TLS with 127.0.0.1", 0},
	} {
		_, _, err := Dial(t.Context(), "ws://example.com", direct(DialOptions{
			Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(tt.proxy) }}))
		if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "wrong") {
			t.Errorf("%s: error %v, want part %q", tt.proxy, err, tt.err)
		}
		var refused *ProxyError
		if errors.As(err, &refused) != (tt.status != 0) || tt.status != 0 && refused.Status != tt.status {
			t.Errorf("%s: error %#v", tt.proxy, err)
		}
	}
}

func TestDialThroughAProxyWithTLS(t *testing.T) {
	to := serve(t, acceptAll(nil, nil))
	proxy := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer near.Close()
		far, err := net.Dial("tcp", to)
		if err != nil {
			t.Error(err)
			return
		}
		defer far.Close()
		io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		done := make(chan struct{})
		go func() { defer close(done); io.Copy(far, near); far.(*net.TCPConn).CloseWrite() }()
		io.Copy(near, far)
		near.(interface{ CloseWrite() error }).CloseWrite()
		<-done
	}))
	config := proxy.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = "for.the.server" // and not for the proxy
	c, _, err := Dial(t.Context(), "ws://example.com", direct(DialOptions{TLS: config,
		Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	var closed *CloseError
	if _, _, err := c.ReadMessage(nil); !errors.As(err, &closed) || closed.Code != CloseNormal {
		t.Errorf("read: %v", err)
	}
}

// net/http reads the environment once per process, so this runs in a process of
// its own.
func TestTheEnvironmentNamesTheProxy(t *testing.T) {
	if os.Getenv("WSFRAME_TEST_PROXY") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestTheEnvironmentNamesTheProxy$")
		cmd.Env = append(os.Environ(), "WSFRAME_TEST_PROXY=1", "REQUEST_METHOD=",
			"HTTP_PROXY=http://plain.example:1", "HTTPS_PROXY=http://secure.example:2", "NO_PROXY=direct.example",
			"http_proxy=http://plain.example:1", "https_proxy=http://secure.example:2", "no_proxy=direct.example")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	for u, want := range map[string]string{
		"ws://example.com/x":             "plain.example:1",
		"wss://example.com/x":            "secure.example:2",
		"https://example.com/x":          "secure.example:2",
		"ws://direct.example/x":          "",
		"wss://direct.example/x":         "",
		"ws://127.0.0.1:80/x":            "",
		"ws+unix:///run/app.sock:/x":     "",
		"wss+unix:///run/app.sock:/path": "",
	} {
		o := new(DialOptions)
		dest, err := o.target(u)
		if err != nil {
			t.Fatal(err)
		}
		proxy, err := o.proxyFor(dest)
		if err != nil {
			t.Fatal(err)
		}
		if proxy == nil {
			proxy = new(url.URL)
		}
		if proxy.Host != want {
			t.Errorf("%s: proxy %q, want %q", u, proxy.Host, want)
		}
	}
}

// serveRawBytes says the same to everybody, whatever it hears.
func serveRawBytes(t *testing.T, answer string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				io.WriteString(c, answer)
				io.Copy(io.Discard, c)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); all.Wait() })
	return ln.Addr().String()
}

// The bytes are those of RFC 1928 and RFC 1929.
func TestDialThroughSOCKS(t *testing.T) {
	const want = "\x05\x02\x00\x02" + "\x01\x04user\x04pass" + "\x05\x01\x00\x03\x0bexample.com\x00\x50"
	for _, scheme := range list("socks5", "socks5h") {
		near, far := netPair(t)
		far.SetDeadline(time.Now().Add(patience))
		heard := make(chan string, 1)
		go func() {
			defer far.Close()
			got := ""
			for _, step := range []struct {
				read   int
				answer string
			}{{4, "\x05\x02"}, {11, "\x01\x00"}, {18, "\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34"}} {
				b := make([]byte, step.read)
				n, _ := io.ReadFull(far, b)
				got += string(b[:n])
				io.WriteString(far, step.answer)
			}
			heard <- got
			if _, req := readRawRequest(far); req != nil {
				io.WriteString(far, strings.ReplaceAll(good101, "ACCEPT", acceptValue(req.Header.Get("Sec-WebSocket-Key")))+"\r\n")
			}
			io.Copy(io.Discard, far)
		}()
		c, _, err := Dial(t.Context(), "ws://example.com/chat", direct(DialOptions{
			Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(scheme + "://user:pass@proxy.example") },
			DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
				if addr != "proxy.example:1080" {
					t.Errorf("connects to %s", addr)
				}
				return near, nil
			},
		}))
		if got := <-heard; got != want {
			t.Errorf("%s: the proxy heard %q, want %q", scheme, got, want)
		}
		if err != nil {
			t.Fatal(err)
		}
		if c.NetConn() != near {
			t.Errorf("connection is a %T", c.NetConn())
		}
		c.CloseNow()
	}
}
