package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wspawn/wspawn/internal/gatewaytest"
)

// seen asks a proxy and returns what the backend saw, without a network before the proxy.
func seen(t *testing.T, c Config, r *http.Request) (got *http.Request, status int) {
	t.Helper()
	addr := origin(t, func(w http.ResponseWriter, r *http.Request) { got = r })
	w := httptest.NewRecorder()
	newProxy(t, c, addr).ServeHTTP(w, r)
	return got, w.Code
}

func TestWhatBackendsSee(t *testing.T) {
	trusted := func(*http.Request) bool { return true }
	fresh := http.Header{
		"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Host": {"example.com"}, "X-Forwarded-Proto": {"http"},
		"Forwarded": {"for=192.0.2.1;host=example.com;proto=http"},
	}
	with := func(h http.Header, lines ...string) http.Header {
		h = h.Clone()
		for i := 0; i < len(lines); i += 2 {
			h[lines[i]] = []string{lines[i+1]}
		}
		return h
	}
	forged := http.Header{
		"X-Forwarded-For": {"1.1.1.1"}, "X_Forwarded_For": {"1.1.1.1"}, "X-Forwarded-Port": {"1"}, "X-Real-Ip": {"1.1.1.1"},
		"Forwarded": {"for=1.1.1.1"}, "X-Forwarded-Host": {"evil"}, "X-Forwarded-Proto": {"https"},
	}
	tests := []struct {
		name   string
		config Config
		target string
		header http.Header
		change func(*http.Request)
		want   http.Header
		host   string
		uri    string
	}{
		{name: "nothing but this hop", want: fresh},
		{name: "what a stranger says about other hops", header: forged, want: fresh},
		{name: "what a trusted peer says in X fields", config: Config{Trust: trusted},
			header: http.Header{"X-Forwarded-For": {"1.1.1.1", "2.2.2.2"}, "X-Forwarded-Proto": {"https"}, "X-Real-Ip": {"1.1.1.1"}, "X_Forwarded_For": {"3.3.3.3"}},
			want:   http.Header{"X-Forwarded-For": {"1.1.1.1, 2.2.2.2, 192.0.2.1"}, "X-Forwarded-Host": {"example.com"}, "X-Forwarded-Proto": {"https"}, "X-Real-Ip": {"1.1.1.1"}}},
		{name: "what a trusted peer says in Forwarded", config: Config{Trust: trusted},
			header: http.Header{"Forwarded": {"for=1.1.1.1"}},
			want:   http.Header{"Forwarded": {"for=1.1.1.1, for=192.0.2.1;host=example.com;proto=http"}}},
		{name: "what a trusted peer says in both", config: Config{Trust: trusted},
			header: http.Header{"Forwarded": {"for=1.1.1.1"}, "X-Forwarded-For": {"1.1.1.1"}},
			want:   with(fresh, "Forwarded", "for=1.1.1.1, for=192.0.2.1;host=example.com;proto=http", "X-Forwarded-For", "1.1.1.1, 192.0.2.1")},
		{name: "what a trusted peer says nothing of", config: Config{Trust: trusted}, want: fresh},
		{name: "replaced whoever said it", config: Config{Trust: trusted, Forwarding: ForwardReplace}, header: forged, want: fresh},
		{name: "nothing at all", config: Config{Trust: trusted, Forwarding: ForwardDrop}, header: forged, want: http.Header{}},
		{name: "IPv6 over TLS", change: func(r *http.Request) { r.RemoteAddr, r.TLS = "[2001:db8::1]:1", &tls.ConnectionState{} },
			want: http.Header{"X-Forwarded-For": {"2001:db8::1"}, "X-Forwarded-Host": {"example.com"}, "X-Forwarded-Proto": {"https"},
				"Forwarded": {`for="[2001:db8::1]";host=example.com;proto=https`}}},
		{name: "a Unix socket", change: func(r *http.Request) { r.RemoteAddr = "@" },
			want: http.Header{"X-Forwarded-Host": {"example.com"}, "X-Forwarded-Proto": {"http"}, "Forwarded": {`for=unknown;host=example.com;proto=http`}}},
		{name: "fields of one connection", header: http.Header{
			"Connection": {"keep-alive, X-Hop"}, "X-Hop": {"1"}, "Keep-Alive": {"timeout=5"}, "Proxy-Connection": {"x"}, "Proxy-Authorization": {"x"}, "Te": {"gzip"},
			"Upgrade": {"websocket"}, "Proxy": {"http://evil"}, "Http2-Settings": {"AAA"}, "X-End": {"2"}},
			want: with(fresh, "X-End", "2")},
		{name: "an upgrade that is not enabled", header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, want: fresh},
		{name: "trailers are welcome", header: http.Header{"Te": {"trailers, gzip"}}, want: with(fresh, "Te", "trailers")},
		{name: "a user agent is passed on", header: http.Header{"User-Agent": {"me"}}, want: with(fresh, "User-Agent", "me")},
		{name: "fields that are set", config: Config{Header: http.Header{"x-a": {"1"}, "X-B": {}, "X-Forwarded-Host": {}}},
			header: http.Header{"X-A": {"2"}, "X_A": {"3"}, "X-B": {"4"}},
			want: http.Header{"X-A": {"1"}, "X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Proto": {"http"},
				"Forwarded": {"for=192.0.2.1;host=example.com;proto=http"}}},
		{name: "another host", config: Config{Host: "inner.test"}, want: fresh, host: "inner.test"},
		{name: "no host", change: func(r *http.Request) { r.Host = "" }, host: "localhost",
			want: http.Header{"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Proto": {"http"}, "Forwarded": {"for=192.0.2.1;proto=http"}}},
		{name: "the target as it came", target: "/a%2Fb//c%20d/?x=1;y=%zz&&", want: fresh, uri: "/a%2Fb//c%20d/?x=1;y=%zz&&"},
		{name: "two slashes", target: "//other/x", want: fresh, uri: "//other/x"},
		{name: "an empty query", target: "/?", want: fresh, uri: "/?"},
		{name: "a prefix off", config: Config{StripPrefix: "/a/b"}, target: "/a%2Fb/c%2Fd?x", want: with(fresh, "X-Forwarded-Prefix", "/a/b"), uri: "/c%2Fd?x"},
		{name: "a prefix and nothing more", config: Config{StripPrefix: "/a"}, target: "/a", want: with(fresh, "X-Forwarded-Prefix", "/a"), uri: "/"},
		{name: "a prefix on", config: Config{AddPrefix: "/n w"}, target: "/x%2Fy", want: fresh, uri: "/n%20w/x%2Fy"},
		{name: "another prefix", config: Config{StripPrefix: "/é", AddPrefix: "/b"}, target: "/%C3%A9/x", want: with(fresh, "X-Forwarded-Prefix", "/é"), uri: "/b/x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.target == "" {
				tt.target = "/"
			}
			r := httptest.NewRequest("GET", "/", nil)
			var err error
			if r.URL, err = url.ParseRequestURI(tt.target); err != nil {
				t.Fatal(err)
			}
			for name, values := range tt.header {
				r.Header[name] = values
			}
			if tt.change != nil {
				tt.change(r)
			}
			before := r.Header.Clone()
			got, status := seen(t, tt.config, r)
			if status != 200 {
				t.Fatalf("status %d", status)
			}
			if diff := cmp.Diff(tt.want, got.Header); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			if want := max(tt.uri, "/"); got.RequestURI != want {
				t.Errorf("target %q, want %q", got.RequestURI, want)
			}
			if tt.host == "" {
				tt.host = "example.com"
			}
			if got.Host != tt.host {
				t.Errorf("host %q, want %q", got.Host, tt.host)
			}
			if diff := cmp.Diff(before, r.Header); diff != "" {
				t.Errorf("the request of the caller was changed:\n%s", diff)
			}
		})
	}
}

