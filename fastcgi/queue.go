package fastcgi

import (
	"io"
	"net"
	"os"
	"sync"

	"github.com/wspawn/wspawn/internal/rawio"
)

// window is what one side may send to a request before the other has read it,
// and so the most that a queue holds, bytes.
const window = 64 << 10

// maxWindow is the most that a peer can claim to take.
const maxWindow = 1 << 30

// A queue holds what has come for one of the requests of a connection until its
// reader takes it. It holds no buffer while it is empty. One goroutine puts, one
// reads; the rest may be called by any.
type queue struct {
	mu       sync.Mutex // guards the fields below
	buf      *[rawio.BufferSize]byte
	from, to int   // what is unread of buf
	err      error // what Read returns behind the last byte
	closed   bool  // nobody reads any more
	taken    int   // read since the last credit

	readable chan struct{} // capacity 1
	space    chan struct{} // capacity 1
	deadline deadline      // of Read
}

func newQueue() *queue {
	return &queue{readable: make(chan struct{}, 1), space: make(chan struct{}, 1)}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put takes as much of p as there is room for, and returns how much. What comes
// for a queue that ended or was closed is taken and forgotten.
func (q *queue) put(p []byte) int {
	if len(p) == 0 {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil || q.closed {
		return len(p)
	}
	n := min(len(p), window-(q.to-q.from))
	if n == 0 {
		return 0
	}
	if q.buf == nil {
		q.buf, q.from, q.to = rawio.GetBuffer(), 0, 0
	}
	if q.to+n > len(q.buf) {
		q.to = copy(q.buf[:], q.buf[q.from:q.to])
		q.from = 0
	}
	q.to += copy(q.buf[q.to:], p[:n])
	wake(q.readable)
	return n
}

// finish lets Read return err behind what is there already. The first call
// counts.
func (q *queue) finish(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
	wake(q.readable)
	wake(q.space)
}

// fail is finish, but what was not read yet is lost.
func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil || q.err == io.EOF {
		q.err = err
	}
	q.release()
	wake(q.readable)
	wake(q.space)
}

// close ends the work of the reader: Read returns net.ErrClosed at once.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.release()
	wake(q.readable)
	wake(q.space)
	q.deadline.stop()
}

func (q *queue) release() {
	if q.buf != nil {
		rawio.PutBuffer(q.buf)
		q.buf, q.from, q.to = nil, 0, 0
	}
}

// read waits for data. credit is how much the sender may be told to send more,
// once that is worth a record.
func (q *queue) read(p []byte) (n, credit int, err error) {
	for {
		if n, credit, err = q.tryRead(p); n > 0 || err != nil || len(p) == 0 {
			return n, credit, err
		}
		select {
		case <-q.readable:
		case <-q.deadline.wait():
			if q.deadline.passed() {
				return 0, 0, os.ErrDeadlineExceeded
			}
		}
	}
}

func (q *queue) tryRead(p []byte) (n, credit int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return 0, 0, net.ErrClosed
	case q.deadline.passed():
		return 0, 0, os.ErrDeadlineExceeded
	case q.from < q.to:
		n = copy(p, q.buf[q.from:q.to])
		q.from += n
		if q.from == q.to {
			q.release()
		}
		if q.taken += n; q.taken >= window/2 && q.err == nil {
			credit, q.taken = q.taken, 0
		}
		wake(q.space)
		return n, credit, nil
	}
	return 0, 0, q.err
}

// ready reports whether read would not wait.
func (q *queue) ready() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.from < q.to || q.err != nil || q.closed
}

// A budget is what may be sent to a peer that counts. The zero value is without
// limit.
type budget struct {
	mu      sync.Mutex // guards the fields below
	counted bool
	left    int
	more    chan struct{} // capacity 1
}

// limit makes b count, from n bytes on.
func (b *budget) limit(n int) {
	b.counted, b.left, b.more = true, n, make(chan struct{}, 1)
}

// add gives n bytes more. What would go over the largest window is an error.
func (b *budget) add(n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.counted {
		return nil
	}
	if b.left += n; b.left > maxWindow {
		return protocolError("window of more than %d bytes", maxWindow)
	}
	wake(b.more)
	return nil
}

// take waits until something may be sent, and takes up to n bytes.
func (b *budget) take(n int, stop <-chan struct{}, d *deadline) (int, error) {
	if !b.counted {
		return n, nil
	}
	for {
		b.mu.Lock()
		if may := min(n, b.left); may > 0 {
			b.left -= may
			if b.left > 0 {
				wake(b.more) // for others that wait
			}
			b.mu.Unlock()
			return may, nil
		}
		b.mu.Unlock()
		select {
		case <-b.more:
		case <-stop:
			return 0, net.ErrClosed
		case <-d.wait():
			if d.passed() {
				return 0, os.ErrDeadlineExceeded
			}
		}
	}
}
