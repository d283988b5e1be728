package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	// discardTime is how long the rest of a request body is waited for when the answer is complete.
	discardTime = 500 * time.Millisecond
	// What a fast backend may answer before its small request body was even read: the body is given a moment,
	// because the connection of the client can be used again only when all of it was read.
	settleSize = 64 << 10
	settleTime = 10 * time.Millisecond
)

// body is a request body on its way to a backend. It gives the client its time for each piece.
type body struct {
	c       *call
	from    io.Reader
	trailer http.Header   // gets the trailer fields
	eof     chan struct{} // closed when all was read
	total   int64

	mu    sync.Mutex // guards the fields below
	begun bool
	ended bool  // the read deadline is not for Read to set any more
	err   error // why the request cannot be answered
}

var errEnded = errors.New("the answer is complete")

func newBody(c *call) *body {
	if c.r.ProtoMajor == 1 {
		// Without it net/http reads the whole body before it writes the answer.
		c.rc.EnableFullDuplex()
	}
	return &body{c: c, from: c.in.Body, eof: make(chan struct{})}
}

// again reports whether the body can be sent from its beginning.
func (b *body) again() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.begun
}

func (b *body) Read(p []byte) (int, error) {
	if !b.arm() {
		return 0, errEnded
	}
	n, err := b.from.Read(p)
	b.total += int64(n)
	if limit := b.c.p.c.MaxBody; limit > 0 && b.total > limit {
		return 0, b.fail(&failure{Status: http.StatusRequestEntityTooLarge})
	}
	switch {
	case err == io.EOF:
		if b.trailer != nil {
			for name, values := range b.c.r.Trailer {
				b.trailer[name] = values
			}
		}
		b.finish()
	case err != nil:
		return n, b.fail(clientError(err))
	}
	return n, err
}

// Close does nothing: the connection to one backend is closed by it, and another one may be tried.
func (b *body) Close() error { return nil }

// arm gives the client its time for the next piece; false: the answer is complete.
func (b *body) arm() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun = true
	if b.ended {
		return false
	}
	if d := orDefault(b.c.p.c.ClientTimeout, DefaultTimeout); d > 0 {
		b.c.rc.SetReadDeadline(time.Now().Add(d))
	}
	return true
}

// finish notes that all was read.
func (b *body) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.eof:
		return
	default:
		close(b.eof)
	}
	if !b.ended {
		b.c.rc.SetReadDeadline(time.Time{})
	}
}

func (b *body) fail(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended && b.err == nil {
		b.err = err
	}
	return err
}

func (b *body) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// settled reports whether all of the body was read.
func (b *body) settled() bool {
	wait := time.Duration(0)
	if n := b.c.in.ContentLength; n > 0 && n <= settleSize && !b.again() {
		wait = settleTime
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-b.eof:
		return true
	case <-timer.C:
		select {
		case <-b.eof:
			return true
		default:
			return false
		}
	}
}

// end stops a Read that is under way, so that the handler can return. With answered the client gets what net/http
// holds of the answer first.
func (b *body) end(answered bool) {
	select {
	case <-b.eof:
		return
	default:
	}
	if answered {
		b.c.rc.Flush()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	select {
	case <-b.eof: // meanwhile
		b.c.rc.SetReadDeadline(time.Time{})
	default:
		b.c.rc.SetReadDeadline(time.Now().Add(discardTime))
	}
}

// clientError is what became of a request whose body could not be read.
func clientError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &failure{Status: http.StatusRequestTimeout, Reason: "the request body did not come in time", Err: err}
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &failure{Status: http.StatusRequestEntityTooLarge, Err: large}
	}
	if _, ok := errors.AsType[*net.OpError](err); ok || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return errGone
	}
	return &failure{Status: http.StatusBadRequest, Reason: "the request body cannot be read", Err: err}
}
