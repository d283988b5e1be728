package scgi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/wspawn/wspawn/cgi"
)

// conn is one connection from a gateway. The goroutine of serve, which runs the handler, owns it; br
// belongs to the watcher while there is one.
type conn struct {
	s      *Server
	nc     net.Conn
	br     *bufio.Reader
	ctx    context.Context // of the request; it lives as long as the connection
	cancel context.CancelFunc

	mu     sync.Mutex // guards the field below and the read deadline that goes with it
	handed bool       // the head is there

	watched chan struct{} // closed when the watcher has ended; nil: there was none
}

func (c *conn) serve() {
	defer c.s.forget(c)
	defer c.cancel()
	w := c.newResponse()
	list, err := c.readHead()
	if err != nil {
		c.refuse(w, err)
		return
	}
	r, err := newRequest(c.ctx, list, c.nc)
	if err != nil {
		c.refuse(w, err)
		return
	}
	w.head = r.Method == http.MethodHead
	if r.ContentLength > 0 {
		r.Body = &body{c: c, left: r.ContentLength}
	} else if _, messages := list.Lookup(cgi.FramingVariable); messages {
		r.Body, r.ContentLength = &body{c: c, left: -1}, -1
	} else if _, upgrade := list.Lookup("HTTP_UPGRADE"); !upgrade {
		c.watch()
	}
	if c.handle(w, r) && !w.hijacked {
		w.finish()
	}
	if !w.hijacked {
		b, ok := r.Body.(*body)
		c.close(ok && b.left != 0)
	}
}

func (c *conn) readHead() (cgi.List, error) {
	d := limit(c.s.HeadTimeout, 10*time.Second)
	if c.s.isDown() { // Shutdown may have called hurry before the line below
		d = time.Second
	}
	if d > 0 {
		c.nc.SetReadDeadline(time.Now().Add(d))
	}
	list, err := c.s.Protocol.Read(c.br, c.s.MaxHead)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handed = true
	c.nc.SetReadDeadline(time.Time{})
	return list, nil
}

// hurry leaves a second for a head that has not come.
func (c *conn) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.handed {
		c.nc.SetReadDeadline(time.Now().Add(time.Second))
	}
}

// refuse answers what is no request.
func (c *conn) refuse(w *response, err error) {
	switch {
	case errors.Is(err, io.EOF): // a gateway, or a monitor, that only looked whether we are there
		c.nc.Close()
		return
	case errors.Is(err, ErrTooLarge):
		http.Error(w, "meta-variables are too large", http.StatusRequestHeaderFieldsTooLarge)
	default:
		http.Error(w, "bad gateway request", http.StatusBadRequest)
	}
	c.s.log().Warn("bad request from the gateway", "remote", c.nc.RemoteAddr().String(), "err", err)
	w.finish()
	c.close(true)
}

// handle runs the handler. It returns false when that has panicked.
func (c *conn) handle(w *response, r *http.Request) (ok bool) {
	defer func() {
		if ok {
			return
		}
		if err := recover(); err != nil && err != http.ErrAbortHandler {
			c.s.log().Error("handler panicked", "path", r.URL.Path, "err", err, "stack", string(debug.Stack()))
		}
	}()
	c.s.handler().ServeHTTP(w, r)
	return true
}

// watch ends the context of the request when the gateway closes the connection. It is called when
// nothing more of the request is to be read.
func (c *conn) watch() {
	c.watched = make(chan struct{})
	go func() {
		defer close(c.watched)
		if _, err := c.br.Peek(1); err != nil && !errors.Is(err, errDeadline) {
			c.cancel()
		}
	}()
}

// unwatch gives br back to the handler.
func (c *conn) unwatch() {
	if c.watched != nil {
		c.nc.SetReadDeadline(time.Unix(1, 0))
		<-c.watched
		c.nc.SetReadDeadline(time.Time{})
	}
}

// close ends the connection. With input on its way that nobody reads, a close would become a reset,
// which destroys what the gateway has not read of the answer: so first the output ends, and input is
// thrown away for a moment.
func (c *conn) close(unread bool) {
	c.unwatch()
	if h, ok := c.nc.(interface{ CloseWrite() error }); ok && (unread || c.br.Buffered() > 0) {
		h.CloseWrite()
		c.nc.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		io.Copy(io.Discard, c.nc)
	}
	c.nc.Close()
}

// body is the body of a request, CONTENT_LENGTH bytes, or all the messages of a session.
type body struct {
	c    *conn
	left int64 // negative: up to the end of the stream
}

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if b.left < 0 {
		return b.c.br.Read(p)
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.c.br.Read(p)
	b.left -= int64(n)
	switch {
	case b.left == 0:
		b.c.watch()
		return n, io.EOF
	case err == io.EOF:
		b.c.cancel()
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (b *body) Close() error { return nil }
