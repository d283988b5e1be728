package scgi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/streamtest"
	"github.com/wspawn/wspawn/wsframe"
)

// front is a web server with e.
func front(t *testing.T, e *Endpoint) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(e)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := e.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v, %d active", err, e.Active())
		}
		s.Close()
	})
	return s
}

func address(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return a.String()
}

// answer makes a request and returns status and body. The body is an io.Reader that
// may hide its length.
func answer(t *testing.T, method, url string, body io.Reader) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.(*http.Transport).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(got)
}

func wantAnswer(t *testing.T, method, url string, body io.Reader, status int, text string) {
	t.Helper()
	if s, got := answer(t, method, url, body); s != status || got != text {
		t.Errorf("%s %s: got %d %q, want %d %q", method, url, s, got, status, text)
	}
}

func TestEndpointAndServer(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for _, p := range both {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(p.String()+" over "+network, func(t *testing.T) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if network == "unix" {
					l.Close()
					l, err = net.Listen("unix", filepath.Join(t.TempDir(), "s"))
				}
				if err != nil {
					t.Fatal(err)
				}
				a := serveOn(t, &Server{Handler: application(), Protocol: p}, l)
				e := &Endpoint{Backends: []string{address(a)}, Protocol: p, Options: cgi.Options{Upgrade: true}}
				s := front(t, e)
				host := strings.TrimPrefix(s.URL, "http://")
				wantAnswer(t, "GET", s.URL+"/hello?x", nil, 200, "hello GET "+host+" ")
				wantAnswer(t, "HEAD", s.URL+"/hello", nil, 200, "")
				wantAnswer(t, "GET", s.URL+"/nothing", nil, 404, "404 page not found\n")
				for _, n := range []int{0, 1, 1 << 20} {
					wantAnswer(t, "POST", s.URL+"/length", strings.NewReader(strings.Repeat("x", n)), 200, fmt.Sprintf("%d of %d <nil>", n, n))
				}
				wantAnswer(t, "POST", s.URL+"/stream", strings.NewReader(strings.Repeat("abc", 100_000)), 202, strings.Repeat("abc", 100_000))
				echo(t, "ws://"+host+"/ws")
			})
		}
	}
}

// echo has a message of each kind echoed.
func echo(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _, err := wsframe.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	for op, message := range map[wsframe.Opcode]string{wsframe.OpText: "grüße", wsframe.OpBinary: strings.Repeat("\x00\xff", 100_000)} {
		if err := c.WriteMessage(op, []byte(message)); err != nil {
			t.Fatal(err)
		}
		if gotOp, got, err := c.ReadMessage(nil); err != nil || gotOp != op || string(got) != message {
			t.Fatalf("got %v with %d bytes, %v", gotOp, len(got), err)
		}
	}
	if err := c.Close(wsframe.CloseNormal, ""); err != nil {
		t.Error(err)
	}
}

func TestUpgradeIsOffByDefault(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	a := serve(t, &Server{Handler: application()})
	s := front(t, &Endpoint{Backends: []string{address(a)}})
	_, resp, err := wsframe.Dial(t.Context(), "ws"+strings.TrimPrefix(s.URL, "http")+"/ws", nil)
	if err == nil || resp == nil || resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("got %v, %v", resp, err)
	}
}

func TestBodiesOfUnknownLength(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	a := serve(t, &Server{Handler: application()})
	unknown := func(n int) io.Reader { return io.LimitReader(strings.NewReader(strings.Repeat("x", n)), int64(n)) }
	s := front(t, &Endpoint{Backends: []string{address(a)}})
	if status, _ := answer(t, "POST", s.URL+"/length", unknown(10)); status != http.StatusLengthRequired {
		t.Errorf("got %d", status)
	}
	s = front(t, &Endpoint{Backends: []string{address(a)}, Options: cgi.Options{CollectBody: 1000}})
	wantAnswer(t, "POST", s.URL+"/length", unknown(1000), 200, "1000 of 1000 <nil>")
	if status, _ := answer(t, "POST", s.URL+"/length", unknown(1001)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d", status)
	}
}

func TestTooManyVariablesForUWSGI(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	a := serve(t, &Server{Handler: application(), Protocol: UWSGI})
	s := front(t, &Endpoint{Backends: []string{address(a)}, Protocol: UWSGI})
	if status, _ := answer(t, "GET", s.URL+"/hello?"+strings.Repeat("x", 40_000), nil); status != 431 {
		t.Errorf("got %d", status)
	}
	a = serve(t, &Server{Handler: application()})
	s = front(t, &Endpoint{Backends: []string{address(a)}})
	if status, _ := answer(t, "GET", s.URL+"/length?"+strings.Repeat("x", 200_000), nil); status != 200 {
		t.Errorf("SCGI has no such limit, but got %d", status)
	}
}

