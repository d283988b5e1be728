//go:build unix

package stdio

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// sh returns a shell script as a program.
func sh(script string) *spawner.Program {
	return &spawner.Program{Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}}
}

// stubborn returns a shell script that will need a signal to end, and does not wait long for it.
func stubborn(script string) *spawner.Program {
	p := sh(script)
	p.Stop = spawner.Ladder{{After: 0}, {After: 300 * time.Millisecond, Signal: syscall.SIGTERM}, {After: 300 * time.Millisecond, Signal: os.Kill}}
	return p
}

// helper returns the program of a helper in the test binary.
func helper(t testing.TB, name string, env ...string) *spawner.Program {
	t.Helper()
	if helpers[name] == nil {
		t.Fatalf("no helper %q", name)
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &spawner.Program{Path: path, Env: append([]string{"STDIO_TEST_HELPER=" + name, "GOMAXPROCS=1"}, env...)}
}

// A service is an endpoint on a server.
type service struct {
	t       testing.TB
	handler *wsframe.Handler
	spawner *spawner.Spawner
	addr    string
	log     logBuffer

	mu        sync.Mutex // guards the fields below
	summaries []Summary
	started   int
}

type serviceOptions struct {
	Options
	spawn   spawner.Config
	wire    wsframe.Options
	resolve func(*wsframe.Request) (*Target, error)
	wrap    func(http.Handler) http.Handler
}

// serve starts a service of one program, which the end of the test stops and checks.
func serve(t testing.TB, p *spawner.Program, o serviceOptions) *service {
	t.Helper()
	if err := o.Check(); err != nil {
		t.Fatal(err)
	}
	s := &service{t: t}
	log := slog.New(slog.NewTextHandler(&s.log, nil))
	o.spawn.Log = log
	s.spawner = spawner.New(o.spawn)
	if o.resolve == nil {
		o.resolve = func(*wsframe.Request) (*Target, error) { return &Target{Program: p}, nil }
	}
	resolve := func(r *wsframe.Request) (*Target, error) {
		target, err := o.resolve(r)
		if target != nil {
			target.Started, target.Ended = s.sessionStarted, s.sessionEnded
		}
		return target, err
	}
	s.handler = &wsframe.Handler{
		Endpoint: &Endpoint{Spawner: s.spawner, Resolve: resolve, Options: o.Options, Log: log},
		Options:  wsframe.AcceptOptions{Options: o.wire},
	}
	var h http.Handler = s.handler
	if o.wrap != nil {
		h = o.wrap(h)
	}
	ts := httptest.NewServer(h)
	s.addr = ts.Listener.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		if err := s.handler.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		ts.Close()
		if err := s.spawner.Close(ctx); err != nil {
			t.Errorf("close spawner: %v", err)
		}
		if n := s.spawner.Running(); n != 0 {
			t.Errorf("%d programs are left", n)
		}
		if t.Failed() {
			t.Logf("log:\n%s", s.log.String())
		}
	})
	return s
}

func (s *service) sessionStarted(int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started++
}

func (s *service) sessionEnded(sum Summary) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.summaries = append(s.summaries, sum)
}

// summary waits for the n-th end of a session, from 0.
func (s *service) summary(n int) (sum Summary) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d sessions have ended", n+1), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.summaries) <= n {
			return false
		}
		sum = s.summaries[n]
		return true
	})
	return sum
}

// A logBuffer keeps the end of a log.
type logBuffer struct {
	mu sync.Mutex // guards the fields below
	b  []byte
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.b = append(l.b, p...); len(l.b) > 20000 {
		l.b = bytes.Clone(l.b[len(l.b)-10000:])
	}
	return len(p), nil
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

// A client speaks bytes, so that it can do what a decent one does not.
type client struct {
	t  testing.TB
	nc *net.TCPConn
	br *bufio.Reader
}

// try makes a handshake and returns its status.
func try(t testing.TB, addr string) (*client, *http.Response) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c := &client{t, nc.(*net.TCPConn), bufio.NewReaderSize(nc, 64<<10)}
	fmt.Fprintf(nc, "GET /path?query HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", addr)
	nc.SetReadDeadline(time.Now().Add(bound))
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatalf("handshake: %v", err)
	}
	return c, resp
}

// connect makes a handshake that succeeds.
func (s *service) connect() *client {
	s.t.Helper()
	c, resp := try(s.t, s.addr)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		b, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("%s: %s", resp.Status, b)
	}
	return c
}

