package spawner

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
)

// newSpawner returns a Spawner that is closed at the end of the test.
func newSpawner(t testing.TB, c Config) *Spawner {
	t.Helper()
	s := New(c)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func start(t testing.TB, s *Spawner, p *Program, o StartOptions) *Process {
	t.Helper()
	proc, err := s.Start(t.Context(), p, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proc.ClosePipes)
	return proc
}

func TestCatEchoesAndEndsWithItsInput(t *testing.T) {
	s := newSpawner(t, Config{})
	p := start(t, s, &Program{Path: "cat"}, StartOptions{})
	if _, err := p.Stdin.WriteString("hello\n"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 6)
	if _, err := io.ReadFull(p.Stdout, b); err != nil || string(b) != "hello\n" {
		t.Fatalf("%q, %v", b, err)
	}
	p.CloseStdin()
	if rest, err := io.ReadAll(p.Stdout); len(rest) > 0 || err != nil {
		t.Fatalf("%q, %v", rest, err)
	}
	waitDone(t, p)
	if st := p.ExitState(); !st.Success() || st.String() != "exit status 0" || st.Ended.Before(st.Started) {
		t.Errorf("%+v", st)
	}
	if s.Running() != 1 {
		t.Errorf("running %d before Finish", s.Running())
	}
	p.Finish()
	p.Finish()
	if s.Running() != 0 {
		t.Errorf("running %d after Finish", s.Running())
	}
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal after Finish: %v", err)
	}
}

func TestExitStateTellsStatusAndSignal(t *testing.T) {
	s := newSpawner(t, Config{})
	for script, want := range map[string]string{
		"exit 3":        "exit status 3",
		"exit 255":      "exit status 255",
		"kill -9 $$":    "signal: killed",
		"kill -TERM $$": "signal: terminated",
	} {
		p := start(t, s, sh(script), StartOptions{})
		waitDone(t, p)
		if got := p.ExitState().String(); got != want {
			t.Errorf("%s: %s, want %s", script, got, want)
		}
		p.Finish()
	}
}
