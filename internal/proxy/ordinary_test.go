package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/gatewaytest"
	"github.com/wspawn/wspawn/internal/streamtest"
)

func TestAnswersOfRawBackends(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	tests := []struct {
		name, request, answer string
		config                Config
		want                  string // how what the client gets begins
	}{
		{name: "no Content-Type", answer: "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 6\r\n\r\n<html>", want: "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nDate: x\r\n\r\n<html>"},
		{name: "unknown length", answer: "HTTP/1.1 200 OK\r\nDate: x\r\nConnection: close\r\n\r\nabc", want: "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{name: "an old backend", answer: "HTTP/1.0 200 OK\r\nDate: x\r\n\r\nabc", want: "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{name: "fields of one connection", answer: "HTTP/1.1 204 No Content\r\nDate: x\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: x\r\nUpgrade: h2c\r\n\r\n",
			want: "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n"},
		{name: "304", answer: "HTTP/1.1 304 Not Modified\r\nDate: x\r\nEtag: \"a\"\r\n\r\n", want: "HTTP/1.1 304 Not Modified\r\nDate: x\r\nEtag: \"a\"\r\n\r\n"},
		{name: "HEAD", request: "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", answer: "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\n", want: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: x\r\n\r\n"},
		{name: "hints before", answer: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n",
			want: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: x\r\n\r\n"},
		{name: "hints for an old client", request: "GET / HTTP/1.0\r\n\r\n", answer: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n",
			want: "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nDate: x\r\n\r\n"},
		{name: "repeated fields", answer: "HTTP/1.1 200 OK\r\nDate: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
			want: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n"},
		{name: "trailers", answer: "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n",
			want: "HTTP/1.1 200 OK\r\nDate: x\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n"},
		{name: "trailers nobody announced", answer: "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n",
			want: "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n"},
		{name: "426 says to what", answer: "HTTP/1.1 426 Upgrade Required\r\nDate: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
			want: "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nContent-Length: 0\r\nDate: x\r\nUpgrade: websocket\r\n\r\n"},
		{name: "a 101 that nobody asked for", answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", want: "HTTP/1.1 502 "},
		{name: "a 101 without a protocol", config: Config{Upgrade: true}, answer: "HTTP/1.1 101 Switching Protocols\r\n\r\n", want: "HTTP/1.1 502 "},
		{name: "a status that is none", answer: "HTTP/1.1 099 x\r\nContent-Length: 0\r\n\r\n", want: "HTTP/1.1 502 "},
		{name: "no HTTP", answer: "hello\n", want: "HTTP/1.1 502 "},
		{name: "nothing", answer: "", want: "HTTP/1.1 502 "},
		{name: "half a head", answer: "HTTP/1.1 200 OK\r\nA: b", want: "HTTP/1.1 502 "},
		{name: "a large head", config: Config{MaxHeader: 1000}, answer: "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 6000) + "\r\n\r\n", want: "HTTP/1.1 502 "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.request == "" {
				tt.request = get
			}
			c := gatewaytest.Dial(t, front(t, tt.config, raw(t, func(p *peer) {
				if p.request() != nil {
					io.WriteString(p, tt.answer)
				}
			})))
			c.Send(tt.request)
			c.Expect(tt.want)
		})
	}
}

func TestBodiesStreamBothWays(t *testing.T) {
	for _, length := range []int64{-1, 6} {
		addr := front(t, Config{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
			if r.ContentLength != length {
				t.Errorf("length %d, want %d", r.ContentLength, length)
			}
			rc := http.NewResponseController(w)
			rc.EnableFullDuplex()
			rc.Flush()
			b := make([]byte, 3)
			for {
				n, err := io.ReadFull(r.Body, b)
				if err != nil {
					return
				}
				w.Write(b[:n])
				rc.Flush()
			}
		}))
		in, out := io.Pipe()
		r := newRequest(t, "POST", "http://"+addr+"/", in)
		r.ContentLength = length
		tr := &http.Transport{}
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 3)
		for range 2 { // each piece is there before the next one is sent
			io.WriteString(out, "abc")
			if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != "abc" {
				t.Fatalf("%q, %v", b, err)
			}
		}
		out.Close()
		if _, err := io.ReadFull(res.Body, b); err != io.EOF {
			t.Error(err)
		}
		res.Body.Close()
		tr.CloseIdleConnections()
	}
}

func TestRequestTrailers(t *testing.T) {
	var got http.Header
	addr := front(t, Config{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got = r.Trailer
	}))
	r := newRequest(t, "POST", "http://"+addr+"/", io.MultiReader(strings.NewReader("abc")))
	r.Trailer = http.Header{"X-Sum": {"7"}}
	fetch(t, r)
	if diff := cmp.Diff(http.Header{"X-Sum": {"7"}}, got); diff != "" {
		t.Error(diff)
	}
}

