package scgi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

const patience = time.Minute // of everything; nothing should come near

func hello(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Query", r.URL.RawQuery)
	fmt.Fprintf(w, "hello %s %s %s", r.Method, r.Host, r.Header.Get("X-Test"))
}

// length tells how long the body is, and that of it which can be seen.
func length(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, "%d of %d %v", n, r.ContentLength, err)
}

// streamed sends back what it gets while it gets it.
func streamed(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusAccepted)
	http.NewResponseController(w).Flush()
	p := make([]byte, 100)
	for {
		n, err := r.Body.Read(p)
		w.Write(p[:n])
		http.NewResponseController(w).Flush()
		if err != nil {
			return
		}
	}
}

func echoMessages(w http.ResponseWriter, r *http.Request) {
	c, err := wsframe.Accept(w, r, &wsframe.AcceptOptions{AllowOrigin: func(*wsframe.Request) error { return nil }})
	if err != nil {
		return
	}
	defer c.CloseNow()
	for {
		op, message, err := c.ReadMessage(nil)
		if err != nil || c.WriteMessage(op, message) != nil {
			c.Close(wsframe.CloseNormal, "")
			return
		}
	}
}

// serve runs a server until the end of the test.
func serve(t *testing.T, s *Server) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, s, l)
}

func serveOn(t *testing.T, s *Server, l net.Listener) net.Addr {
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("handlers still run: %v", err)
		}
	})
	return l.Addr()
}

// A gateway is one connection of a web server to an application.
type gateway struct {
	net.Conn
	*bufio.Reader
	t *testing.T
}

func (g gateway) Read(p []byte) (int, error) { return g.Reader.Read(p) }

func connect(t *testing.T, a net.Addr) gateway {
	t.Helper()
	nc, err := net.Dial(a.Network(), a.String())
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { nc.Close() })
	return gateway{nc, bufio.NewReader(nc), t}
}

func (g gateway) send(s string) {
	g.t.Helper()
	if _, err := io.WriteString(g.Conn, s); err != nil {
		g.t.Fatal(err)
	}
}

// request sends a head. CONTENT_LENGTH, REQUEST_METHOD and SERVER_PROTOCOL have defaults.
func (g gateway) request(p Protocol, pairs ...string) {
	g.t.Helper()
	l := vars("CONTENT_LENGTH", "0", "REQUEST_METHOD", "GET", "SERVER_PROTOCOL", "HTTP/1.1")
	for _, v := range vars(pairs...) {
		l.Set(v.Name, v.Value)
	}
	b, err := p.Append(nil, l)
	if err != nil {
		g.t.Fatal(err)
	}
	g.send(string(b))
}

func (g gateway) head() (status string, h textproto.MIMEHeader) {
	g.t.Helper()
	h, err := textproto.NewReader(g.Reader).ReadMIMEHeader()
	if err != nil {
		g.t.Fatalf("response head: %v after %q", err, h)
	}
	status = h.Get("Status")
	h.Del("Status")
	return status, h
}

func (g gateway) rest() string {
	g.t.Helper()
	b, err := io.ReadAll(g.Reader)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(b)
}

