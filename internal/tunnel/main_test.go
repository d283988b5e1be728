package tunnel

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/frametest"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/internal/streamtest"
	"github.com/wspawn/wspawn/wsframe"
)

// serverOnly is what a process of this test binary does if TUNNEL_TEST_SERVER has the address of a backend.
var serverOnly func(addr string)

func TestMain(m *testing.M) {
	if addr := os.Getenv("TUNNEL_TEST_SERVER"); addr != "" {
		serverOnly(addr)
		return
	}
	goleak.VerifyTestMain(m)
}

const quietAfter = rawio.QuietAfter

type frame = frametest.Frame

var (
	text, bin, pong, closing     = frametest.Text, frametest.Bin, frametest.Pong, frametest.Closing
	masked, messageIn, fragments = frametest.Masked, frametest.Message, frametest.Fragments
	eventually                   = frametest.Eventually
)

const (
	opText = wsframe.OpText
	opBin  = wsframe.OpBinary
)

var binary = &framing.Options{Framing: framing.Raw, Binary: true}

// A far is a backend: one function for each connection.
type far struct {
	network, addr string
	wg            sync.WaitGroup
}

// listen starts a backend, whose connections are closed when f returns.
func listen(t testing.TB, network string, f func(c net.Conn)) *far {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "tunnel")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		addr = filepath.Join(dir, "s")
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	b := &far{network: network, addr: ln.Addr().String()}
	b.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b.wg.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		b.wg.Wait()
	})
	return b
}

func (b *far) String() string { return backend.Address{Network: b.network, Addr: b.addr}.String() }

func (b *far) dial(t testing.TB) func(context.Context, *wsframe.Request) (Stream, error) {
	set, err := backend.Fixed(b.String())
	if err != nil {
		t.Fatal(err)
	}
	set.Start()
	t.Cleanup(func() { set.Close() })
	return Backends(set, 0)
}

// echo is a backend.
func echo(c net.Conn) { io.Copy(c, c) }

// A service is an endpoint on a server.
type service struct {
	addr string
	log  streamtest.Buffer
}

// serve starts e on a server, which the end of the test stops and checks.
func serve(t testing.TB, e *Endpoint, o wsframe.Options) *service {
	t.Helper()
	if err := e.Check(); err != nil {
		t.Fatal(err)
	}
	s := new(service)
	e.Log = slog.New(slog.NewTextHandler(&s.log, nil))
	h := &wsframe.Handler{Endpoint: e, Select: e.Select, Options: wsframe.AcceptOptions{Options: o}, Log: e.Log}
	ts := httptest.NewServer(h)
	s.addr = ts.Listener.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), frametest.Bound)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		ts.Close()
		if t.Failed() {
			t.Logf("log:\n%s", s.log.String())
		}
	})
	return s
}

func (s *service) connect(t testing.TB, header ...string) *frametest.Client {
	t.Helper()
	return frametest.Connect(t, s.addr, "/", header...)
}
