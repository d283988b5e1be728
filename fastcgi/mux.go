package fastcgi

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
)

// maxZombies is how many requests of a connection may be aborted without the
// backend having ended them; then it gets no new ones.
const maxZombies = 64

var (
	errMuxFull = errors.New("fastcgi: no more requests on this connection")
	errStalled = errors.New("fastcgi: response was not read in time, others wait behind it")
)

// A mux is a connection to a backend that many requests share. One goroutine
// reads it, and queues what comes for each request.
//
// With a backend that counts (see the package comment), queues cannot run over.
// With others, a full queue stops that goroutine; the connection gets no new
// requests then, and after Client.StallTimeout the request is aborted, unless
// it is the only one.
type mux struct {
	at     *site
	link   *link
	window int // what the backend takes of each input; 0: it does not count
	max    int // requests at a time

	blocked atomic.Bool // the reader waits for a request that is not read

	mu      sync.Mutex // guards the fields below
	streams map[uint16]*stream
	zombies int
	next    uint16
	err     error // it has ended
	served  int
	idle    *time.Timer

	parser Parser // of the goroutine that reads
}

func newMux(at *site, nc net.Conn, can multiplexing) *mux {
	m := &mux{at: at, window: can.window, max: or(at.c.MaxRequests, DefaultMaxRequests), streams: make(map[uint16]*stream)}
	if can.requests > 0 {
		m.max = min(m.max, can.requests)
	}
	m.max = min(max(m.max, 1), 1<<16-1)
	m.link = newLink(nc, max(0, or(at.c.WriteTimeout, DefaultWriteTimeout)))
	return m
}

// hasRoom reports whether begin is likely to succeed.
func (m *mux) hasRoom() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.room()
}

func (m *mux) room() bool {
	return m.err == nil && len(m.streams) < m.max && m.zombies < maxZombies && !m.blocked.Load()
}

// begin sends everything in front of the input of a request.
func (m *mux) begin(x *Exchange) (*stream, error) {
	m.mu.Lock()
	if !m.room() {
		m.mu.Unlock()
		return nil, errMuxFull
	}
	for m.next++; m.next == 0 || m.streams[m.next] != nil; m.next++ {
	}
	s := &stream{m: m, x: x, id: m.next, queue: newQueue(), stop: make(chan struct{}), ended: x.empty, reused: m.served > 0}
	if m.window > 0 {
		s.budget.limit(m.window)
	}
	m.streams[s.id] = s
	m.served++
	if m.idle != nil {
		m.idle.Stop()
		m.idle = nil
	}
	m.mu.Unlock()

	head := paramRecords(s.id, x.role, true, x.vars)
	if x.empty {
		head = AppendRecord(head, TypeStdin, s.id, nil)
	}
	if err := m.link.send(nil, nil, func(dst []byte) []byte { return append(dst, head...) }); err != nil {
		m.cut(err)
		return nil, err
	}
	return s, nil
}

// run reads until the connection ends.
func (m *mux) run() {
	defer m.at.c.running.Done()
	r := rawio.NewReader(m.link.nc)
	err := r.Loop(func(chunk []byte) error {
		return m.parser.Feed(chunk[rawio.Gap:], m.record)
	})
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	if failed := m.link.failure(); failed != nil {
		err = failed
	}
	m.cut(err)
	m.link.close()
}

// cut ends the connection and all its requests.
func (m *mux) cut(err error) {
	m.mu.Lock()
	if m.err != nil {
		m.mu.Unlock()
		return
	}
	m.err = err
	streams := m.streams
	m.streams = nil
	if m.idle != nil {
		m.idle.Stop()
	}
	m.mu.Unlock()
	m.at.unshare(m)
	for _, s := range streams {
		s.queue.finish(lost(err)) // also wakes the reader if it waits for this queue
		s.stopWriting()
	}
	m.link.fail(err)
}

// record takes a piece of a record.
func (m *mux) record(h Header, piece []byte, last bool) error {
	if h.ID == 0 {
		return nil // answers to questions that we did not ask
	}
	m.mu.Lock()
	s := m.streams[h.ID]
	m.mu.Unlock()
	if s == nil && h.Type == TypeWindow {
		return nil // a credit and an end have crossed
	}
	if s == nil {
		return protocolError("%s for request %d, which does not exist", h.Type, h.ID)
	}
	s.x.answered.Store(true)
	switch h.Type {
	case TypeStdout:
		return m.output(s, piece)
	case TypeStderr:
		s.x.stderr.write(piece)
	case TypeEndRequest:
		content, done, err := m.parser.whole(piece, last, 8)
		if err != nil || !done {
			return err
		}
		app, status, err := ParseEnd(content)
		if err != nil {
			return err
		}
		m.end(s, app, status)
	case TypeWindow:
		content, done, err := m.parser.whole(piece, last, 4)
		if err != nil || !done {
			return err
		}
		n, err := parseWindow(content)
		if err != nil {
			return err
		}
		return s.budget.add(n)
	}
	return nil
}

