package stdio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

func TestGrandchildrenAreGone(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		leave        bool
		want         frame
	}{
		{"after the client has left", "sleep 1000 & echo $!; exec cat", true, frame{}},
		{"after the program has ended", "sleep 1000 >&- & echo $!; exit 0", false, closing(1000, "exit status 0")},
		{"even if they hold the output", "sleep 1000 & echo $!; exit 3", false, closing(1011, "exit status 3")},
		{"even if they ignore signals", "(trap '' TERM HUP INT; while :; do sleep 1000; done) & echo $!; exit 0", false, closing(1000, "exit status 0")},
		{"even if they never stop writing", "(while :; do echo; done) & echo $!; exit 0", false, closing(1000, "exit status 0")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, sh(tt.script), serviceOptions{})
			c := s.connect()
			f := c.Next()
			for f.Payload == "" {
				f = c.Next()
			}
			pid, err := strconv.Atoi(f.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if tt.leave {
				c.Leave()
			} else if _, end := c.All(); end != tt.want {
				t.Errorf("got %v, want %v", end, tt.want)
			}
			eventually(t, "the grandchild is gone", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH || state(pid) == "Z" })
		})
	}
}

// Who leaves the group cannot be found any more, but must not hold up the session either.
func TestGrandchildrenThatEscapeDoNotHoldTheSession(t *testing.T) {
	for _, tt := range []struct{ name, command string }{
		{"in silence", "sleep 1000"},
		{"writing faster than anybody reads", "yes " + strings.Repeat("y", 5000)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			name, _ := signalFile(t)
			p := waiting("setsid "+tt.command+" & echo $! > \"$1\"; sleep 0.2; exit 0", name)
			p.Linger = 50 * time.Millisecond
			s := serve(t, p, serviceOptions{})
			c := s.connect()
			if _, end := c.All(); end != closing(1000, "exit status 0") {
				t.Errorf("got %v", end)
			}
			s.summary(0)
			pid, err := strconv.Atoi(strings.TrimSpace(readFile(t, name)))
			if err != nil {
				t.Fatal(err)
			}
			syscall.Kill(pid, syscall.SIGKILL)
		})
	}
}

// state returns the state of a process, "" if there is none.
func state(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return rest[:min(1, len(rest))]
}

func TestNoZombies(t *testing.T) {
	ended := serve(t, sh("seq 10000"), serviceOptions{})
	var pids []int
	for i := range 5 {
		ended.connect().All()
		pids = append(pids, ended.summary(i).Pid)
	}
	// One with output that nobody takes.
	p := helper(t, "fill", "FILL="+t.TempDir()+"/total")
	p.Linger = 10 * time.Millisecond
	s := serve(t, p, serviceOptions{})
	c := s.connect()
	eventually(t, "the program is reaped while its output is pending", func() bool { return s.spawner.Running() == 0 })
	s.mu.Lock()
	if len(s.summaries) > 0 {
		t.Error("the session has ended")
	}
	s.mu.Unlock()
	c.Reset()
	pids = append(pids, s.summary(0).Pid)
	for _, pid := range pids {
		if st := state(pid); st != "" {
			t.Errorf("process %d is still there, in state %s", pid, st)
		}
	}
}

func TestShutdownEndsEverything(t *testing.T) {
	scripts := []string{
		"exec cat",
		"exec sleep 1000",
		"trap '' TERM HUP INT; echo ready; while :; do sleep 1000; done",
		"yes",
		"cat; seq 20000",
		"exec <&- >&-; exec sleep 1000",
	}
	next := 0
	s := serve(t, nil, serviceOptions{resolve: func(*wsframe.Request) (*Target, error) {
		next++
		return &Target{Program: stubborn(scripts[(next-1)%len(scripts)])}, nil
	}})
	var ends []chan frame
	for i := range 4 * len(scripts) {
		c := s.connect()
		if scripts[i%len(scripts)][0] == 't' {
			c.Expect(text("ready"))
		}
		end := make(chan frame, 1)
		ends = append(ends, end)
		go func() {
			for {
				f, err := c.Read()
				if err != nil {
					close(end)
					return
				}
				if f.Op == wsframe.OpClose {
					c.NC.Write(masked(true, wsframe.OpClose, f.Payload[:2]))
					end <- f
					return
				}
			}
		}()
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if err := s.handler.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for i, end := range ends {
		if f := <-end; f != closing(1001, "server is shutting down") {
			t.Errorf("%q: %v", scripts[i%len(scripts)], f)
		}
	}
	if n := s.spawner.Running(); n != 0 {
		t.Errorf("%d programs are running", n)
	}
	for i := range ends {
		if sum := s.summary(i); sum.StopErr != nil || state(sum.Pid) != "" {
			t.Errorf("%+v", sum)
		}
	}
}

// A shutdown that runs out of time ends sessions at once, whatever they wait for.
func TestShutdownThatRunsOutOfTime(t *testing.T) {
	p := sh("trap '' TERM HUP INT; echo ready; while :; do sleep 1000; done")
	p.Stop = spawner.Ladder{{After: time.Hour, Signal: os.Kill}}
	s := serve(t, p, serviceOptions{Options: Options{Queue: 64 << 10}, wire: wsframe.Options{CloseTimeout: time.Hour}})
	m := messageIn(opText, strings.Repeat("x", 1000))
	for i := range 9 {
		c := s.connect()
		c.Expect(text("ready"))
		for range []int{0, 100, 400}[i%3] { // nothing, into the queue, more than the queue
			c.Send(m)
		}
		switch i / 3 {
		case 1:
			c.NC.CloseWrite()
		case 2:
			c.Send(masked(true, wsframe.OpClose, "\x03\xe8"))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	err := s.handler.Shutdown(ctx)
	var down *wsframe.ShutdownError
	if !errors.As(err, &down) || down.Left != 0 {
		t.Errorf("got %v", err)
	}
	for i := range 9 {
		if sum := s.summary(i); sum.Exit.Signal != syscall.SIGKILL {
			t.Errorf("%+v", sum)
		}
	}
}
