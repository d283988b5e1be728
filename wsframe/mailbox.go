package wsframe

import (
	"sync"
	"sync/atomic"
)

// maxMail is how many bytes of control frames wait for a busy writer. Beyond it only the answer to
// the latest ping is kept, as RFC 6455, section 5.5.3, allows.
const maxMail = 1024

// A mailbox holds encoded control frames for the next one who may write. So a reader never waits
// for a writer that a slow peer holds up.
type mailbox struct {
	full atomic.Bool // there is mail; a look without the lock

	mu     sync.Mutex // guards the fields below
	frames []byte     // in order; the first may be partly sent
	pong   []byte     // the latest that did not fit
	closed bool       // a Close frame was posted: nothing may follow it
	pings  []pingWait
}

func (m *mailbox) empty() bool { return !m.full.Load() }

func (m *mailbox) post(role Role, f Frame) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return
	case len(m.frames) > maxMail && f.Op == OpPong:
		m.pong = AppendFrame(m.pong[:0], role, f)
	default:
		m.frames = AppendFrame(m.frames, role, f)
	}
	if f.Op == OpClose {
		m.pong, m.closed = nil, true
	}
	m.full.Store(true)
}

// take empties the mailbox.
func (m *mailbox) take() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	frames := append(m.frames, m.pong...)
	m.frames, m.pong = nil, nil
	m.full.Store(false)
	return frames
}

// putBack returns what could not be sent, in front of what came meanwhile.
func (m *mailbox) putBack(frames []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frames = append(frames, m.frames...)
	m.full.Store(true)
}

// kick sends the mail if nobody is writing; otherwise the writer will. It never waits: what the
// network does not take at once is left to a goroutine.
func (c *Conn) kick() {
	if c.mailbox.empty() || !c.writing.TryLock() {
		return
	}
	c.unlockWriting()
}

// unlockWriting ends a write. Mail that was posted while it went on is sent, also when it is posted
// in the very moment between the last look and the unlock.
func (c *Conn) unlockWriting() {
	for {
		if !c.mailbox.empty() && !c.flushMail(false) {
			c.writing.Unlock()
			go func() {
				c.writing.Lock()
				c.flushMail(true)
				c.unlockWriting()
			}()
			return
		}
		c.writing.Unlock()
		if c.mailbox.empty() || !c.writing.TryLock() {
			return
		}
	}
}

// flushMail writes the mail, and reports false when it would have to wait and may not. It needs
// writing. An error of the network ends the connection, and the mail is done with.
func (c *Conn) flushMail(wait bool) bool {
	for !c.mailbox.empty() {
		frames := c.mailbox.take()
		write := c.out.TryWrite
		if wait {
			write = c.out.Write
		}
		n, err := write(frames)
		switch {
		case err != nil:
			c.writeFailed(err)
			return true
		case n < len(frames):
			c.mailbox.putBack(frames[n:])
			return false
		}
	}
	return true
}

// sendClose sends the first Close frame and reports whether this was it.
func (c *Conn) sendClose(code CloseCode, reason string) bool {
	if !c.closeSent.CompareAndSwap(false, true) {
		return false
	}
	var payload [MaxControlPayload]byte
	c.mailbox.post(c.role, Frame{Fin: true, Op: OpClose, Payload: appendClosePayload(payload[:0], code, reason)})
	c.kick()
	return true
}