func TestBackendsTakeTurnsAndStandIn(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	named := func(name string) string {
		return address(serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name) })}))
	}
	e := &Endpoint{Backends: []string{named("a"), streamtest.Dead(t), "unix:" + filepath.Join(t.TempDir(), "none"), named("b")}}
	s := front(t, e)
	count := map[string]int{}
	for range 20 {
		status, got := answer(t, "GET", s.URL, nil)
		if status != 200 {
			t.Fatalf("got %d %s", status, got)
		}
		count[got]++
	}
	if count["a"] == 0 || count["b"] == 0 {
		t.Errorf("got %v", count)
	}
}

func TestNoBackend(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for _, backends := range [][]string{nil, {streamtest.Dead(t)}, {streamtest.Dead(t), "nonsense"}} {
		e := &Endpoint{Backends: backends}
		s := front(t, e)
		if len(backends) == 0 {
			wantAnswer(t, "GET", s.URL, nil, 503, "503 no backend can be reached\n")
			continue
		}
		wantAnswer(t, "GET", s.URL, nil, 503, "503 no backend can be reached\n")
	}
	for _, bad := range []string{"", "host", ":80", "host:", "unix:"} {
		if _, _, err := ParseBackend(bad); err == nil {
			t.Errorf("%q is a backend", bad)
		}
	}
}

// scripted is a backend that reads one head, says something and does what it is told.
func scripted(t *testing.T, says string, then func(c net.Conn, br *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			br := bufio.NewReader(c)
			if _, err := SCGI.Read(br, 0); err != nil {
				t.Error(err)
			}
			io.WriteString(c, says)
			if then != nil {
				then(c, br)
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestBadBackends(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	wait := func(c net.Conn, br *bufio.Reader) { io.Copy(io.Discard, br) }
	for _, tt := range []struct {
		name, says string
		then       func(net.Conn, *bufio.Reader)
		status     int
	}{
		{"says nothing and goes", "", nil, 502},
		{"goes within the head", "Status: 200 OK\r\n", nil, 502},
		{"says no head", "hello\n", nil, 502},
		{"has a head without an end", strings.Repeat("X: y\r\n", 20_000), nil, 502},
		{"says nothing and stays", "", wait, 504},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := cgi.Options{ReadTimeout: patience}
			if tt.status == 504 {
				o.ReadTimeout = 100 * time.Millisecond
			}
			e := &Endpoint{Backends: []string{scripted(t, tt.says, tt.then)}, Options: o}
			if status, text := answer(t, "GET", front(t, e).URL, nil); status != tt.status {
				t.Errorf("got %d %q", status, text)
			}
		})
	}
}

// A backend that reads to the end of the stream before it answers must get that end when it declines,
// and must not get it for ordinary requests, whose end it knows.
func TestTheEndOfTheInput(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	addr := scripted(t, "Status: 403 Forbidden\r\n\r\n", func(c net.Conn, br *bufio.Reader) {
		io.Copy(io.Discard, br)
		io.WriteString(c, "saw the end")
	})
	s := front(t, &Endpoint{Backends: []string{addr}, Options: cgi.Options{Upgrade: true}})
	_, resp, err := wsframe.Dial(t.Context(), "ws"+strings.TrimPrefix(s.URL, "http")+"/", nil)
	if err == nil || resp == nil || resp.StatusCode != 403 {
		t.Fatalf("got %v, %v", resp, err)
	}
	if b, _ := io.ReadAll(resp.Body); string(b) != "saw the end" {
		t.Errorf("got %q", b)
	}
	ended := make(chan error, 1)
	addr = scripted(t, "Status: 200 OK\r\n\r\n", func(c net.Conn, br *bufio.Reader) {
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, err := br.ReadByte()
		ended <- err
	})
	s = front(t, &Endpoint{Backends: []string{addr}})
	wantAnswer(t, "GET", s.URL, nil, 200, "")
	if err := <-ended; err == io.EOF {
		t.Error("an ordinary request was ended by a half close")
	}
}

func TestAClientThatGoesEndsItsRequest(t *testing.T) {
	gone := make(chan bool)
	addr := scripted(t, "Status: 200 OK\r\n\r\nbegin", func(c net.Conn, br *bufio.Reader) {
		io.Copy(io.Discard, br)
		close(gone)
	})
	s := front(t, &Endpoint{Backends: []string{addr}})
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	bufio.NewReader(c).ReadString('\n')
	c.Close()
	<-gone
}
