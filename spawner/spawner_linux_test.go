package spawner

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// state returns the state letter of a process from /proc, or "" if it does not exist.
func state(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return rest[:1]
}

// dead reports whether a process does not exist or is nobody's but init's to reap.
func dead(pid int) bool { st := state(pid); return st == "" || st == "Z" || st == "X" }

func entries(t testing.TB, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// readPid reads a line with a process id.
func readPid(t *testing.T, r io.Reader) int {
	t.Helper()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may do this")
	}
}

// output runs p to its end without input and returns what it wrote.
func output(t testing.TB, s *Spawner, p *Program, o StartOptions) string {
	t.Helper()
	proc := start(t, s, p, o)
	proc.CloseStdin()
	out, err := io.ReadAll(proc.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	waitDone(t, proc)
	proc.Finish()
	proc.ClosePipes()
	return string(out)
}

func TestNothingIsInherited(t *testing.T) {
	t.Setenv("GODEBUG", "http2xconnect=1")
	t.Setenv("SECRET", "of the server")
	s := newSpawner(t, Config{})
	got := output(t, s, &Program{Path: "env"}, StartOptions{})
	if got != "" {
		t.Errorf("environment %q", got)
	}
	prog := &Program{Path: "env", Env: []string{"A=1", "B=2", "AB=3"}}
	if got := output(t, s, prog, StartOptions{Env: []string{"C=4", "A=5"}}); got != "B=2\nAB=3\nC=4\nA=5\n" {
		t.Errorf("environment %q", got)
	}
	// Descriptors: the three of the program, and the one ls itself opens.
	prog = &Program{Path: "ls", Args: []string{"/proc/self/fd"}}
	var wg sync.WaitGroup
	for range 20 { // at the same time, so that one could inherit from the start of another
		wg.Go(func() {
			if got := output(t, s, prog, StartOptions{}); got != "0\n1\n2\n3\n" {
				t.Errorf("descriptors %q", got)
			}
		})
	}
	wg.Wait()
}

func TestArgumentsAndDirectory(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	writeFile(t, dir, "prog", "#!/bin/sh\necho $0 $*; /bin/pwd", 0o755)
	s := newSpawner(t, Config{})
	prog := &Program{Path: "./prog", Args: []string{"a"}, Dir: dir}
	if got := output(t, s, prog, StartOptions{Args: []string{"b"}}); got != "./prog a b\n"+dir+"\n" {
		t.Errorf("%q", got)
	}
	prog = &Program{Path: "pwd", Dir: dir}
	if got := output(t, s, prog, StartOptions{Dir: other}); got != other+"\n" {
		t.Errorf("%q", got)
	}
}

func TestEveryProgramLeadsAGroup(t *testing.T) {
	s := newSpawner(t, Config{})
	p := start(t, s, &Program{Path: "cat"}, StartOptions{})
	if pgid, err := unix.Getpgid(p.Pid()); pgid != p.Pid() {
		t.Errorf("group %d of process %d, %v", pgid, p.Pid(), err)
	}
}

func TestPipeSize(t *testing.T) {
	s := newSpawner(t, Config{})
	p := start(t, s, &Program{Path: "cat", PipeSize: 256 << 10}, StartOptions{})
	for _, f := range []*os.File{p.Stdin, p.Stdout} {
		raw, err := f.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			if n, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0); n != 256<<10 || err != nil {
				t.Errorf("%s: %d, %v", f.Name(), n, err)
			}
			if flags, _ := unix.FcntlInt(fd, unix.F_GETFL, 0); flags&unix.O_NONBLOCK == 0 {
				t.Errorf("%s is blocking", f.Name())
			}
		})
		if err := f.SetDeadline(time.Now()); err != nil {
			t.Errorf("%s is not in the poller: %v", f.Name(), err)
		}
	}
	// The program's own ends are blocking, as programs expect.
	for fd := range 3 {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", p.Pid(), fd))
		if err != nil {
			t.Fatal(err)
		}
		_, flags, _ := strings.Cut(string(b), "flags:\t")
		flags, _, _ = strings.Cut(flags, "\n")
		if n, _ := strconv.ParseUint(flags, 8, 64); n&unix.O_NONBLOCK != 0 {
			t.Errorf("descriptor %d of the program is non-blocking", fd)
		}
	}
}

