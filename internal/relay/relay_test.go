package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/internal/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const bound = 30 * time.Second

// pair returns both ends of a TCP connection.
func pair(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	near, far = streamtest.TCP(t)
	near.SetDeadline(time.Now().Add(bound))
	return near, far
}

// plain hides what a connection is.
type plain struct{ *net.TCPConn }

// unwrapped shows what it is by Unwrap.
type unwrapped struct{ plain }

func (u unwrapped) Unwrap() (io.Reader, rawio.WriteStream) { return u.plain.TCPConn, u.plain.TCPConn }

// kinds are far sides of all kinds.
var kinds = map[string]func(*net.TCPConn) Far{
	"plain":     func(c *net.TCPConn) Far { return plain{c} },
	"socket":    func(c *net.TCPConn) Far { return c },
	"unwrapped": func(c *net.TCPConn) Far { return unwrapped{plain{c}} },
}

// setup runs a tunnel between two connections and returns their outer ends.
type setup struct {
	client, backend *net.TCPConn
	t               *Tunnel
	result          chan Result
}

func join(t testing.TB, kind string, o Options) *setup {
	client, near := pair(t)
	backend, far := pair(t)
	s := &setup{client: client, backend: backend, t: New(near, kinds[kind](far), o), result: make(chan Result, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := s.t.Run()
		far.Close()
		s.result <- r
	}()
	t.Cleanup(func() {
		s.t.Abort()
		<-done
	})
	return s
}

func (s *setup) wait(t testing.TB, want End) Result {
	t.Helper()
	select {
	case r := <-s.result:
		if r.End != want {
			t.Errorf("ended with %q, want %q", r.End, want)
		}
		return r
	case <-time.After(bound):
		t.Fatal("the tunnel does not end")
		return Result{}
	}
}

func expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

func expectEnd(t testing.TB, r io.Reader) {
	t.Helper()
	if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
		t.Fatalf("read %q, %v, want the end", b, err)
	}
}

func send(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

// each runs a test with all kinds of far sides.
func each(t *testing.T, o Options, f func(t *testing.T, s *setup)) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) { f(t, join(t, kind, o)) })
	}
}

func TestBothWaysAndBothEnds(t *testing.T) {
	each(t, Options{FromClient: []byte("early "), FromFar: []byte("head ")}, func(t *testing.T, s *setup) {
		send(t, s.client, "up")
		expect(t, s.backend, "early up")
		send(t, s.backend, "down")
		expect(t, s.client, "head down")
		s.client.CloseWrite()
		expectEnd(t, s.backend)
		send(t, s.backend, "more")
		expect(t, s.client, "more")
		s.backend.CloseWrite()
		expectEnd(t, s.client)
		if r := s.wait(t, EndClosed); r.ToFar != 8 || r.ToClient != 13 {
			t.Errorf("%+v", r)
		}
	})
}

func TestTheFarSideEndsFirst(t *testing.T) {
	each(t, Options{}, func(t *testing.T, s *setup) {
		send(t, s.backend, "last words")
		s.backend.CloseWrite()
		expect(t, s.client, "last words")
		expectEnd(t, s.client)
		send(t, s.client, "still there")
		expect(t, s.backend, "still there")
		s.client.CloseWrite()
		expectEnd(t, s.backend)
		s.wait(t, EndClosed)
	})
}

