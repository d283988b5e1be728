package backend

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a network that does as the test says.
type world struct {
	mu    sync.Mutex
	dead  map[string]error // what Dial says; errHang: nothing
	dials []string
	names map[string][]string // of the resolver
	srv   []*net.SRV
}

var errHang = errors.New("hang")

func (n *world) kill(err error, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead == nil {
		n.dead = make(map[string]error)
	}
	for _, a := range addrs {
		n.dead[a] = err
	}
}

func (n *world) revive(addr string) { n.kill(nil, addr) }

func (n *world) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dials = append(n.dials, addr)
	err := n.dead[addr]
	n.mu.Unlock()
	switch {
	case err == errHang:
		<-ctx.Done()
		return nil, ctx.Err()
	case err != nil:
		return nil, err
	}
	a, b := net.Pipe()
	b.Close()
	return a, nil
}

// set makes a set in that world.
func (n *world) set(t testing.TB, c Config, addrs ...string) *Set {
	t.Helper()
	if c.Resolver == nil {
		c.Resolver = n
	}
	if c.Dial == nil {
		c.Dial = n.Dial
	}
	for _, a := range addrs {
		c.Backends = append(c.Backends, Server{Address: a})
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// dial is a use that connects.
func dial(ctx context.Context, l *Lease) error {
	nc, err := l.Dial(ctx)
	if err == nil {
		nc.Close()
	}
	return err
}

// open gets a session. It is over with Release of the lease.
func open(t testing.TB, s *Set, r *http.Request) *Lease {
	t.Helper()
	var lease *Lease
	err := s.Try(t.Context(), r, func(ctx context.Context, l *Lease) error {
		lease = l
		return dial(ctx, l)
	})
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

// once has a session that is over at once, and returns where it was.
func once(t testing.TB, s *Set, r *http.Request) string {
	t.Helper()
	l := open(t, s, r)
	l.Release()
	return l.ID()
}

// refused returns the *Error of a session that nobody takes.
func refused(t testing.TB, s *Set) *Error {
	t.Helper()
	err := s.Try(t.Context(), nil, dial)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	return e
}

func status(s *Set, id string) Status {
	for _, st := range s.Status() {
		if st.ID == id {
			return st
		}
	}
	return Status{}
}

const a, b, c, d = "a.test:1", "b.test:1", "c.test:1", "d.test:1"

var errRefused error = syscall.ECONNREFUSED
