package gatewaytest

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/stream"
)

const (
	ok       = "print:Content-Type: text/plain\n\n"
	switched = "print:Status: 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
)

// answers are ordinary requests.
func answers(t *testing.T, m Maker) {
	tests := []struct {
		name    string
		request string
		status  int
		body    string
		header  map[string]string
	}{
		{name: "a body", request: Request(Script(ok, "print:hello")), status: 200, body: "hello", header: map[string]string{"Content-Type": "text/plain"}},
		{name: "a status", request: Request(Script("print:Status: 404 Nothing\nX-A: b\n\nhello")), status: 404, body: "hello", header: map[string]string{"X-A": "b"}},
		{name: "a status line", request: Request(Script("print:HTTP/1.0 403 No\r\nX-A: b\r\n\r\nhello")), status: 403, body: "hello", header: map[string]string{"X-A": "b"}},
		{name: "a location", request: Request(Script("print:Location: http://h/x\n\n")), status: 302, header: map[string]string{"Location": "http://h/x"}},
		{name: "a body with a length", request: Request(Script("print:Content-Length: 5\n\n", "print:hello, world")), status: 200, body: "hello"},
		{name: "a head in pieces", request: Request(Script("print:Content-Ty", "pause:20ms", "print:pe: text/plain\r\n\r", "pause:20ms", "print:\nhello")), status: 200, body: "hello"},
		{name: "hop-by-hop lines", request: Request(Script("print:Connection: close, x\nKeep-Alive: 5\nUpgrade: foo\nX-A: b\n\nhello")), status: 200, body: "hello", header: map[string]string{"Keep-Alive": "", "Upgrade": "", "X-A": "b"}},
		{name: "a chunked body", request: Request(Script("print:Transfer-Encoding: chunked\n\n5\r\nhello\r\n0\r\n\r\n")), status: 200, body: "hello"},
		{name: "another coding", request: Request(Script("print:Transfer-Encoding: gzip\n\nhello")), status: 502},
		{name: "no output", request: Request(Script("pause:1ms")), status: 502},
		{name: "variables", request: Request(Script(ok, "var:CONTENT_LENGTH", "var:REQUEST_METHOD", "var:HTTP_X_A", "var:HTTP_PROXY"), "X-A: 1", "X-A: 2", "Proxy: evil"), status: 200,
			body: "CONTENT_LENGTH=0\nREQUEST_METHOD=GET\nHTTP_X_A=1, 2\nno HTTP_PROXY\n"},
		{name: "names that collide", request: Request(Script(ok), "X-A: 1", "X_A: 2"), status: 400},
		{name: "the end of no body", request: Request(Script(ok, "drain")), status: 200, body: "read 0 bytes\n"},
		{name: "a request body", request: "POST /?" + Script(ok, "var:CONTENT_LENGTH", "echo") + " HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", status: 200, body: "CONTENT_LENGTH=5\nhello"},
		{name: "a request body that nobody reads", request: "POST /?" + Script(ok, "print:done") + " HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", status: 200, body: "done"},
		{name: "the body of a GET", request: "GET /?" + Script(ok, "echo") + " HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", status: 200, body: "hello"},
		{name: "ranges are the business of programs", request: Request(Script("print:Content-Length: 5\n\nhello"), "Range: bytes=1-2"), status: 200, body: "hello", header: map[string]string{"Accept-Ranges": ""}},
		{name: "a large answer", request: Request(Script(ok, "count:300000")), status: 200, body: strings.Repeat("0123456789", 30000)},
	}
	addr := Start(t, m(t, cgi.Options{}))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Dial(t, addr)
			c.Send(tt.request)
			r := c.Head()
			body := c.Body(r)
			if r.StatusCode != tt.status || tt.status == 200 && body != tt.body {
				t.Errorf("%d %.200q, want %d %.200q", r.StatusCode, body, tt.status, tt.body)
			}
			for name, value := range tt.header {
				if got := r.Header.Get(name); got != value {
					t.Errorf("%s: %q, want %q", name, got, value)
				}
			}
		})
	}
	t.Run("what is more than announced holds nothing up", func(t *testing.T) {
		c := Dial(t, addr)
		c.Send(Request(Script("print:Content-Length: 5\n\nhello", "count:100000", "pause:1h")))
		if body := c.Body(c.Head()); body != "hello" {
			t.Errorf("body %q", body)
		}
	})
	t.Run("a head that says something by itself", func(t *testing.T) {
		for _, line := range []string{"Content-Length: 0", "Content-Type: text/event-stream"} {
			c := Dial(t, addr)
			c.Send(Request(Script("print:"+line+"\n\n", "pause:1h")))
			c.Head()
		}
	})
	t.Run("output as it comes, input as it comes", func(t *testing.T) {
		c := Dial(t, addr)
		c.Send("POST /?" + Script(ok, "print:first ", "read:3", "echo") + " HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n")
		r := c.Head()
		body := &Conn{c.TCPConn, bufio.NewReader(r.Body), t}
		body.Expect("first ")
		c.Send("abc")
		body.Expect("abc")
		c.Send("def")
		body.Expect("def")
		body.ExpectEnd()
	})
	t.Run("interim answers", func(t *testing.T) {
		c := Dial(t, addr)
		c.Send(Request(Script("print:Status: 103\nLink: </a>\n\nHTTP/1.1 102 Processing\n\n" + ok[len("print:"):] + "hello")))
		for _, status := range []int{103, 102} {
			if r := c.Head(); r.StatusCode != status || status == 103 && r.Header.Get("Link") == "" {
				t.Errorf("%d %v, want %d", r.StatusCode, r.Header, status)
			}
		}
		if r := c.Head(); r.StatusCode != 200 || r.Header.Get("Link") != "" || c.Body(r) != "hello" {
			t.Errorf("final answer %d %v", r.StatusCode, r.Header)
		}
	})
	t.Run("one connection, many requests", func(t *testing.T) {
		c := Dial(t, addr)
		for i := range 5 {
			c.Send("POST /?" + Script(ok, "echo") + fmt.Sprintf(" HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhell%d", i))
			if body := c.Body(c.Head()); body != fmt.Sprintf("hell%d", i) {
				t.Fatalf("%d: %q", i, body)
			}
		}
	})
	t.Run("a large body there and back", func(t *testing.T) {
		c := Dial(t, addr)
		const size = 3 << 20
		go func() {
			fmt.Fprintf(c.TCPConn, "POST /?%s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", Script(ok, "echo"), size, strings.Repeat("x", size))
		}()
		if body := c.Body(c.Head()); len(body) != size {
			t.Errorf("%d bytes of %d", len(body), size)
		}
	})
}

