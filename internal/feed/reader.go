package feed

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
)

// ErrCut says that a [Reader] was told to read no more.
var ErrCut = errors.New("reading was cut off")

// A Reader reads a stream to its end, and keeps no goroutine and no buffer while that is quiet. Its
// fields are set before Start; Cut may be called at any time after that.
type Reader struct {
	// Source is what is read, as by [rawio.NewReader].
	Source io.Reader
	// Stream takes the deadlines of Source.
	Stream interface{ SetReadDeadline(time.Time) error }
	// Early comes before what is read. nil = nothing.
	Early []byte
	// Rest is how many bytes are still handled after Cut, if they have come already.
	Rest int

	// Handle gets each piece, as by [rawio.Reader.Loop]; its error ends reading.
	Handle func(chunk []byte) error
	// Done is called once, and last: with nil at the end of the stream, with ErrCut, or with what went wrong.
	Done func(err error)

	heard   bool // something, since the last deadline was set
	cut     atomic.Bool
	sleeper rawio.Sleeper
}

// Start starts reading, in a goroutine of its own.
func (r *Reader) Start() { go r.run() }

// Cut ends reading where nothing more is wanted: it waits for nothing any more. Cut itself does not wait for Done.
func (r *Reader) Cut() {
	r.cut.Store(true)
	r.Stream.SetReadDeadline(time.Unix(1, 0))
	r.sleeper.Wake()
}

// run reads until the stream ends or is quiet.
func (r *Reader) run() {
	in := rawio.NewReader(r.Source)
	if early := r.Early; len(early) > 0 {
		r.Early = nil
		if err := r.handle(append(make([]byte, rawio.Gap), early...)); err != nil {
			r.Done(err)
			return
		}
	}
	for maySleep := true; ; {
		r.heard = false
		r.setDeadline(maySleep)
		err := in.Loop(r.handle)
		switch {
		case r.cut.Load():
			r.Done(ErrCut)
			return
		case !errors.Is(err, os.ErrDeadlineExceeded):
			r.Done(err)
			return
		case r.heard:
		case r.sleeper.Sleep(r.Source, r.run):
			if r.cut.Load() { // it came before there was anybody to wake
				r.sleeper.Wake()
			}
			return
		default: // it has to be waited for after all
			maySleep = false
		}
	}
}

func (r *Reader) handle(chunk []byte) error {
	r.heard = true
	if r.cut.Load() {
		if r.Rest -= len(chunk) - rawio.Gap; r.Rest < 0 {
			return ErrCut
		}
	}
	return r.Handle(chunk)
}

// setDeadline does not undo a cut that comes at the same moment.
func (r *Reader) setDeadline(on bool) {
	var at time.Time
	if on {
		at = time.Now().Add(rawio.QuietAfter)
	}
	if !r.cut.Load() {
		r.Stream.SetReadDeadline(at)
	}
	if r.cut.Load() {
		r.Stream.SetReadDeadline(time.Unix(1, 0))
	}
}
