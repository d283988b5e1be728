package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wspawn/wspawn/internal/streamtest"
	"github.com/wspawn/wspawn/wsframe"
)

// The test binary is the command itself when runAsCommand is set, and one of
// the programs below when its first argument says so: the command under test
// hands no variables on.
const (
	runAsCommand = "WEBSOCKETD_TEST_COMMAND"
	childPrefix  = "child:"
)

// patience bounds waiting for what must happen. No test depends on how long
// anything takes.
const patience = time.Minute

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], childPrefix) {
		child(strings.TrimPrefix(os.Args[1], childPrefix), os.Args[2:])
		os.Exit(0)
	}
	if os.Getenv(runAsCommand) != "" || len(os.Args) == 2 && os.Args[1] == guardArg {
		os.Unsetenv(runAsCommand)
		os.Exit(command(os.Args, os.Stdout, os.Stderr))
	}
	// Whoever runs the tests may ignore signals, as shells do for what is in the background. Servers do not inherit that if they are
	// caught here.
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGHUP} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	goleak.VerifyTestMain(m)
}

// child is what the command starts in these tests.
func child(name string, args []string) {
	in := bufio.NewReader(os.Stdin)
	switch name {
	case "echo": // lines, with a mark
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Print("got " + line)
		}
	case "cat":
		io.Copy(os.Stdout, in)
	case "env":
		for _, kv := range os.Environ() {
			fmt.Println(kv)
		}
	case "env0": // for values with newlines
		for _, kv := range os.Environ() {
			fmt.Printf("%q\n", kv)
		}
	case "args":
		fmt.Printf("%q\n", args)
	case "pwd":
		dir, _ := os.Getwd()
		fmt.Println(dir)
	case "print": // its arguments, as they are
		fmt.Print(strings.Join(args, ""))
	case "stderr":
		for _, line := range args {
			fmt.Fprintln(os.Stderr, line)
		}
		fmt.Println("done")
	case "longstderr": // more than a pipe holds
		fmt.Fprintln(os.Stderr, strings.Repeat("x", 200000))
		fmt.Println("done")
	case "both":
		fmt.Println("out <&>")
		fmt.Fprintln(os.Stderr, "err")
	case "exit":
		code, _ := strconv.Atoi(args[0])
		os.Exit(code)
	case "pid": // its own, and waits for the end of its input
		fmt.Println(os.Getpid())
		io.Copy(io.Discard, in)
	case "family": // the pids of itself and of a child that hears nothing
		c := exec.Command(os.Args[0], childPrefix+"deaf")
		if err := c.Start(); err != nil {
			os.Exit(9)
		}
		fmt.Println(os.Getpid(), c.Process.Pid)
		io.Copy(io.Discard, in)
	case "deaf":
		ignoreSignals()
		select {}
	case "deafpid":
		ignoreSignals()
		fmt.Println(os.Getpid())
		select {}
	case "lines": // so many, and gone
		n, _ := strconv.Atoi(args[0])
		out := bufio.NewWriter(os.Stdout)
		for i := range n {
			fmt.Fprintln(out, i)
		}
		out.Flush()
	case "closed-stdin": // reads nothing, says much
		os.Stdin.Close()
		for i := range 1000 {
			fmt.Println(i)
		}
	default:
		os.Exit(97)
	}
}

// command under test.
type daemon struct {
	t      *testing.T
	cmd    *exec.Cmd
	addr   string // of the TCP listener; empty without
	unix   string
	stdout streamtest.Buffer
	stderr streamtest.Buffer
	done   chan struct{} // closed when it has ended
}

// invoke prepares the command with args.
func invoke(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Args[0] = "/somewhere/websocketd"
	cmd.Path = executable()
	cmd.Env = append(os.Environ(), runAsCommand+"=1", "WSD_SECRET=secret", "WSD_PASSED=passed", "HTTPS=no")
	return cmd
}

// self is the test binary as a program that the command starts.
func self(name string, args ...string) []string {
	return append([]string{executable(), childPrefix + name}, args...)
}

var executable = sync.OnceValue(func() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
})

// start runs the command on a free TCP port of the loopback and waits until it
// answers. Flags come before the port, program is what follows the flags.
func start(t *testing.T, flags []string, program ...string) *daemon {
	t.Helper()
	for range 5 {
		port := streamtest.FreePort(t)
		args := append(append([]string{"--address=127.0.0.1", "--port=" + port}, flags...), program...)
		d := launch(t, args...)
		d.addr = "127.0.0.1:" + port
		if d.up("tcp", d.addr) {
			return d
		}
		if !strings.Contains(d.stdout.String(), "address already in use") {
			t.Fatalf("the server did not come up:\n%s%s", d.stdout.String(), d.stderr.String())
		}
	}
	t.Fatal("no free port")
	return nil
}

// startUnix does the same on a Unix socket.
func startUnix(t *testing.T, flags []string, program ...string) *daemon {
	t.Helper()
	return startUnixBy(t, nil, flags, program...)
}

// startUnixBy changes the command before it is run.
func startUnixBy(t *testing.T, change func(*exec.Cmd), flags []string, program ...string) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "wsd") // t.TempDir is too long for an address
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "s")
	cmd := invoke(context.Background(), append(append([]string{"--unixsocket=" + name}, flags...), program...)...)
	if change != nil {
		change(cmd)
	}
	d := run(t, cmd)
	d.unix = name
	if !d.up("unix", name) {
		t.Fatalf("the server did not come up:\n%s%s", d.stdout.String(), d.stderr.String())
	}
	return d
}

