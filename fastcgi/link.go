package fastcgi

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// maxPending is how much may wait for the peer of one connection, bytes. All
// its requests share it.
const maxPending = 256 << 10

// A link writes the records of many requests to one connection. What is said
// while a write goes on leaves together in the next one, so that a thousand
// small requests do not need a thousand writes. All methods may be called at
// the same time.
type link struct {
	nc      net.Conn
	timeout time.Duration // for one write to make no progress; 0: none

	mu      sync.Mutex // guards the fields below
	pending []byte
	spare   []byte // an old buffer for the next pending
	writing bool   // somebody writes, and looks at pending again afterwards
	err     error  // of a write
	last    bool   // nothing comes behind what is pending
	space   chan struct{}

	flushers sync.WaitGroup
}

func newLink(nc net.Conn, timeout time.Duration) *link {
	return &link{nc: nc, timeout: timeout, space: make(chan struct{})}
}

// send appends records by build and sees to it that they are written, without
// waiting for that when others write already. It waits while too much is
// pending; until then stop and d end it with nothing sent.
func (l *link) send(stop <-chan struct{}, d *deadline, build func(dst []byte) []byte) error {
	l.mu.Lock()
	for l.err == nil && len(l.pending) >= maxPending {
		space := l.space
		l.mu.Unlock()
		var over <-chan struct{}
		if d != nil {
			over = d.wait()
		}
		select {
		case <-space:
		case <-stop:
			return net.ErrClosed
		case <-over:
			if d.passed() {
				return os.ErrDeadlineExceeded
			}
		}
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	return l.write(build)
}

// later is send for small records that must neither wait nor be written by the
// caller: what the reader of the connection answers (if it waited for the peer
// to read, and the peer for it, nothing would ever move), credits, and the ends
// of requests. A peer that lets too much of it pile up is given up.
func (l *link) later(build func(dst []byte) []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if len(l.pending) > 2*maxPending {
		l.broke(errNotRead)
		return l.err
	}
	l.add(build)
	if !l.writing {
		l.writing = true
		l.goFlush()
	}
	return nil
}

var errNotRead = errors.New("fastcgi: the peer does not read its connection")

func (l *link) add(build func(dst []byte) []byte) {
	if l.pending == nil {
		l.pending, l.spare = l.spare, nil
	}
	l.pending = build(l.pending)
}

// write adds records. Unless others write, it writes everything. l.mu is held, but not
// while writing.
func (l *link) write(build func(dst []byte) []byte) error {
	if l.err != nil {
		return l.err
	}
	l.add(build)
	if l.writing {
		return nil
	}
	l.writing = true
	l.flush()
	if len(l.pending) == 0 || l.err != nil {
		l.writing = false
		if l.last {
			return nil // this was part of what came before the end
		}
		return l.err
	}
	l.goFlush() // what others have added must not hold up this caller
	return nil
}

func (l *link) goFlush() {
	l.flushers.Add(1)
	go func() {
		defer l.flushers.Done()
		l.mu.Lock()
		defer l.mu.Unlock()
		for len(l.pending) > 0 && l.err == nil {
			l.flush()
		}
		l.writing = false
	}()
}

// flush writes what is pending. l.mu is held on both ends.
func (l *link) flush() {
	b := l.pending
	l.pending, l.spare = l.spare, nil
	l.mu.Unlock()
	if l.timeout > 0 {
		l.nc.SetWriteDeadline(time.Now().Add(l.timeout))
	}
	_, err := l.nc.Write(b)
	l.mu.Lock()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errNotRead // a deadline of nobody's Read or Write
	}
	if err != nil && l.err == nil {
		l.broke(err)
	}
	if l.last && len(l.pending) == 0 && l.err == nil {
		l.broke(net.ErrClosed)
	}
	if cap(b) <= maxPending/4 {
		l.spare = b[:0]
	}
	close(l.space)
	l.space = make(chan struct{})
}

// broke ends the use of the connection. It does not close it: a Close waits for the
// reader of the connection, which may wait for l.mu. The reader is made to
// return, and closes. l.mu is held.
func (l *link) broke(err error) {
	l.err = err
	l.pending = nil
	l.nc.SetDeadline(time.Unix(1, 0))
	close(l.space)
	l.space = make(chan struct{})
}

// fail makes everything return err that goes on, and the reader of the connection with a
// deadline.
func (l *link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.broke(err)
	}
}

// failure is the error that l ended with, if it did.
func (l *link) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// close closes the connection, behind its reader, and waits for writes in the
// background.
func (l *link) close() {
	l.fail(net.ErrClosed)
	l.nc.Close()
	l.flushers.Wait()
}

// finish writes what is pending, and then makes the reader of the connection
// return, which closes it. It does not wait.
func (l *link) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.last = true
	if !l.writing {
		l.broke(net.ErrClosed)
	}
}
