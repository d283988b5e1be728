package rawio

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// noise returns n bytes that do not repeat.
func noise(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

func TestLoopDeliversEverythingInOrder(t *testing.T) {
	eachKind(t, func(t *testing.T, r, w end, _ bool) {
		sent := noise(5 << 20)
		go func() {
			for p := sent; len(p) > 0; {
				n := min(len(p), 1+rand.IntN(200_000))
				if _, err := w.Write(p[:n]); err != nil {
					t.Error(err)
				}
				p = p[n:]
			}
			w.Close()
		}()
		var got []byte
		in := NewReader(r)
		err := in.Loop(func(chunk []byte) error {
			if len(chunk) <= Gap || len(chunk) > BufferSize {
				t.Errorf("chunk of %d bytes", len(chunk))
			}
			got = append(got, chunk[Gap:]...)
			clear(chunk[:cap(chunk)]) // all of it belongs to the handler
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("got %d bytes, want %d, or others", len(got), len(sent))
		}
	})
}

func TestNextDeliversEverythingInOrder(t *testing.T) {
	eachKind(t, func(t *testing.T, r, w end, _ bool) {
		sent := noise(1 << 20)
		go func() {
			w.Write(sent)
			w.Close()
		}()
		var got []byte
		in := NewReader(r)
		for {
			chunk, err := in.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, chunk[Gap:]...)
			if rand.IntN(2) == 0 {
				in.Release()
			}
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("got %d bytes, want %d, or others", len(got), len(sent))
		}
		if in.held != nil {
			t.Error("a buffer is held behind the end")
		}
	})
}

// The netpoller is edge-triggered: data and the end of the stream may be one event, and a reader that
// waits after the data never wakes up.
func TestDataAndEndInOneWakeUp(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			for i := range 1000 {
				if k.name == "tls" && i == 100 { // the handshakes take long, and nothing is raw there
					break
				}
				r, w := k.make(t)
				in := NewReader(r)
				var got []byte
				done := make(chan error)
				go func() {
					if i%2 == 0 {
						done <- in.Loop(func(chunk []byte) error {
							got = append(got, chunk[Gap:]...)
							return nil
						})
						return
					}
					for {
						chunk, err := in.Next()
						if err != nil {
							done <- err
							return
						}
						got = append(got, chunk[Gap:]...)
					}
				}()
				if i%3 == 0 {
					time.Sleep(50 * time.Microsecond) // so that the reader mostly waits by now
				}
				w.Write([]byte("last words"))
				w.Close()
				if err := <-done; err != nil && err != io.EOF {
					t.Fatal(err)
				}
				if string(got) != "last words" {
					t.Fatalf("round %d: got %q", i, got)
				}
				r.Close()
			}
		})
	}
}

func TestReadDeadlineWakesTheReader(t *testing.T) {
	eachKind(t, func(t *testing.T, r, w end, _ bool) {
		in := NewReader(r)
		for _, read := range []func() error{
			func() error { return in.Loop(func([]byte) error { return nil }) },
			func() error { _, err := in.Next(); return err },
		} {
			done := make(chan error)
			go func() { done <- read() }()
			go w.Write([]byte("x")) // it goes on after data
			r.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			err := <-done
			if err == nil { // Next got the byte
				_, err = in.Next()
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if in.held != nil {
				t.Error("a buffer is held behind an error")
			}
			r.SetReadDeadline(time.Time{})
		}
	})
}

func TestHandlersErrorEndsLoopAndLeavesTheRest(t *testing.T) {
	eachKind(t, func(t *testing.T, r, w end, _ bool) {
		enough := errors.New("enough")
		in := NewReader(r)
		go w.Write([]byte("first"))
		if err := in.Loop(func(chunk []byte) error { return enough }); err != enough {
			t.Fatalf("got %v", err)
		}
		go w.Write([]byte("second"))
		chunk, err := in.Next()
		if err != nil || string(chunk[Gap:]) != "second" {
			t.Fatalf("got %q, %v", chunk, err)
		}
		in.Release()
		in.Release() // harmless
	})
}

func TestCloseEndsTheReader(t *testing.T) {
	eachKind(t, func(t *testing.T, r, w end, _ bool) {
		in := NewReader(r)
		done := make(chan error)
		go func() { done <- in.Loop(func([]byte) error { return nil }) }()
		go w.Write([]byte("x"))
		time.Sleep(time.Millisecond)
		r.Close()
		if err := <-done; err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Loop: %v", err)
		}
		if _, err := in.Next(); err == nil || err == io.EOF {
			t.Errorf("Next on a closed stream: %v", err)
		}
	})
}

