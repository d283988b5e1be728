package spawner

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func guardCommand(t testing.TB) []string { return []string{self(t), "spawner-test-guard"} }

func init() {
	// server starts a shell with a grandchild in the background, under a guard, and prints the process
	// id of the grandchild. It lives until it is killed.
	helpers["server"] = func() {
		exe, err := os.Executable()
		if err != nil {
			panic(err)
		}
		s := New(Config{Guard: []string{exe, "spawner-test-guard"}})
		// The end of the shell itself is up to the kernel, so it is the grandchild that counts.
		prog := sh(`setsid_if="$1"; $setsid_if sh -c 'echo $$; exec sleep 1000' & wait`)
		prog.Args = append(prog.Args, "sh")
		if prog.Cgroup = os.Getenv("CGROUP"); prog.Cgroup != "" {
			prog.Args = append(prog.Args, "setsid")
		}
		p, err := s.Start(context.Background(), prog, StartOptions{})
		if err != nil {
			panic(err)
		}
		b := make([]byte, 20)
		n, _ := p.Stdout.Read(b)
		os.Stdout.Write(b[:n])
		time.Sleep(time.Hour)
	}
}

// killedServer runs the helper "server", kills it, and returns the process id of the grandchild.
func killedServer(t *testing.T, env ...string) int {
	t.Helper()
	cmd := exec.Command(self(t))
	cmd.Env = append([]string{"SPAWNER_TEST_HELPER=server", "PATH=/usr/bin:/bin"}, env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := readPid(t, out)
	if dead(pid) {
		t.Error("the grandchild is dead already")
	}
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	return pid
}

func TestNothingSurvivesAKilledServer(t *testing.T) {
	pid := killedServer(t)
	eventually(t, "the grandchild is gone", func() bool { return dead(pid) })
}

func TestTheGuardKillsCgroupsToo(t *testing.T) {
	dir := cgroupDir(t)
	pid := killedServer(t, "CGROUP="+dir)
	eventually(t, "the grandchild is gone", func() bool { return dead(pid) })
	eventually(t, "the cgroup is removed", func() bool {
		sub, err := filepath.Glob(dir + "/wspawn-*")
		return err == nil && len(sub) == 0
	})
}

func (g *guard) pid() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.w == nil {
		return 0
	}
	return g.proc.Pid
}

func TestADeadGuardIsReplacedOnceWithAllGroups(t *testing.T) {
	h := new(recorder)
	s := newSpawner(t, Config{Guard: guardCommand(t), Log: slog.New(h)})
	p := start(t, s, &Program{Path: "cat"}, StartOptions{})
	first := s.guard.pid()
	syscall.Kill(first, syscall.SIGKILL)
	eventually(t, "another guard runs", func() bool { pid := s.guard.pid(); return pid != 0 && pid != first })
	eventually(t, "it is logged", func() bool { return len(h.lines("guard process died and was started again")) == 1 })

	// The new one knows the group: closing its pipe, as the death of the server would, ends it.
	s.guard.mu.Lock()
	s.guard.stopping = true // so that there is no third one
	s.guard.w.Close()
	s.guard.mu.Unlock()
	waitDone(t, p)
	if got := p.ExitState().String(); got != "signal: killed" {
		t.Errorf("%s", got)
	}
}

func TestAGuardThatDiesAgainIsGivenUp(t *testing.T) {
	h := new(recorder)
	s := newSpawner(t, Config{Guard: guardCommand(t), Log: slog.New(h)})
	start(t, s, &Program{Path: "cat"}, StartOptions{})
	first := s.guard.pid()
	syscall.Kill(first, syscall.SIGKILL)
	eventually(t, "another guard runs", func() bool { pid := s.guard.pid(); return pid != 0 && pid != first })
	syscall.Kill(s.guard.pid(), syscall.SIGKILL)
	eventually(t, "it is given up", func() bool {
		return len(h.lines("guard process died again: programs may survive a crash")) == 1
	})
	output(t, s, sh("exit 0"), StartOptions{}) // life goes on
}

func TestAGuardThatCannotStartIsLogged(t *testing.T) {
	h := new(recorder)
	s := newSpawner(t, Config{Guard: []string{"/nowhere"}, Log: slog.New(h)})
	output(t, s, sh("exit 0"), StartOptions{})
	eventually(t, "it is logged", func() bool {
		return len(h.lines("guard process not started: programs may survive a crash")) == 1
	})
}

func TestAStuckGuardHoldsNobodyUp(t *testing.T) {
	s := newSpawner(t, Config{Guard: guardCommand(t)})
	start(t, s, &Program{Path: "cat"}, StartOptions{})
	syscall.Kill(s.guard.pid(), syscall.SIGSTOP)
	output(t, s, sh("exit 0"), StartOptions{})
	syscall.Kill(s.guard.pid(), syscall.SIGCONT)
}

func TestTheTableHasWhatLives(t *testing.T) {
	s := newSpawner(t, Config{Guard: guardCommand(t)})
	var alive []*Process
	for range 3 {
		alive = append(alive, start(t, s, &Program{Path: "cat"}, StartOptions{}))
	}
	alive[1].Stop(t.Context())
	groups := readTable(s.guard.table)
	_, first := groups[alive[0].Pid()]
	_, last := groups[alive[2].Pid()]
	if len(groups) != 2 || !first || !last {
		t.Errorf("the table has %v, want %d and %d", groups, alive[0].Pid(), alive[2].Pid())
	}
}

func TestTheGuardInheritsNothingAndIgnoresSignals(t *testing.T) {
	t.Setenv("SECRET", "of the server")
	s := newSpawner(t, Config{Guard: guardCommand(t)})
	p := start(t, s, &Program{Path: "cat"}, StartOptions{})
	pid := s.guard.pid()
	proc := "/proc/" + strconv.Itoa(pid)
	eventually(t, "signals are ignored", func() bool {
		b, err := os.ReadFile(proc + "/status")
		if err != nil {
			t.Fatal(err)
		}
		_, mask, _ := strings.Cut(string(b), "SigIgn:\t")
		mask, _, _ = strings.Cut(mask, "\n")
		n, err := strconv.ParseUint(mask, 16, 64)
		const want = 1<<(syscall.SIGINT-1) | 1<<(syscall.SIGTERM-1) | 1<<(syscall.SIGHUP-1)
		return err == nil && n&want == want
	})
	if env, err := os.ReadFile(proc + "/environ"); err != nil || strings.Contains(string(env), "SECRET") {
		t.Errorf("environment %q, %v", env, err)
	}
	if sid, err := os.ReadFile(proc + "/stat"); err != nil || strings.Fields(string(sid))[5] != strconv.Itoa(pid) {
		t.Errorf("not a session of its own: %s", sid)
	}
	// Nobody but the server holds the write end of its pipe.
	pipe, err := os.Readlink(proc + "/fd/0")
	if err != nil {
		t.Fatal(err)
	}
	for fd := range 100 {
		for _, who := range []string{proc, "/proc/" + strconv.Itoa(p.Pid())} {
			link, err := os.Readlink(who + "/fd/" + strconv.Itoa(fd))
			if err == nil && link == pipe && (who != proc || fd != 0) {
				t.Errorf("%s holds the pipe as %d", who, fd)
			}
		}
	}
	b, err := os.ReadFile(proc + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rss, _ := strings.Cut(string(b), "VmRSS:")
	rss, _, _ = strings.Cut(rss, "\n")
	t.Logf("resident memory of the guard: %s", strings.TrimSpace(rss))
}
