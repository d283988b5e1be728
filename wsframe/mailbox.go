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
	// Looks without the lock; the first two are set with mu held.
	full     atomic.Bool // there is mail, or somebody is just sending the last of it
	closed   atomic.Bool // a Close frame was posted: nothing may follow it
	flushing atomic.Bool // a goroutine was started that will send the mail

	mu     sync.Mutex // guards the fields below
	frames []byte     // in order; the first may be partly sent
	pong   []byte     // the latest that did not fit
	pings  []pingWait
}

func (m *mailbox) empty() bool { return !m.full.Load() }

func (m *mailbox) post(role Role, f Frame) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(role, f)
}

// add needs mu.
func (m *mailbox) add(role Role, f Frame) {
	switch full := len(m.frames) > maxMail; {
	case m.closed.Load() || full && f.Op == OpPing:
		return
	case full && f.Op == OpPong:
		m.pong = AppendFrame(m.pong[:0], role, f)
	default:
		m.frames = AppendFrame(m.frames, role, f)
	}
	if f.Op == OpClose {
		m.pong = nil
		m.closed.Store(true)
	}
	m.full.Store(true)
}

// take empties the mailbox. It stays full for those who look until sent or putBack is called: a
// connection must not be closed while somebody still has its last frame in hand.
func (m *mailbox) take() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	frames := append(m.frames, m.pong...)
	m.frames, m.pong = nil, nil
	return frames
}

// sent says that the network has what take returned.
func (m *mailbox) sent() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full.Store(len(m.frames)+len(m.pong) > 0)
}

// putBack returns what could not be sent, in front of what came meanwhile.
func (m *mailbox) putBack(frames []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frames = append(frames, m.frames...)
}

// kick sends the mail if nobody is writing; otherwise the writer will. It never waits: what the
// network does not take at once is left to a goroutine.
func (c *Conn) kick() {
	if c.mailbox.empty() || c.mailbox.flushing.Load() || !c.writing.TryLock() {
		return
	}
	c.unlockWriting()
}

// unlockWriting ends a write. Mail that was posted while it went on is sent, also when it is posted
// in the very moment between the last look and the unlock.
func (c *Conn) unlockWriting() {
	for {
		if !c.mailbox.empty() && !c.flushMail(false) {
			// One goroutine at a time, however many pings a batch has.
			first := c.mailbox.flushing.CompareAndSwap(false, true)
			c.writing.Unlock()
			if first {
				go c.flushLater()
			}
			return
		}
		c.writing.Unlock()
		if c.mailbox.empty() || !c.writing.TryLock() {
			return
		}
	}
}

func (c *Conn) flushLater() {
	c.writing.Lock()
	c.mailbox.flushing.Store(false)
	c.flushMail(true)
	c.unlockWriting()
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
			c.mailbox.sent()
			c.writeFailed(err)
			return true
		case n < len(frames):
			c.mailbox.putBack(frames[n:])
			return false
		}
		c.mailbox.sent()
	}
	return true
}

// sendClose sends the first Close frame, and reports whether this was it. Cause, if there is one,
// becomes that of the connection before the peer can answer.
func (c *Conn) sendClose(code CloseCode, reason string, cause *CloseError) bool {
	var payload [MaxControlPayload]byte
	f := Frame{Fin: true, Op: OpClose, Payload: appendClosePayload(payload[:0], code, reason)}
	m := &c.mailbox
	m.mu.Lock()
	first := !m.closed.Load()
	if first && cause != nil {
		c.setCause(cause)
	}
	m.add(c.role, f)
	m.mu.Unlock()
	if first {
		c.kick()
	}
	return first
}
