package gateway

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	// DiscardTime is how long the rest of a request body is waited for when the answer is complete: it is thrown
	// away, so that no reset of the connection overtakes the answer.
	DiscardTime = 500 * time.Millisecond
	// Who is fast may answer before its small request body was even read: the body is given a moment,
	// because the connection of the client can be used again only when all of it was read.
	settleSize = 64 << 10
	settleTime = 10 * time.Millisecond
)

// ErrAnswered says that nobody wants the request body any more.
var ErrAnswered = errors.New("the answer is complete")

// A Body is a request body on its way to who answers. It gives the client its time for each piece. Init comes
// first; Read is for one goroutine at a time, and the other methods may be called at any time.
type Body struct {
	rc      *http.ResponseController
	from    io.Reader
	length  int64         // -1: unknown
	timeout time.Duration // 0: none
	limit   int64         // 0: none
	total   int64
	eof     chan struct{} // closed when all was read

	mu    sync.Mutex // guards the fields below
	begun bool
	ended bool      // the read deadline is not for Read to set any more
	due   time.Time // the read deadline that it has set
	err   error     // why the request cannot be answered
}

// Init makes b the body of r. The client may send nothing for timeout, and no more than limit bytes; 0 = no limit.
func (b *Body) Init(rc *http.ResponseController, r *http.Request, timeout time.Duration, limit int64) {
	if r.ProtoMajor == 1 {
		// Without it net/http reads the whole body before it writes the answer.
		rc.EnableFullDuplex()
	}
	b.rc, b.from, b.length, b.timeout, b.limit = rc, r.Body, r.ContentLength, timeout, limit
	b.eof = make(chan struct{})
}

// Read reads a piece. Errors other than io.EOF and ErrAnswered are those that Err returns.
func (b *Body) Read(p []byte) (int, error) {
	if !b.arm() {
		return 0, ErrAnswered
	}
	n, err := b.from.Read(p)
	if b.total += int64(n); b.limit > 0 && b.total > b.limit {
		return 0, b.Fail(&Error{Status: http.StatusRequestEntityTooLarge})
	}
	switch {
	case err == io.EOF:
		b.finish()
	case err != nil:
		err = b.Fail(BodyError(err))
	}
	return n, err
}

// arm gives the client its time for the next piece; false: the answer is complete.
func (b *Body) arm() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun = true
	if b.ended {
		return false
	}
	if b.timeout > 0 {
		b.due = time.Now().Add(b.timeout)
		b.rc.SetReadDeadline(b.due)
	}
	return true
}

// finish notes that all was read.
func (b *Body) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Consumed() {
		return
	}
	close(b.eof)
	if !b.ended {
		b.rc.SetReadDeadline(time.Time{})
	}
}

// Consumed reports whether all of the body was read.
func (b *Body) Consumed() bool {
	select {
	case <-b.eof:
		return true
	default:
		return false
	}
}

// Fail notes why the request cannot be answered, unless it is already, and returns err.
func (b *Body) Fail(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	// net/http ends the context of a request whose client was too slow, so that the end may be here already.
	late := errors.Is(err, os.ErrDeadlineExceeded) && !b.due.IsZero() && !time.Now().Before(b.due)
	if b.err == nil && (!b.ended || late) {
		b.err = err
	}
	return err
}

// Err returns why the request cannot be answered, an *Error or ErrGone, or nil.
func (b *Body) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Begun reports whether anybody has read, so that the body cannot be sent from its beginning any more.
func (b *Body) Begun() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.begun
}

// Settled reports whether all of the body was read. It gives a small one a moment, unless over is closed.
func (b *Body) Settled(over <-chan struct{}) bool {
	if !b.Consumed() && b.length > 0 && b.length <= settleSize {
		timer := time.NewTimer(settleTime)
		defer timer.Stop()
		select {
		case <-b.eof:
		case <-over:
		case <-timer.C:
		}
	}
	return b.Consumed()
}

// End ends a Read that is under way, at once or, with patient, after DiscardTime, and lets nobody read any more. It
// does not wait for that.
func (b *Body) End(patient bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	switch {
	case b.Consumed():
		b.rc.SetReadDeadline(time.Time{})
	case patient:
		b.rc.SetReadDeadline(time.Now().Add(DiscardTime))
	default:
		b.rc.SetReadDeadline(time.Unix(1, 0))
	}
}

// Patience gives the client its time to take the next piece of an answer. 0 = no limit, which is set as well: others
// may have set one for who does not care.
func Patience(rc *http.ResponseController, timeout time.Duration) {
	var by time.Time
	if timeout > 0 {
		by = time.Now().Add(timeout)
	}
	rc.SetWriteDeadline(by)
}
