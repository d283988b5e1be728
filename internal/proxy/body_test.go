package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/gatewaytest"
)

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