func TestServerAnswers(t *testing.T) {
	for _, p := range both {
		t.Run(p.String(), func(t *testing.T) {
			a := serve(t, &Server{Handler: application(), Protocol: p})
			g := connect(t, a)
			g.request(p, "REQUEST_URI", "/hello?a=b", "HTTP_HOST", "h", "HTTP_X_TEST", "t")
			status, h := g.head()
			if status != "200 OK" || h.Get("X-Query") != "a=b" || h.Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("got %s %v", status, h)
			}
			if got := g.rest(); got != "hello GET h t" {
				t.Errorf("got %q", got)
			}
			for size, want := range map[int]string{0: "0 of 0 <nil>", 5: "5 of 5 <nil>", 300_000: "300000 of 300000 <nil>"} {
				g := connect(t, a)
				g.request(p, "REQUEST_URI", "/length", "REQUEST_METHOD", "POST", "CONTENT_LENGTH", fmt.Sprint(size))
				g.send(strings.Repeat("x", size))
				g.head()
				if got := g.rest(); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
}

func TestServerStreamsBothWaysAtOnce(t *testing.T) {
	g := connect(t, serve(t, &Server{Handler: application()}))
	g.request(SCGI, "REQUEST_URI", "/stream", "CONTENT_LENGTH", "6", "REQUEST_METHOD", "POST")
	if status, _ := g.head(); status != "202 Accepted" {
		t.Errorf("got %s", status)
	}
	for _, part := range []string{"ab", "cd", "ef"} {
		g.send(part)
		got := make([]byte, 2)
		if _, err := io.ReadFull(g, got); err != nil || string(got) != part {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	if got := g.rest(); got != "" {
		t.Errorf("got %q more", got)
	}
}

func TestServerUpgrades(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	unix := serveOn(t, &Server{Handler: application(), Protocol: UWSGI}, l)
	tcp := serve(t, &Server{Handler: application()})
	for p, a := range map[Protocol]net.Addr{SCGI: tcp, UWSGI: unix} {
		g := connect(t, a)
		g.request(p, "REQUEST_URI", "/ws", "HTTP_HOST", "h", "HTTP_UPGRADE", "websocket", "HTTP_CONNECTION", "Upgrade",
			"HTTP_SEC_WEBSOCKET_KEY", "dGhlIHNhbXBsZSBub25jZQ==", "HTTP_SEC_WEBSOCKET_VERSION", "13", "HTTP_ORIGIN", "http://h")
		// A frame glued to the head is not lost.
		g.send(string(wsframe.AppendFrame(nil, wsframe.Client, wsframe.Frame{Fin: true, Op: wsframe.OpText, Payload: []byte("early")})))
		line, err := g.ReadString('\n')
		if err != nil || line != "HTTP/1.1 101 Switching Protocols\r\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		if _, h := g.head(); h.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Errorf("got %v", h)
		}
		buffered, _ := g.Peek(g.Buffered())
		c := wsframe.NewConn(g.Conn, bytes.Clone(buffered), wsframe.Client, "", nil)
		if _, got, err := c.ReadMessage(nil); err != nil || string(got) != "early" {
			t.Errorf("got %q, %v", got, err)
		}
		if err := c.Close(wsframe.CloseNormal, ""); err != nil {
			t.Error(err)
		}
	}
}

func TestRequestsAsTheyAreDescribed(t *testing.T) {
	var got *http.Request
	a := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r })})
	g := connect(t, a)
	g.request(SCGI, "SCRIPT_NAME", "/app", "PATH_INFO", "/a b", "QUERY_STRING", "x=1", "REMOTE_ADDR", "::1", "REMOTE_PORT", "5",
		"HTTPS", "on", "CONTENT_TYPE", "a/b", "HTTP_COOKIE", "k=v", "REMOTE_USER", "ann", "HTTP_CONTENT_LENGTH", "0")
	if status, _ := g.head(); status != "200 OK" || g.rest() != "" {
		t.Errorf("status %s", status)
	}
	if got.RequestURI != "/app/a%20b?x=1" || got.URL.Path != "/app/a b" || got.RemoteAddr != "[::1]:5" || got.TLS == nil ||
		got.Header.Get("Content-Type") != "a/b" || len(got.Header) != 2 {
		t.Errorf("got %+v", got)
	}
	if c, err := got.Cookie("k"); err != nil || c.Value != "v" {
		t.Errorf("got %v, %v", c, err)
	}
	if user, _ := Variables(got).Lookup("REMOTE_USER"); user != "ann" {
		t.Errorf("REMOTE_USER %q", user)
	}
	if Variables(new(http.Request)) != nil {
		t.Error("variables of a request of somebody else")
	}
}