// output queues what a request has said.
func (m *mux) output(s *stream, piece []byte) error {
	if m.window > 0 {
		if s.queue.put(piece) < len(piece) {
			return protocolError("request %d sends more than its window", s.id)
		}
		return nil
	}
	piece = piece[s.queue.put(piece):]
	if len(piece) == 0 {
		return nil
	}
	m.blocked.Store(true)
	defer m.blocked.Store(false)
	stall := or(m.at.c.StallTimeout, DefaultStallTimeout)
	timer := time.NewTimer(stall)
	defer timer.Stop()
	for len(piece) > 0 {
		select {
		case <-s.queue.space:
		case <-timer.C:
			if m.others() {
				s.queue.finish(errStalled)
				s.abort()
			}
			timer.Reset(stall)
		}
		piece = piece[s.queue.put(piece):]
	}
	return nil
}

// others reports whether more than one request is on the connection.
func (m *mux) others() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.streams)-m.zombies > 1
}

func (m *mux) end(s *stream, app uint32, status ProtocolStatus) {
	if status == StatusCantMpxConn {
		m.at.refused()
	}
	s.queue.finish(s.x.over(app, status))
	s.stopWriting()
	m.mu.Lock()
	delete(m.streams, s.id)
	if s.zombie {
		m.zombies--
	}
	m.wind()
	m.mu.Unlock()
}

// wind starts the clock of a connection that has no live request. m.mu is held.
func (m *mux) wind() {
	if m.err != nil || len(m.streams) > m.zombies || m.idle != nil {
		return
	}
	m.idle = time.AfterFunc(or(m.at.c.IdleTimeout, DefaultIdleTimeout), func() {
		m.mu.Lock()
		quiet := len(m.streams) == m.zombies
		if quiet {
			m.max = 0 // no new ones
		}
		m.mu.Unlock()
		if quiet {
			m.cut(net.ErrClosed)
		}
	})
}

// A stream is one request on a shared connection.
type stream struct {
	m      *mux
	x      *Exchange
	id     uint16
	queue  *queue
	budget budget
	reused bool

	writeBy deadline
	once    sync.Once
	stop    chan struct{} // closed when nothing can be written any more
	zombie  bool          // aborted, but not ended; guarded by m.mu

	ended bool // the input; of the goroutine that writes
}

func (s *stream) kept() bool { return s.reused }

func (s *stream) read(p []byte) (int, error) {
	n, credit, err := s.queue.read(p)
	if credit > 0 && s.m.window > 0 {
		s.m.link.later(func(dst []byte) []byte { return appendWindow(dst, s.id, credit) })
	}
	return n, err
}

func (s *stream) ready() bool { return s.queue.ready() }

func (s *stream) write(p []byte) error {
	return sendStream(s.m.link, TypeStdin, s.id, p, &s.budget, s.stop, &s.writeBy)
}

// pieceSize is how much of a stream goes into one record of a shared connection,
// so that nobody waits long for others.
const pieceSize = 32 << 10

// sendStream writes p as records of a stream, as the budget allows.
func sendStream(l *link, t RecordType, id uint16, p []byte, b *budget, stop <-chan struct{}, d *deadline) error {
	for len(p) > 0 {
		select {
		case <-stop:
			return net.ErrClosed
		default:
		}
		n, err := b.take(min(len(p), pieceSize), stop, d)
		if err != nil {
			return err
		}
		if err := l.send(stop, d, func(dst []byte) []byte { return AppendRecord(dst, t, id, p[:n]) }); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (s *stream) closeWrite() error {
	if s.ended {
		return nil
	}
	s.ended = true
	return s.m.link.send(s.stop, &s.writeBy, func(dst []byte) []byte { return AppendRecord(dst, TypeStdin, s.id, nil) })
}

func (s *stream) stopWriting() {
	s.once.Do(func() { close(s.stop) })
}

func (s *stream) release() {
	s.queue.close()
	s.stopWriting()
	s.writeBy.stop()
}

func (s *stream) abort() {
	s.release()
	m := s.m
	m.mu.Lock()
	alive := m.streams[s.id] == s && !s.zombie
	if alive {
		s.zombie = true
		m.zombies++
		m.wind()
	}
	m.mu.Unlock()
	if alive {
		m.link.later(func(dst []byte) []byte { return AppendRecord(dst, TypeAbortRequest, s.id, nil) })
	}
}

func (s *stream) setReadDeadline(t time.Time) error {
	s.queue.deadline.set(t)
	return nil
}

func (s *stream) setWriteDeadline(t time.Time) error {
	s.writeBy.set(t)
	return nil
}
