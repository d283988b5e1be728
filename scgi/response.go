package scgi

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

var errDeadline = os.ErrDeadlineExceeded

// response is the http.ResponseWriter of a request. What it writes is CGI output (RFC 3875, section
// 6): a header block with Status, then the body as it is, until the end of the connection.
type response struct {
	c        *conn
	header   http.Header
	out      *bufio.Writer
	status   int // 0: not chosen yet
	sent     bool
	head     bool // the answer to HEAD has no body
	hijacked bool
}

func (c *conn) newResponse() *response {
	return &response{
		c:      c,
		header: make(http.Header),
		out:    bufio.NewWriter(timedWriter{c.nc, limit(c.s.WriteTimeout, 5*time.Minute)}),
	}
}

// timedWriter bounds every write.
type timedWriter struct {
	nc    net.Conn
	limit time.Duration
}

func (w timedWriter) Write(p []byte) (int, error) {
	if w.limit > 0 {
		w.nc.SetWriteDeadline(time.Now().Add(w.limit))
	}
	return w.nc.Write(p)
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	switch {
	case w.hijacked:
		w.c.s.log().Warn("WriteHeader on a hijacked connection")
	case status < 100 || status > 999:
		panic(fmt.Sprintf("scgi: invalid status %d", status))
	case w.status != 0 || status < 200 && status != http.StatusSwitchingProtocols:
	default:
		w.status = status
	}
}

func (w *response) Write(p []byte) (int, error) {
	if w.hijacked {
		return 0, http.ErrHijacked
	}
	w.WriteHeader(http.StatusOK)
	if !w.bodyAllowed() {
		return 0, http.ErrBodyNotAllowed
	}
	w.sendHead(p)
	if w.head {
		return len(p), nil
	}
	n, err := w.out.Write(p)
	if err != nil {
		w.c.cancel()
	}
	return n, err
}

func (w *response) bodyAllowed() bool {
	return w.status >= 200 && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// sendHead writes the header block before the first bytes of the body. The block is not put together
// earlier because handlers may change the header until then.
func (w *response) sendHead(first []byte) {
	if w.sent {
		return
	}
	w.sent = true
	if _, has := w.header["Content-Type"]; !has && len(first) > 0 && w.header.Get("Content-Encoding") == "" {
		w.header.Set("Content-Type", http.DetectContentType(first))
	}
	fmt.Fprintf(w.out, "Status: %d %s\r\n", w.status, http.StatusText(w.status))
	// What belongs to one connection is the gateway's business, except in a 101.
	drop := map[string]bool{"Status": true, "Transfer-Encoding": true, "Trailer": true}
	if w.status != http.StatusSwitchingProtocols {
		drop["Connection"] = true
	}
	w.header.WriteSubset(w.out, drop) // an error shows at the next write
	w.out.WriteString("\r\n")
}

// Flush and FlushError send what has been written so far.
func (w *response) Flush() { w.FlushError() }

func (w *response) FlushError() error {
	if w.hijacked {
		return http.ErrHijacked
	}
	w.WriteHeader(http.StatusOK)
	w.sendHead(nil)
	if err := w.out.Flush(); err != nil {
		w.c.cancel()
		return err
	}
	return nil
}

func (w *response) finish() { w.FlushError() }

// Hijack hands the connection to the gateway over, without deadlines. The reader has what is
// buffered of the gateway's bytes.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.hijacked {
		return nil, nil, http.ErrHijacked
	}
	if w.sent {
		if err := w.out.Flush(); err != nil {
			return nil, nil, fmt.Errorf("scgi: hijack: %w", err)
		}
	}
	w.c.unwatch()
	if err := w.c.nc.SetDeadline(time.Time{}); err != nil {
		return nil, nil, fmt.Errorf("scgi: hijack: %w", errors.Join(err, w.c.ctx.Err()))
	}
	w.hijacked = true
	w.c.s.forget(w.c)
	return w.c.nc, bufio.NewReadWriter(w.c.br, bufio.NewWriter(w.c.nc)), nil
}