func TestWhatIsNoRequestIsRefused(t *testing.T) {
	var log bytes.Buffer
	a := serve(t, &Server{Handler: application(), MaxHead: 200, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, tt := range []struct{ name, in, want string }{
		{"garbage", "GET / HTTP/1.1\r\n\r\n", "400 Bad Request"},
		{"too large", "201:", "431 Request Header Fields Too Large"},
		{"no method", "24:CONTENT_LENGTH\x000\x00SCGI\x001\x00,", "400 Bad Request"},
		{"a protocol that is none", "59:CONTENT_LENGTH\x000\x00SCGI\x001\x00REQUEST_METHOD\x00G\x00SERVER_PROTOCOL\x00x\x00,", "400 Bad Request"},
	} {
		g := connect(t, a)
		g.send(tt.in)
		if status, _ := g.head(); status != tt.want {
			t.Errorf("%s: got %s", tt.name, status)
		}
		g.rest()
	}
	connect(t, a).Close() // a check of a monitor is no error
}

func TestHandlersOfAllKinds(t *testing.T) {
	var log bytes.Buffer
	mux := http.NewServeMux()
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("at the disco") })
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/none", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints) // not sent
		w.WriteHeader(http.StatusNoContent)
		w.WriteHeader(http.StatusTeapot) // too late
		if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
			t.Error(err)
		}
	})
	mux.HandleFunc("/header", func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Connection"] = []string{"close"}
		w.Header()["X-A"] = []string{"1\r\nX-Evil: 1", "2"}
		io.WriteString(w, "body")
	})
	mux.HandleFunc("/unread", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	})
	a := serve(t, &Server{Handler: mux, Log: slog.New(slog.NewTextHandler(&log, nil))})
	ask := func(pairs ...string) gateway {
		g := connect(t, a)
		g.request(SCGI, pairs...)
		return g
	}
	for _, path := range []string{"/panic", "/abort"} {
		if got := ask("REQUEST_URI", path).rest(); got != "" {
			t.Errorf("%s: got %q", path, got)
		}
	}
	if got := ask("REQUEST_URI", "/none").rest(); got != "Status: 204 No Content\r\n\r\n" {
		t.Errorf("got %q", got)
	}
	const head = "Status: 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nX-A: 1  X-Evil: 1\r\nX-A: 2\r\n\r\n"
	if got := ask("REQUEST_URI", "/header").rest(); got != head+"body" {
		t.Errorf("got %q", got)
	}
	if got := ask("REQUEST_URI", "/header", "REQUEST_METHOD", "HEAD").rest(); got != head {
		t.Errorf("got %q", got)
	}
	// An answer before the body is read arrives whole: no reset destroys it.
	g := ask("REQUEST_URI", "/unread", "REQUEST_METHOD", "POST", "CONTENT_LENGTH", "1000000")
	g.send(strings.Repeat("x", 100_000))
	if got := g.rest(); !strings.HasSuffix(got, "too much\n") {
		t.Errorf("got %q", got)
	}
	if strings.Count(log.String(), "handler panicked") != 1 {
		t.Errorf("log: %s", log.String())
	}
}

func TestContextEndsWithTheGateway(t *testing.T) {
	began, ended := make(chan bool), make(chan error)
	a := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		began <- true
		<-r.Context().Done()
		ended <- err
	})})
	g := connect(t, a)
	g.request(SCGI, "REQUEST_URI", "/")
	<-began
	g.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	g = connect(t, a) // in the middle of the body
	g.request(SCGI, "REQUEST_URI", "/", "CONTENT_LENGTH", "5")
	g.send("abc")
	g.Close()
	<-began
	if err := <-ended; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func TestShutdownWaitsForHandlers(t *testing.T) {
	began, release := make(chan bool), make(chan bool)
	s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began <- true
		<-release
		io.WriteString(w, "done")
	})}
	a := serve(t, s)
	g := connect(t, a)
	g.request(SCGI, "REQUEST_URI", "/")
	<-began
	silent := connect(t, a) // never says anything, and cannot hold up anything
	silent.send("2")
	ctx, cancel := context.WithCancel(t.Context())
	down := make(chan error)
	go func() { down <- s.Shutdown(ctx) }()
	for { // until the listener is closed
		c, err := net.Dial(a.Network(), a.String())
		if err != nil {
			break
		}
		c.Close()
	}
	cancel()
	if err := <-down; !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	go func() { down <- s.Shutdown(context.Background()) }()
	release <- true
	if _, h := g.head(); h == nil || g.rest() != "done" {
		t.Error("the answer is not whole")
	}
	if err := <-down; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := s.Serve(&net.TCPListener{}); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}

func TestAGatewayThatDoesNotReadIsGivenUp(t *testing.T) {
	ended := make(chan error)
	a := serve(t, &Server{WriteTimeout: 50 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for p := make([]byte, 1<<20); ; {
			if _, err := w.Write(p); err != nil {
				<-r.Context().Done()
				ended <- err
				return
			}
		}
	})})
	g := connect(t, a)
	g.request(SCGI, "REQUEST_URI", "/")
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func TestDescriptorZeroMustListen(t *testing.T) {
	if err := Serve(nil, nil); err == nil || !strings.Contains(err.Error(), "descriptor 0 is not a listening socket") {
		t.Errorf("got %v", err)
	}
}
