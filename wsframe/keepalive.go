package wsframe

import (
	"context"
	"encoding/binary"
	"slices"
	"sync/atomic"
	"time"
)

// A keepalive watches one connection with one timer and no goroutine. The reader only sets two
// bits for each chunk; nobody looks at the clock on the data path.
type keepalive struct {
	state atomic.Uint32 // bits below
	timer *time.Timer

	// The following belong to the timer's function.
	quiet  int // quarters of the interval in which nothing came
	pinged bool
	grace  time.Duration // what is left of it behind the step that goes on
	unsent bool          // at the last look the ping still waited for the writer

	closing atomic.Bool  // the timer is the limit of the close handshake
	closeBy atomic.Int64 // when that is over, in Unix nanoseconds; set before closing
	stopped atomic.Bool
	rtt     atomic.Int64
}

const (
	stateAlive  = 1 << iota // something arrived since the last look
	stateReader             // somebody is waiting for data
)

func (k *keepalive) received() { k.state.Store(stateAlive) }
func (k *keepalive) waiting()  { k.state.Store(stateAlive | stateReader) }

// stop is final: whoever sets the timer looks at stopped behind that.
func (k *keepalive) stop() {
	k.stopped.Store(true)
	k.timer.Stop()
}

func (k *keepalive) reset(d time.Duration) {
	k.timer.Reset(d)
	if k.stopped.Load() {
		k.timer.Stop()
	}
}

func (c *Conn) startKeepalive() {
	c.life.timer = time.AfterFunc(time.Hour, c.tick) // must be assigned before it can fire
	if interval := c.o.pingInterval(); interval > 0 {
		c.life.timer.Reset(interval / 4)
	} else {
		c.life.timer.Stop()
	}
}

// awaitClose limits the close handshake: from now on the timer cuts the connection.
func (c *Conn) awaitClose() {
	if c.life.closing.Load() {
		return
	}
	c.life.closeBy.Store(time.Now().Add(c.o.closeTimeout()).UnixNano())
	if c.life.closing.CompareAndSwap(false, true) {
		c.life.reset(c.o.closeTimeout())
	}
}

func (c *Conn) tick() {
	k := &c.life
	interval := c.o.pingInterval()
	next := interval / 4
	switch state := k.state.Load(); {
	case k.closing.Load():
		if left := time.Until(time.Unix(0, k.closeBy.Load())); left > 0 { // a tick of before
			k.reset(left)
			return
		}
		reason := "connection lost"
		if c.mailbox.closed.Load() {
			reason = "no answer to the Close frame"
		}
		c.abort(&CloseError{Code: CloseAbnormal, Reason: reason})
		return
	case interval <= 0:
		return
	case state&stateAlive != 0:
		k.state.And(^uint32(stateAlive))
		k.quiet, k.pinged = 0, false
	case state&stateReader == 0: // nobody reads, so nobody can know
	case k.pinged && k.grace > 0:
		next = k.await(next, k.grace)
	case k.pinged && (k.unsent || !c.mailbox.empty()):
		// The ping waits behind a large message, or did so for a part of the grace.
		k.unsent = !c.mailbox.empty()
		next = k.await(next, c.o.pingGrace())
	case k.pinged:
		c.abort(&CloseError{Code: CloseAbnormal, Reason: "peer does not answer pings"})
		return
	default:
		if k.quiet++; k.quiet >= 4 {
			k.pinged = true
			next = k.await(next, c.o.pingGrace())
			c.postPing(nil)
		}
	}
	k.reset(next)
	if k.closing.Load() { // awaitClose came between
		k.reset(c.o.closeTimeout())
	}
}

// await spends a part of the grace. It is not waited for at once, since the next interval begins when the answer comes.
func (k *keepalive) await(step, grace time.Duration) time.Duration {
	step = min(step, grace)
	k.grace = grace - step
	return step
}

// A pingWait is a ping on its way.
type pingWait struct {
	payload uint64
	sent    time.Time
	answer  chan time.Duration // nil: keepalive
}

// postPing posts a ping that carries the time, and returns its note.
func (c *Conn) postPing(answer chan time.Duration) pingWait {
	now := time.Now()
	w := pingWait{payload: uint64(now.UnixNano()), sent: now, answer: answer}
	m := &c.mailbox
	m.mu.Lock()
	for _, other := range m.pings {
		w.payload = max(w.payload, other.payload+1)
	}
	if len(m.pings) >= 16 {
		m.drop(0)
	}
	m.pings = append(m.pings, w)
	m.mu.Unlock()
	m.post(c.role, Frame{Fin: true, Op: OpPing, Payload: binary.BigEndian.AppendUint64(nil, w.payload)})
	c.kick()
	return w
}

// drop forgets a ping; who waits for it sees a closed channel. It needs mu.
func (m *mailbox) drop(i int) {
	if ch := m.pings[i].answer; ch != nil {
		close(ch)
	}
	m.pings = append(m.pings[:i], m.pings[i+1:]...)
	if len(m.pings) == 0 {
		m.pings = nil
	}
}

func (m *mailbox) failPings() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.pings) > 0 {
		m.drop(len(m.pings) - 1)
	}
}

// pong finds the ping that is answered. A peer may answer only the latest of several, which then stands for those
// before it, and unsolicited pongs are allowed (RFC 6455, section 5.5.3).
func (c *Conn) pong(payload []byte) {
	if len(payload) != 8 {
		return
	}
	m := &c.mailbox
	m.mu.Lock()
	defer m.mu.Unlock()
	n := binary.BigEndian.Uint64(payload)
	for i := slices.IndexFunc(m.pings, func(w pingWait) bool { return w.payload == n }); i >= 0; i-- {
		w := &m.pings[0]
		rtt := time.Since(w.sent)
		c.life.rtt.Store(int64(rtt))
		if w.answer != nil {
			w.answer <- rtt
			w.answer = nil
		}
		m.drop(0)
	}
}

// Ping sends a ping and waits for the answer, which somebody else has to read. It returns the
// round-trip time, the error of ctx, or the *[CloseError] of a connection that ended. Of more than
// sixteen pings that are on their way, the oldest give up with [context.DeadlineExceeded].
func (c *Conn) Ping(ctx context.Context) (time.Duration, error) {
	w := c.postPing(make(chan time.Duration, 1))
	select {
	case rtt, ok := <-w.answer:
		if ok {
			return rtt, nil
		}
		if err := c.Err(); err != nil {
			return 0, err
		}
		return 0, context.DeadlineExceeded // pushed out by sixteen newer pings
	case <-c.done:
		return 0, c.Err()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// RTT returns the last measured round-trip time of a ping, also of a keepalive one; 0 before the
// first.
func (c *Conn) RTT() time.Duration { return time.Duration(c.life.rtt.Load()) }
