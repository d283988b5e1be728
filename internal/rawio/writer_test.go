package rawio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func newWriter(s WriteStream) *Writer {
	w := new(Writer)
	w.Init(s)
	return w
}

func TestWriteWaitsForASlowReader(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Minute} {
		eachKind(t, func(t *testing.T, r, w end, _ bool) {
			sent := noise(5 << 20)
			out := newWriter(w)
			out.Timeout = limit
			done := make(chan error, 1)
			go func() {
				n, err := out.Write(sent)
				if err == nil && n != len(sent) {
					err = io.ErrShortWrite
				}
				w.Close()
				done <- err
			}()
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// fill writes until the stream takes no more, and returns what it took.
func fill(t *testing.T, out *Writer) []byte {
	t.Helper()
	var sent []byte
	for {
		p := noise(100_000)
		n, err := out.TryWrite(p)
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, p[:n]...)
		if n < len(p) {
			return sent
		}
	}
}

func TestTryWriteTakesWhatFits(t *testing.T) {
	eachKind(t, func(t *testing.T, r, w end, raw bool) {
		out := newWriter(w)
		sent := fill(t, out)
		if raw != (len(sent) > 0) {
			t.Errorf("took %d bytes", len(sent))
		}
		if n, err := out.TryWrite([]byte("x")); n != 0 || err != nil {
			t.Errorf("a full stream took %d bytes, %v", n, err)
		}
		go func() {
			out.Write([]byte("and the rest"))
			w.Close()
		}()
		got, err := io.ReadAll(r)
		if want := string(sent) + "and the rest"; err != nil || string(got) != want {
			t.Errorf("read %d bytes, %v; want %d", len(got), err, len(want))
		}
	})
}

func TestStuckWriteRunsIntoTheTimeout(t *testing.T) {
	eachKind(t, func(t *testing.T, r, w end, raw bool) {
		out := newWriter(w)
		out.Timeout = 5 * time.Millisecond
		n, err := out.Write(make([]byte, 64<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || n >= 64<<20 {
			t.Fatalf("wrote %d bytes, %v", n, err)
		}
		if !raw {
			return // TLS cannot go on
		}
		// The deadline was for that write only.
		out.Timeout = time.Minute
		go io.Copy(io.Discard, r)
		if _, err := out.Write(make([]byte, 1<<20)); err != nil {
			t.Errorf("later write: %v", err)
		}
	})
}

func TestStopEndsWritesForGood(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Hour} {
		eachKind(t, func(t *testing.T, r, w end, raw bool) {
			out := newWriter(w)
			out.Timeout = limit
			begun := make(chan bool)
			done := make(chan error)
			go func() {
				close(begun)
				_, err := out.Write(make([]byte, 64<<20))
				done <- err
			}()
			<-begun
			time.Sleep(time.Millisecond) // mostly it waits by now; it must not matter
			out.Stop()
			if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("waiting write: %v", err)
			}
			for range 2 {
				if n, err := out.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("later write: %d, %v", n, err)
				}
			}
			if n, err := out.TryWrite([]byte("x")); n != 0 || raw && err == nil {
				t.Errorf("TryWrite: %d, %v", n, err)
			}
		})
	}
}

func TestWriteWithinTakesWhatFitsInTime(t *testing.T) {
	eachKind(t, func(t *testing.T, r, w end, raw bool) {
		out := newWriter(w)
		out.Timeout = time.Hour
		n, err := out.WriteWithin(make([]byte, 64<<20), 5*time.Millisecond)
		if err != nil || n == 64<<20 || raw != (n > 0) {
			t.Fatalf("a stream that nobody reads took %d bytes, %v", n, err)
		}
		if out.Timeout != time.Hour {
			t.Errorf("the timeout became %v", out.Timeout)
		}
		if !raw {
			return
		}
		go io.Copy(io.Discard, r)
		if n, err := out.WriteWithin(make([]byte, 1<<20), time.Hour); n != 1<<20 || err != nil {
			t.Errorf("with a reader: %d bytes, %v", n, err)
		}
		out.Stop()
		if n, err := out.WriteWithin([]byte("x"), time.Hour); n != 0 || err == nil {
			t.Errorf("behind Stop: %d bytes, %v", n, err)
		}
	})
}

// Stop at every moment: between the arming of a deadline, its clearing, and the next write.
func TestStopIsNeverLost(t *testing.T) {
	eachKind(t, func(t *testing.T, r, w end, _ bool) {
		for range 20 {
			out := newWriter(w)
			out.Timeout = time.Hour
			w.SetWriteDeadline(time.Time{})
			go func() {
				b := make([]byte, 100_000)
				for {
					r.SetReadDeadline(time.Now().Add(time.Hour))
					if n, err := r.Read(b); err != nil || n == 0 {
						return
					}
				}
			}()
			done := make(chan bool)
			go func() {
				defer close(done)
				for {
					if _, err := out.Write(make([]byte, 70_000)); err != nil {
						return
					}
				}
			}()
			time.Sleep(300 * time.Microsecond)
			out.Stop()
			<-done
			if rawConn(w) == nil {
				return // a stream of TLS is broken now, and a write to net.Pipe torn
			}
		}
	})
}

func TestWriteToAClosedReaderFails(t *testing.T) {
	eachKind(t, func(t *testing.T, r, w end, _ bool) {
		r.Close()
		out := newWriter(w)
		for range 1000 { // the first ones may go into a buffer
			if _, err := out.Write(make([]byte, 10_000)); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
		t.Error("no error")
	})
}

func TestEmptyWrites(t *testing.T) {
	r, w := socketPair(t, "tcp", "127.0.0.1:0")
	defer r.Close()
	defer w.Close()
	out := newWriter(w)
	if n, err := out.Write(nil); n != 0 || err != nil {
		t.Error(n, err)
	}
	if n, err := out.TryWrite(nil); n != 0 || err != nil {
		t.Error(n, err)
	}
}

// A reader that is slow but takes 64 KiB within the time is not cut off, however long it all takes.
func TestTimeoutIsCountedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := net.Pipe()
		go func() {
			b := make([]byte, 64<<10)
			for {
				time.Sleep(time.Second * 9 / 10)
				if _, err := io.ReadFull(r, b); err != nil {
					return
				}
			}
		}()
		out := newWriter(w)
		out.Timeout = time.Second
		if n, err := out.Write(make([]byte, 10*64<<10)); err != nil {
			t.Errorf("cut off behind %d bytes: %v", n, err)
		}
		time.Sleep(time.Hour) // its deadline does not stay
		if n, err := out.Write(make([]byte, 64<<10)); err != nil {
			t.Errorf("wrote %d bytes: %v", n, err)
		}
		r.Close()
		time.Sleep(time.Second) // for the reader
	})
}

func TestWritesAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r, w := socketPair(t, "tcp", "127.0.0.1:0")
	defer r.Close()
	defer w.Close()
	out, in := newWriter(w), NewReader(r)
	out.Timeout = time.Minute
	p := make([]byte, 1000)
	n := testing.AllocsPerRun(1000, func() {
		out.Write(p)
		in.Next()
	})
	if n != 0 {
		t.Errorf("%v allocations for a write and a read", n)
	}
}

func BenchmarkLoop(b *testing.B) {
	for _, size := range []int{32, 32 << 10} {
		b.Run(map[int]string{32: "32B", 32 << 10: "32KiB"}[size], func(b *testing.B) {
			r, w := socketPair(b, "tcp", "127.0.0.1:0")
			defer r.Close()
			go func() {
				defer w.Close()
				out := newWriter(w)
				p := make([]byte, size)
				for range b.N {
					out.Write(p)
				}
			}()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			in := NewReader(r)
			in.Loop(func([]byte) error { return nil })
		})
	}
}
