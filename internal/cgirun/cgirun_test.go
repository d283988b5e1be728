//go:build unix

package cgirun_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/cgirun"
	"github.com/wspawn/wspawn/scgi"
	"github.com/wspawn/wspawn/spawner"
)

const patience = time.Minute

// quick is a ladder for programs that ignore everything.
var quick = spawner.Ladder{{After: 0}, {After: 50 * time.Millisecond, Signal: syscall.SIGTERM}, {After: 50 * time.Millisecond, Signal: os.Kill}}

// serve has h answer SCGI requests until the end of the test.
func serve(t *testing.T, h *cgirun.Handler) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.Variables, h.EndIsGone, h.Stop = scgi.Variables, true, quick
	h.Spawner = spawner.New(spawner.Config{})
	s := &scgi.Server{Handler: h}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), h.Shutdown(ctx), h.Spawner.Close(ctx)); err != nil {
			t.Error(err)
		}
		if n := h.Spawner.Running(); n != 0 {
			t.Errorf("%d programs are left", n)
		}
		<-ended
	})
	return l.Addr()
}

type gateway struct {
	*net.TCPConn
	*bufio.Reader
	t *testing.T
}

func (g gateway) Read(p []byte) (int, error) { return g.Reader.Read(p) }

// ask sends a request for a program in a role.
func ask(t *testing.T, a net.Addr, role string, pairs ...string) gateway {
	t.Helper()
	nc, err := net.Dial("tcp", a.String())
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { nc.Close() })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := cgi.List{{Name: "CONTENT_LENGTH", Value: "0"}, {Name: "REQUEST_METHOD", Value: "GET"}, {Name: "SCRIPT_FILENAME", Value: self}, {Name: "ROLE", Value: role}}
	for i := 0; i < len(pairs); i += 2 {
		l.Set(pairs[i], pairs[i+1])
	}
	b, err := scgi.SCGI.Append(nil, l)
	if err != nil {
		t.Fatal(err)
	}
	g := gateway{nc.(*net.TCPConn), bufio.NewReader(nc), t}
	g.send(string(b))
	return g
}

func (g gateway) send(s string) {
	g.t.Helper()
	if _, err := io.WriteString(g.TCPConn, s); err != nil {
		g.t.Fatal(err)
	}
}

func (g gateway) rest() string {
	g.t.Helper()
	b, err := io.ReadAll(g.Reader)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(b)
}

// body skips the head and returns a line of the body.
func (g gateway) body() string {
	g.t.Helper()
	for {
		line, err := g.ReadString('\n')
		if err != nil {
			g.t.Fatal(err)
		}
		if line == "\r\n" {
			line, _ = g.ReadString('\n')
			return strings.TrimSpace(line)
		}
	}
}

func (g gateway) want(s string) {
	g.t.Helper()
	got := make([]byte, len(s))
	if _, err := io.ReadFull(g.Reader, got); err != nil || string(got) != s {
		g.t.Fatalf("got %q, %v, want %q", got, err, s)
	}
}

func TestWhatAProgramSees(t *testing.T) {
	a := serve(t, &cgirun.Handler{Path: "/nice/path"})
	self, _ := os.Executable()
	t.Setenv("SECRET", "of the server")
	g := ask(t, a, "show", "CONTENT_LENGTH", "100000", "HTTP_X", "y", "QUERY_STRING", "")
	g.send(strings.Repeat("x", 100_000))
	_, body, _ := strings.Cut(g.rest(), "\r\n\r\n")
	lines := strings.Split(strings.TrimSpace(body), "\n")
	want := []string{"[]", filepath.Dir(self), "100000 <nil>", "CONTENT_LENGTH=100000", "SCGI=1", "REQUEST_METHOD=GET", "SCRIPT_FILENAME=" + self, "ROLE=show",
		"HTTP_X=y", "QUERY_STRING=", "PATH=/nice/path"}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q", lines)
	}
}

func TestInterpretersGetTheScript(t *testing.T) {
	self, _ := os.Executable()
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, nil, 0o600); err != nil { // need not be executable
		t.Fatal(err)
	}
	show := func(a net.Addr, pairs ...string) string {
		_, body, _ := strings.Cut(ask(t, a, "show", pairs...).rest(), "\r\n\r\n")
		args, rest, _ := strings.Cut(body, "\n")
		cwd, _, _ := strings.Cut(rest, "\n")
		return args + " in " + cwd
	}
	want := fmt.Sprintf("[%q] in %s", script, dir)
	if got := show(serve(t, &cgirun.Handler{}), "INTERPRETER", self, "SCRIPT_FILENAME", script); got != want {
		t.Errorf("INTERPRETER: got %s, want %s", got, want)
	}
	if got := show(serve(t, &cgirun.Handler{Interpreter: self}), "INTERPRETER", "/nowhere", "SCRIPT_FILENAME", script); got != want {
		t.Errorf("--binary: got %s, want %s", got, want)
	}
	want = fmt.Sprintf(`["a" "b"] in %s`, filepath.Dir(self))
	if got := show(serve(t, &cgirun.Handler{Program: []string{self, "a", "b"}}), "SCRIPT_FILENAME", "/nowhere"); got != want {
		t.Errorf("PROGRAM: got %s, want %s", got, want)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	plain, broken, self := filepath.Join(dir, "plain"), filepath.Join(dir, "broken"), os.Args[0]
	if err := errors.Join(os.WriteFile(plain, []byte("#!/bin/sh\n"), 0o600), os.WriteFile(broken, []byte("#!/no/such/shell\n"), 0o700)); err != nil {
		t.Fatal(err)
	}
	a := serve(t, &cgirun.Handler{})
	for _, tt := range []struct {
		name, script, interpreter string
		status                    int
	}{
		{"no script", "", "", 500},
		{"a relative script", "plain", "", 500},
		{"nothing there", filepath.Join(dir, "none"), "", 404},
		{"a file in the way", filepath.Join(plain, "x"), "", 403},
		{"a directory", dir, "", 403},
		{"not executable", plain, "", 403},
		{"no script for the interpreter", filepath.Join(dir, "none"), self, 404},
		{"no interpreter", plain, "/no/such/interpreter", 500},
		{"no interpreter for the script", broken, "", 500},
	} {
		got := ask(t, a, "show", "SCRIPT_FILENAME", tt.script, "INTERPRETER", tt.interpreter).rest()
		if want := fmt.Sprintf("Status: %d %s\r\n", tt.status, http.StatusText(tt.status)); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, want)
		}
		if strings.Contains(got, dir) {
			t.Errorf("%s: the answer tells where files are: %q", tt.name, got)
		}
	}
	if got := ask(t, a, "nothing").rest(); got != "" {
		t.Errorf("no output became %q", got)
	}
}

