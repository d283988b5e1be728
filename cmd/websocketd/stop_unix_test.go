//go:build unix

package main

import (
	"io"
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
