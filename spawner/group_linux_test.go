package spawner

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestTheLeaderIsAZombieUntilFinish(t *testing.T) {
	s := newSpawner(t, Config{})
	p := start(t, s, sh("exit 0"), StartOptions{})
	waitDone(t, p)
	if st := state(p.Pid()); st != "Z" {
		t.Errorf("state %q before Finish", st)
	}
	p.Finish()
	if st := state(p.Pid()); st != "" {
		t.Errorf("state %q after Finish", st)
	}
}

func TestFinishKillsGrandchildren(t *testing.T) {
	s := newSpawner(t, Config{})
	p := start(t, s, sh("sleep 1000 & echo $!; exit 0"), StartOptions{})
	pid := readPid(t, p.Stdout)
	waitDone(t, p)
	if dead(pid) {
		t.Error("the grandchild died before Finish")
	}
	p.Finish()
	eventually(t, "the grandchild is gone", func() bool { return dead(pid) })
	if rest, err := io.ReadAll(p.Stdout); len(rest) > 0 || err != nil { // its copy of stdout is closed
		t.Errorf("%q, %v", rest, err)
	}
}

func TestStopSignalsTheWholeGroup(t *testing.T) {
	s := newSpawner(t, Config{})
	// The leader announces itself only when its trap is set and its child is ready.
	prog := sh(`trap "wait; exit 0" TERM; sh -c 'trap "echo child; exit" TERM; echo $$; while :; do sleep 0.01; done' & wait`)
	prog.Stop = Ladder{{0, syscall.SIGTERM}, {bound, os.Kill}}
	p := start(t, s, prog, StartOptions{})
	r := bufio.NewReader(p.Stdout)
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	p.Stop(t.Context())
	if rest, err := io.ReadAll(r); string(rest) != "child\n" {
		t.Errorf("%q, %v", rest, err)
	}
}

func init() {
	// mover joins the group of a child, leaves another child behind in its own, and says which.
	helpers["mover"] = func() {
		sleep := func(group bool) int {
			c := exec.Command("/bin/sleep", "1000")
			c.SysProcAttr = &syscall.SysProcAttr{Setpgid: group}
			if err := c.Start(); err != nil {
				panic(err)
			}
			return c.Process.Pid
		}
		stays, goes := sleep(false), sleep(true)
		if err := syscall.Setpgid(0, goes); err != nil {
			panic(err)
		}
		fmt.Println(stays)
		time.Sleep(time.Hour)
	}
}

func TestAProgramThatMovesToAnotherGroupIsSignalledToo(t *testing.T) {
	s := newSpawner(t, Config{})
	prog := helper(t, "mover")
	prog.Stop = Ladder{{0, syscall.SIGTERM}, {bound, os.Kill}}
	p := start(t, s, prog, StartOptions{})
	stays := readPid(t, p.Stdout)
	group, err := syscall.Getpgid(p.Pid())
	if err != nil || group == p.Pid() {
		t.Fatalf("the program has not moved: group %d, %v", group, err)
	}
	defer syscall.Kill(group, syscall.SIGKILL) // nobody else knows that one
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := p.ExitState(); st.Signal != syscall.SIGTERM {
		t.Errorf("it ended with %v", st)
	}
	eventually(t, "who stayed is gone", func() bool { return dead(stays) })
}

