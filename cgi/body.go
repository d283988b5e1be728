package cgi

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// What happens to a request body that is not wanted any more when the answer is complete: it is thrown away, so that
// no reset of the connection overtakes the answer.
const (
	discardTime = 500 * time.Millisecond
	discardSize = 256 << 10
)

var pieces = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// body is the way of the request body to the program, in a goroutine of its own.
type body struct {
	c    *call
	done chan struct{} // closed at the end of the goroutine; nil: there is none

	consumed atomic.Bool // all of the body was read

	mu     sync.Mutex // guards the fields below
	ending bool       // the read deadline is not for the goroutine to set any more
	due    time.Time  // the read deadline that it has set
	err    error      // why the request cannot be answered: the client or the program stalled
}

// startBody starts it. A request without a body ends the input of the program, unless it may become a
// tunnel.
func startBody(c *call) *body {
	b := &body{c: c}
	if !c.in.HasBody() {
		b.consumed.Store(true)
		if !c.in.Upgrade {
			c.ex.CloseWrite()
		}
		return b
	}
	if c.r.ProtoMajor == 1 {
		// Without it net/http reads the whole body before it writes the answer.
		c.rc.EnableFullDuplex()
	}
	b.done = make(chan struct{})
	go b.run()
	return b
}

func (b *body) run() {
	defer close(b.done)
	c := b.c
	patience := orDefault(c.g.WriteTimeout, DefaultWriteTimeout)
	buf := pieces.Get().(*[32 << 10]byte)
	defer pieces.Put(buf)
	var total int64
	for {
		if !b.arm() {
			break
		}
		n, err := c.in.Body.Read(buf[:])
		if total += int64(n); c.g.MaxBody > 0 && total > c.g.MaxBody {
			b.fail(&GatewayError{Status: http.StatusRequestEntityTooLarge})
			return
		}
		if n > 0 {
			if patience > 0 {
				c.ex.SetWriteDeadline(time.Now().Add(patience))
			}
			if _, werr := c.ex.Write(buf[:n]); errors.Is(werr, os.ErrDeadlineExceeded) {
				b.fail(&GatewayError{Status: http.StatusGatewayTimeout, Reason: "the program did not take the request in time", Err: werr})
				return
			} else if werr != nil {
				break // the program does not want it; its response counts
			}
		}
		switch {
		case err == io.EOF:
			b.consumed.Store(true)
			b.disarm()
			c.ex.CloseWrite()
			return
		case err != nil:
			b.fail(clientError(err))
			return
		}
	}
	c.ex.CloseWrite()
	b.discard(buf[:])
}

// discard waits for the end of the answer, then throws away what the client still sends.
func (b *body) discard(buf []byte) {
	b.mu.Lock()
	ending := b.ending
	b.mu.Unlock()
	if !ending {
		return // net/http does the rest
	}
	for left := discardSize; left > 0; {
		n, err := b.c.in.Body.Read(buf)
		if left -= n; err != nil {
			return
		}
	}
}

// arm gives the client its time for the next piece; false: the answer is complete.
func (b *body) arm() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ending {
		return false
	}
	if d := orDefault(b.c.g.ClientTimeout, DefaultClientTimeout); d > 0 {
		b.due = time.Now().Add(d)
		b.c.rc.SetReadDeadline(b.due)
	}
	return true
}

func (b *body) disarm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ending {
		b.c.rc.SetReadDeadline(time.Time{})
	}
}

// fail ends the exchange for a reason that is not the program's response.
func (b *body) fail(err error) {
	b.mu.Lock()
	// net/http ends the context of a request whose client was too slow, so that the end may be here already.
	if !b.ending || errors.Is(err, os.ErrDeadlineExceeded) && !b.due.IsZero() && !time.Now().Before(b.due) {
		b.err = err
	}
	b.mu.Unlock()
	b.c.ex.Close()
}

func (b *body) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// running reports whether the body is still on its way.
func (b *body) running() bool {
	if b.done == nil {
		return false
	}
	select {
	case <-b.done:
		return false
	default:
		return true
	}
}

// What a fast program may answer before its small request body was even read: the body is given a moment, because
// the connection of the client can be used again only when all of it was read.
const (
	settleSize = 64 << 10
	settleTime = 10 * time.Millisecond
)

// settled reports whether all of the body was read.
func (b *body) settled() bool {
	if n := b.c.in.ContentLength; !b.consumed.Load() && b.done != nil && n > 0 && n <= settleSize {
		timer := time.NewTimer(settleTime)
		defer timer.Stop()
		select {
		case <-b.done:
		case <-timer.C:
		}
	}
	return b.consumed.Load()
}

// end waits for the goroutine. The exchange is closed already. With answered the client gets what net/http
// holds of the answer first; without, a flush would be one.
func (b *body) end(answered bool) {
	if !b.running() {
		return
	}
	b.mu.Lock()
	b.ending = true
	b.mu.Unlock()
	deadline := time.Unix(1, 0)
	if answered {
		b.c.rc.Flush()
		deadline = time.Now().Add(discardTime)
	}
	b.c.rc.SetReadDeadline(deadline)
	<-b.done
}

// clientError is what became of a request whose body could not be read.
func clientError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &GatewayError{Status: http.StatusRequestTimeout, Reason: "the request body did not come in time", Err: err}
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &GatewayError{Status: http.StatusRequestEntityTooLarge, Err: large}
	}
	if _, ok := errors.AsType[*net.OpError](err); ok || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return errGone
	}
	return &GatewayError{Status: http.StatusBadRequest, Reason: "the request body cannot be read", Err: err}
}