func TestLimitsAreInForceBeforeTheProgram(t *testing.T) {
	for _, gate := range []bool{true, false} {
		s := newSpawner(t, Config{})
		s.sys.noGate.Store(!gate)
		prog := sh("read x; ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -v; grep TracerPid /proc/self/status")
		if gate {
			prog.Args[1] = strings.TrimPrefix(prog.Args[1], "read x; ")
		}
		prog.Limits = []Limit{
			{Name: "nofile", Soft: 37, Hard: 99},
			{Name: "core", Soft: 0, Hard: 0},
			{Name: "as", Soft: 1 << 30, Hard: Unlimited},
		}
		if got := output(t, s, prog, StartOptions{}); got != "37\n99\n0\n1048576\nTracerPid:\t0\n" {
			t.Errorf("gate %v: %q", gate, got)
		}
	}
}

func TestALimitThatCannotBeSetFailsTheStart(t *testing.T) {
	s := newSpawner(t, Config{})
	prog := sh("exit 0")
	prog.Limits = []Limit{{Name: "nofile", Soft: Unlimited, Hard: Unlimited}} // above fs.nr_open
	if _, err := s.Start(t.Context(), prog, StartOptions{}); !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "limit nofile: ") {
		t.Errorf("%v", err)
	}
	if s.Running() != 0 {
		t.Errorf("running %d", s.Running())
	}
}

func TestNice(t *testing.T) {
	s := newSpawner(t, Config{})
	if got := output(t, s, &Program{Path: "nice", Nice: 7}, StartOptions{}); got != "7\n" {
		t.Errorf("%q", got)
	}
}

func TestUmaskIsThatOfTheProgramAlone(t *testing.T) {
	s := newSpawner(t, Config{})
	dir := t.TempDir()
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() { // the server makes files all the while
		for i := 0; !stop.Load(); i++ {
			name := filepath.Join(dir, strconv.Itoa(i))
			if err := os.WriteFile(name, nil, 0o644); err != nil {
				t.Error(err)
				return
			}
			if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o644 {
				t.Errorf("%v, %v", fi.Mode(), err)
			}
			os.Remove(name)
		}
	})
	old := unix.Umask(0o022)
	defer unix.Umask(old)
	var starts sync.WaitGroup
	for i := range 24 {
		starts.Go(func() {
			mask, want := 0, "0022\n"
			switch i % 3 {
			case 1:
				mask, want = 0o077, "0077\n"
			case 2:
				mask, want = -1, "0000\n"
			}
			prog := sh("umask")
			prog.Umask = mask
			if got := output(t, s, prog, StartOptions{}); got != want {
				t.Errorf("umask %#o: %q", mask, got)
			}
		})
	}
	starts.Wait()
	stop.Store(true)
	wg.Wait()

	// Also where the current directory of the server changed since its thread was made.
	t.Chdir(dir)
	if err := os.Mkdir("sub", 0o755); err != nil {
		t.Fatal(err)
	}
	for sub, want := range map[string]string{"": dir, "sub": dir + "/sub"} {
		prog := &Program{Path: "/bin/pwd", Dir: sub, Umask: 0o077}
		if got := output(t, s, prog, StartOptions{}); got != want+"\n" {
			t.Errorf("%q", got)
		}
	}
}

func TestUserAndGroups(t *testing.T) {
	needRoot(t)
	s := newSpawner(t, Config{})
	const show = `echo $(id -u) $(id -g) $(id -G)`
	for _, c := range []struct{ user, group, want string }{
		{"nobody", "", "65534 65534 65534\n"},
		{"nobody", "daemon", "65534 1 1 65534\n"},
		{"65534", "1", "65534 1 1 65534\n"},
		{"", "daemon", "0 1 1\n"},
		{"54321", "12345", "54321 12345 12345\n"},
	} {
		prog := sh(show)
		prog.User, prog.Group = c.user, c.group
		if got := output(t, s, prog, StartOptions{}); got != c.want {
			t.Errorf("user %q, group %q: %q", c.user, c.group, got)
		}
	}
	for _, c := range []struct{ user, group, want string }{
		{"no-such-user", "", `start "/bin/sh": user "no-such-user" does not exist`},
		{"", "no-such-group", `start "/bin/sh": group "no-such-group" does not exist`},
		{"54321", "", `start "/bin/sh": user "54321" has no entry and so no group: set a group`},
	} {
		prog := sh(show)
		prog.User, prog.Group = c.user, c.group
		if _, err := s.Start(t.Context(), prog, StartOptions{}); !errors.Is(err, ErrPermission) || err.Error() != c.want {
			t.Errorf("%v", err)
		}
	}
	// All of it together, through gate and umask thread.
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, caps, _ := strings.Cut(string(status), "CapEff:\t")
	caps, _, _ = strings.Cut(caps, "\n")
	mask, err := strconv.ParseUint(caps, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	prog := sh(show + `; ulimit -n; umask; nice`)
	prog.User, prog.Umask, prog.Nice, prog.Limits = "nobody", 0o077, 3, []Limit{{"nofile", 50, 50}}
	if mask&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		if _, err := s.Start(t.Context(), prog, StartOptions{}); !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "CAP_SYS_RESOURCE") {
			t.Errorf("%v", err)
		}
		prog.Limits = nil
		prog.Args[1] = show + `; echo 50; umask; nice`
	}
	if got := output(t, s, prog, StartOptions{}); got != "65534 65534 65534\n50\n0077\n3\n" {
		t.Errorf("%q", got)
	}
}

