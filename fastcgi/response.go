package fastcgi

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// outputSize is how much output is collected before it is sent, bytes.
const outputSize = 8 << 10

// A response is the http.ResponseWriter of a request. Like that of net/http it
// is for one goroutine.
type response struct {
	q      *request
	head   bool // the method is HEAD
	remote string

	header   http.Header
	status   int         // 0: WriteHeader was not called
	sent     http.Header // the header as it was then; nil: it is on its way
	buf      []byte      // what follows it
	hijacked bool
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	switch {
	case w.hijacked || w.status != 0:
		return
	case status < 100 || status > 999:
		panic("fastcgi: invalid status " + strconv.Itoa(status))
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.q.write(appendHead(nil, status, w.header)) // an interim response
		return
	}
	w.status = status
	w.sent = w.header.Clone()
	if w.sent == nil {
		w.sent = make(http.Header)
	}
}

// bodyAllowed: RFC 9110, section 6.4.1.
func (w *response) bodyAllowed() bool {
	return w.status >= 200 && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

func (w *response) Write(p []byte) (int, error) {
	if w.hijacked {
		return 0, http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.bodyAllowed() {
		return 0, http.ErrBodyNotAllowed
	}
	if w.sent != nil && len(p) > 0 && len(w.buf) == 0 {
		_, typed := w.sent["Content-Type"]
		if !typed && w.sent.Get("Content-Encoding") == "" {
			w.sent.Set("Content-Type", http.DetectContentType(p))
		}
	}
	if w.head {
		return len(p), nil
	}
	if len(w.buf)+len(p) > outputSize {
		if err := w.FlushError(); err != nil {
			return 0, err
		}
		if len(p) > outputSize {
			if err := w.q.write(p); err != nil {
				return 0, err
			}
			return len(p), nil
		}
	}
	w.buf = append(w.buf, p...)
	return len(p), nil
}

// Flush sends what was written so far.
func (w *response) Flush() { w.FlushError() }

// FlushError is Flush with the reason why it could not.
func (w *response) FlushError() error {
	if w.hijacked {
		return http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	out := w.output()
	w.buf = w.buf[:0]
	if len(out) == 0 {
		return nil
	}
	return w.q.write(out)
}

// output is what has to be sent.
func (w *response) output() []byte {
	if w.sent == nil {
		return w.buf
	}
	out := appendHead(make([]byte, 0, 256+len(w.buf)), w.status, w.sent)
	w.sent = nil
	return append(out, w.buf...)
}

// finish ends the request.
func (w *response) finish(appStatus uint32) {
	if w.hijacked {
		return
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.sent != nil && w.bodyAllowed() && !w.head {
		_, has := w.sent["Content-Length"]
		if !has && w.sent.Get("Transfer-Encoding") == "" {
			w.sent.Set("Content-Length", strconv.Itoa(len(w.buf)))
		}
	}
	out := w.output()
	// What the gateway takes at once leaves together with the end.
	for len(out) > 0 {
		n, err := w.q.budget.take(min(len(out), pieceSize), w.q.stop, &w.q.writeBy)
		if err != nil {
			out = nil
			break
		}
		if n == len(out) {
			break
		}
		if w.q.c.link.send(w.q.stop, &w.q.writeBy, func(dst []byte) []byte { return AppendRecord(dst, TypeStdout, w.q.id, out[:n]) }) != nil {
			out = nil
			break
		}
		out = out[n:]
	}
	w.q.end(out, appStatus)
}

// crash ends the request of a handler that panicked.
func (w *response) crash() {
	if w.hijacked {
		w.q.end(nil, 1)
		return
	}
	if w.status == 0 || w.sent != nil {
		w.status, w.sent, w.buf = http.StatusInternalServerError, make(http.Header), nil
		w.sent.Set("Content-Type", "text/plain; charset=utf-8")
		w.buf = append(w.buf, "500 Internal Server Error\n"...)
		if w.head {
			w.buf = nil
		}
		w.finish(1)
		return
	}
	w.q.end(nil, 1) // cut off; the status goes to the log of the gateway
}

// SetReadDeadline and SetWriteDeadline are for http.ResponseController.
func (w *response) SetReadDeadline(t time.Time) error {
	w.q.input.deadline.set(t)
	return nil
}

func (w *response) SetWriteDeadline(t time.Time) error {
	w.q.writeBy.set(t)
	return nil
}

// EnableFullDuplex has nothing to do: input and output never wait for each other.
func (w *response) EnableFullDuplex() error { return nil }

// Hijack makes the input and output of the request a connection. What is written
// to it first must be the head of an HTTP response, with a status line. The
// request ends when the connection is closed.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	switch {
	case w.hijacked:
		return nil, nil, http.ErrHijacked
	case w.status != 0:
		return nil, nil, errors.New("fastcgi: hijack behind the response")
	}
	w.hijacked = true
	w.q.input.deadline.set(time.Time{})
	w.q.writeBy.set(time.Time{})
	c := &hijackedConn{q: w.q, remote: w.remote}
	return c, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c)), nil
}

func appendHead(dst []byte, status int, h http.Header) []byte {
	dst = append(dst, "Status: "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(status)...)
	dst = append(dst, "\r\n"...)
	b := headWriter{dst}
	_ = h.Write(&b) // cannot fail; drops names that are none, and breaks in values
	return append(b.b, "\r\n"...)
}

type headWriter struct{ b []byte }

func (w *headWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

func (w *headWriter) WriteString(s string) (int, error) {
	w.b = append(w.b, s...)
	return len(s), nil
}

// A hijackedConn is the input and output of a request after Hijack.
type hijackedConn struct {
	q      *request
	remote string
}

func (c *hijackedConn) Read(p []byte) (int, error) { return c.q.read(p) }

func (c *hijackedConn) Write(p []byte) (int, error) {
	if err := c.q.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close ends the request; what was written before reaches the client.
func (c *hijackedConn) Close() error {
	c.q.end(nil, 0)
	return nil
}

func (c *hijackedConn) LocalAddr() net.Addr { return c.q.c.link.nc.LocalAddr() }

// RemoteAddr is that of the client where the gateway has told it.
func (c *hijackedConn) RemoteAddr() net.Addr {
	if a, err := netip.ParseAddrPort(c.remote); err == nil {
		return net.TCPAddrFromAddrPort(a)
	}
	return c.q.c.remoteAddr()
}

func (c *hijackedConn) SetDeadline(t time.Time) error {
	c.q.input.deadline.set(t)
	c.q.writeBy.set(t)
	return nil
}

func (c *hijackedConn) SetReadDeadline(t time.Time) error {
	c.q.input.deadline.set(t)
	return nil
}

func (c *hijackedConn) SetWriteDeadline(t time.Time) error {
	c.q.writeBy.set(t)
	return nil
}
