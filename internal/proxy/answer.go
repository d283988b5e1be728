package proxy

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/gateway"
)

// answer is the http.ResponseWriter that package httputil gets.
type answer struct {
	c       *call
	header  http.Header // of the next head
	upgrade []string    // the Upgrade line of a 426
	wrote   bool        // the head of the final answer is on its way
}

// patience gives the client its time to take the next piece.
func (c *call) patience() {
	gateway.Patience(c.rc, gateway.OrDefault(c.p.c.ClientTimeout, DefaultTimeout))
}

// Header is that of the backend, kept apart from what others have put into the answer before. Behind the head
// it is for trailers.
func (a *answer) Header() http.Header {
	if a.wrote {
		return a.c.w.Header()
	}
	if a.header == nil {
		a.header = make(http.Header)
	}
	return a.header
}

func (a *answer) WriteHeader(status int) {
	if a.wrote {
		return
	}
	interim := status < 200
	if interim && (status == http.StatusContinue || !a.c.r.ProtoAtLeast(1, 1)) {
		return // net/http says 100 itself when the body is read, and HTTP/1.0 has no such thing
	}
	h := a.c.w.Header()
	before := h.Clone()
	for name, values := range a.header {
		h[name] = values
	}
	a.c.p.setLocation(h, a.c.r)
	a.c.patience()
	if interim {
		a.c.w.WriteHeader(status)
		clear(h)
		for name, values := range before {
			h[name] = values
		}
		return
	}
	a.wrote = true
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // net/http must not guess what a backend meant
	}
	gateway.Offer(h, a.c.r, status, a.upgrade)
	if a.c.body != nil && a.c.r.ProtoMajor == 1 && !a.c.body.settled() {
		gateway.Last(h, a.c.r)
	}
	a.c.w.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.c.patience()
	return a.c.w.Write(p)
}

func (a *answer) FlushError() error {
	a.c.patience()
	return a.c.rc.Flush()
}

// answerBody is the body of a response. It gives the backend its time for each piece, and ends the session
// when it is closed.
type answerBody struct {
	io.ReadCloser
	c     *call
	lease *backend.Lease
	clock *time.Timer
}

func (b *answerBody) Read(p []byte) (int, error) {
	if d := gateway.OrDefault(b.c.p.c.ReadTimeout, DefaultTimeout); d <= 0 {
	} else if b.clock == nil {
		b.clock = time.AfterFunc(d, func() { b.c.cancel(errSilent) })
	} else {
		b.clock.Reset(d)
	}
	n, err := b.ReadCloser.Read(p)
	if b.clock != nil {
		b.clock.Stop()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if log := b.c.p.c.Log; log != nil && b.c.r.Context().Err() == nil {
			log.Warn("response cut off", "remote", b.c.r.RemoteAddr, "path", b.c.r.URL.Path, "backend", b.lease.ID(), "err", err)
		}
		b.c.rc.Flush() // what there is
	}
	return n, err
}

func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.lease.Release()
	return err
}
