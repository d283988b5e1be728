package proxy

import (
	"io"
	"net/http"

	"github.com/wspawn/wspawn/internal/gateway"
)

// body is a request body on its way to a backend.
type body struct {
	gateway.Body
	c       *call
	trailer http.Header // gets the trailer fields
}

func newBody(c *call) *body {
	b := &body{c: c}
	b.Init(c.rc, c.in, gateway.OrDefault(c.p.c.ClientTimeout, DefaultTimeout), c.p.c.MaxBody)
	return b
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Body.Read(p)
	if err == io.EOF && b.trailer != nil {
		for name := range b.trailer { // what was announced: that has no Content-Length among it
			b.trailer[name] = b.c.r.Trailer[name]
		}
	}
	return n, err
}

// Close does nothing: the connection to one backend is closed by it, and another one may be tried.
func (b *body) Close() error { return nil }

// settled reports whether all of the body was read.
func (b *body) settled() bool { return b.Begun() && b.Settled(nil) }

// end stops a Read that is under way, so that the handler can return. With answered the client gets what net/http
// holds of the answer first.
func (b *body) end(answered bool) {
	if b.Consumed() {
		return
	}
	if answered {
		b.c.rc.Flush()
	}
	b.End(true)
}
