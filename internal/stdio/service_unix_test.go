//go:build unix

package stdio

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/frametest"
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

// connect makes a handshake that succeeds.
func (s *service) connect() *client {
	s.t.Helper()
	return frametest.Connect(s.t, s.addr, "/path?query")
}

// try makes a handshake and returns its answer.
func try(t testing.TB, addr string, header ...string) (*client, *http.Response) {
	t.Helper()
	return frametest.Try(t, addr, "/path?query", header...)
}

// connectWhenFree is connect as soon as the server is not too busy.
func (s *service) connectWhenFree() (c *client) {
	s.t.Helper()
	eventually(s.t, "there is a place for another client", func() bool {
		next, resp := try(s.t, s.addr)
		if resp.StatusCode == http.StatusServiceUnavailable {
			next.NC.Close()
			return false
		}
		c = next
		return resp.StatusCode == http.StatusSwitchingProtocols
	})
	return c
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
		b.WriteString(f.Payload + "\n")
	}
	return b.String()
}