func TestWhatBackendsDoNotSee(t *testing.T) {
	for _, tt := range []struct {
		target string
		config Config
		status int
	}{
		{"/public/../admin", Config{}, 400}, {"/public/..%2fadmin", Config{}, 400}, {"/%2e%2e/x", Config{}, 400}, {"/.", Config{}, 400},
		{"/a", Config{StripPrefix: "/b"}, 404}, {"/bb", Config{StripPrefix: "/b"}, 404},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL, _ = url.ParseRequestURI(tt.target)
		if got, status := seen(t, tt.config, r); got != nil || status != tt.status {
			t.Errorf("%s: %d, want %d", tt.target, status, tt.status)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]Config{"no backends": {}, "a prefix without a slash": {StripPrefix: "a"}, "a slash at the end": {AddPrefix: "/a/"}, "a slash": {StripPrefix: "/"}} {
		if name != "no backends" {
			c.Backends = newProxy(t, Config{}, "127.0.0.1:1").c.Backends
		}
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

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
	addr := front(t, Config{}, dead(t), live)
	for range 4 {
		if res, body := fetch(t, newRequest(t, "POST", "http://"+addr+"/", strings.NewReader("hello"))); res.StatusCode != 200 || body != "hello" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	}
	res, body := fetch(t, newRequest(t, "POST", "http://"+front(t, Config{}, dead(t))+"/", strings.NewReader("hello")))
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
		c := gatewaytest.Dial(t, front(t, Config{ReadTimeout: short}, addr))
		c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if b, err := io.ReadAll(c.Head().Body); string(b) != "hello" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("a body that is not taken", func(t *testing.T) {
		addr := raw(t, func(p *peer) {
			p.request()
			p.r.Peek(4096)
			time.Sleep(10 * short)
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
		c := gatewaytest.Dial(t, front(t, Config{ReadTimeout: 500 * time.Millisecond}, addr))
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
		time.Sleep(700 * time.Millisecond)
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

func TestShutdownWaitsForRequests(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	p := newProxy(t, Config{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-release
		io.WriteString(w, "done")
	}))
	addr := gatewaytest.Start(t, p)
	c := gatewaytest.Dial(t, addr)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-begun
	ended := make(chan error)
	go func() { ended <- p.Shutdown(t.Context()) }()
	eventually(t, "refusal", func() bool {
		res, _ := fetch(t, newRequest(t, "GET", "http://"+addr+"/", nil))
		return res.StatusCode == 503
	})
	if p.Active() != 1 {
		t.Errorf("%d requests are answered", p.Active())
	}
	close(release)
	if body := c.Body(c.Head()); body != "done" {
		t.Errorf("%q", body)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsWhatDoesNotEnd(t *testing.T) {
	begun := make(chan struct{})
	p := newProxy(t, Config{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	}))
	c := gatewaytest.Dial(t, gatewaytest.Start(t, p))
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if res := c.Head(); res.StatusCode != 503 {
		t.Errorf("%d", res.StatusCode)
	}
}
