package spawner

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func writeFile(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStartSaysWhyItFailed(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "plain.sh", "echo hello\n", 0o755)
	writeFile(t, dir, "empty", "", 0o755)
	writeFile(t, dir, "elf", "\x7fELF\x01garbage", 0o755)
	writeFile(t, dir, "interp.sh", "#!/missing/interp -x\n", 0o755)
	writeFile(t, dir, "dos.sh", "#!/bin/sh\r\n", 0o755)
	writeFile(t, dir, "noexec.sh", "#!/bin/sh\n", 0o644)
	s := newSpawner(t, Config{})
	for _, c := range []struct {
		name string
		p    Program
		is   error
		also error
		text string
	}{
		{"missing file", Program{Path: "./gone", Dir: dir}, ErrNotFound, fs.ErrNotExist, `start "./gone": no such file`},
		{"missing in PATH", Program{Path: "no-such-program-anywhere"}, ErrNotFound, fs.ErrNotExist, `start "no-such-program-anywhere": not found in PATH`},
		{"no #! line", Program{Path: "./plain.sh", Dir: dir}, ErrFormat, syscall.ENOEXEC, `start "./plain.sh": exec format error: the file has no "#!" line and is not a binary`},
		{"empty file", Program{Path: "./empty", Dir: dir}, ErrFormat, syscall.ENOEXEC, `start "./empty": exec format error: the file is empty`},
		{"foreign binary", Program{Path: "./elf", Dir: dir}, ErrFormat, syscall.ENOEXEC, `start "./elf": exec format error: the file is a binary for another machine`},
		{"missing interpreter", Program{Path: "./interp.sh", Dir: dir}, ErrNotFound, fs.ErrNotExist, `start "./interp.sh": the interpreter "/missing/interp" in its "#!" line does not exist`},
		{"carriage return", Program{Path: "./dos.sh", Dir: dir}, ErrNotFound, fs.ErrNotExist, `start "./dos.sh": the interpreter "/bin/sh\r" in its "#!" line does not exist; the "#!" line ends with a carriage return`},
		{"not executable", Program{Path: "./noexec.sh", Dir: dir}, ErrPermission, fs.ErrPermission, `start "./noexec.sh": permission denied: the file is not executable (chmod +x)`},
		{"a directory", Program{Path: dir}, ErrPermission, fs.ErrPermission, `it is a directory`},
		{"missing working directory", Program{Path: "/bin/sh", Dir: dir + "/gone"}, ErrDir, fs.ErrNotExist, `start "/bin/sh": directory "` + dir + `/gone" does not exist`},
		{"working directory is a file", Program{Path: "/bin/sh", Dir: dir + "/plain.sh"}, ErrDir, syscall.ENOTDIR, `is not a directory`},
		{"NUL byte", Program{Path: "/bin/sh", Args: []string{"a\x00b"}}, ErrFormat, syscall.EINVAL, `NUL byte`},
		{"huge argument", Program{Path: "/bin/sh", Args: []string{strings.Repeat("x", 1<<20)}}, ErrResources, syscall.E2BIG, `too long`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.Start(t.Context(), &c.p, StartOptions{})
			if !errors.Is(err, c.is) || !errors.Is(err, c.also) {
				t.Errorf("%v is not %v and %v", err, c.is, c.also)
			}
			if err != nil && (!strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%q\ndoes not say %q", err, c.text)
			}
		})
	}
	if s.Running() != 0 {
		t.Errorf("failed starts hold %d places", s.Running())
	}
}

func TestCheckRefusesNonsense(t *testing.T) {
	for _, p := range []Program{
		{},
		{Path: "x", Umask: 0o1000},
		{Path: "x", Nice: 20},
		{Path: "x", Stderr: 9},
		{Path: "x", PipeSize: -1},
		{Path: "x", Limits: []Limit{{Name: "nonsense"}}},
		{Path: "x", Limits: []Limit{{Name: "nofile", Soft: 2, Hard: 1}}},
	} {
		if err := p.Check(); err == nil {
			t.Errorf("accepted: %+v", p)
		}
	}
}

