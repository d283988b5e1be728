package stream

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"
)

// A conn is the stream of an extended CONNECT request.
type conn struct {
	w             http.ResponseWriter
	rc            *http.ResponseController
	body          io.Reader
	gone          <-chan struct{}
	local, remote net.Addr
	in, out       half

	closing sync.Once
	closed  chan struct{}
}

func newConn(w http.ResponseWriter, r *http.Request) *conn {
	c := &conn{w: w, rc: http.NewResponseController(w), body: r.Body, gone: r.Context().Done(), closed: make(chan struct{})}
	c.in.init(c.rc.SetReadDeadline)
	c.out.init(c.rc.SetWriteDeadline)
	c.local, _ = r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if c.local == nil {
		c.local = &net.TCPAddr{}
	}
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		c.remote = net.TCPAddrFromAddrPort(a)
	} else {
		c.remote = &net.UnixAddr{Name: r.RemoteAddr, Net: "unix"}
	}
	return c
}

func (c *conn) Read(p []byte) (int, error) {
	if err := c.in.enter(); err != nil {
		return 0, err
	}
	n, err := c.body.Read(p)
	return n, c.in.leave(err)
}

// Write returns when the frames are on their way: flow control is the back-pressure.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.out.enter(); err != nil {
		return 0, err
	}
	n, err := c.w.Write(p)
	if err == nil {
		err = c.rc.Flush()
	}
	return n, c.out.leave(err)
}

// Close lets the HTTP handler return, which ends the stream.
func (c *conn) Close() error {
	err := net.ErrClosed
	c.closing.Do(func() {
		c.in.close()
		c.out.close() // may reset the stream
		close(c.closed)
		err = nil
	})
	return err
}

// HungUp reports whether the stream was reset or its connection is gone, also while data that came before is unread.
func (c *conn) HungUp() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetReadDeadline(t time.Time) error  { return c.in.setDeadline(t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.out.setDeadline(t) }

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.in.setDeadline(t); err != nil {
		return err
	}
	return c.out.setDeadline(t)
}

// A half is one direction of a conn, with a deadline of its own. A deadline of net/http is the end of the stream
// when it passes, even if nobody waits; so that one is only used to end a call that is under way.
type half struct {
	cut func(time.Time) error // a deadline of net/http

	mu     sync.Mutex // guards the fields below
	left   sync.Cond  // busy has become 0
	due    time.Time
	timer  *time.Timer // of due
	busy   int         // calls that are under way
	isCut  bool
	closed bool
}

func (h *half) init(cut func(time.Time) error) {
	h.cut = cut
	h.left.L = &h.mu
}

// enter begins a call.
func (h *half) enter() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.over(); err != nil {
		return err
	}
	h.busy++
	return nil
}

// over returns why there can be no call now. It needs mu.
func (h *half) over() error {
	switch {
	case h.closed:
		return net.ErrClosed
	case h.isCut, h.passed():
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (h *half) passed() bool { return !h.due.IsZero() && time.Until(h.due) <= 0 }

// leave ends a call, and returns its error.
func (h *half) leave(err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy--; h.busy == 0 {
		h.left.Broadcast()
	}
	if err != nil && err != io.EOF && h.isCut {
		return h.over()
	}
	return err
}

func (h *half) setDeadline(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return net.ErrClosed
	}
	if h.timer != nil {
		h.timer.Stop()
	}
	h.due = t
	switch {
	case t.IsZero():
	case h.passed():
		h.end()
	case h.timer == nil:
		h.timer = time.AfterFunc(time.Until(t), h.strike)
	default:
		h.timer.Reset(time.Until(t))
	}
	return nil
}

// strike is called by the timer. It may come too late for the deadline that it was set for.
func (h *half) strike() {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed || h.due.IsZero():
	case h.passed():
		h.end()
	default:
		h.timer.Reset(time.Until(h.due))
	}
}

// end ends the calls that are under way. It needs mu.
func (h *half) end() {
	if h.busy > 0 && !h.isCut {
		h.isCut = true
		h.cut(time.Unix(1, 0))
	}
}

// close ends all calls. Those of net/http are not made any more then.
func (h *half) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	if h.timer != nil {
		h.timer.Stop()
	}
	h.end()
}

// wait waits until no call is under way.
func (h *half) wait() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.busy > 0 {
		h.left.Wait()
	}
}
