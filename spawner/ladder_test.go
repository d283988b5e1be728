package spawner

import (
	"bufio"
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startSignals starts the helper that logs signals and waits until it is ready.
func startSignals(t *testing.T, s *Spawner, l Ladder) (*Process, *bufio.Reader) {
	t.Helper()
	prog := helper(t, "signals")
	prog.Stop = l
	p := start(t, s, prog, StartOptions{})
	r := bufio.NewReader(p.Stdout)
	if line, err := r.ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return p, r
}

func TestLadderGoesStepByStep(t *testing.T) {
	const step = 2 * time.Second // for what the program says between
	s := newSpawner(t, Config{})
	p, r := startSignals(t, s, Ladder{{0, nil}, {step, syscall.SIGINT}, {step, syscall.SIGTERM}, {step, os.Kill}})
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if err != nil || string(rest) != "stdin closed\ninterrupt\nterminated\n" {
		t.Errorf("%q, %v", rest, err)
	}
	if got := p.ExitState().String(); got != "signal: killed" {
		t.Errorf("%s", got)
	}
}

func TestLadderEndsWhenTheProgramDoes(t *testing.T) {
	s := newSpawner(t, Config{})
	prog := &Program{Path: "cat", Stop: Ladder{{0, nil}, {time.Hour, os.Kill}}}
	p := start(t, s, prog, StartOptions{})
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := p.ExitState().String(); got != "exit status 0" {
		t.Errorf("%s", got)
	}
}

func TestLadderWithoutKillIsFollowedByIt(t *testing.T) {
	s := newSpawner(t, Config{})
	p, r := startSignals(t, s, Ladder{{0, syscall.SIGTERM}})
	p.prog.GiveUp = 2 * time.Second
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "terminated\n" {
		t.Errorf("%q", rest)
	}
}

func TestStopKillsWhenAContextEnds(t *testing.T) {
	forever := Ladder{{0, nil}, {time.Hour, os.Kill}}
	s := newSpawner(t, Config{})
	p, _ := startSignals(t, s, forever)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	// The context of a second caller does the same.
	p, _ = startSignals(t, s, forever)
	first := make(chan error)
	go func() { first <- p.Stop(context.Background()) }()
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestStopMayBeCalledByMany(t *testing.T) {
	s := newSpawner(t, Config{})
	p := start(t, s, &Program{Path: "cat"}, StartOptions{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := p.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if s.Running() != 0 {
				t.Error("Stop returned before the process was finished")
			}
		})
	}
	wg.Wait()
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFinishKillsARunningProgram(t *testing.T) {
	s := newSpawner(t, Config{})
	p := start(t, s, sh("exec sleep 1000"), StartOptions{})
	p.Finish()
	eventually(t, "the process is finished", func() bool { return s.Running() == 0 })
	if got := p.ExitState().String(); got != "signal: killed" {
		t.Errorf("%s", got)
	}
}

func TestCloseStopsAllByTheirLadders(t *testing.T) {
	s := New(Config{})
	var all []*Process
	for range 10 {
		all = append(all, start(t, s, &Program{Path: "cat"}, StartOptions{}))
	}
	ended := start(t, s, sh("exit 7"), StartOptions{})
	waitDone(t, ended)
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for _, p := range all {
		if got := p.ExitState().String(); got != "exit status 0" {
			t.Errorf("%s", got)
		}
	}
	if ended.ExitState().Code != 7 || s.Running() != 0 {
		t.Errorf("%v, running %d", ended.ExitState(), s.Running())
	}
}

func TestOnExitIsCalledOnce(t *testing.T) {
	s := newSpawner(t, Config{})
	calls := make(chan *Process, 10)
	p := start(t, s, sh("exit 4"), StartOptions{OnExit: func(p *Process) { calls <- p }})
	if got := <-calls; got != p || got.ExitState().Code != 4 {
		t.Errorf("%v", got.ExitState())
	}
	p.Stop(t.Context())
	if len(calls) > 0 {
		t.Error("called again")
	}
}

func TestWebsocketdLadder(t *testing.T) {
	var got []string
	for _, st := range WebsocketdLadder(time.Second) {
		name := "stdin"
		if st.Signal != nil {
			name = st.Signal.String()
		}
		got = append(got, st.After.String()+" "+name)
	}
	want := []string{"0s stdin", "1.1s interrupt", "1.25s terminated", "1.5s killed"}
	if !slices.Equal(got, want) {
		t.Errorf("%s", strings.Join(got, ", "))
	}
}