func TestLookFindsPrograms(t *testing.T) {
	dir := t.TempDir()
	tool := writeFile(t, dir, "tool", "#!/bin/sh\n", 0o755)
	writeFile(t, dir, "data", "", 0o644)
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "relative:"+dir)
	for _, c := range []struct {
		name, dir, path string
		is              error
	}{
		{"tool", "", tool, nil},
		{"./tool", dir, tool, nil},
		{tool, "/", tool, nil},
		{"sub/../tool", dir, tool, nil},
		{"data", "", "", ErrPermission},
		{"./data", dir, "", ErrPermission},
		{"sub", "", "", ErrPermission},
		{dir, "", "", ErrPermission},
		{"./gone", dir, "", ErrNotFound},
		{"gone", "", "", ErrNotFound},
		{"", "", "", ErrNotFound},
	} {
		path, err := Look(c.name, c.dir)
		if path != c.path || !errors.Is(err, c.is) {
			t.Errorf("Look(%q, %q) = %q, %v", c.name, c.dir, path, err)
		}
	}
}

func TestMaxProcessesRefusesUntilFinish(t *testing.T) {
	s := newSpawner(t, Config{MaxProcesses: 1})
	p := start(t, s, sh("exit 0"), StartOptions{})
	waitDone(t, p)
	_, err := s.Start(t.Context(), sh("exit 0"), StartOptions{})
	if !errors.Is(err, ErrLimit) || err.Error() != `start "/bin/sh": too many processes (limit 1)` {
		t.Errorf("%v", err)
	}
	p.Finish()
	start(t, s, sh("exit 0"), StartOptions{})
}

func TestWaitingForAStartHonoursTheContext(t *testing.T) {
	s := newSpawner(t, Config{MaxStarting: 1})
	s.starting <- struct{}{} // somebody else is starting
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := s.Start(ctx, sh("exit 0"), StartOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	<-s.starting
	if s.Running() != 0 {
		t.Errorf("running %d", s.Running())
	}

	slow := newSpawner(t, Config{StartRate: 0.001})
	start(t, slow, sh("exit 0"), StartOptions{})
	ctx, cancel = context.WithTimeout(t.Context(), bound)
	defer cancel()
	if _, err := slow.Start(ctx, sh("exit 0"), StartOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestLimitsChange(t *testing.T) {
	s := newSpawner(t, Config{MaxProcesses: 2, StartRate: 0.001})
	started := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), bound)
		defer cancel()
		_, err := s.Start(ctx, &Program{Path: "cat"}, StartOptions{})
		return err
	}
	if err := started(); err != nil {
		t.Error(err)
	}
	s.SetLimits(2, 0.001) // the same again gives nobody another burst
	if err := started(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("over the rate: %v", err)
	}
	s.SetLimits(2, 0.002)
	if err := started(); err != nil {
		t.Errorf("with another rate: %v", err)
	}
	s.SetLimits(3, 0)
	if err := started(); err != nil {
		t.Errorf("without a rate: %v", err)
	}
	if err := started(); !errors.Is(err, ErrLimit) {
		t.Errorf("over the limit: %v", err)
	}
	s.SetLimits(1, 0) // which three are above
	if err := started(); !errors.Is(err, ErrLimit) || s.Running() != 3 {
		t.Errorf("over a lower limit: %v, running %d", err, s.Running())
	}
	s.SetLimits(0, 0)
	if err := started(); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}

func TestCloseRefusesStartsAndEndsWaitingOnes(t *testing.T) {
	s := New(Config{StartRate: 0.001})
	p := start(t, s, sh("exec sleep 1000"), StartOptions{})
	waiting := make(chan error)
	go func() {
		_, err := s.Start(t.Context(), sh("exit 0"), StartOptions{})
		waiting <- err
	}()
	eventually(t, "a start waits", func() bool { return s.Running() == 2 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 { // again is harmless
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Errorf("waiting start: %v", err)
	}
	if _, err := s.Start(t.Context(), sh("exit 0"), StartOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("late start: %v", err)
	}
	if got := p.ExitState().Signal; got != syscall.SIGKILL {
		t.Errorf("ended by %v", got)
	}
	if s.Running() != 0 {
		t.Errorf("running %d", s.Running())
	}
	if err := New(Config{}).Close(t.Context()); err != nil {
		t.Errorf("close of an unused one: %v", err)
	}
}
