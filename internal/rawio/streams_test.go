package rawio

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/streamtest"
)

// An end is one end of a stream of any kind.
type end interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// A kind makes connected streams: what is written to w arrives at r.
type kind struct {
	name string
	raw  bool // on Unix
	make func(t testing.TB) (r, w end)
}

var kinds = []kind{
	{"tcp", true, func(t testing.TB) (end, end) { return socketPair(t, "tcp", "127.0.0.1:0") }},
	{"unix", true, func(t testing.TB) (end, end) {
		return socketPair(t, "unix", filepath.Join(t.TempDir(), "s"))
	}},
	{"os.Pipe", runtime.GOOS != "windows", func(t testing.TB) (end, end) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		return r, w
	}},
	{"net.Pipe", false, func(t testing.TB) (end, end) {
		a, b := net.Pipe()
		return a, b
	}},
	{"tls", false, func(t testing.TB) (end, end) {
		a, b := socketPair(t, "tcp", "127.0.0.1:0")
		server := tls.Server(a.(net.Conn), &tls.Config{Certificates: []tls.Certificate{streamtest.Certificate()}})
		client := tls.Client(b.(net.Conn), &tls.Config{InsecureSkipVerify: true})
		errs := make(chan error, 1)
		go func() { errs <- server.Handshake() }()
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
		return server, client
	}},
}

func socketPair(t testing.TB, network, addr string) (end, end) {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	w, err := net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	r, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return r.(end), w.(end)
}

// closeEnd closes a stream without the 5 s that TLS takes to tell a peer who does not read.
func closeEnd(e end) {
	if t, ok := e.(*tls.Conn); ok {
		t.NetConn().Close()
	}
	e.Close()
}

// eachKind runs a test with a stream of each kind, which is closed behind it.
func eachKind(t *testing.T, test func(t *testing.T, r, w end, raw bool)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && k.name == "os.Pipe" {
				t.Skip("anonymous pipes have no deadlines on Windows")
			}
			r, w := k.make(t)
			defer closeEnd(r)
			defer closeEnd(w)
			raw := k.raw && runtime.GOOS != "windows"
			if got := rawConn(r) != nil; got != raw {
				t.Fatalf("driven by raw system calls: %v", got)
			}
			test(t, r, w, raw)
		})
	}
}
