//go:build unix

package backend

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspawn/wspawn/spawner"
)

const bound = 30 * time.Second

// A process of this test binary with BACKEND_TEST_WORKER is a worker, which does as each line says.
func init() {
	if os.Getenv("BACKEND_TEST_WORKER") == "" {
		return
	}
	l, err := net.FileListener(os.Stdin)
	if err != nil {
		panic(err)
	}
	for {
		nc, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() {
			defer nc.Close()
			for in := bufio.NewScanner(nc); in.Scan(); {
				switch in.Text() {
				case "die":
					os.Exit(3)
				case "end":
					os.Exit(0)
				case "bye":
					return
				default:
					fmt.Fprintln(nc, os.Getpid())
				}
			}
		}()
	}
}

// pool starts one, and a set of it.
func pool(t *testing.T, pc spawner.PoolConfig, c Config) *Set {
	t.Helper()
	if pc.Program == nil {
		pc.Program = &spawner.Program{Path: os.Args[0], Env: []string{"BACKEND_TEST_WORKER=1"}}
	}
	pc.Name = "w"
	pc.Spawner = spawner.New(spawner.Config{})
	p, err := spawner.NewPool(pc)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := pc.Spawner.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	c.Pool = p
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Close() })
	return s
}

// ready waits until so many workers run.
func ready(t *testing.T, s *Set, n int) {
	t.Helper()
	for until := time.Now().Add(bound); ; time.Sleep(time.Millisecond) {
		up := 0
		for _, st := range s.Status() {
			if st.State == spawner.Ready.String() {
				up++
			}
		}
		if up == n {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%d of %d workers are ready", up, n)
		}
	}
}

// session is one on a worker.
func session(t *testing.T, s *Set, r *http.Request) (*Lease, net.Conn) {
	t.Helper()
	var lease *Lease
	var nc net.Conn
	err := s.Try(t.Context(), r, func(ctx context.Context, l *Lease) (err error) {
		lease = l
		nc, err = l.Dial(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); lease.Release() })
	nc.SetDeadline(time.Now().Add(bound))
	return lease, nc
}

func TestSessionsAreSpreadOverTheWorkersOfAPool(t *testing.T) {
	for _, balance := range []Balance{LeastConnections, RoundRobin} {
		s := pool(t, spawner.PoolConfig{Scaling: spawner.Static, Max: 4, MaxSessions: -1}, Config{Balance: balance})
		ready(t, s, 4)
		pids := map[string]int{}
		for range 40 {
			_, nc := session(t, s, nil)
			fmt.Fprintln(nc, "who")
			pid, err := bufio.NewReader(nc).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			pids[pid]++
		}
		for pid, n := range pids {
			if n != 10 {
				t.Errorf("%s: process %s has %d sessions, want 10", balance, strings.TrimSpace(pid), n)
			}
		}
		for _, st := range s.Status() {
			if st.Active != 10 || st.Total != 10 || st.Address.Network != "unix" {
				t.Errorf("%+v", st)
			}
		}
	}
}

func TestHashesStayWithTheirWorker(t *testing.T) {
	s := pool(t, spawner.PoolConfig{Scaling: spawner.Static, Max: 3, MaxSessions: -1}, Config{Balance: HashClient})
	ready(t, s, 3)
	all := map[string]bool{}
	for n := range 30 {
		first, _ := session(t, s, request(n))
		again, _ := session(t, s, request(n))
		if all[first.ID()] = true; first.ID() != again.ID() {
			t.Errorf("%s and %s", first.ID(), again.ID())
		}
	}
	if len(all) != 3 {
		t.Errorf("only %v have sessions", all)
	}
}

func TestWhetherAWorkerHasDied(t *testing.T) {
	s := pool(t, spawner.PoolConfig{Max: 1}, Config{})
	for word, want := range map[string]string{"bye": "", "end": "", "die": "exit status 3"} {
		l, nc := session(t, s, nil)
		if !s.Knows(l.Place()) {
			t.Errorf("%s is not known", l.Place())
		}
		fmt.Fprintln(nc, word)
		if _, err := io.Copy(io.Discard, nc); err != nil {
			t.Fatal(err)
		}
		if err := l.Crashed(); (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v", word, err)
		}
		if s.Knows(l.Place()) != (word == "bye") {
			t.Errorf("%s: known or not: %s", word, l.Place())
		}
		l.Release()
		next, _ := session(t, s, nil)
		if next.ID() != l.ID() || (next.Place() == l.Place()) != (word == "bye") {
			t.Errorf("%s: %q and then %q", word, l.Place(), next.Place())
		}
		next.Release()
	}
	if l := open(t, new(world).set(t, Config{}, a), nil); l.Crashed() != nil {
		t.Error("a process that is not ours has died")
	}
}

// A worker that is not reached is reported to the pool, and the session goes on to another one.
func TestAWorkerThatIsNotReached(t *testing.T) {
	var mu sync.Mutex
	var unlucky string
	var missed int
	s := pool(t, spawner.PoolConfig{Scaling: spawner.Static, Max: 2, MaxSessions: -1}, Config{
		Balance: RoundRobin,
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			mu.Lock()
			if unlucky == "" {
				unlucky = addr
			}
			bad := addr == unlucky && missed < 3
			if bad {
				missed++
			}
			mu.Unlock()
			if bad {
				return nil, errRefused
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	})
	ready(t, s, 2)
	for range 6 {
		l, _ := session(t, s, nil)
		if l.Address().Addr == unlucky && missed < 3 {
			t.Error("it was not reached")
		}
		l.Release()
		l.Release()
	}
	failures := int64(0)
	for range 1000 { // which replaces it
		failures = 0
		for _, st := range s.Status() {
			failures += st.Failures
			if st.Failures > 0 && !errors.Is(st.Err, errRefused) {
				t.Errorf("%+v", st)
			}
		}
		if failures == 3 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if failures != 3 || missed != 3 {
		t.Errorf("%d failures, %d missed", failures, missed)
	}
	for until := time.Now().Add(bound); ; time.Sleep(time.Millisecond) {
		active, up := 0, 0
		for _, st := range s.Status() {
			active += st.Active
			if st.State == spawner.Ready.String() {
				up++
			}
		}
		if active == 0 && up == 2 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("%+v", s.Status())
		}
	}
}

func TestWhatAPoolRefuses(t *testing.T) {
	s := pool(t, spawner.PoolConfig{Max: 1, MaxQueue: -1}, Config{})
	session(t, s, nil)
	if e := refused(t, s); e.Status != 503 || e.RetryAfter <= 0 || !errors.Is(e, spawner.ErrPoolBusy) {
		t.Errorf("busy: %v", e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Try(ctx, nil, dial); err != context.Canceled {
		t.Errorf("gone: %v", err)
	}
	s.Close()
	if e := refused(t, s); e.Status != 503 || e.RetryAfter <= 0 {
		t.Errorf("closed: %v", e)
	}
	s = pool(t, spawner.PoolConfig{Program: &spawner.Program{Path: "/nonexistent/program"}}, Config{})
	if e := refused(t, s); e.Status != 503 || e.RetryAfter <= 0 || !errors.Is(e, spawner.ErrPoolUnhealthy) {
		t.Errorf("unhealthy: %v", e)
	}
}