func TestBulkBothWays(t *testing.T) {
	each(t, Options{}, func(t *testing.T, s *setup) {
		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
		var wg sync.WaitGroup
		for _, c := range []*net.TCPConn{s.client, s.backend} {
			wg.Go(func() {
				c.Write(data)
				c.CloseWrite()
			})
			wg.Go(func() {
				if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		}
		wg.Wait()
		s.wait(t, EndClosed)
	})
}

func TestAClientThatResets(t *testing.T) {
	each(t, Options{}, func(t *testing.T, s *setup) {
		send(t, s.client, "x")
		expect(t, s.backend, "x")
		s.client.SetLinger(0)
		s.client.Close()
		s.wait(t, EndClient)
	})
}

func TestAFarSideThatReadsNoMore(t *testing.T) {
	// Its own words count nevertheless: a program may close its input and go on.
	client, near := pair(t)
	r, w := io.Pipe()
	far := deafFar{r: r}
	tunnel := New(near, far, Options{})
	result := make(chan Result, 1)
	go func() { result <- tunnel.Run() }()
	send(t, client, "nobody hears")
	send(t, w, "I go on")
	expect(t, client, "I go on")
	send(t, client, "still nobody")
	send(t, w, "and on")
	expect(t, client, "and on")
	w.Close()
	expectEnd(t, client)
	client.Close()
	if r := <-result; r.End != EndClosed || r.ToFar != 0 {
		t.Errorf("%+v", r)
	}
}

type deafFar struct{ r *io.PipeReader }

func (d deafFar) Read(p []byte) (int, error)        { return d.r.Read(p) }
func (d deafFar) Write(p []byte) (int, error)       { return 0, syscall.EPIPE }
func (d deafFar) CloseWrite() error                 { return nil }
func (d deafFar) SetReadDeadline(t time.Time) error { return nil }
func (d deafFar) SetWriteDeadline(time.Time) error  { return nil }

func TestAbortWakesWhateverWaits(t *testing.T) {
	each(t, Options{}, func(t *testing.T, s *setup) {
		// Both directions are stuck: nobody reads at the outer ends.
		var wg sync.WaitGroup
		for _, c := range []*net.TCPConn{s.client, s.backend} {
			c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			wg.Go(func() {
				if _, err := io.Copy(c, zeros{}); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("never stuck: %v", err)
				}
			})
		}
		wg.Wait()
		s.t.Abort()
		s.wait(t, EndAborted)
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestLimits(t *testing.T) {
	tests := []struct {
		name string
		o    Options
		act  func(*setup)
		want End
	}{
		{"idle", Options{Idle: 50 * time.Millisecond, Half: bound}, func(*setup) {}, EndIdle},
		{"life", Options{Life: 50 * time.Millisecond, Idle: bound, Half: bound}, func(*setup) {}, EndLife},
		{"life before expiry", Options{Life: 50 * time.Millisecond, Expires: time.Now().Add(bound)}, func(*setup) {}, EndLife},
		{"expiry", Options{Expires: time.Now().Add(50 * time.Millisecond), Idle: bound, Half: bound}, func(*setup) {}, EndExpired},
		{"expiry before life", Options{Expires: time.Now().Add(50 * time.Millisecond), Life: bound}, func(*setup) {}, EndExpired},
		{"expired long ago", Options{Expires: time.Unix(1, 0), Life: bound}, func(*setup) {}, EndExpired},
		{"half, client", Options{Half: 50 * time.Millisecond}, func(s *setup) { s.client.CloseWrite() }, EndHalf},
		{"half, far side", Options{Half: 50 * time.Millisecond, Idle: bound}, func(s *setup) { s.backend.CloseWrite() }, EndHalf},
		{"idle before half", Options{Half: bound, Idle: 50 * time.Millisecond}, func(s *setup) { s.backend.CloseWrite() }, EndIdle},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := join(t, "socket", tt.o)
			tt.act(s)
			s.wait(t, tt.want)
		})
	}
}

func TestATunnelInUseIsNotIdle(t *testing.T) {
	const idle = 2 * time.Second
	s := join(t, "socket", Options{Idle: idle})
	for range 10 {
		time.Sleep(idle / 8)
		send(t, s.client, "x")
		expect(t, s.backend, "x")
	}
	s.client.CloseWrite()
	s.backend.CloseWrite()
	s.wait(t, EndClosed)
}

func BenchmarkTunnel(b *testing.B) {
	s := join(b, "socket", Options{})
	s.client.SetDeadline(time.Time{})
	s.backend.SetDeadline(time.Time{})
	const size = 64 << 10
	go io.Copy(struct{ io.Writer }{s.backend}, struct{ io.Reader }{s.backend})
	go func() {
		p := make([]byte, size)
		for range b.N {
			s.client.Write(p)
		}
	}()
	b.SetBytes(size)
	b.ResetTimer()
	if _, err := io.CopyN(io.Discard, s.client, int64(b.N)*size); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkDirect(b *testing.B) {
	client, backend := pair(b)
	client.SetDeadline(time.Time{})
	const size = 64 << 10
	go io.Copy(struct{ io.Writer }{backend}, struct{ io.Reader }{backend})
	go func() {
		p := make([]byte, size)
		for range b.N {
			client.Write(p)
		}
	}()
	b.SetBytes(size)
	b.ResetTimer()
	if _, err := io.CopyN(io.Discard, client, int64(b.N)*size); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkSplice(b *testing.B) {
	client, near := pair(b)
	backend, far := pair(b)
	client.SetDeadline(time.Time{})
	backend.SetDeadline(time.Time{})
	const size = 64 << 10
	go io.Copy(struct{ io.Writer }{backend}, struct{ io.Reader }{backend})
	go io.Copy(far, near)
	go io.Copy(near, far)
	go func() {
		p := make([]byte, size)
		for range b.N {
			client.Write(p)
		}
	}()
	b.SetBytes(size)
	b.ResetTimer()
	if _, err := io.CopyN(io.Discard, client, int64(b.N)*size); err != nil {
		b.Fatal(err)
	}
}