func TestResetIsNotTheEndOfTheStream(t *testing.T) {
	r, w := socketPair(t, "tcp", "127.0.0.1:0")
	defer r.Close()
	w.(*net.TCPConn).SetLinger(0)
	w.Close()
	in := NewReader(r)
	if err := in.Loop(func([]byte) error { return nil }); err == nil {
		t.Error("Loop took a reset for the end of the stream")
	}
	if _, err := in.Next(); err == nil {
		t.Error("Next returned nothing and no error")
	}
}

// An io.Reader may return nothing and no error, and net.Pipe does so for an empty write.
func TestEmptyReadsAreNothing(t *testing.T) {
	for _, how := range []string{"Loop", "Next"} {
		t.Run(how, func(t *testing.T) {
			r, w := net.Pipe()
			defer r.Close()
			go func() {
				w.Write(nil)
				w.Write([]byte("x"))
				w.Close()
			}()
			in := NewReader(r)
			if how == "Loop" {
				in.Loop(func(chunk []byte) error {
					if len(chunk) != Gap+1 {
						t.Errorf("chunk of %d bytes", len(chunk))
					}
					return nil
				})
				return
			}
			chunk, err := in.Next()
			if err != nil || len(chunk) != Gap+1 {
				t.Errorf("got %d bytes, %v", len(chunk), err)
			}
			if _, err = in.Next(); err != io.EOF {
				t.Errorf("got %v at the end", err)
			}
		})
	}
}

// Data that comes together with the end, as io.Reader allows it.
type dataAndEnd struct{ data string }

func (d *dataAndEnd) Read(p []byte) (int, error) {
	n := copy(p, d.data)
	d.data = d.data[n:]
	return n, io.EOF
}

func TestDataWithTheEndIsDelivered(t *testing.T) {
	in := NewReader(&dataAndEnd{"x"})
	n := 0
	if err := in.Loop(func(chunk []byte) error { n += len(chunk) - Gap; return nil }); err != nil || n != 1 {
		t.Errorf("Loop delivered %d bytes, %v", n, err)
	}
	in = NewReader(&dataAndEnd{"x"})
	if chunk, err := in.Next(); err != nil || len(chunk) != Gap+1 {
		t.Errorf("Next delivered %d bytes, %v", len(chunk), err)
	}
	if _, err := in.Next(); err != io.EOF {
		t.Errorf("then %v", err)
	}
}

func TestWaitingReadersHoldNoBuffer(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops buffers at random under the race detector")
	}
	var made atomic.Int32
	saved := buffers.New
	buffers.New = func() any {
		made.Add(1)
		return new([BufferSize]byte)
	}
	defer func() { buffers.New = saved }()
	const readers = 300
	for _, how := range []string{"Loop", "Next"} {
		t.Run(how, func(t *testing.T) {
			made.Store(0)
			var all sync.WaitGroup
			for range readers {
				r, w := socketPair(t, "tcp", "127.0.0.1:0")
				defer r.Close()
				defer w.Close()
				got := make(chan bool)
				all.Go(func() {
					in := NewReader(r)
					if how == "Loop" {
						in.Loop(func([]byte) error { got <- true; return nil })
						return
					}
					for {
						if _, err := in.Next(); err != nil {
							return
						}
						got <- true
					}
				})
				defer r.SetReadDeadline(past)
				w.Write([]byte("x"))
				<-got
			}
			if n := made.Load(); n > readers/3 {
				t.Errorf("%d buffers for %d waiting readers", n, readers)
			}
			t.Cleanup(all.Wait)
		})
	}
}