func TestUpgradesStreamUntilTheEnd(t *testing.T) {
	a := serve(t, &cgirun.Handler{})
	g := ask(t, a, "upgrade", "HTTP_UPGRADE", "bytes")
	g.send("glued")
	g.want("Status: 101 Switching Protocols\r\nUpgrade: bytes\r\nConnection: Upgrade\r\n\r\nglued")
	for range 3 {
		g.send("more")
		g.want("more")
	}
	g.CloseWrite() // the other direction lives on
	if got := g.rest(); got != "end" {
		t.Errorf("got %q", got)
	}
	g = ask(t, a, "decline", "HTTP_UPGRADE", "bytes")
	g.CloseWrite()
	if got := g.rest(); got != "Status: 403 Forbidden\r\n\r\nno" {
		t.Errorf("got %q", got)
	}
}

func TestAnswersBeforeTheBodyArrive(t *testing.T) {
	a := serve(t, &cgirun.Handler{})
	g := ask(t, a, "early", "CONTENT_LENGTH", "10000000")
	io.WriteString(g.TCPConn, strings.Repeat("x", 1<<20))
	if got := g.rest(); !strings.HasSuffix(got, "enough") {
		t.Errorf("got %q", got)
	}
}

func TestWhatIsLeftBehindHoldsUpNobody(t *testing.T) {
	if got := ask(t, serve(t, &cgirun.Handler{}), "leave").rest(); !strings.HasSuffix(got, "left") {
		t.Errorf("got %q", got)
	}
}

// waitGone waits until processes do not exist any more.
func waitGone(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("process %d is alive", pid)
			}
		}
	}
}

func TestProgramsEndWithTheGateway(t *testing.T) {
	a := serve(t, &cgirun.Handler{HalfTimeout: 100 * time.Millisecond})
	for _, tt := range []struct {
		name, role string
		pairs      []string
		input      int
	}{
		{name: "an ordinary request", role: "sleep"},
		{name: "in the middle of the body", role: "sleep", pairs: []string{"CONTENT_LENGTH", "10"}, input: 5},
		{name: "an upgrade, whose program ignores the end", role: "sleep", pairs: []string{"HTTP_UPGRADE", "x"}},
		{name: "a body that nobody reads", role: "deaf", pairs: []string{"CONTENT_LENGTH", "10000000"}, input: 100_000},
		{name: "a tunnel that nobody reads", role: "deaf", pairs: []string{"HTTP_UPGRADE", "x"}, input: 100_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := ask(t, a, tt.role, tt.pairs...)
			var pids [2]int
			n, _ := fmt.Sscan(g.body(), &pids[0], &pids[1])
			if n == 0 {
				t.Fatal("no pids")
			}
			g.send(strings.Repeat("x", tt.input))
			g.Close()
			waitGone(t, pids[:n]...)
		})
	}
}

func TestProgramsThatReadNothingAreStopped(t *testing.T) {
	a := serve(t, &cgirun.Handler{StallTimeout: 100 * time.Millisecond})
	g := ask(t, a, "deaf", "HTTP_UPGRADE", "x")
	pid := 0
	fmt.Sscan(g.body(), &pid)
	go io.Copy(g.TCPConn, zeros{})
	waitGone(t, pid)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestTurns(t *testing.T) {
	a := serve(t, &cgirun.Handler{Max: 2, Queue: 1})
	upgrade := func() gateway { return ask(t, a, "upgrade", "HTTP_UPGRADE", "x") }
	running := []gateway{upgrade(), upgrade()}
	for _, g := range running {
		g.want("Status: 101 ")
	}
	answered := make(chan gateway, 2)
	for range 2 { // one waits, whichever the server sees first
		g := upgrade()
		go func() {
			g.Peek(1)
			answered <- g
		}()
	}
	refused := (<-answered).rest()
	if !strings.HasPrefix(refused, "Status: 503 ") || !strings.Contains(refused, "\r\nRetry-After: 1\r\n") {
		t.Errorf("got %q", refused)
	}
	running[0].Close()
	running[1].CloseWrite()
	waiting := <-answered
	waiting.want("Status: 101 ")
}