// launch runs the command with args.
func launch(t *testing.T, args ...string) *daemon {
	t.Helper()
	return run(t, invoke(context.Background(), args...))
}

// run runs the command. It is ended with the test.
func run(t *testing.T, cmd *exec.Cmd) *daemon {
	t.Helper()
	d := &daemon{t: t, cmd: cmd, done: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = &d.stdout, &d.stderr
	d.cmd.WaitDelay = time.Second
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.cmd.Wait()
		close(d.done)
	}()
	t.Cleanup(func() {
		d.cmd.Process.Signal(os.Interrupt)
		select {
		case <-d.done:
		case <-time.After(patience):
			d.cmd.Process.Kill()
			<-d.done
			t.Error("the server did not end")
		}
		if t.Failed() {
			t.Logf("stdout:\n%s\nstderr:\n%s", d.stdout.String(), d.stderr.String())
		}
	})
	return d
}

// up waits until the server accepts connections, or has ended.
func (d *daemon) up(network, addr string) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if c, err := net.Dial(network, addr); err == nil {
			c.Close()
			return true
		}
		select {
		case <-d.done:
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	return false
}

// wait waits for the end of the server.
func (d *daemon) wait() *os.ProcessState {
	d.t.Helper()
	select {
	case <-d.done:
		return d.cmd.ProcessState
	case <-time.After(patience):
		d.t.Fatal("the server did not end")
		return nil
	}
}

// logged waits for a line on stdout that matches, and returns it.
func (d *daemon) logged(pattern string) string {
	d.t.Helper()
	return d.find(&d.stdout, pattern)
}

func (d *daemon) find(stream *streamtest.Buffer, pattern string) string {
	d.t.Helper()
	re := regexp.MustCompile(`(?m)^.*` + pattern + `.*$`)
	for end := time.Now().Add(patience); ; {
		if line := re.FindString(stream.String()); line != "" {
			return line
		}
		if time.Now().After(end) {
			d.t.Fatalf("no line matches %s", pattern)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// conn opens a connection to the server.
func (d *daemon) conn() net.Conn {
	d.t.Helper()
	network, addr := "tcp", d.addr
	if addr == "" {
		network, addr = "unix", d.unix
	}
	c, err := net.Dial(network, addr)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// host is what the Host header says unless a test says otherwise.
func (d *daemon) host() string {
	if d.addr == "" {
		return "localhost"
	}
	return d.addr
}

// get sends a request as it is, with LF for CRLF and HOST replaced, and
// returns the answer, with the body read.
func (d *daemon) get(raw string) (*http.Response, string) {
	d.t.Helper()
	res, body, _ := d.send(d.conn(), raw)
	return res, body
}

func (d *daemon) send(c net.Conn, raw string) (*http.Response, string, *bufio.Reader) {
	d.t.Helper()
	raw = strings.NewReplacer("\n", "\r\n", "HOST", d.host()).Replace(raw)
	if _, err := io.WriteString(c, raw); err != nil {
		d.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, &http.Request{Method: strings.Fields(raw)[0]})
	if err != nil {
		d.t.Fatalf("no answer to %q: %v", raw, err)
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res, "", r
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return res, string(body), r
}

// handshake is a valid one, to be completed with more lines and an empty one.
func handshake(target string, lines ...string) string {
	return "GET " + target + " HTTP/1.1\nHost: HOST\nUpgrade: websocket\nConnection: Upgrade\n" +
		"Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n" + strings.Join(append(lines, "", ""), "\n")
}

// client is a WebSocket client that reads as tests need it.
type client struct {
	t *testing.T
	*wsframe.Conn
}

// open makes a WebSocket, which must succeed.
func (d *daemon) open(target string, lines ...string) *client {
	d.t.Helper()
	return d.openOn(d.conn(), handshake(target, lines...))
}

func (d *daemon) openOn(c net.Conn, raw string) *client {
	d.t.Helper()
	res, body, r := d.send(c, raw)
	if res.StatusCode != http.StatusSwitchingProtocols {
		d.t.Fatalf("%s %q for %s", res.Status, body, raw)
	}
	buffered, _ := r.Peek(r.Buffered())
	ws := wsframe.NewConn(c, buffered, wsframe.Client, "", &wsframe.Options{MaxFrame: -1, MaxMessage: -1, PingInterval: -1})
	d.t.Cleanup(func() { ws.CloseNow() })
	return &client{d.t, ws}
}

// text reads one text message.
func (c *client) text() string {
	c.t.Helper()
	op, p, err := c.ReadMessage(nil)
	if err != nil || op != wsframe.OpText {
		c.t.Fatalf("got %v %q, %v; want a text message", op, p, err)
	}
	return string(p)
}

// say sends a text message.
func (c *client) say(s string) {
	c.t.Helper()
	if err := c.WriteMessage(wsframe.OpText, []byte(s)); err != nil {
		c.t.Fatal(err)
	}
}

// all reads messages up to the end, and tells how it ended.
func (c *client) all() (messages []string, end *wsframe.CloseError) {
	c.t.Helper()
	for {
		_, p, err := c.ReadMessage(nil)
		if err != nil {
			if !errors.As(err, &end) {
				c.t.Fatal(err)
			}
			return messages, end
		}
		messages = append(messages, string(p))
	}
}

// script writes an executable shell script.
func script(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	// Written under another name, so that no process that is forked meanwhile
	// holds it open for writing ("text file busy").
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}
