package cgi

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/wspawn/wspawn/internal/gateway"
)

var pieces = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// body is the way of the request body to the program, in a goroutine of its own.
type body struct {
	gateway.Body
	c    *call
	done chan struct{} // closed at the end of the goroutine; nil: there is none
}

// startBody starts it. A request without a body ends the input of the program, unless it may become a
// tunnel.
func startBody(c *call) *body {
	b := &body{c: c}
	if !c.in.HasBody() {
		if !c.in.Upgrade {
			c.ex.CloseWrite()
		}
		return b
	}
	b.Init(c.rc, c.in.Request, gateway.OrDefault(c.g.ClientTimeout, DefaultClientTimeout), c.g.MaxBody)
	b.done = make(chan struct{})
	go b.run()
	return b
}

func (b *body) run() {
	defer close(b.done)
	ex := b.c.ex
	patience := gateway.OrDefault(b.c.g.WriteTimeout, DefaultWriteTimeout)
	buf := pieces.Get().(*[32 << 10]byte)
	defer pieces.Put(buf)
	for {
		n, err := b.Read(buf[:])
		if n > 0 {
			if patience > 0 {
				ex.SetWriteDeadline(time.Now().Add(patience))
			}
			if _, werr := ex.Write(buf[:n]); errors.Is(werr, os.ErrDeadlineExceeded) {
				err = b.Fail(&gateway.Error{Status: http.StatusGatewayTimeout, Reason: "the program did not take the request in time", Err: werr})
			} else if werr != nil {
				err = gateway.ErrAnswered // the program does not want it; its response counts
			}
		}
		switch {
		case err == io.EOF, err == gateway.ErrAnswered:
			ex.CloseWrite()
			return
		case err != nil:
			ex.Close() // the end, for a reason that is not the program's response
			return
		}
	}
}

// failure is Err as an error of this package.
func (b *body) failure() error { return ours(b.Err()) }

// ours makes an error of package gateway one of this package.
func ours(err error) error {
	if e, ok := err.(*gateway.Error); ok {
		return (*GatewayError)(e)
	}
	return err
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

// settled reports whether all of the body was read.
func (b *body) settled() bool { return b.done == nil || b.Settled(b.done) }

// end waits for the goroutine. The exchange is closed already. With answered the client gets what net/http
// holds of the answer first; without, a flush would be one.
func (b *body) end(answered bool) {
	if !b.running() {
		return
	}
	if answered {
		b.c.rc.Flush()
	}
	b.End(answered)
	<-b.done
}