// Backends may take trailer fields for header fields.
func TestRequestTrailersAreNoWayAroundTheHeader(t *testing.T) {
	got := make(chan http.Header, 1)
	addr := front(t, Config{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got <- r.Trailer
	}))
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Forwarded-For, X_Real_IP\r\n\r\n3\r\nabc\r\n0\r\n"+
		"X-Sum: 7\r\nContent-Length: 9\r\nX-Forwarded-For: 192.0.2.1\r\nX_Real_IP: 192.0.2.1\r\nX-Surprise: 1\r\n\r\n")
	select {
	case h := <-got:
		if diff := cmp.Diff(http.Header{"X-Sum": {"7"}}, h); diff != "" {
			t.Error(diff)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no request")
	}
}

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestLargeBodiesTakeNoMemory(t *testing.T) {
	const size = 50 << 20
	var peak atomic.Uint64
	watch := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		for old := peak.Load(); m.HeapAlloc > old && !peak.CompareAndSwap(old, m.HeapAlloc); old = peak.Load() {
		}
	}
	addr := front(t, Config{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(io.Discard, r.Body); n != size || err != nil {
			t.Errorf("the backend got %d bytes, %v", n, err)
		}
		watch()
		w.Header().Set("Content-Length", fmt.Sprint(size))
		io.CopyN(w, zeros{}, size/2)
		watch()
		io.CopyN(w, zeros{}, size/2)
	}))
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	r := newRequest(t, "POST", "http://"+addr+"/", io.LimitReader(zeros{}, size))
	r.ContentLength = size
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	watch()
	if grown := int64(peak.Load()) - int64(before.HeapAlloc); grown > 20<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

