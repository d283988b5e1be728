package fastcgi

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
)

// singleID is the id of the only request of a connection.
const singleID = 1

// abortTimeout bounds the write of ABORT_REQUEST to a backend that may read
// nothing.
const abortTimeout = 50 * time.Millisecond

// A carrier takes one request over a connection. Read and write may run at the
// same time, all else at any time.
type carrier interface {
	read(p []byte) (int, error) // io.EOF: END_REQUEST, all is well
	ready() bool                // read would not wait
	write(p []byte) error
	closeWrite() error
	release() // of a request that is over
	abort()   // of one that is not
	setReadDeadline(time.Time) error
	setWriteDeadline(time.Time) error
	kept() bool // the connection had requests before, and may be stale
}

// A single is a connection with one request at a time, and the request. There is
// no goroutine and no queue: whoever reads the response reads the
// connection.
type single struct {
	at     *site
	nc     net.Conn
	br     *bufio.Reader
	served int // requests before this one

	ended atomic.Bool // the input; nothing is written any more
	wmu   sync.Mutex  // held while writing

	// The fields below belong to the goroutine that reads.
	e        *Exchange
	left     int // content of a STDOUT record that is still to come
	errLeft  int // the same of STDERR
	pad      int // to be skipped now
	behind   int // padding behind the content that is still to come
	finished bool
	result   error

	reset   atomic.Bool // a write has failed: not all of the request was read
	dropped atomic.Bool
	since   time.Time   // when it was put into the pool
	idle    *time.Timer // closes the connection while it is in the pool

	// These belong to the backend and its lock, see backend.starve.
	starving         *time.Timer
	watched, counted bool
}

func (s *single) kept() bool { return s.served > 0 }

// start sends everything in front of the input, and the end of the input if
// there is none.
func (s *single) start(e *Exchange) error {
	s.e, s.finished, s.result = e, false, nil
	head := paramRecords(singleID, e.role, true, e.vars)
	if e.empty {
		head = AppendRecord(head, TypeStdin, singleID, nil)
	}
	s.ended.Store(e.empty)
	_, err := s.nc.Write(head)
	return err
}

func (s *single) read(p []byte) (n int, err error) {
	for {
		if s.left == 0 && s.errLeft == 0 {
			s.pad, s.behind = s.pad+s.behind, 0
		}
		if s.pad > 0 {
			if n > 0 && s.br.Buffered() < s.pad {
				return n, nil
			}
			skipped, err := s.br.Discard(s.pad)
			if s.pad -= skipped; err != nil {
				return n, lost(err)
			}
		}
		switch {
		case s.finished:
			return n, s.result
		case n == len(p):
			return n, nil
		case s.left > 0:
			if n > 0 && s.br.Buffered() == 0 {
				return n, nil
			}
			m, err := s.br.Read(p[n:min(len(p), n+s.left)])
			n += m
			s.left -= m
			if err != nil {
				return n, lost(err)
			}
		case n > 0 && !s.moreBuffered():
			return n, nil
		case s.errLeft > 0:
			if _, err := s.br.Peek(1); err != nil {
				return n, lost(err)
			}
			piece, _ := s.br.Peek(min(s.errLeft, s.br.Buffered()))
			s.e.stderr.write(piece)
			s.errLeft -= len(piece)
			s.br.Discard(len(piece))
		default:
			if err := s.next(); err != nil {
				return n, err
			}
		}
	}
}

// moreBuffered reports whether the next record is output that is here already,
// at least in part.
func (s *single) moreBuffered() bool {
	if s.errLeft > 0 || s.br.Buffered() <= HeaderLen {
		return false
	}
	b, _ := s.br.Peek(HeaderLen)
	return b[0] == version && RecordType(b[1]) == TypeStdout
}

// next reads the header of a record, and all of it if it is an END_REQUEST.
func (s *single) next() error {
	b, err := s.br.Peek(HeaderLen)
	if err != nil {
		return lost(err)
	}
	h, err := ParseHeader(b)
	if err != nil {
		return err
	}
	s.heard()
	if h.ID != singleID && h.ID != 0 {
		return protocolError("%s for request %d, which does not exist", h.Type, h.ID)
	}
	switch {
	case h.ID == 0:
		s.pad = int(h.Length)
	case h.Type == TypeStdout:
		s.left = int(h.Length) // 0 means nothing: only END_REQUEST ends
	case h.Type == TypeStderr:
		s.errLeft = int(h.Length)
	case h.Type == TypeEndRequest:
		if h.Length != 8 {
			return protocolError("END_REQUEST of %d bytes, want 8", h.Length)
		}
		if b, err = s.br.Peek(HeaderLen + 8); err != nil {
			return lost(err)
		}
		app, status, err := ParseEnd(b[HeaderLen:])
		if err != nil {
			return err
		}
		s.br.Discard(8)
		s.result = s.e.over(app, status)
		s.finished = true
	default:
		s.pad = int(h.Length) // a type that we do not know may be skipped
	}
	s.br.Discard(HeaderLen)
	s.behind = int(h.Padding)
	return nil
}

func (s *single) write(p []byte) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	buf := rawio.GetBuffer()
	defer rawio.PutBuffer(buf)
	for len(p) > 0 {
		if s.ended.Load() {
			return net.ErrClosed
		}
		n := min(len(p), sentContent)
		if _, err := s.nc.Write(AppendRecord(buf[:0], TypeStdin, singleID, p[:n])); err != nil {
			s.reset.Store(unread(err))
			return err
		}
		p = p[n:]
	}
	return nil
}

func (s *single) closeWrite() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.ended.Load() {
		return nil
	}
	_, err := s.nc.Write(AppendRecord(nil, TypeStdin, singleID, nil))
	if err != nil {
		s.reset.Store(unread(err))
		return err
	}
	s.ended.Store(true)
	return nil
}

// heard notes that the backend has taken the connection up.
func (s *single) heard() {
	if !s.e.answered.Swap(true) {
		s.at.fed(s)
	}
}

func (s *single) release() {
	if s.result != io.EOF || !s.ended.Load() || s.pad > 0 || s.br.Buffered() > 0 {
		s.at.drop(s)
		return
	}
	s.served++
	s.e = nil
	s.at.put(s)
}

func (s *single) abort() {
	if s.wmu.TryLock() { // never into the middle of a record
		s.nc.SetWriteDeadline(time.Now().Add(abortTimeout))
		s.nc.Write(AppendRecord(nil, TypeAbortRequest, singleID, nil))
		s.wmu.Unlock()
	}
	s.at.drop(s)
}

func (s *single) setReadDeadline(t time.Time) error  { return s.nc.SetReadDeadline(t) }
func (s *single) setWriteDeadline(t time.Time) error { return s.nc.SetWriteDeadline(t) }

// unread reports whether err means that the peer closed before it had read
// everything.
func unread(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// lost names the end of a connection in the middle of a request.
func lost(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ready reports whether read would not wait.
func (s *single) ready() bool {
	n := s.br.Buffered()
	if s.left > 0 || s.finished || n < HeaderLen {
		return s.left > 0 && n > 0
	}
	if s.errLeft > 0 || s.pad+s.behind > 0 {
		return false
	}
	b, _ := s.br.Peek(HeaderLen)
	return RecordType(b[1]) == TypeStdout && n > HeaderLen || RecordType(b[1]) == TypeEndRequest && n >= HeaderLen+8
}
