package feed

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
)

// started is a Reader and what it has read.
type started struct {
	Reader
	pieces chan string
	end    chan error
}

func start(src net.Conn, change func(*started)) *started {
	r := &started{pieces: make(chan string, 100), end: make(chan error, 2)}
	r.Source, r.Stream = src, src
	r.Handle = func(chunk []byte) error {
		r.pieces <- string(chunk[rawio.Gap:])
		return nil
	}
	r.Done = func(err error) { r.end <- err }
	if change != nil {
		change(r)
	}
	r.Start()
	return r
}

func (r *started) next(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-r.pieces:
		if got != want {
			t.Errorf("read %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%q is not read", want)
	}
}

func (r *started) ends(t *testing.T, want error) {
	t.Helper()
	select {
	case err := <-r.end:
		if !errors.Is(err, want) {
			t.Errorf("ended with %v, want %v", err, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("does not end")
	}
	if len(r.pieces) > 0 {
		t.Errorf("%q was read as well", <-r.pieces)
	}
}

func (r *started) fallAsleep(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !r.sleeper.Asleep(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not fall asleep")
		}
	}
}

func TestReadersSleepAndMissNothing(t *testing.T) {
	near, far := streams(t)
	r := start(near, func(r *started) { r.Early = []byte("early") })
	r.next(t, "early")
	for _, word := range []string{"one", "two"} {
		r.fallAsleep(t)
		io.WriteString(far, word)
		r.next(t, word)
	}
	r.fallAsleep(t)
	far.Close()
	r.ends(t, nil)
}

func TestReadersOfWhatCannotBeWaitedForStayAwake(t *testing.T) {
	near, far := streams(t)
	r := start(plain{near}, nil)
	time.Sleep(2 * rawio.QuietAfter)
	io.WriteString(far, "word")
	r.next(t, "word")
	r.Cut()
	r.ends(t, ErrCut)
}

func TestCutEndsReading(t *testing.T) {
	t.Run("that sleeps", func(t *testing.T) {
		near, _ := streams(t)
		r := start(near, nil)
		r.fallAsleep(t)
		r.Cut()
		r.Cut()
		r.ends(t, ErrCut)
	})
	t.Run("that is about to sleep", func(t *testing.T) {
		for range 20 {
			near, _ := streams(t)
			r := start(near, nil)
			time.AfterFunc(rawio.QuietAfter, r.Cut)
			defer r.ends(t, ErrCut)
		}
	})
	t.Run("that would never end", func(t *testing.T) {
		near, far := streams(t)
		go func() {
			for {
				if _, err := far.Write(bytes.Repeat([]byte("x"), 64<<10)); err != nil {
					return
				}
			}
		}()
		handled, before := 0, 0
		r := start(near, func(r *started) {
			r.Rest = 1000000
			r.Handle = func(chunk []byte) error {
				if handled += len(chunk) - rawio.Gap; handled > 2000000 && before == 0 {
					before = handled
					r.Cut()
				}
				time.Sleep(time.Millisecond) // so that there is more to read each time
				return nil
			}
		})
		r.ends(t, ErrCut)
		if rest := handled - before; rest > 1000000 {
			t.Errorf("%d bytes came after the cut", rest)
		}
	})
	t.Run("that fails", func(t *testing.T) {
		near, far := streams(t)
		r := start(near, func(r *started) { r.Handle = func([]byte) error { return io.ErrShortBuffer } })
		io.WriteString(far, "word")
		r.ends(t, io.ErrShortBuffer)
	})
}
