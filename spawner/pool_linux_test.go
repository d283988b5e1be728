package spawner

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestStaticWorkersServeOnDescriptor0(t *testing.T) {
	p := newPool(t, PoolConfig{Scaling: Static, Max: 3})
	ready(t, p, 3)
	seen := make(map[string]bool)
	var ids []string
	for range 3 {
		w := acquire(t, p)
		defer w.Release()
		ids = append(ids, w.ID())
		seen[ask(t, w, "pid")] = true
		if network, address := w.Address(); network != "unix" || filepath.Dir(address) != p.dir {
			t.Errorf("%s %s", network, address)
		}
	}
	if len(seen) != 3 || !slices.Equal(ids, []string{"w-0", "w-1", "w-2"}) {
		t.Errorf("%v %v", seen, ids)
	}
	fi, err := os.Stat(p.dir)
	if err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
}

func TestTheFirstSessionStartsAWorkerAndTheIdleOneGoes(t *testing.T) {
	p := newPool(t, PoolConfig{IdleTimeout: 50 * time.Millisecond})
	if n := len(p.Workers()); n != 0 {
		t.Fatalf("%d workers before the first session", n)
	}
	w := acquire(t, p)
	if got := ask(t, w, "hello"); got != "hello" {
		t.Error(got)
	}
	w.Release()
	eventually(t, "the idle worker is gone", func() bool { return len(p.Workers()) == 0 })
	<-w.Done()
	w = acquire(t, p) // and from zero once more, on the same socket
	if got := ask(t, w, "hello"); got != "hello" {
		t.Error(got)
	}
	w.Release()
}

func TestAWorkerThatIsKilledIsReplacedAndTheOthersKeepTheirSessions(t *testing.T) {
	p := newPool(t, PoolConfig{Scaling: Static, Max: 2})
	ready(t, p, 2)
	a, b := acquire(t, p), acquire(t, p)
	kept := connect(t, b)
	say(t, kept, "before")
	pid := p.Workers()[0].Pid
	syscall.Kill(pid, syscall.SIGKILL)
	begin := time.Now()
	<-a.Done()
	if st := a.ExitState(); st.Signal != syscall.SIGKILL {
		t.Errorf("%v", st)
	}
	a.Release()
	c := acquire(t, p)
	if got := ask(t, c, "pid"); got == strconv.Itoa(pid) {
		t.Error("the same process")
	}
	t.Logf("replaced after %v", time.Since(begin))
	if got := say(t, kept, "after"); got != "after" {
		t.Error(got)
	}
	b.Release()
	c.Release()
}

func TestMaxIsNotExceededWhileAWorkerIgnoresTerm(t *testing.T) {
	prog := helper(t, "worker", "IGNORE_TERM=1")
	prog.Stop = Ladder{{Signal: syscall.SIGTERM}, {After: 300 * time.Millisecond, Signal: os.Kill}}
	s := newSpawner(t, Config{})
	watchMax(t, s, 1)
	p := newPool(t, PoolConfig{Spawner: s, Program: prog, Max: 1, MaxServed: 1})
	first := acquire(t, p)
	ask(t, first, "pid") // so that it ignores the signal by now
	first.Release()
	eventually(t, "the first one is being stopped, or has been", func() bool { return in(p, Stopping) == 1 || first.ExitState() != (ExitState{}) })
	second := acquire(t, p)
	if first == second {
		t.Error("the same worker")
	}
	if st := first.ExitState(); st.Signal != syscall.SIGKILL {
		t.Errorf("when the second one came, the first one was %v", st)
	}
	ask(t, second, "pid")
	second.Release()
}

func TestACrashLoopIsBoundedAndEndsByItself(t *testing.T) {
	dir := t.TempDir()
	starts := filepath.Join(dir, "starts")
	sick := filepath.Join(dir, "sick")
	writeFile(t, dir, "sick", "", 0o600)
	prog := sh(`printf + >>"$0"; test ! -e "$1" || exit 1; exec "$2"`)
	prog.Args = append(prog.Args, starts, sick, self(t))
	prog.Env = append(prog.Env, "SPAWNER_TEST_HELPER=worker")
	p := newPool(t, PoolConfig{Program: prog, Scaling: Static, Max: 4, CrashLoop: 3, Backoff: 20 * time.Millisecond, QuickDeath: bound})
	_, err := p.Acquire(context.Background(), nil)
	for err == nil { // before they died there were some
		_, err = p.Acquire(context.Background(), nil)
	}
	if !errors.Is(err, ErrPoolUnhealthy) || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("%v", err)
	}
	b, err := os.ReadFile(starts)
	if len(b) > 4+10 || err != nil { // 4, 2 more until it is unhealthy, and some while this waited for a processor
		t.Errorf("%d starts, %v", len(b), err)
	}
	os.Remove(sick)
	eventually(t, "the pool serves again", func() bool {
		w, err := p.Acquire(context.Background(), nil)
		if err != nil {
			return false
		}
		defer w.Release()
		return ask(t, w, "hello") == "hello"
	})
	ready(t, p, 4)
}