// cgroupDir returns a cgroup v2 directory of the test, or says why there is none.
func cgroupDir(t *testing.T) string {
	t.Helper()
	var reasons []string
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(root + "/cgroup.controllers"); err != nil {
			reasons = append(reasons, err.Error())
			continue
		}
		dir := filepath.Join(root, fmt.Sprintf("spawner-test-%d", os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			reasons = append(reasons, err.Error())
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	t.Skipf("no writable cgroup v2 directory: %s", strings.Join(reasons, "; "))
	return ""
}

func TestACgroupKillsWhatLeftTheGroup(t *testing.T) {
	dir := cgroupDir(t)
	s := newSpawner(t, Config{})
	for range 3 {
		prog := sh(`setsid sh -c 'echo $$; exec sleep 1000' & sleep 0.2`)
		prog.Cgroup = dir
		p := start(t, s, prog, StartOptions{})
		pid := readPid(t, p.Stdout)
		waitDone(t, p)
		if dead(pid) {
			t.Error("the grandchild died before Finish")
		}
		p.Finish()
		eventually(t, "the grandchild is gone", func() bool { return dead(pid) })
	}
	eventually(t, "the cgroups are removed", func() bool {
		sub, err := filepath.Glob(dir + "/wspawn-*")
		return err == nil && len(sub) == 0
	})
	// A failed start leaves none either.
	_, err := s.Start(t.Context(), &Program{Path: "/nowhere", Cgroup: dir}, StartOptions{})
	if sub, _ := filepath.Glob(dir + "/wspawn-*"); !errors.Is(err, ErrNotFound) || len(sub) > 0 {
		t.Errorf("%v, %v", err, sub)
	}
}

func TestACgroupMustBeOne(t *testing.T) {
	s := newSpawner(t, Config{})
	dir := t.TempDir()
	for _, d := range []string{dir, dir + "/gone"} {
		prog := sh("exit 0")
		prog.Cgroup = d
		if _, err := s.Start(t.Context(), prog, StartOptions{}); !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "cgroup") {
			t.Errorf("%v", err)
		}
	}
	if n := entries(t, dir); n > 0 {
		t.Errorf("%d entries left", n)
	}
}

// TestAProgramThatCannotBeKilledIsGivenUp freezes one with the freezer of cgroup v1, which holds SIGKILL up.
func TestAProgramThatCannotBeKilledIsGivenUp(t *testing.T) {
	dir := fmt.Sprintf("/sys/fs/cgroup/freezer/spawner-test-%d", os.Getpid())
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no way to make a program that survives SIGKILL: %v", err)
	}
	set := func(file, value string) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0); err != nil {
			t.Error(err)
		}
	}
	h := new(recorder)
	s := newSpawner(t, Config{Log: slog.New(h)})
	prog := sh("exec sleep 1000")
	prog.Stop, prog.GiveUp = Ladder{{0, os.Kill}}, 20*time.Millisecond
	p := start(t, s, prog, StartOptions{})
	set("cgroup.procs", strconv.Itoa(p.Pid()))
	set("freezer.state", "FROZEN")
	eventually(t, "the program is frozen", func() bool {
		b, err := os.ReadFile(dir + "/freezer.state")
		return err == nil && string(b) == "FROZEN\n"
	})
	if err := p.Stop(context.Background()); !errors.Is(err, ErrStuck) {
		t.Errorf("%v", err)
	}
	if s.Running() != 1 {
		t.Errorf("running %d", s.Running())
	}
	set("freezer.state", "THAWED")
	eventually(t, "it is finished in the background", func() bool { return s.Running() == 0 })
	eventually(t, "it is logged", func() bool { return len(h.lines("process did not stop")) == 1 })
	eventually(t, "the cgroup is removed", func() bool { return os.Remove(dir) == nil })
}

func TestStartsStopsAndCloseAtTheSameTime(t *testing.T) {
	before := entries(t, "/proc/self/fd")
	h := new(recorder)
	s := New(Config{Guard: guardCommand(t), Log: slog.New(h), MaxProcesses: 20})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := 0; ; n++ {
				p, err := s.Start(t.Context(), sh("echo err >&2; sleep 1000 & read x; echo more >&2"), StartOptions{})
				switch {
				case errors.Is(err, ErrLimit):
					t.Errorf("16 at a time are not more than 20: %v", err)
					return
				case errors.Is(err, ErrClosed):
					return
				case err != nil:
					t.Error(err)
					return
				}
				switch (i + n) % 4 {
				case 0:
					p.Stop(t.Context())
				case 1:
					p.Signal(syscall.SIGTERM)
					<-p.Done()
					p.Finish()
				case 2:
					p.CloseStdin()
					<-p.Done()
					go p.Finish() // at the same time as the next one
					p.Stop(t.Context())
				case 3:
					ctx, cancel := context.WithCancel(t.Context())
					cancel()
					go p.Stop(t.Context())
					p.Stop(ctx)
				}
				if p.ExitState().Ended.IsZero() {
					t.Error("stopped, but not ended")
				}
				p.ClosePipes()
				if i == 0 && n == 20 {
					wg.Go(func() { s.Close(t.Context()) })
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if s.Running() != 0 {
		t.Errorf("running %d", s.Running())
	}
	if n, e := len(h.lines("stderr")), entries(t, "/proc/self/fd"); n == 0 || e > before {
		t.Errorf("%d lines, %d descriptors, %d before", n, e, before)
	}
}
