package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wspawn/wspawn/internal/streamtest"
	"github.com/wspawn/wspawn/wsframe"
)

// childEnv makes the test binary the client of the URL in it, on its own streams.
const childEnv = "WSPAWN_TEST_CONNECT"

func TestMain(m *testing.M) {
	if url := os.Getenv(childEnv); url != "" {
		os.Exit(child(url))
	}
	goleak.VerifyTestMain(m)
}

func child(url string) int {
	signals, stop := Signals()
	defer stop()
	err := Run(context.Background(), Config{URL: url, Signals: signals, HistoryFile: os.Getenv("TEST_HISTORY"),
		One: os.Getenv("TEST_ONE") != "", CloseTimeout: time.Minute})
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "wspawn: %v\n", err)
	return err.(*Error).Status
}

// patience is for what has to happen; it is never waited for in full where all is well.
const patience = 2 * time.Minute

// serve starts a server that hands each connection to f, and returns its URL. The test waits for f.
func serve(t *testing.T, o *wsframe.AcceptOptions, f func(c *wsframe.Conn)) string {
	t.Helper()
	return serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := wsframe.Accept(w, r, o)
		if err != nil {
			return
		}
		defer c.Close(wsframe.CloseNormal, "")
		f(c)
	})
}

func serveHTTP(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	var running sync.WaitGroup
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		h(w, r)
	}))
	t.Cleanup(func() {
		s.Close()
		running.Wait()
	})
	return s.URL
}

// echo answers each message with the same.
func echo(c *wsframe.Conn) {
	for {
		op, p, err := c.ReadMessage(nil)
		if err != nil || c.WriteMessage(op, p) != nil {
			return
		}
	}
}

// drain reads to the end and returns how that was.
func drain(c *wsframe.Conn) *wsframe.CloseError {
	for {
		_, _, err := c.ReadMessage(nil)
		if e, ok := errors.AsType[*wsframe.CloseError](err); ok {
			return e
		}
	}
}

// idle is an input that does not end before the test.
func idle(t *testing.T) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	return r
}

// connect runs a client and returns what it wrote.
func connect(t *testing.T, c Config) (stdout, stderr string, err error) {
	t.Helper()
	var out, notes streamtest.Buffer
	if c.Stdin == nil {
		c.Stdin = idle(t)
	}
	if c.Stdout == nil {
		c.Stdout = &out
	}
	c.Stderr = &notes
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = Run(ctx, c)
	if ctx.Err() != nil {
		t.Fatalf("client does not end; output %.200q, notes %.200q", out.String(), notes.String())
	}
	return out.String(), notes.String(), err
}

func status(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return -1
}

func wantEnd(t *testing.T, err error, want int, words string) {
	t.Helper()
	if status(err) != want {
		t.Fatalf("status %d (%v), want %d", status(err), err, want)
	}
	if err != nil && !strings.Contains(err.Error(), words) {
		t.Errorf("error %q does not have %q", err, words)
	}
}