// requests says which requests a program sees as upgrades. It answers with what it sees.
func requests(t *testing.T, m Maker) {
	see := Script(ok, "var:HTTP_UPGRADE", "var:HTTP_CONNECTION", "drain")
	post := func(version string, lines ...string) string {
		return "POST /?" + see + " " + version + "\r\nHost: h\r\n" + joinLines(lines) + "\r\n"
	}
	up := []string{"Upgrade: websocket", "Connection: Upgrade"}
	tests := []struct {
		name    string
		off     bool
		request string
		want    string // what the program sees
	}{
		{name: "upgrade enabled", request: Request(see, up...), want: "HTTP_UPGRADE=websocket\nHTTP_CONNECTION=Upgrade\nread 0 bytes\n"},
		{name: "upgrade not enabled", off: true, request: Request(see, up...), want: "no HTTP_UPGRADE\nHTTP_CONNECTION=Upgrade\nread 0 bytes\n"},
		{name: "no Upgrade line", request: Request(see), want: "no HTTP_UPGRADE\nno HTTP_CONNECTION\nread 0 bytes\n"},
		{name: "any protocol", request: Request(see, "Upgrade: foo/1", "Connection: upgrade"), want: "HTTP_UPGRADE=foo/1\nHTTP_CONNECTION=upgrade\nread 0 bytes\n"},
		{name: "any method", request: post("HTTP/1.1", append(up, "Content-Length: 0")...), want: "HTTP_UPGRADE=websocket\nHTTP_CONNECTION=Upgrade\nread 0 bytes\n"},
		{name: "a body", request: post("HTTP/1.1", append(up, "Content-Length: 3")...) + "abc", want: "no HTTP_UPGRADE\nHTTP_CONNECTION=Upgrade\nread 3 bytes\n"},
		{name: "h2c", request: Request(see, "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk"), want: "no HTTP_UPGRADE\nno HTTP_CONNECTION\nread 0 bytes\n"},
		{name: "h2c in a list", request: Request(see, "Upgrade: websocket, h2c", "Connection: keep-alive, Upgrade"), want: "no HTTP_UPGRADE\nHTTP_CONNECTION=keep-alive\nread 0 bytes\n"},
		{name: "h2c in a second line", request: Request(see, "Upgrade: websocket", "Upgrade: h2c", "Connection: Upgrade"), want: "no HTTP_UPGRADE\nno HTTP_CONNECTION\nread 0 bytes\n"},
		{name: "HTTP/1.0", request: strings.Replace(Request(see, up...), "HTTP/1.1", "HTTP/1.0", 1), want: "no HTTP_UPGRADE\nHTTP_CONNECTION=Upgrade\nread 0 bytes\n"},
		{name: "no Connection line", request: Request(see, "Upgrade: websocket"), want: "no HTTP_UPGRADE\nno HTTP_CONNECTION\nread 0 bytes\n"},
		{name: "Connection without the token", request: Request(see, "Upgrade: websocket", "Connection: keep-alive"), want: "no HTTP_UPGRADE\nHTTP_CONNECTION=keep-alive\nread 0 bytes\n"},
		{name: "a list in Connection", request: Request(see, "Upgrade: websocket", "Connection: keep-alive, UPGRADE"), want: "HTTP_UPGRADE=websocket\nHTTP_CONNECTION=keep-alive, UPGRADE\nread 0 bytes\n"},
		{name: "an empty Upgrade line", request: Request(see, "Upgrade:", "Connection: Upgrade"), want: "no HTTP_UPGRADE\nHTTP_CONNECTION=Upgrade\nread 0 bytes\n"},
		{name: "a key twice", request: Request(see, append(up, "Sec-WebSocket-Key: a", "Sec-WebSocket-Key: b")...), want: "400"},
	}
	on, off := Start(t, m(t, cgi.Options{Upgrade: true})), Start(t, m(t, cgi.Options{}))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := on
			if tt.off {
				addr = off
			}
			c := Dial(t, addr)
			c.Send(tt.request)
			r := c.Head()
			body := c.Body(r)
			if r.StatusCode == http.StatusBadRequest {
				body = "400"
			}
			if body != tt.want {
				t.Errorf("%d: the program sees %q, want %q", r.StatusCode, body, tt.want)
			}
		})
	}
	t.Run("a chunked body", func(t *testing.T) {
		// Its length is unknown; gateways that need one collect it.
		addr := Start(t, m(t, cgi.Options{Upgrade: true, CollectBody: 1000}))
		c := Dial(t, addr)
		c.Send(post("HTTP/1.1", append(up, "Transfer-Encoding: chunked")...) + "3\r\nabc\r\n0\r\n\r\n")
		if body := c.Body(c.Head()); body != "no HTTP_UPGRADE\nHTTP_CONNECTION=Upgrade\nread 3 bytes\n" {
			t.Errorf("the program sees %q", body)
		}
	})
}