// memory returns the bytes in use on heap and stacks.
func memory() uint64 {
	var m runtime.MemStats
	for range 3 { // pools and finalizers take more than one
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

func TestManyProcessesNeedNoThreads(t *testing.T) {
	s := newSpawner(t, Config{})
	start(t, s, &Program{Path: "cat"}, StartOptions{})
	threads, goroutines := entries(t, "/proc/self/task"), runtime.NumGoroutine()
	const n = 500
	all := make([]*Process, 0, n)
	prog := &Program{Path: "sleep", Args: []string{"1000"}}
	before := memory()
	for range n {
		p, err := s.Start(t.Context(), prog, StartOptions{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	after := memory()
	if got := entries(t, "/proc/self/task"); got > threads+20 {
		t.Errorf("%d threads, %d before", got, threads)
	}
	if got := runtime.NumGoroutine(); got > goroutines+5 {
		t.Errorf("%d goroutines, %d before", got, goroutines)
	}
	// Beside the heap there is what the network poller keeps for two pipe ends, about 550 bytes each, in
	// pieces too large to be measured here.
	per := (int64(after) - int64(before)) / n
	t.Logf("%d bytes of heap and stack per idle process", per)
	if per > 1536 {
		t.Errorf("%d bytes per idle process", per)
	}
	for _, p := range all {
		p.Signal(os.Kill)
	}
	for _, p := range all {
		waitDone(t, p)
		p.Finish()
		p.ClosePipes()
	}
}

func TestNoDescriptorIsLeft(t *testing.T) {
	s := newSpawner(t, Config{})
	run := func(i int) {
		prog := sh("echo out; echo err >&2; exit 1")
		prog.Stderr = []StderrMode{StderrLog, StderrPipe, StderrDiscard}[i%3]
		if i%5 == 0 {
			prog.Limits = []Limit{{"core", 0, 0}}
		}
		if i%7 == 0 {
			prog.Path = "/nowhere"
			if _, err := s.Start(t.Context(), prog, StartOptions{}); err == nil {
				t.Error("started")
			}
			return
		}
		output(t, s, prog, StartOptions{})
	}
	run(1)
	run(5)
	before := entries(t, "/proc/self/fd")
	for i := range 200 {
		run(i)
	}
	if after := entries(t, "/proc/self/fd"); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	if s.Running() != 0 || slices.ContainsFunc(s.procs, func(p *Process) bool { return p != nil }) {
		t.Errorf("running %d", s.Running())
	}
}

func TestTooManyOpenFilesIsSaid(t *testing.T) {
	s := newSpawner(t, Config{})
	output(t, s, sh("exit 0"), StartOptions{})
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	few := old
	few.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	_, err := s.Start(t.Context(), &Program{Path: "/bin/sh"}, StartOptions{})
	if e := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, ErrResources) || !errors.Is(err, syscall.EMFILE) {
		t.Errorf("%v", err)
	}
}

func TestAFIFOIsRefusedWithoutWaitingForItsWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o755); err != nil {
		t.Fatal(err)
	}
	s := newSpawner(t, Config{})
	refused := make(chan error, 1)
	go func() {
		_, err := s.Start(t.Context(), &Program{Path: path}, StartOptions{})
		refused <- err
	}()
	select {
	case err := <-refused:
		if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "not a regular file") {
			t.Error(err)
		}
	case <-time.After(bound):
		t.Fatal("it waits")
	}
}
