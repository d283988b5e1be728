package spawner

import (
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// helpers are little programs inside the test binary, selected by the environment variable
// SPAWNER_TEST_HELPER.
var helpers = map[string]func(){}

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "spawner-test-guard" {
		GuardMain()
		return
	}
	if name := os.Getenv("SPAWNER_TEST_HELPER"); name != "" {
		helpers[name]()
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/wspawn/wspawn/spawner.threadLoop"))
}

// self returns the path of the test binary.
func self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// helper returns the program of a helper.
func helper(t testing.TB, name string, env ...string) *Program {
	t.Helper()
	if helpers[name] == nil {
		t.Fatalf("no helper %q", name)
	}
	return &Program{Path: self(t), Env: append([]string{"SPAWNER_TEST_HELPER=" + name, "GOMAXPROCS=1"}, env...)}
}

// sh returns a shell script as a program.
func sh(script string) *Program {
	return &Program{Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=/usr/bin:/bin"}}
}

// bound is the time after which a test gives up waiting for something that has to happen.
const bound = time.Minute

func waitDone(t testing.TB, p *Process) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(bound):
		t.Fatalf("process %d does not end", p.Pid())
	}
}

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(bound); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("still not true: %s", what)
}

func init() {
	// signals logs the signals it gets to stdout, and the end of stdin, and only SIGKILL ends it.
	helpers["signals"] = func() {
		c := make(chan os.Signal, 10)
		signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		os.Stdout.WriteString("ready\n")
		go func() {
			var b [1]byte
			for {
				if n, _ := os.Stdin.Read(b[:]); n == 0 {
					os.Stdout.WriteString("stdin closed\n")
					return
				}
			}
		}()
		for s := range c {
			os.Stdout.WriteString(s.String() + "\n")
		}
	}
	// env prints its environment.
	helpers["env"] = func() { os.Stdout.WriteString(strings.Join(os.Environ(), "\n")) }
}
