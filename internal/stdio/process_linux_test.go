package stdio

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// A serverProcess is a service in a process of its own, so that its memory and threads can be measured.
type serverProcess struct {
	t    testing.TB
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	addr string
}

// A serverConfig is what a server process is told.
type serverConfig struct {
	Path       string
	Args       []string
	Options    Options
	MaxMessage int64
	Stderr     spawner.StderrMode
}

func init() {
	// server says its address, and what it is asked for; at the end of its input it shuts down.
	helpers["server"] = func() {
		var c serverConfig
		if err := json.Unmarshal([]byte(os.Getenv("SERVER_CONFIG")), &c); err != nil {
			fatal(err)
		}
		var limit syscall.Rlimit
		syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
		limit.Cur = limit.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
		files := openFiles()
		log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
		sp := spawner.New(spawner.Config{Log: log})
		program := &spawner.Program{Path: c.Path, Args: c.Args, Env: []string{"PATH=/usr/bin:/bin"}, Stderr: c.Stderr}
		h := &wsframe.Handler{
			Log: log,
			Endpoint: &Endpoint{
				Spawner: sp, Options: c.Options, Log: log,
				Resolve: func(*wsframe.Request) (*Target, error) { return &Target{Program: program}, nil },
			},
		}
		h.Options.MaxMessage, h.Options.MaxFrame = c.MaxMessage, c.MaxMessage
		h.Options.PingInterval = -1
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fatal(err)
		}
		hs := &http.Server{Handler: h}
		go hs.Serve(ln)
		fmt.Println(ln.Addr())
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			fmt.Println(sp.Running())
		}
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			fatal(err)
		}
		hs.Close()
		if err := sp.Close(ctx); err != nil {
			fatal(err)
		}
		if n := sp.Running(); n > 0 {
			fatal(fmt.Errorf("%d programs are left", n))
		}
		if all := children(os.Getpid()); len(all) > 0 {
			fatal(fmt.Errorf("children are left: %v", all))
		}
		// A connection of HTTP may need a moment, and the runtime has a few files of its own.
		for end := time.Now().Add(bound); openFiles() > files+5; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				fatal(fmt.Errorf("%d files are open, after %d", openFiles(), files))
			}
		}
	}
}

func openFiles() int {
	all, _ := os.ReadDir("/proc/self/fd")
	return len(all)
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// children returns the children of a process, with their states.
func children(parent int) (all []string) {
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			all = append(all, fmt.Sprintf("%d %s", pid, f[0]))
		}
	}
	return all
}

// startServer starts a server process, which the end of the test ends.
func startServer(t testing.TB, c serverConfig) *serverProcess {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &serverProcess{t: t, cmd: exec.Command(path)}
	s.cmd.Env = append(os.Environ(), "STDIO_TEST_HELPER=server", "SERVER_CONFIG="+string(config))
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.out = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	s.addr = s.line()
	return s
}

func (s *serverProcess) line() string {
	s.t.Helper()
	line, err := s.out.ReadString('\n')
	if err != nil {
		s.t.Fatalf("server process: %v", err)
	}
	return strings.TrimSpace(line)
}

// running asks how many programs run.
func (s *serverProcess) running() string {
	s.t.Helper()
	fmt.Fprintln(s.in, "running")
	return s.line()
}

// stop shuts the server down and reports what it says against that.
func (s *serverProcess) stop() {
	s.t.Helper()
	if s.cmd.ProcessState != nil {
		return
	}
	s.in.Close()
	kill := time.AfterFunc(2*bound, func() { s.cmd.Process.Kill() })
	defer kill.Stop()
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("server process: %v", err)
	}
}

// status returns a number of /proc/PID/status.
func (s *serverProcess) status(field string) int64 {
	s.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return n
		}
	}
	s.t.Fatalf("no %s", field)
	return 0
}

// A growth measures how much more memory a server process takes at its highest.
type growth struct {
	s      *serverProcess
	before int64
}

func (s *serverProcess) growth() growth {
	s.t.Helper()
	// This makes the peak start anew.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0); err != nil {
		s.t.Fatal(err)
	}
	return growth{s, s.status("VmRSS")}
}

// check fails when there were more than so many KiB. The race detector takes several times as much.
func (g growth) check(what string, limit int64) {
	g.s.t.Helper()
	n := g.s.status("VmHWM") - g.before
	g.s.t.Logf("%s: %d KiB more than %d", what, n, g.before)
	if raceEnabled {
		limit *= 12
	}
	if n > limit {
		g.s.t.Errorf("%s: the memory of the server grew by %d KiB, the limit is %d", what, n, limit)
	}
}

// dial connects with a client that takes messages of any size.
func (s *serverProcess) dial() *wsframe.Conn {
	s.t.Helper()
	c, _, err := wsframe.Dial(context.Background(), "ws://"+s.addr, &wsframe.DialOptions{
		Options: wsframe.Options{MaxMessage: -1, MaxFrame: -1, MaxFragments: -1},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		c.CloseNow()
		<-c.Done()
	})
	return c
}
