package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
