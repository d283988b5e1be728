//go:build unix

package spawner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// newSpares starts spares, which are closed at the end of the test.
func newSpares(t *testing.T, s *Spawner, p *Program, n int) *Spares {
	t.Helper()
	x := NewSpares(s, p, n)
	x.Start()
	t.Cleanup(func() { closeSpares(t, x) })
	return x
}

func closeSpares(t *testing.T, x *Spares) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if err := x.Close(ctx); err != nil {
		t.Error(err)
	}
}

func spares(t *testing.T, x *Spares, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d spares", n), func() bool { return x.Idle() == n })
}

func take(t *testing.T, x *Spares) *Process {
	t.Helper()
	p, ok := x.Take()
	if !ok {
		t.Fatal("no spare")
	}
	t.Cleanup(p.ClosePipes)
	return p
}

func TestASpareIsTakenAndReplaced(t *testing.T) {
	s := newSpawner(t, Config{MaxProcesses: 1})
	x := newSpares(t, s, &Program{Path: "cat"}, 2)
	spares(t, x, 2)
	if n := s.Running(); n != 0 {
		t.Errorf("%d count as running", n)
	}
	p := take(t, x)
	if n := s.Running(); n != 1 {
		t.Errorf("%d count as running", n)
	}
	p.Stdin.WriteString("hello\n")
	b := make([]byte, 10)
	if n, err := p.Stdout.Read(b); string(b[:n]) != "hello\n" {
		t.Errorf("%q %v", b[:n], err)
	}
	spares(t, x, 2)
	// The limit is the same for both ways.
	if _, ok := x.Take(); ok {
		t.Error("a spare above the limit")
	}
	if _, err := s.Start(t.Context(), &Program{Path: "cat"}, StartOptions{}); !errors.Is(err, ErrLimit) {
		t.Errorf("%v", err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if n := s.Running(); n != 0 {
		t.Errorf("%d count as running", n)
	}
	closeSpares(t, x)
	if _, ok := x.Take(); ok {
		t.Error("a spare after Close")
	}
}

func TestADeadSpareIsNoticedAndReplaced(t *testing.T) {
	x := newSpares(t, newSpawner(t, Config{}), &Program{Path: "cat"}, 1)
	spares(t, x, 1)
	x.mu.Lock()
	first := x.idle[0]
	x.mu.Unlock()
	syscall.Kill(first.Pid(), syscall.SIGKILL)
	eventually(t, "another spare", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.idle) == 1 && x.idle[0] != first
	})
	if err := take(t, x).Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSparesThatDieAreNotStartedWithoutEnd(t *testing.T) {
	starts := filepath.Join(t.TempDir(), "starts")
	prog := sh(`printf + >>"$0"`)
	prog.Args = append(prog.Args, starts)
	s := newSpawner(t, Config{})
	begin := time.Now()
	newSpares(t, s, prog, 2)
	newSpares(t, s, &Program{Path: "/nonexistent"}, 2)
	time.Sleep(800 * time.Millisecond)
	var b []byte
	eventually(t, "there was a start", func() bool { b, _ = os.ReadFile(starts); return len(b) > 0 })
	most := 2 // at 0, 100, 300, 700 ms and so on, two each
	for wait, at := 100*time.Millisecond, 100*time.Millisecond; at <= time.Since(begin); at += wait {
		most += 2
		wait *= 2
	}
	if len(b) > most {
		t.Errorf("%d starts, want %d at most", len(b), most)
	}
}
