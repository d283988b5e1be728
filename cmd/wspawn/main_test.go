package main

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a test waits for something that has to happen; nothing should come near.
const patience = time.Minute

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"wspawn": main})
}

// TestScripts runs testdata/script/*.txtar. Besides the commands of package testscript there are:
//
//	serve NAME [FLAG...] COMMAND [ARG...]
//
// starts "wspawn --port 0 FLAG... COMMAND ARG..." and waits until it listens (with --config in front, without --port). $NAME is then its
// ws:// URL, $NAME_http the same as http://, $NAME_console that of the console, $NAME_pid its
// process. Its log goes to the file NAME.log and what it prints to NAME.out.
//
//	waitlog NAME TEXT
//
// waits until the text is in its log.
//
//	[!] shutdown NAME
//
// sends it SIGTERM and waits for its end; it must end well (with !: badly).
func TestScripts(t *testing.T) {
	// Whoever runs the tests may ignore SIGHUP, as under nohup. The programs of the scripts do not inherit that if it is caught here.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, "HOME="+e.WorkDir, "NO_COLOR=1")
			e.Values["servers"] = make(map[string]*scriptServer)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":    serveScript,
			"shutdown": stopScript,
			"waitlog":  waitLogScript,

			"backend": backendScript,
		},
	})
}

type scriptServer struct {
	cmd  *exec.Cmd
	done chan error
}

func serveScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: serve NAME [FLAG...] COMMAND [ARG...]")
	}
	name := args[0]
	if args[1] != "--config" {
		args = slices.Insert(args, 1, "--port", "0")
	}
	cmd := exec.Command("wspawn", args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"), "WHO="+ts.Getenv("WHO"))
	out, log := create(ts, name+".out"), create(ts, name+".log")
	cmd.Stdout, cmd.Stderr = out, log
	ts.Check(cmd.Start())
	out.Close()
	log.Close()
	s := &scriptServer{cmd: cmd, done: make(chan error, 1)}
	go func() { s.done <- cmd.Wait() }()
	ts.Value("servers").(map[string]*scriptServer)[name] = s
	ts.Defer(func() { // what a script forgets to stop, or could not
		cmd.Process.Kill()
		select {
		case err := <-s.done:
			s.done <- err
		case <-time.After(10 * time.Second):
		}
	})
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		banner, err := os.ReadFile(out.Name())
		ts.Check(err)
		if _, after, ok := strings.Cut(string(banner), "listening  "); ok {
			url, rest, _ := strings.Cut(after, "\n")
			ts.Setenv(name, url)
			ts.Setenv(name+"_pid", strconv.Itoa(cmd.Process.Pid))
			if _, page, ok := strings.Cut(rest, "console    "); ok {
				ts.Setenv(name+"_console", strings.TrimSpace(page))
			}
			ts.Setenv(name+"_http", strings.Replace(url, "ws", "http", 1))
			return
		}
		if len(s.done) > 0 || time.Now().After(end) {
			ts.Fatalf("wspawn does not listen:\n%s%s", banner, ts.ReadFile(name+".log"))
		}
	}
}

func create(ts *testscript.TestScript, name string) *os.File {
	f, err := os.Create(filepath.Join(ts.Getenv("WORK"), name))
	ts.Check(err)
	return f
}

func stopScript(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value("servers").(map[string]*scriptServer)[args[0]]
	if len(args) != 1 || s == nil {
		ts.Fatalf("usage: shutdown NAME of serve")
	}
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-s.done:
		s.done <- err
		if (err != nil) != neg {
			ts.Fatalf("wspawn ended with %v:\n%s", err, ts.ReadFile(args[0]+".log"))
		}
	case <-time.After(patience):
		ts.Fatalf("wspawn does not end")
	}
}

func waitLogScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitlog NAME TEXT")
	}
	for end := time.Now().Add(patience); !strings.Contains(ts.ReadFile(args[0]+".log"), args[1]); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("the log of %s does not say %q:\n%s", args[0], args[1], ts.ReadFile(args[0]+".log"))
		}
	}
}
