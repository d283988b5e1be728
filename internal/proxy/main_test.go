package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/gatewaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const bound = gatewaytest.Bound

// newProxy makes a proxy for some addresses.
func newProxy(t *testing.T, c Config, addrs ...string) *Proxy {
	t.Helper()
	set, err := backend.Fixed(addrs...)
	if err != nil {
		t.Fatal(err)
	}
	set.Start()
	t.Cleanup(func() { set.Close() })
	c.Backends = set
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		p.Shutdown(ctx)
		if n := p.Active(); n != 0 {
			t.Errorf("%d requests are left", n)
		}
	})
	return p
}

// front serves a proxy for some addresses and returns where.
func front(t *testing.T, c Config, addrs ...string) string {
	t.Helper()
	return gatewaytest.Start(t, newProxy(t, c, addrs...))
}

// origin serves h and returns its address.
func origin(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// echo answers with the request body.
func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body) // net/http throws away what is not read before the answer begins
	if err == nil {
		w.Write(b)
	}
}

// peer is one connection of a raw backend.
type peer struct {
	*net.TCPConn
	r *bufio.Reader
}

// request reads a request.
func (p *peer) request() *http.Request {
	r, err := http.ReadRequest(p.r)
	if err != nil {
		return nil
	}
	return r
}

// raw serves connections with f, which sees every byte.
func raw(t *testing.T, f func(p *peer)) string {
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
				c.SetDeadline(time.Now().Add(bound))
				f(&peer{c.(*net.TCPConn), bufio.NewReader(c)})
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		all.Wait()
	})
	return ln.Addr().String()
}

// fetch sends a request and reads the answer.
func fetch(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	tr := &http.Transport{DisableCompression: true}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	res, err := tr.RoundTrip(r.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("body: %v after %d bytes", err, len(b))
	}
	return res, string(b)
}

func newRequest(t *testing.T, method, url string, body io.Reader, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// eventually waits for something that has to happen.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(bound); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
	}
}
