package limit

import (
	"math"
	"time"
)

// Flow bounds what the client of one session may send. The zero value does not: what the far side does not take
// in time stops the client anyway.
type Flow struct {
	// Messages per second, in the long run. 0 = no limit.
	Messages float64
	// MessageBurst is how many may come at once. 0 = those of one second, at least 1.
	MessageBurst int
	// Bytes of payload per second. 0 = no limit.
	Bytes float64
	// ByteBurst is how many may come at once. It must be more than the largest message. 0 = those of one second,
	// at least 2 MiB.
	ByteBurst int64
}

// A Meter measures one session against its [Flow]. It is a token bucket that looks at the clock only when it seems
// to be empty, so a call costs two subtractions; the price is that up to twice the burst may pass after a silence.
// A Meter belongs to one goroutine at a time.
type Meter struct {
	f               Flow
	messages, bytes float64 // left, as far as we know without a clock
	at              time.Time
}

// Meter returns a Meter for a new session, nil when there is no limit. A nil Meter lets everything pass.
func (f Flow) Meter() *Meter {
	if f.Messages <= 0 && f.Bytes <= 0 {
		return nil
	}
	def(&f.MessageBurst, max(1, int(min(f.Messages, math.MaxInt32))))
	if f.ByteBurst == 0 {
		f.ByteBurst = max(2<<20, int64(min(f.Bytes, math.MaxInt64/2)))
	}
	m := &Meter{f: f, messages: float64(f.MessageBurst), bytes: float64(f.ByteBurst), at: time.Now()}
	if f.Messages <= 0 {
		m.messages = math.Inf(1) // stays so, whatever is taken
	}
	if f.Bytes <= 0 {
		m.bytes = math.Inf(1)
	}
	return m
}

// Take notes what has come, of one message or of all that one read gave. False means that it was too much: close with
// 1008 (RFC 6455, section 7.4.1).
func (m *Meter) Take(messages, bytes int) bool {
	if m == nil {
		return true
	}
	m.messages -= float64(messages)
	m.bytes -= float64(bytes)
	return m.messages >= 0 && m.bytes >= 0 || m.refill()
}

func (m *Meter) refill() bool {
	now := time.Now()
	d := now.Sub(m.at).Seconds()
	m.at = now
	if m.f.Messages > 0 {
		m.messages = min(m.messages+d*m.f.Messages, float64(m.f.MessageBurst))
	}
	if m.f.Bytes > 0 {
		m.bytes = min(m.bytes+d*m.f.Bytes, float64(m.f.ByteBurst))
	}
	return m.messages >= 0 && m.bytes >= 0
}