// connectWhenFree is connect as soon as the server is not too busy.
func (s *service) connectWhenFree() (c *client) {
	s.t.Helper()
	eventually(s.t, "there is a place for another client", func() bool {
		next, resp := try(s.t, s.addr)
		if resp.StatusCode == http.StatusServiceUnavailable {
			next.nc.Close()
			return false
		}
		c = next
		return resp.StatusCode == http.StatusSwitchingProtocols
	})
	return c
}

func (c *client) send(frames ...[]byte) {
	c.t.Helper()
	c.nc.SetWriteDeadline(time.Now().Add(bound))
	if _, err := c.nc.Write(join(frames...)); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

func (c *client) sendText(payload string) { c.t.Helper(); c.send(messageIn(opText, payload)) }

// read reads the next frame.
func (c *client) read() (f frame, err error) {
	c.nc.SetReadDeadline(time.Now().Add(bound))
	head, err := c.br.Peek(2)
	if err != nil {
		return f, err
	}
	n := 2
	switch head[1] & 0x7F {
	case 126:
		n = 4
	case 127:
		n = 10
	}
	if head, err = c.br.Peek(n); err != nil {
		return f, err
	}
	size := uint64(head[1] & 0x7F)
	switch n {
	case 4:
		size = uint64(binary.BigEndian.Uint16(head[2:]))
	case 10:
		size = binary.BigEndian.Uint64(head[2:])
	}
	b := make([]byte, n+int(size))
	if _, err = io.ReadFull(c.br, b); err != nil {
		return f, err
	}
	f, _, ok, err := nextFrame(b)
	if err == nil && !ok {
		err = errors.New("frame of another size than its header says")
	}
	return f, err
}

func (c *client) next() frame {
	c.t.Helper()
	f, err := c.read()
	if err != nil {
		c.t.Fatalf("next frame: %v", err)
	}
	return f
}

// expect reads messages, and fails when they are others.
func (c *client) expect(want ...frame) {
	c.t.Helper()
	for _, w := range want {
		if got := c.next(); got != w {
			c.t.Fatalf("got %v, want %v", got, w)
		}
	}
}

// all reads messages up to a Close frame, which it answers, and sees that the connection ends then.
func (c *client) all() (before []frame, end frame) {
	c.t.Helper()
	var frames []frame
	for {
		f := c.next()
		if f.op == wsframe.OpClose {
			c.answerClose(f)
			return messages(frames), f
		}
		frames = append(frames, f)
	}
}

func (c *client) answerClose(f frame) {
	c.t.Helper()
	c.nc.SetWriteDeadline(time.Now().Add(bound))
	c.nc.Write(masked(true, wsframe.OpClose, f.payload[:min(2, len(f.payload))]))
	if f, err := c.read(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatalf("behind the Close frame: %v, %v", f, err)
	}
}

// expectClose reads a Close frame, behind nothing else.
func (c *client) expectClose(want frame) {
	c.t.Helper()
	before, got := c.all()
	if len(before) > 0 || got != want {
		c.t.Fatalf("got %v, then %v; want %v", before, got, want)
	}
}

// leave ends the session from the side of the client.
func (c *client) leave() {
	c.t.Helper()
	c.send(masked(true, wsframe.OpClose, "\x03\xe8"))
	for {
		f, err := c.read()
		if err != nil {
			return
		}
		if f.op == wsframe.OpClose {
			break
		}
	}
	c.nc.Close()
}

// reset ends the connection with an RST.
func (c *client) reset() {
	c.nc.SetLinger(0)
	c.nc.Close()
}

// numbers returns n text messages, 1 to n.
func numbers(n int) []frame {
	all := make([]frame, n)
	for i := range all {
		all[i] = text(fmt.Sprint(i + 1))
	}
	return all
}

// signalFile returns the name of a file that does not exist yet, for which a program may wait, and a function
// that makes it.
func signalFile(t testing.TB) (name string, raise func()) {
	name = t.TempDir() + "/flag"
	return name, func() {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Error(err)
		}
	}
}

const waitFor = `while ! test -e "$1"; do sleep 0.02; done; `

// waiting returns a script that sees the name of a file as $1.
func waiting(script, name string) *spawner.Program {
	p := sh(script)
	p.Args = append(p.Args, "sh", name)
	return p
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// payloadLines is what a program sees of messages.
func payloadLines(all []frame) string {
	var b strings.Builder
	for _, f := range all {
		b.WriteString(f.payload + "\n")
	}
	return b.String()
}
