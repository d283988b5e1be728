package cgi_test

import (
	"context"
	"flag"
	"net/http"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/gatewaytest"
	"github.com/wspawn/wspawn/spawner"
)

func TestMain(m *testing.M) {
	gatewaytest.Main()
	flag.Parse()
	goleak.VerifyTestMain(m)
}

// newSpawner returns one that is closed, and has nothing left, at the end of the test.
func newSpawner(t testing.TB) *spawner.Spawner {
	s := spawner.New(spawner.Config{})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), gatewaytest.Bound)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		if n := s.Running(); n > 0 {
			t.Errorf("%d processes are left", n)
		}
	})
	return s
}

func newEndpoint(t testing.TB, c cgi.Config) *cgi.Endpoint {
	t.Helper()
	if c.Spawner == nil {
		c.Spawner = newSpawner(t)
	}
	if c.Program.Stop == nil {
		c.Program.Stop = spawner.Ladder{{}, {After: 200 * time.Millisecond, Signal: os.Kill}}
	}
	e, err := cgi.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), gatewaytest.Bound)
		defer cancel()
		if err := e.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		e.Close()
	})
	return e
}

func TestGateway(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	gatewaytest.Run(t, func(t *testing.T, o cgi.Options) http.Handler {
		return newEndpoint(t, cgi.Config{File: exe, Options: o, Program: spawner.Program{Env: []string{gatewaytest.Variable + "=1", "GORACE=atexit_sleep_ms=0"}}})
	})
}
