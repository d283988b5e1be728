package tunnel

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
)

// quietAfter is how long a far side has to be quiet before its session gives up the goroutine that waits
// for it. Its stack is a third of what an idle session costs. The first bytes after that start another
// one; in a conversation nothing changes.
const quietAfter = 200 * time.Millisecond

// A reader reads a stream to its end, and keeps no goroutine while that is quiet.
type reader struct {
	src    io.Reader
	stream Stream
	early  []byte // comes before what is read
	handle func(chunk []byte) error
	done   func(err error) // called once; nil: the end of the stream, or cutOff

	cut     atomic.Bool
	silence atomic.Pointer[silence] // nobody reads, see resume; nil: a goroutine does
}

// A silence is one time that the stream is not read, because it is quiet.
type silence struct {
	wait atomic.Pointer[rawio.Wait] // nil at first
}

// loop reads until the stream ends or is quiet.
func (r *reader) loop() {
	in, heard := rawio.NewReader(r.src), false
	handle := func(chunk []byte) error {
		heard = true
		return r.handle(chunk)
	}
	if len(r.early) > 0 {
		handle(append(make([]byte, rawio.Gap), r.early...))
		r.early = nil
	}
	for mayDetach := true; ; heard = false {
		r.setDeadline(mayDetach)
		err := in.Loop(handle)
		switch {
		case r.cut.Load():
			r.done(nil)
			return
		case !errors.Is(err, os.ErrDeadlineExceeded):
			r.done(err)
			return
		case heard:
			continue
		}
		q := new(silence)
		r.silence.Store(q)
		wait, ok := rawio.WhenReadable(r.src, r.resume)
		switch {
		case ok:
			q.wait.Store(&wait)
			if r.silence.Load() != q { // resumed already, maybe by somebody who did not know the wait
				wait.Forget()
			} else if r.cut.Load() {
				r.resume()
			}
			return
		case !r.silence.CompareAndSwap(q, nil):
			return // the cut came in between, and started another goroutine
		}
		mayDetach = false
	}
}

// setDeadline does not undo a cut that comes at the same moment.
func (r *reader) setDeadline(on bool) {
	var at time.Time
	if on {
		at = time.Now().Add(quietAfter)
	}
	if !r.cut.Load() {
		r.stream.SetReadDeadline(at)
	}
	if r.cut.Load() {
		r.stream.SetReadDeadline(time.Unix(1, 0))
	}
}

// resume starts reading again, if it was given up.
func (r *reader) resume() {
	if q := r.silence.Swap(nil); q != nil {
		if wait := q.wait.Load(); wait != nil {
			wait.Forget()
		}
		go r.loop()
	}
}

// cutOff ends reading where nothing more is wanted. It does not wait for that.
func (r *reader) cutOff() {
	r.cut.Store(true)
	r.stream.SetReadDeadline(time.Unix(1, 0))
	r.resume()
}