// responses says which responses are upgrades.
func responses(t *testing.T, m Maker) {
	tests := []struct {
		name, head string
		off, plain bool // not enabled; not asked for
		status     int
	}{
		{name: "Status, CR LF", head: "Status: 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", status: 101},
		{name: "Status, LF", head: "Status: 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n\n", status: 101},
		{name: "Status, mixed", head: "Status: 101\r\nUpgrade: websocket\n\r\n", status: 101},
		{name: "no reason phrase, no Connection", head: "Status: 101\nUpgrade: websocket\n\n", status: 101},
		{name: "a status line", head: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", status: 101},
		{name: "a status line, LF, no reason", head: "HTTP/1.1 101\nUpgrade: websocket\n\n", status: 101},
		{name: "Content-Length 0", head: "Status: 101\nContent-Length: 0\nUpgrade: websocket\n\n", status: 101},
		{name: "another order", head: "Upgrade: websocket\nConnection: Upgrade\nStatus: 101\n\n", status: 101},
		{name: "another case", head: "status: 101\nUPGRADE: WebSocket\n\n", status: 101},
		{name: "behind an interim answer", head: "Status: 100\n\nStatus: 101\nUpgrade: websocket\n\n", status: 101},
		{name: "no Upgrade", head: "Status: 101\n\n", status: 502},
		{name: "an empty Upgrade", head: "Status: 101\nUpgrade: \n\n", status: 502},
		{name: "another protocol", head: "Status: 101\nUpgrade: h2c\n\n", status: 502},
		{name: "one more protocol", head: "Status: 101\nUpgrade: websocket, foo\n\n", status: 502},
		{name: "not enabled", off: true, head: "Status: 101\nUpgrade: websocket\n\n", status: 502},
		{name: "not asked for", plain: true, head: "Status: 101\nUpgrade: websocket\n\n", status: 502},
		{name: "declined", head: "Status: 403\n\n", status: 403},
		{name: "declined with Upgrade", head: "Status: 200\nUpgrade: websocket\n\n", status: 200},
		{name: "declined with 426", head: "Status: 426\nUpgrade: websocket\n\n", status: 426},
	}
	on, off := Start(t, m(t, cgi.Options{Upgrade: true})), Start(t, m(t, cgi.Options{}))
	t.Run("over HTTP/2", func(t *testing.T) { responsesOverHTTP2(t, m) })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := on
			if tt.off {
				addr = off
			}
			c := Dial(t, addr)
			query := Script("print:"+tt.head, "echo") // echo comes to its end when the input does
			if tt.plain {
				c.Send(Request(query))
			} else {
				c.Send(Upgrade(query))
			}
			r := c.Head()
			if r.StatusCode != tt.status {
				t.Fatalf("answer %d, want %d", r.StatusCode, tt.status)
			}
			if tt.status != 101 {
				c.Body(r) // ends
				return
			}
			if r.Header.Get("Content-Length") != "" || r.Header.Get("Connection") != "Upgrade" || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
				t.Errorf("answer %v", r.Header)
			}
			c.Send("ping")
			c.Expect("ping")
			c.CloseWrite()
			c.ExpectEnd()
		})
	}
}

func responsesOverHTTP2(t *testing.T, m Maker) {
	h := m(t, cgi.Options{Upgrade: true})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/extended" {
			r = stream.MarkExtended(r) // as who serves HTTP/2 does
			r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
		}
		h.ServeHTTP(w, r)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	for _, tt := range []struct {
		path, head string
		status     int
	}{
		{"/", "Status: 426\nUpgrade: websocket\nConnection: Upgrade\n\n", 426},
		{"/", "Connection: X\nKeep-Alive: 1\nProxy-Connection: 1\nTransfer-Encoding: chunked\n\n0\n\n", 200},
		{"/extended", "Status: 101\nUpgrade: foo\n\n", 502},
		{"/extended", "Status: 426\nUpgrade: websocket\n\n", 426},
	} {
		r, err := s.Client().Get(s.URL + tt.path + "?" + Script("print:"+tt.head))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != tt.status {
			t.Errorf("%q: answer %d, want %d", tt.head, r.StatusCode, tt.status)
		}
		for _, name := range []string{"Upgrade", "Connection", "Keep-Alive", "Proxy-Connection"} {
			if v, ok := r.Header[name]; ok {
				t.Errorf("%q: HTTP/2 has no %s: %q", tt.head, name, v)
			}
		}
	}
}
