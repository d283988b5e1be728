//go:build unix

package fastcgi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/spawner"
)

// A process of this test binary with FASTCGI_TEST_WORKER is an application on descriptor 0, which dies when
// asked to.
func init() {
	if os.Getenv("FASTCGI_TEST_WORKER") == "" {
		return
	}
	l, err := ListenFD0()
	if err != nil {
		panic(err)
	}
	Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/die" {
			os.Exit(3)
		}
		b, err := io.ReadAll(r.Body)
		fmt.Fprint(w, os.Getpid(), " ", len(b), err)
	}))
	os.Exit(1)
}

// workers is a set of the processes of a pool.
func workers(t *testing.T, c spawner.PoolConfig) *backend.Set {
	t.Helper()
	c.Spawner = spawner.New(spawner.Config{})
	c.Program = &spawner.Program{Path: os.Args[0], Env: []string{"FASTCGI_TEST_WORKER=1"}}
	p, err := spawner.NewPool(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		p.Close(ctx)
		if err := c.Spawner.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return set(t, backend.Config{Pool: p})
}

func set(t *testing.T, c backend.Config) *backend.Set {
	t.Helper()
	s, err := backend.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Close() })
	return s
}

// A worker is replaced after each few requests, by one that listens on the same socket. No request goes to
// the kept connection of one that is about to end.
func TestWorkersThatAreReplacedLoseNothing(t *testing.T) {
	for name, single := range map[string]bool{"a connection per request": true, "a shared connection": false} {
		t.Run(name, func(t *testing.T) {
			c := client(t, &Client{Set: workers(t, spawner.PoolConfig{Max: 2, MaxSessions: 2, MaxServed: 3, Scaling: spawner.Static}), NoMultiplex: single})
			front := httptest.NewServer(&Endpoint{Client: c})
			defer front.Close()
			defer http.DefaultClient.CloseIdleConnections()
			var all sync.WaitGroup
			var mu sync.Mutex
			pids := map[string]bool{}
			enough := func() bool { // a worker serves more than its number while the next one starts
				mu.Lock()
				defer mu.Unlock()
				return len(pids) >= 4
			}
			end := time.Now().Add(20 * time.Second)
			for range 4 {
				all.Go(func() {
					for i := 0; i < 10 || !enough() && time.Now().Before(end); i++ {
						resp, err := http.Post(front.URL, "text/plain", strings.NewReader(strings.Repeat("x", 10_000)))
						if err != nil {
							t.Error(err)
							return
						}
						b, _ := io.ReadAll(resp.Body)
						resp.Body.Close()
						pid, rest, _ := strings.Cut(string(b), " ")
						if resp.StatusCode != 200 || rest != "10000 <nil>" {
							t.Errorf("%d %q", resp.StatusCode, b)
						}
						mu.Lock()
						pids[pid] = true
						mu.Unlock()
					}
				})
			}
			all.Wait()
			if !enough() {
				t.Errorf("%d workers", len(pids))
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.sites) > 8 {
				t.Errorf("%d sites are kept", len(c.sites))
			}
		})
	}
}

func TestAnExchangeKnowsThatItsWorkerHasDied(t *testing.T) {
	c := client(t, &Client{Set: workers(t, spawner.PoolConfig{})})
	x := open(t, c, false, cgi.Var{Name: "SCRIPT_NAME", Value: ""}, cgi.Var{Name: "PATH_INFO", Value: "/"})
	if _, err := io.ReadAll(x); err != nil {
		t.Fatal(err)
	}
	if err := x.Crashed(); err != nil {
		t.Error(err)
	}
	x.Close()
	list := cgi.List{{Name: "REQUEST_METHOD", Value: "POST"}, {Name: "SERVER_PROTOCOL", Value: "HTTP/1.1"}, {Name: "CONTENT_LENGTH", Value: "0"}, {Name: "REQUEST_URI", Value: "/die"}, {Name: "PATH_INFO", Value: "/die"}}
	x, err := c.Open(t.Context(), RoleResponder, list, false)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if _, err := io.ReadAll(x); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	if err := x.Crashed(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
}

func TestARequestHasItsPlaceUntilItIsClosed(t *testing.T) {
	addr := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })})
	s := set(t, backend.Config{Backends: []backend.Server{{Address: addr, MaxSessions: 1}}, MaxQueue: -1, Check: backend.Check{Interval: time.Hour, Fall: 1, Probe: Probe}})
	c := client(t, &Client{Set: s})
	for range 3 {
		x := open(t, c, false)
		_, err := c.Open(t.Context(), RoleResponder, uri("/"), false)
		if e, ok := errors.AsType[*cgi.GatewayError](err); !ok || e.Status != 503 || e.RetryAfter <= 0 {
			t.Errorf("got %v", err)
		}
		if _, err := io.ReadAll(x); err != nil {
			t.Error(err)
		}
		x.Close()
		x.Close()
	}
	if st := s.Status()[0]; st.Active != 0 || st.Total != 3 || st.State != backend.StateUp {
		t.Errorf("%+v", st)
	}
}

// moving is a name that leads somewhere else each time.
type moving struct{ n atomic.Int64 }

func (m *moving) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	n := m.n.Add(1)
	return []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})}, nil
}

func (m *moving) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, errors.New("no records")
}

func TestConnectionsToAddressesThatAreGoneAreForgotten(t *testing.T) {
	addr := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })})
	name := new(moving)
	s := set(t, backend.Config{
		Backends: backend.Servers("app.test:9000"), Resolver: name, Resolve: time.Millisecond,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	})
	c := client(t, &Client{Set: s, NoMultiplex: true})
	running := open(t, c, false) // as long as the addresses move
	last := name.n.Load()
	for range 20 {
		for name.n.Load() < last+2 {
			time.Sleep(time.Millisecond)
		}
		last = name.n.Load()
		x := open(t, c, false)
		if _, err := io.ReadAll(x); err != nil {
			t.Fatal(err)
		}
		x.Close()
	}
	c.mu.Lock()
	sites := len(c.sites)
	c.mu.Unlock()
	if sites > 4 {
		t.Errorf("%d sites are kept", sites)
	}
	if b, err := io.ReadAll(running); !strings.HasSuffix(string(b), "ok") || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestProbe(t *testing.T) {
	for name, tt := range map[string]struct {
		answer []byte
		ok     bool
	}{
		"values":           {AppendRecord(nil, TypeGetValuesResult, 0, nil), true},
		"something else":   {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), false},
		"nothing, and end": {nil, false},
	} {
		addr := backendFunc(t, func(_ int, w *wire) {
			w.expect(TypeGetValues)
			w.say(tt.answer)
		})
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := Probe(t.Context(), nc); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		nc.Close()
	}
}
