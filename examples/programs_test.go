//go:build unix

package examples

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/streamtest"
)

// start runs a program until the end of the test.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var log streamtest.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: run scripts/setup", err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(timeout, func() { cmd.Process.Kill() })
		cmd.Wait()
		kill.Stop()
		if t.Failed() {
			t.Logf("%s: %s", cmd.Path, log.String())
		}
	})
}

// listen starts a program with a listening socket as standard input, and returns its address.
func listen(t *testing.T, name string, args ...string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	stdin, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdin = stdin
	start(t, cmd)
	return ln.Addr().String()
}

func connect(t *testing.T, addr string) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(timeout))
	return c.(*net.TCPConn), bufio.NewReader(c)
}

func TestEchoPL(t *testing.T) {
	t.Parallel()
	addr := listen(t, "./echo-pl/echo.pl")
	for range 2 {
		c, r := connect(t, addr)
		io.WriteString(c, "one\ntw")
		if line, err := r.ReadString('\n'); err != nil || line != "one\n" {
			t.Errorf("%q, %v", line, err)
		}
		io.WriteString(c, "o\nlast words")
		c.CloseWrite()
		if rest, err := io.ReadAll(r); err != nil || string(rest) != "two\nlast words" {
			t.Errorf("%q, %v", rest, err)
		}
		c.Close()
	}
	// A client that leaves with its echoes on the way is not the end.
	c, _ := connect(t, addr)
	io.WriteString(c, strings.Repeat("line\n", 20000))
	c.SetLinger(0)
	c.Close()
	c, r := connect(t, addr)
	io.WriteString(c, "still there\n")
	if line, err := r.ReadString('\n'); err != nil || line != "still there\n" {
		t.Errorf("%q, %v", line, err)
	}
}

func TestEchoIncrementalPL(t *testing.T) {
	t.Parallel()
	addr := listen(t, "./echo-pl/echo-incremental.pl")
	c, r := connect(t, addr)
	for i := range 5 {
		s := fmt.Sprint("piece ", i)
		io.WriteString(c, s)
		b := make([]byte, len(s))
		if _, err := io.ReadFull(r, b); err != nil || string(b) != s {
			t.Errorf("%q, %v", b, err)
		}
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v, want the end", rest, err)
	}
}

func TestPHP(t *testing.T) {
	script, err := filepath.Abs("php/index.php")
	if err != nil {
		t.Fatal(err)
	}
	run := func(method, body string, env ...string) string {
		t.Helper()
		cmd := exec.Command("php-cgi")
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "REDIRECT_STATUS=200", "SCRIPT_FILENAME=" + script, "REQUEST_METHOD=" + method}, env...)
		cmd.Stdin = strings.NewReader(body)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: run scripts/setup", err)
		}
		return string(out)
	}
	for _, want := range []string{"Content-Type: text/html; charset=utf-8", "answers GET.", "cgi-fcgi</h1>", "<th>name<td>&lt;i&gt;", "<th>SCRIPT_FILENAME<td>" + script} {
		if out := run("GET", "", "QUERY_STRING=name="+url.QueryEscape("<i>")); !strings.Contains(out, want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
	body := "name=me"
	if out := run("POST", body, "CONTENT_TYPE=application/x-www-form-urlencoded", fmt.Sprint("CONTENT_LENGTH=", len(body))); !strings.Contains(out, `<table id="post"><tr><th>name<td>me`) {
		t.Errorf("%s", out)
	}
}
