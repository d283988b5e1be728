//go:build unix

package cgirun_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A command is a running scgi-cgi.
type command struct {
	*exec.Cmd
	addr net.Addr
}

func start(t *testing.T, binary string, args ...string) command {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"--listen", "127.0.0.1:0"}, args...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	line, err := bufio.NewReader(stderr).ReadString('\n')
	_, address, ok := strings.Cut(strings.TrimSpace(line), "scgi-cgi: listening on ")
	if !ok {
		t.Fatalf("%q, %v", line, err)
	}
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return command{cmd, addr}
}

func build(t *testing.T, name string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

func TestSignals(t *testing.T) {
	binary := build(t, "scgi-cgi")
	t.Run("the first one lets programs end", func(t *testing.T) {
		c := start(t, binary)
		g := ask(t, c.addr, "upgrade", "HTTP_UPGRADE", "x")
		g.want("Status: 101 ")
		c.Process.Signal(syscall.SIGTERM)
		for { // until the listener is closed
			nc, err := net.Dial("tcp", c.addr.String())
			if err != nil {
				break
			}
			nc.Close()
		}
		g.send("still here")
		g.CloseWrite()
		if got := g.rest(); !strings.HasSuffix(got, "\r\n\r\nstill hereend") {
			t.Errorf("got %q", got)
		}
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	})
	t.Run("the second one does not", func(t *testing.T) {
		c := start(t, binary)
		g := ask(t, c.addr, "sleep")
		var pids [2]int
		if _, err := fmt.Sscan(g.body(), &pids[0], &pids[1]); err != nil {
			t.Fatal(err)
		}
		c.Process.Signal(syscall.SIGTERM)
		for {
			nc, err := net.Dial("tcp", c.addr.String())
			if err != nil {
				break
			}
			nc.Close()
		}
		c.Process.Signal(syscall.SIGHUP)
		if err := c.Wait(); err == nil || err.Error() != "exit status 1" {
			t.Errorf("ended with %v", err)
		}
		waitGone(t, pids[:]...)
	})
	t.Run("its own sudden death ends programs too", func(t *testing.T) {
		c := start(t, binary)
		var pids [2]int
		if _, err := fmt.Sscan(ask(t, c.addr, "sleep").body(), &pids[0], &pids[1]); err != nil {
			t.Fatal(err)
		}
		c.Process.Kill()
		c.Wait()
		waitGone(t, pids[:]...)
	})
}

func TestCommandLine(t *testing.T) {
	busy := filepath.Join(t.TempDir(), "file")
	write(t, busy, "", 0o600)
	for _, name := range []string{"scgi-cgi", "fcgi-cgi"} {
		binary := build(t, name)
		for _, tt := range []struct {
			args string
			code int
			want string
		}{
			{"", 2, "descriptor 0 is not a listening socket: say where to listen with --listen"},
			{"--nope", 2, "unknown flag: --nope (see " + name + " --help)"},
			{"-c 0", 2, "--max-connections 0: at least 1"},
			{"-q -1", 2, "--queue -1: not below 0"},
			{"-b sh cat", 2, "--binary and PROGRAM are two ways to say the same, use one"},
			{"-l 127.0.0.1:0 /no/such/program", 2, `program "/no/such/program": no such file`},
			{"-l unix:" + busy, 1, "listen on unix:" + busy + ": a file of that name exists and is not a socket"},
		} {
			var out bytes.Buffer
			cmd := exec.Command(binary, strings.Fields(tt.args)...)
			cmd.Stderr, cmd.Stdout = &out, io.Discard
			cmd.Run()
			if got := out.String(); cmd.ProcessState.ExitCode() != tt.code || got != name+": "+tt.want+"\n" {
				t.Errorf("%s %s: status %d, %q, want %q", name, tt.args, cmd.ProcessState.ExitCode(), got, tt.want)
			}
		}
		help, err := exec.Command(binary, "--help").Output()
		if err != nil || !strings.Contains(string(help), "--max-connections NUMBER") || !bytes.Contains(help, []byte(name+" --listen")) {
			t.Errorf("%v\n%s", err, help)
		}
	}
}