func TestConnectionsThatNoWorkerAcceptsAreClosed(t *testing.T) {
	for name, c := range map[string]PoolConfig{
		"no other worker comes": {Listen: Listen{Network: "unix"}},
		"the next ones die too": {Listen: Listen{Network: "tcp"}, Scaling: Static, CrashLoop: 3, Backoff: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			c.Program, c.Max, c.MaxSessions = sh("sleep 0.2; exit 1"), 1, 2
			p := newPool(t, c)
			w := acquire(t, p)
			defer w.Release()
			c := connect(t, w)
			fmt.Fprintln(c, "hello")
			c.SetDeadline(time.Now().Add(bound))
			if n, err := c.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
}

func TestAProgramThatCannotBeStartedFailsAtOnce(t *testing.T) {
	p := newPool(t, PoolConfig{Program: &Program{Path: "/nonexistent/program"}})
	_, err := p.Acquire(context.Background(), nil)
	if !errors.Is(err, ErrPoolUnhealthy) || !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestAtTheLimitOfTheSpawnerAWorkerWaits(t *testing.T) {
	s := newSpawner(t, Config{MaxProcesses: 1})
	other := start(t, s, &Program{Path: "cat"}, StartOptions{})
	p := newPool(t, PoolConfig{Spawner: s, QueueWait: -1, CrashLoop: 1})
	got := make(chan *Worker)
	go func() { got <- acquire(t, p) }()
	eventually(t, "a start was refused", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.failures > 0
	})
	if err := other.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	w := <-got
	if got := ask(t, w, "hello"); got != "hello" {
		t.Error(got)
	}
	w.Release()
}

func TestWorkersAreRecycledWithoutCuttingSessions(t *testing.T) {
	p := newPool(t, PoolConfig{Max: 2, MaxSessions: 2, MaxServed: 2})
	a, b := acquire(t, p), acquire(t, p)
	if a != b {
		t.Fatal("two workers for two sessions")
	}
	kept := connect(t, a)
	pid := say(t, kept, "pid")
	b.Release()
	c := acquire(t, p) // the first one has had its two
	if c == a || ask(t, c, "pid") == pid {
		t.Error("it serves more than it may")
	}
	if in(p, Retiring) != 1 {
		t.Errorf("%+v", p.Workers())
	}
	if got := say(t, kept, "pid"); got != pid {
		t.Error(got)
	}
	a.Release()
	<-a.Done()
	c.Release()
}

func TestTheOnlyWorkerIsRecycledWhenItIsIdle(t *testing.T) {
	p := newPool(t, PoolConfig{Max: 1, MaxSessions: 2, MaxAge: time.Millisecond})
	a := acquire(t, p)
	time.Sleep(5 * time.Millisecond)
	if b := acquire(t, p); b != a {
		t.Error("another worker")
	}
	a.Release()
	if in(p, Ready) != 1 {
		t.Errorf("%+v", p.Workers())
	}
	a.Release()
	<-a.Done()
}

func TestAWorkerThatGrewTooLargeIsReplaced(t *testing.T) {
	p := newPool(t, PoolConfig{Max: 1, MaxMemory: 48 << 20})
	a := acquire(t, p)
	a.Release()
	if b := acquire(t, p); b != a {
		t.Fatal("replaced too early")
	}
	ask(t, a, "grow")
	a.Release()
	<-a.Done()
	b := acquire(t, p)
	if b == a {
		t.Error("the same worker")
	}
	b.Release()
}

func TestAWorkerThatEndsAfterItsWorkIsNoFailure(t *testing.T) {
	p := newPool(t, PoolConfig{Max: 1, Backoff: time.Hour, MaxBackoff: time.Hour})
	for range 3 {
		w := acquire(t, p)
		ask(t, w, "end")
		<-w.Done()
		w.Release()
	}
}

func TestAWorkerThatIsNeverReadyIsGivenUp(t *testing.T) {
	prog := sh("exec sleep 1000 # {port}")
	p := newPool(t, PoolConfig{Program: prog, StartTimeout: 50 * time.Millisecond, CrashLoop: 1})
	_, err := p.Acquire(context.Background(), nil)
	if !errors.Is(err, ErrPoolUnhealthy) || !strings.Contains(err.Error(), "not ready after 50ms") {
		t.Errorf("%v", err)
	}
}

func TestCloseWaitsForSessionsAndKillsWhenTold(t *testing.T) {
	p := newPool(t, PoolConfig{Max: 1})
	w := acquire(t, p)
	c := connect(t, w)
	say(t, c, "hello")
	closed := make(chan error)
	go func() { closed <- p.Close(context.Background()) }()
	eventually(t, "the pool is closing", func() bool { return in(p, Retiring) == 1 })
	if _, err := p.Acquire(context.Background(), nil); !errors.Is(err, ErrPoolClosed) {
		t.Errorf("%v", err)
	}
	if got := say(t, c, "still here"); got != "still here" {
		t.Error(got)
	}
	w.Release()
	if err := <-closed; err != nil {
		t.Error(err)
	}

	p = newPool(t, PoolConfig{Max: 1, Program: helper(t, "worker", "IGNORE_TERM=1")})
	w = acquire(t, p)
	ask(t, w, "hello")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Close(ctx); err != nil {
		t.Error(err)
	}
	if st := w.ExitState(); st.Signal != syscall.SIGKILL {
		t.Errorf("%v", st)
	}
	w.Release()
}

func TestManySessionsComeAndGoWhileWorkersDie(t *testing.T) {
	s := newSpawner(t, Config{})
	watchMax(t, s, 3)
	p := newPool(t, PoolConfig{Spawner: s, Scaling: Dynamic, Max: 3, MaxSessions: 2, MaxServed: 7, QuickDeath: time.Nanosecond, IdleTimeout: 10 * time.Millisecond})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 15 {
				w := acquire(t, p)
				line := "hello"
				if i == 0 && j%5 == 4 {
					line = "die"
				}
				network, address := w.Address()
				if c, err := net.Dial(network, address); err == nil {
					c.SetDeadline(time.Now().Add(time.Second))
					fmt.Fprintln(c, line)
					bufio.NewReader(c).ReadString('\n') // or the end, where another one let it die
					c.Close()
				}
				w.Release()
			}
		})
	}
	wg.Wait()
}

