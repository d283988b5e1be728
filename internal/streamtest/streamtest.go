// Package streamtest has byte streams for tests: both ends of a connection, a certificate for it, and a buffer that may be
// read while it is written. It imports nothing of ours, so that every package can be tested with it.
package streamtest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	random "math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TCP returns both ends of a TCP connection, first the one that dialled. The test closes them.
func TCP(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	a, b := pair(t, "tcp", "127.0.0.1:0")
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

// Unix is TCP for a Unix socket.
func Unix(t testing.TB) (near, far *net.UnixConn) {
	t.Helper()
	a, b := pair(t, "unix", filepath.Join(t.TempDir(), "s"))
	return a.(*net.UnixConn), b.(*net.UnixConn)
}

func pair(t testing.TB, network, addr string) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if near, err = net.Dial(network, ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	if far, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return near, far
}

// A Buffer keeps what is written to it, for others to look at meanwhile. The zero Buffer is empty.
type Buffer struct {
	mu sync.Mutex // guards the field below
	b  bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Certificate returns a certificate that names nobody and that nobody has signed, the same one each time.
var Certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// Dead returns a TCP address that refuses connections until the end of the test. It belongs to an end of an open
// connection: the port of a listener that was closed may be somebody else's at once.
func Dead(t testing.TB) string {
	t.Helper()
	near, _ := TCP(t)
	return near.LocalAddr().String()
}

// FreePort returns a port of 127.0.0.1 that was free a moment ago, for a program that wants to be told one. It is none of
// those that systems give to whoever wants any.
func FreePort(t testing.TB) string {
	t.Helper()
	for range 100 {
		ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 10000+random.IntN(20000)))
		if err != nil {
			continue
		}
		defer ln.Close()
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		return port
	}
	t.Fatal("no port is free")
	return ""
}