func TestAClientThatLeavesEndsTheRequest(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	addr := front(t, Config{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(ended)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	tr := &http.Transport{}
	done := make(chan error)
	go func() {
		_, err := tr.RoundTrip(newRequest(t, "GET", "http://"+addr+"/", nil).WithContext(ctx))
		done <- err
	}()
	<-begun
	cancel()
	if err := <-done; err == nil {
		t.Error("there was an answer")
	}
	select {
	case <-ended:
	case <-time.After(bound):
		t.Error("the backend works on")
	}
}

func TestConnectionsAreKept(t *testing.T) {
	count := func(c Config, n int) int {
		var seen []string
		addr := front(t, c, origin(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			if !slices.Contains(seen, r.RemoteAddr) {
				seen = append(seen, r.RemoteAddr)
			}
		}))
		for range n {
			if res, _ := fetch(t, newRequest(t, "POST", "http://"+addr+"/", strings.NewReader("abc"))); res.StatusCode != 200 {
				t.Errorf("status %d", res.StatusCode)
			}
		}
		return len(seen)
	}
	if n := count(Config{}, 5); n != 1 {
		t.Errorf("%d connections for 5 requests", n)
	}
	if n := count(Config{KeepAlive: -1}, 3); n != 3 {
		t.Errorf("%d connections for 3 requests, without keeping them", n)
	}
}

func TestAClosedConnectionIsReplaced(t *testing.T) {
	addr := front(t, Config{}, raw(t, func(p *peer) { // answers once, and closes without saying so
		if r := p.request(); r != nil {
			io.Copy(io.Discard, r.Body)
			io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}))
	for i := range 10 {
		if res, body := fetch(t, newRequest(t, "GET", "http://"+addr+"/", nil)); res.StatusCode != 200 || body != "ok" {
			t.Errorf("request %d: %d %q", i, res.StatusCode, body)
		}
	}
}

func TestTheNextBackend(t *testing.T) {
	live := origin(t, echo)
	addr := front(t, Config{}, streamtest.Dead(t), live)
	for range 4 {
		if res, body := fetch(t, newRequest(t, "POST", "http://"+addr+"/", strings.NewReader("hello"))); res.StatusCode != 200 || body != "hello" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	}
	res, body := fetch(t, newRequest(t, "POST", "http://"+front(t, Config{}, streamtest.Dead(t))+"/", strings.NewReader("hello")))
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("all are dead: %d %v %q", res.StatusCode, res.Header, body)
	}
}

func TestABackendThatTookTheRequestIsTheOnlyOne(t *testing.T) {
	var asked atomic.Int32
	rude := func(p *peer) {
		if p.request() != nil {
			asked.Add(1)
		}
	}
	addr := front(t, Config{}, raw(t, rude), raw(t, rude))
	if res, _ := fetch(t, newRequest(t, "POST", "http://"+addr+"/", strings.NewReader("x"))); res.StatusCode != 502 || asked.Load() != 1 {
		t.Errorf("%d, asked %d times", res.StatusCode, asked.Load())
	}
}

func TestTimeouts(t *testing.T) {
	const short = 150 * time.Millisecond
	silent := raw(t, func(p *peer) {
		p.request()
		io.Copy(io.Discard, p.r)
	})
	t.Run("no answer", func(t *testing.T) {
		if res, _ := fetch(t, newRequest(t, "GET", "http://"+front(t, Config{ReadTimeout: short}, silent)+"/", nil)); res.StatusCode != 504 {
			t.Errorf("%d", res.StatusCode)
		}
	})
	t.Run("half an answer", func(t *testing.T) {
		addr := raw(t, func(p *peer) {
			p.request()
			io.WriteString(p, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
			io.Copy(io.Discard, p.r)
		})
		c := gatewaytest.Dial(t, front(t, Config{ReadTimeout: time.Second}, addr))
		c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if b, err := io.ReadAll(c.Head().Body); string(b) != "hello" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("a body that is not taken", func(t *testing.T) {
		addr := raw(t, func(p *peer) {
			p.request()
			p.r.Peek(4096)
			<-t.Context().Done()
		})
		c := gatewaytest.Dial(t, front(t, Config{WriteTimeout: short}, addr))
		go io.CopyN(c.TCPConn, io.MultiReader(strings.NewReader("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 52428800\r\n\r\n"), zeros{}), 60<<20)
		if res := c.Head(); res.StatusCode != 504 {
			t.Errorf("%d", res.StatusCode)
		}
	})
	t.Run("a client that sends nothing", func(t *testing.T) {
		c := gatewaytest.Dial(t, front(t, Config{ClientTimeout: short}, silent))
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
		if res := c.Head(); res.StatusCode != 408 {
			t.Errorf("%d", res.StatusCode)
		}
	})
	t.Run("a slow client is no slow backend", func(t *testing.T) {
		addr := origin(t, echo)
		c := gatewaytest.Dial(t, front(t, Config{ReadTimeout: time.Second}, addr))
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
		time.Sleep(1200 * time.Millisecond)
		c.Send("cd")
		if body := c.Body(c.Head()); body != "abcd" {
			t.Errorf("%q", body)
		}
	})
	t.Run("a client that takes nothing", func(t *testing.T) {
		ended := make(chan struct{})
		addr := origin(t, func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			io.Copy(w, io.LimitReader(zeros{}, 1<<30))
		})
		c := gatewaytest.Dial(t, front(t, Config{ClientTimeout: short}, addr))
		c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		select {
		case <-ended:
		case <-time.After(bound):
			t.Error("the backend still writes")
		}
	})
}

func TestLargeRequestBodies(t *testing.T) {
	addr := front(t, Config{MaxBody: 3}, origin(t, echo))
	for _, tt := range []struct {
		name, request string
		status        int
	}{
		{"known and too large", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nabcd", 413},
		{"unknown and too large", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n", 413},
		{"small enough", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200},
		{"broken chunks", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400},
	} {
		c := gatewaytest.Dial(t, addr)
		c.Send(tt.request)
		if res := c.Head(); res.StatusCode != tt.status {
			t.Errorf("%s: %d, want %d", tt.name, res.StatusCode, tt.status)
		}
	}
}

func TestABackendThatAnswersBeforeTheBodyIsThere(t *testing.T) {
	addr := front(t, Config{}, origin(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusForbidden) }))
	t.Run("it says what it has to say", func(t *testing.T) {
		c := gatewaytest.Dial(t, addr)
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nabc")
		res := c.Head()
		if body := c.Body(res); res.StatusCode != 403 || body != "no\n" || !res.Close {
			t.Errorf("%d %q, close %v", res.StatusCode, body, res.Close)
		}
		c.ExpectEnd()
	})
	t.Run("and is asked first by who expects that", func(t *testing.T) {
		c := gatewaytest.Dial(t, addr)
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
		if res := c.Head(); res.StatusCode != 403 {
			t.Errorf("%d", res.StatusCode)
		}
	})
	t.Run("or says to go on", func(t *testing.T) {
		c := gatewaytest.Dial(t, front(t, Config{}, origin(t, echo)))
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
		c.Expect("HTTP/1.1 100 Continue\r\n\r\n")
		c.Send("abc")
		if body := c.Body(c.Head()); body != "abc" {
			t.Errorf("%q", body)
		}
	})
}

// brokenConn takes one write, and has an answer when the next one has failed.
type brokenConn struct {
	net.Conn
	writes int
	failed chan struct{}
	answer io.Reader
}

func (c *brokenConn) Write(p []byte) (int, error) {
	if c.writes++; c.writes == 1 {
		return len(p), nil
	}
	close(c.failed)
	return 0, syscall.EPIPE
}

func (c *brokenConn) Read(p []byte) (int, error) {
	<-c.failed
	time.Sleep(10 * time.Millisecond)
	return c.answer.Read(p)
}

func TestAnAnswerBeforeTheBodyIsNotLost(t *testing.T) {
	set, err := backend.New(backend.Config{Backends: backend.Servers("127.0.0.1:1"), Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		theirs.Close()
		return &brokenConn{Conn: ours, failed: make(chan struct{}), answer: strings.NewReader("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	p, err := New(Config{Backends: set})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("x", 200000))))
	if w.Code != 413 || w.Body.String() != "big" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestTheConnectionOfTheClientIsUsedAgain(t *testing.T) {
	c := gatewaytest.Dial(t, front(t, Config{}, origin(t, echo)))
	for i := range 20 {
		body := strings.Repeat("x", i*5000)
		c.Send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		if got := c.Body(c.Head()); got != body {
			t.Fatalf("request %d: %d bytes of %d", i, len(got), len(body))
		}
	}
}

func TestWhatOthersPutIntoTheAnswer(t *testing.T) {
	p := newProxy(t, Config{}, raw(t, func(p *peer) {
		p.request()
		io.WriteString(p, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nServer: inner\r\nContent-Length: 0\r\n\r\n")
	}))
	addr := gatewaytest.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Ours", "1")
		w.Header().Set("Server", "outer")
		p.ServeHTTP(w, r)
	}))
	c := gatewaytest.Dial(t, addr)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	c.Head()
	h := c.Head().Header
	if h.Get("X-Ours") != "1" || h.Get("Link") != "" || len(h["Server"]) != 1 || h.Get("Server") != "inner" {
		t.Errorf("%v", h)
	}
}

func TestHTTP2HasNoUpgradeField(t *testing.T) {
	s := httptest.NewUnstartedServer(newProxy(t, Config{}, raw(t, func(p *peer) {
		p.request()
		io.WriteString(p, "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n")
	})))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	res, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if _, ok := res.Header["Upgrade"]; ok || res.StatusCode != 426 {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

func TestClientsOfHTTP2(t *testing.T) {
	p := newProxy(t, Config{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 || r.Header.Get("X-Forwarded-Proto") != "https" {
			t.Errorf("%s %v", r.Proto, r.Header)
		}
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		w.Header().Set("Trailer", "X-Sum")
		rc.Flush()
		b := make([]byte, 3)
		for {
			if _, err := io.ReadFull(r.Body, b); err != nil {
				break
			}
			w.Write(b)
			rc.Flush()
		}
		w.Header().Set("X-Sum", r.Trailer.Get("X-Up"))
	}))
	s := httptest.NewUnstartedServer(p)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	in, out := io.Pipe()
	r := newRequest(t, "POST", s.URL, in)
	r.Trailer = http.Header{"X-Up": {"7"}}
	res, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b := make([]byte, 3)
	for range 3 {
		io.WriteString(out, "abc")
		if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != "abc" {
			t.Fatalf("%q, %v", b, err)
		}
	}
	out.Close()
	if _, err := io.ReadFull(res.Body, b); err != io.EOF || res.ProtoMajor != 2 || res.Trailer.Get("X-Sum") != "7" {
		t.Errorf("%v, %s, %v", err, res.Proto, res.Trailer)
	}
}