func init() {
	// poolserver runs a pool under a guard, and prints the process ids of two workers and their children.
	helpers["poolserver"] = func() {
		exe, err := os.Executable()
		if err != nil {
			panic(err)
		}
		prog := sh(`sh -c 'echo $$ >>"$0"; exec sleep 1000' "$0" & echo $$ >>"$0"; wait`)
		prog.Args = append(prog.Args, os.Getenv("PIDS"))
		p, err := NewPool(PoolConfig{
			Spawner: New(Config{Guard: []string{exe, "spawner-test-guard"}}), Program: prog, Scaling: Static, Max: 2,
			Listen: Listen{Dir: filepath.Dir(os.Getenv("PIDS"))},
		})
		if err == nil {
			err = p.Start()
		}
		if err != nil {
			panic(err)
		}
		// The guard knows a worker when its start is over, and not while it forks already.
		for started := 0; started < 2; time.Sleep(time.Millisecond) {
			started = 0
			for _, w := range p.Workers() {
				if w.Pid > 0 {
					started++
				}
			}
		}
		os.WriteFile(os.Getenv("PIDS")+".started", nil, 0o600)
		time.Sleep(time.Hour)
	}
}

func TestNoWorkerSurvivesAKilledServer(t *testing.T) {
	list := filepath.Join(t.TempDir(), "pids")
	cmd := exec.Command(self(t))
	cmd.Env = []string{"SPAWNER_TEST_HELPER=poolserver", "PATH=/usr/bin:/bin", "PIDS=" + list}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []string
	eventually(t, "two workers and their children run", func() bool {
		b, _ := os.ReadFile(list)
		pids = strings.Fields(string(b))
		_, err := os.Stat(list + ".started")
		return len(pids) == 4 && err == nil
	})
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	for _, s := range pids {
		pid, _ := strconv.Atoi(s)
		eventually(t, "the worker is gone", func() bool { return dead(pid) })
	}
}
