//go:build unix

package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// gone waits until there is no such process.
func gone(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); syscall.Kill(n, 0) == nil; {
		if time.Now().After(end) {
			t.Fatalf("process %s is alive", pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestSignalsEndTheServerGracefully(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			d := startUnix(t, nil, self("pid")...)
			c := d.open("/")
			pid := c.text()
			d.cmd.Process.Signal(sig)
			if _, end := c.all(); end.Code != wsframe.CloseGoingAway {
				t.Errorf("the client was told %v", end)
			}
			state := d.wait()
			if ws := state.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != sig {
				t.Errorf("the server ended with %v", state)
			}
			gone(t, pid)
			d.logged("DISCONNECT")
		})
	}
}

func TestAnIgnoredSignalStaysIgnored(t *testing.T) {
	t.Parallel()
	d := startUnixBy(t, func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", `trap '' HUP; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
	}, nil, self("cat")...)
	d.cmd.Process.Signal(syscall.SIGHUP)
	d.open("/").CloseNow() // it is still there
	d.cmd.Process.Signal(syscall.SIGTERM)
	if ws := d.wait().Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGTERM {
		t.Errorf("the server ended by %v", ws.Signal())
	}
}

func TestGrandchildrenEndWithTheSession(t *testing.T) {
	t.Parallel()
	d := startUnix(t, nil, self("family")...)
	c := d.open("/")
	pids := strings.Fields(c.text())
	c.Close(wsframe.CloseNormal, "")
	for _, pid := range pids {
		gone(t, pid)
	}
}

func TestADeafProgramIsKilled(t *testing.T) {
	t.Parallel()
	d := startUnix(t, nil, self("deafpid")...)
	c := d.open("/")
	pid := c.text()
	c.Close(wsframe.CloseNormal, "")
	gone(t, pid)
	d.logged("DISCONNECT")
}

func TestNothingSurvivesAServerThatIsKilled(t *testing.T) {
	t.Parallel()
	d := startUnix(t, nil, self("family")...)
	c := d.open("/")
	pids := strings.Fields(c.text())
	d.cmd.Process.Kill()
	for _, pid := range pids {
		gone(t, pid)
	}
	d.wait()
}

func TestCGIProgramsEndWithAllTheyHaveStarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script(t, dir, "family.cgi", "printf 'Content-Type: text/plain\\n\\n'; exec "+executable()+" child:family")
	script(t, dir, "deaf.cgi", "printf 'Content-Type: text/plain\\n\\n'; exec "+executable()+" child:deafpid")
	d := startUnix(t, []string{"--cgidir=" + dir, "--maxforks=1"})
	get := func(c net.Conn, name string) *bufio.Reader {
		t.Helper()
		for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			io.WriteString(c, "GET /"+name+" HTTP/1.0\r\n\r\n")
			r := bufio.NewReader(c)
			res, err := http.ReadResponse(r, nil)
			switch {
			case err != nil:
				t.Fatal(err)
			case res.StatusCode == http.StatusOK:
				return bufio.NewReader(res.Body)
			case res.StatusCode != http.StatusTooManyRequests || time.Now().After(end):
				t.Fatal(res.Status)
			}
			c.Close()
			c = d.conn()
		}
	}
	all, err := io.ReadAll(get(d.conn(), "family.cgi"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(all)) {
		gone(t, pid)
	}
	c := d.conn()
	first, _ := get(c, "deaf.cgi").ReadString('\n')
	if res, body := d.get("GET /family.cgi HTTP/1.1\nHost: HOST\n\n"); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("%s %q beside a program that runs", res.Status, body)
	}
	c.Close() // the client leaves
	gone(t, strings.TrimSpace(first))
	second, _ := get(d.conn(), "deaf.cgi").ReadString('\n')
	d.cmd.Process.Kill()
	gone(t, strings.TrimSpace(second))
	d.wait()
}

func TestAClientThatVanishesFreesItsPlace(t *testing.T) {
	t.Parallel()
	// Worse: one that sent more than the program ever reads.
	d := startUnix(t, []string{"--maxforks=1"}, self("deafpid")...)
	c := d.open("/")
	pid := c.text()
	sent, flood := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(flood)
		for i := 0; c.WriteMessage(wsframe.OpText, make([]byte, 64<<10)) == nil; i++ {
			if i == 2 { // more than a pipe holds
				close(sent)
			}
		}
	}()
	<-sent
	c.CloseNow()
	<-flood
	d.logged("DISCONNECT")
	gone(t, pid)
	next := d.open("/")
	next.text()
	next.CloseNow()
}

// TestPings looks at the bytes of --pingms: empty pings, and the end of a
// client that does not answer.
func TestPings(t *testing.T) {
	t.Parallel()
	d := startUnix(t, []string{"--pingms=50"}, self("cat")...)
	c := d.conn()
	_, _, r := d.send(c, handshake("/"))
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) < 2 || got[0] != 0x89 {
		t.Errorf("got %q", got)
	}
	d.logged("DISCONNECT")

	quiet := startUnix(t, nil, self("cat")...).open("/")
	quiet.say("x")
	if got := quiet.text(); got != "x" { // and no ping before it
		t.Errorf("got %q", got)
	}
	quiet.Close(wsframe.CloseNormal, "")
}
