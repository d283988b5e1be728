package h2test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/net/http2"
)

// A Stream is a request and its answer, and a net.Conn. What is not read holds up the server by flow control.
type Stream struct {
	c  *Client
	id uint32

	// All that follows is guarded by Client.mu.
	window     int64 // for what is sent
	status     int   // 0 before the answer
	header     http.Header
	data       []byte // unread
	ended      bool   // END_STREAM of the server
	reset      bool   // RST_STREAM of the server
	code       http2.ErrCode
	writeEnded bool
	gone       bool // closed or reset by the client
	readBy     time.Time
	writeBy    time.Time
}

// ID returns the number of the stream.
func (s *Stream) ID() uint32 { return s.id }

// Response waits for the answer.
func (s *Stream) Response() (status int, header http.Header) {
	s.c.t.Helper()
	s.c.await("answer", func() bool { return s.status != 0 || s.reset || s.c.err != nil })
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.status, s.header
}

// AwaitEnd waits for the end of the server's side, and returns the code of its RST_STREAM. END_STREAM, which RST_STREAM
// with NO_ERROR may follow, is ok.
func (s *Stream) AwaitEnd() (ok bool, code http2.ErrCode) {
	s.c.t.Helper()
	s.c.await("end of the stream", func() bool { return s.ended || s.reset || s.c.err != nil })
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.ended, s.code
}

// Pending returns how much has come that was not read.
func (s *Stream) Pending() int {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return len(s.data)
}

// wait waits until ready returns true. It needs Client.mu.
func (s *Stream) wait(by *time.Time, ready func() bool) error {
	c := s.c
	for !ready() {
		switch {
		case s.gone:
			return net.ErrClosed
		case c.err != nil:
			return c.err
		case !by.IsZero() && time.Until(*by) <= 0:
			return os.ErrDeadlineExceeded
		}
		c.changed.Wait()
	}
	return nil
}

func (s *Stream) Read(p []byte) (int, error) {
	c := s.c
	c.mu.Lock()
	err := s.wait(&s.readBy, func() bool { return len(s.data) > 0 || s.ended || s.reset })
	n := copy(p, s.data)
	s.data = s.data[n:]
	ended, reset, code := s.ended, s.reset, s.code
	c.mu.Unlock()
	switch {
	case n > 0:
		if !ended && !reset {
			c.Raw(func(w *http2.Framer) error { return w.WriteWindowUpdate(s.id, uint32(n)) })
		}
		return n, nil
	case err != nil:
		return 0, err
	case ended:
		return 0, io.EOF
	}
	return 0, fmt.Errorf("stream reset: %v", code)
}

func (s *Stream) Write(p []byte) (written int, err error) {
	c := s.c
	for len(p) > 0 {
		c.mu.Lock()
		if err = s.wait(&s.writeBy, func() bool { return s.reset || min(s.window, c.window) > 0 }); err == nil && s.reset {
			err = fmt.Errorf("stream reset: %v", s.code)
		}
		n := int(min(int64(len(p)), 16384, s.window, c.window))
		if err == nil {
			s.window -= int64(n)
			c.window -= int64(n)
		}
		c.mu.Unlock()
		if err == nil {
			err = c.Raw(func(w *http2.Framer) error { return w.WriteData(s.id, false, p[:n]) })
		}
		if err != nil {
			return written, err
		}
		p, written = p[n:], written+n
	}
	return written, nil
}

// CloseWrite sends END_STREAM.
func (s *Stream) CloseWrite() error {
	s.c.mu.Lock()
	before := s.writeEnded
	s.writeEnded = true
	s.c.mu.Unlock()
	if before {
		return nil
	}
	return s.c.Raw(func(w *http2.Framer) error { return w.WriteData(s.id, true, nil) })
}

// Close ends the stream in good order, as far as that is possible: a server that has not ended its side sees
// RST_STREAM with CANCEL.
func (s *Stream) Close() error {
	s.c.mu.Lock()
	over := s.ended && s.writeEnded || s.reset || s.gone
	s.c.mu.Unlock()
	if over {
		return nil
	}
	return s.Reset(http2.ErrCodeCancel)
}

// Reset sends RST_STREAM.
func (s *Stream) Reset(code http2.ErrCode) error {
	s.c.mu.Lock()
	s.gone = true
	s.c.changed.Broadcast()
	s.c.mu.Unlock()
	return s.c.Raw(func(w *http2.Framer) error { return w.WriteRSTStream(s.id, code) })
}

// LocalAddr is that of the connection.
func (s *Stream) LocalAddr() net.Addr { return s.c.nc.LocalAddr() }

// RemoteAddr is that of the connection.
func (s *Stream) RemoteAddr() net.Addr { return s.c.nc.RemoteAddr() }

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

// SetReadDeadline is that of net.Conn.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.setDeadline(&s.readBy, t) }

// SetWriteDeadline is that of net.Conn.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.setDeadline(&s.writeBy, t) }

func (s *Stream) setDeadline(by *time.Time, t time.Time) error {
	s.c.mu.Lock()
	*by = t
	s.c.changed.Broadcast()
	s.c.mu.Unlock()
	if !t.IsZero() {
		s.c.wakeAt(t)
	}
	return nil
}
