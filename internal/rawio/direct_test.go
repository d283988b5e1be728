package rawio

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/wspawn/wspawn/internal/streamtest"
)

// directPair returns both ends of a connection of [Listener] and [Direct].
func directPair(network, addr string) (near, far net.Conn, err error) {
	ln, err := net.Listen(network, addr)
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	if near, err = net.Dial(network, ln.Addr().String()); err != nil {
		return nil, nil, err
	}
	if far, err = Listener(ln).Accept(); err != nil {
		near.Close()
		return nil, nil, err
	}
	return Direct(near), far, nil
}

func TestDirectConnectionsAreConnections(t *testing.T) {
	dir := t.TempDir()
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(dir, "s")} {
		t.Run(network, func(t *testing.T) {
			nettest.TestConn(t, func() (a, b net.Conn, stop func(), err error) {
				if a, b, err = directPair(network, addr); err != nil {
					return nil, nil, nil, err
				}
				if got, want := rawConn(b) != nil, runtime.GOOS != "windows"; got != want {
					t.Errorf("raw system calls for what it is the stream of: %v", got)
				}
				return a, b, func() { a.Close(); b.Close() }, nil
			})
		})
	}
}

// What fails has the errors of package net.
func TestErrorsOfDirectConnections(t *testing.T) {
	tcp := func(t *testing.T, direct bool) (near, far net.Conn) {
		a, b := streamtest.TCP(t)
		if near, far = a, b; direct {
			near = Direct(a)
		}
		return near, far
	}
	big := make([]byte, 64<<20)
	for name, fail := range map[string]func(near, far net.Conn) error{
		"end":       func(near, far net.Conn) error { far.Close(); _, err := near.Read(make([]byte, 1)); return err },
		"nothing":   func(near, far net.Conn) error { _, err := near.Read(nil); return err },
		"closed":    func(near, far net.Conn) error { near.Close(); _, err := near.Read(make([]byte, 1)); return err },
		"closed, w": func(near, far net.Conn) error { near.Close(); _, err := near.Write(make([]byte, 1)); return err },
		"late": func(near, far net.Conn) error {
			near.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := near.Read(make([]byte, 1))
			return err
		},
		"late, w": func(near, far net.Conn) error {
			near.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			n, err := near.Write(big)
			if n == 0 || n == len(big) {
				return errors.New("none or all of it was written")
			}
			return err
		},
		"reset": func(near, far net.Conn) error {
			far.(*net.TCPConn).SetLinger(0)
			far.Close()
			_, err := near.Read(make([]byte, 1))
			return err
		},
		"reset, w": func(near, far net.Conn) error {
			far.(*net.TCPConn).SetLinger(0)
			far.Close()
			near.Read(make([]byte, 1))
			_, err := near.Write(big)
			return err
		},
		"half closed, w": func(near, far net.Conn) error {
			near.(interface{ CloseWrite() error }).CloseWrite()
			_, err := near.Write([]byte("x"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := tcp(t, false)
			want := fail(near, far)
			near, far = tcp(t, true)
			got := fail(near, far)
			if (got == nil) != (want == nil) || errors.Is(got, io.EOF) != errors.Is(want, io.EOF) || errors.Is(got, os.ErrDeadlineExceeded) != errors.Is(want, os.ErrDeadlineExceeded) ||
				errors.Is(got, net.ErrClosed) != errors.Is(want, net.ErrClosed) {
				t.Fatalf("%v, and of net: %v", got, want)
			}
			var a, b *net.OpError
			if errors.As(got, &a); !errors.As(want, &b) {
				if got != want {
					t.Errorf("%v, and of net: %v", got, want)
				}
				return
			}
			if a == nil || a.Op != b.Op || a.Net != b.Net || a.Source == nil || a.Addr == nil || a.Err.Error() != b.Err.Error() || a.Timeout() != b.Timeout() {
				t.Errorf("%v, and of net: %v", got, want)
			}
		})
	}
}

func TestDirectConnectionsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector lets pools forget")
	}
	near, far, err := directPair("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	defer far.Close()
	p := make([]byte, 100)
	if n := testing.AllocsPerRun(1000, func() {
		near.Write(p)
		io.ReadFull(far, p)
	}); n >= 1 {
		t.Errorf("%v allocations for a message", n)
	}
}

func TestOthersAreLeftAlone(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if Direct(a) != a {
		t.Error("a pipe is another one now")
	}
}
