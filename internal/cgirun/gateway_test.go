//go:build unix

package cgirun_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/fastcgi"
	"github.com/wspawn/wspawn/internal/cgirun"
	"github.com/wspawn/wspawn/internal/gatewaytest"
	"github.com/wspawn/wspawn/scgi"
	"github.com/wspawn/wspawn/spawner"
)

// The tables that all gateways have to pass, with programs behind SCGI, uwsgi and FastCGI: the whole way
// from the client through our gateway and our server to a process and back.
func TestSCGIGateway(t *testing.T) {
	t.Parallel()
	gatewaytest.Run(t, overSCGI(scgi.SCGI, 2*time.Second))
}

func TestUWSGIGateway(t *testing.T) {
	t.Parallel()
	gatewaytest.Run(t, overSCGI(scgi.UWSGI, 2*time.Second))
}

func TestFastCGIGateway(t *testing.T) {
	t.Parallel()
	gatewaytest.Run(t, overFastCGI(2*time.Second))
}

// programVars make a program of this test binary.
func programVars(t *testing.T) cgi.Vars {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return cgi.Vars{ScriptFilename: self, Extra: []cgi.Var{
		{Name: gatewaytest.Variable, Value: "1"},
		{Name: "GORACE", Value: "atexit_sleep_ms=0"}, // the race detector's second at the end of each program
	}}
}

// behind starts a server of h until the end of the test. A program that takes no input for the time stall is stopped.
func behind(t *testing.T, h *cgirun.Handler, s cgirun.Server, stall time.Duration) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.Stop, h.Spawner = quick, spawner.New(spawner.Config{})
	h.HalfTimeout, h.StallTimeout = 2*time.Second, stall // for gateways that are gone
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), h.Shutdown(ctx), h.Spawner.Close(ctx)); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return l.Addr().String()
}

func overSCGI(p scgi.Protocol, stall time.Duration) gatewaytest.Maker {
	return func(t *testing.T, o cgi.Options) http.Handler {
		h := &cgirun.Handler{Variables: scgi.Variables, EndIsGone: true}
		addr := behind(t, h, &scgi.Server{Handler: h, Protocol: p}, stall)
		v := programVars(t)
		e := &scgi.Endpoint{Backends: []string{addr}, Protocol: p, Options: o, Vars: func(*http.Request) (cgi.Vars, error) { return v, nil }}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			e.Shutdown(ctx) // cuts off what does not end
		})
		return e
	}
}

func overFastCGI(stall time.Duration) gatewaytest.Maker {
	return func(t *testing.T, o cgi.Options) http.Handler {
		h := &cgirun.Handler{Variables: func(r *http.Request) cgi.List { return fastcgi.Params(r.Context()) }, Stderr: fastcgi.Stderr}
		addr := behind(t, h, &fastcgi.Server{Handler: h}, stall)
		v := programVars(t)
		client := &fastcgi.Client{Backends: []string{addr}}
		e := &fastcgi.Endpoint{Client: client, Gateway: cgi.Gateway{Options: o}, Vars: func(_ *http.Request, to *cgi.Vars) error {
			to.ScriptFilename, to.Extra = v.ScriptFilename, v.Extra
			return nil
		}}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			e.Shutdown(ctx) // cuts off what does not end
			client.Close()
		})
		return e
	}
}
