package limit

import (
	"container/list"
	"math"
	"net/netip"
	"time"
)

// A bucket holds tokens that come back at a rate, up to a burst. Unlike that of x/time/rate it is 16 bytes, and
// there can be less than none.
type bucket struct {
	tokens float64
	at     time.Duration // when tokens was right, on the clock of the owner
}

func full(burst float64) bucket { return bucket{tokens: burst} }

// fill adds what came back until now.
func (b *bucket) fill(now time.Duration, rate, burst float64) {
	if now > b.at {
		b.tokens += (now - b.at).Seconds() * rate
		b.at = now
	}
	b.tokens = min(b.tokens, burst)
}

// take takes one token, or returns how long it takes until there is one. A rate or burst below 0 is no limit.
func (b *bucket) take(now time.Duration, rate, burst float64) (wait time.Duration) {
	if rate < 0 || burst < 0 {
		return 0
	}
	b.fill(now, rate, burst)
	if b.tokens >= 1 {
		b.tokens--
		return 0
	}
	seconds := min((1-b.tokens)/rate, math.MaxInt32)
	return max(1, time.Duration(seconds*float64(time.Second)))
}

// entry is what is known about one address.
type entry struct {
	bucket
	key      netip.Addr
	sessions int
	idle     *list.Element // in table.idle when there are no sessions
}

// table knows addresses: all that have sessions, and some that have not. The latter matter as long as their bucket
// is not full.
type table struct {
	max         int // of idle ones
	rate, burst float64
	entries     map[netip.Addr]*entry
	idle        list.List // of *entry, the latest first
}

func (t *table) limit(max int, rate, burst float64) {
	t.max, t.rate, t.burst = max, rate, burst
	if t.entries == nil {
		t.entries = make(map[netip.Addr]*entry)
	}
}

// get returns the entry of an address, for use until put.
func (t *table) get(key netip.Addr) *entry {
	e := t.entries[key]
	if e == nil {
		e = &entry{key: key, bucket: full(t.burst)}
		t.entries[key] = e
	}
	if e.idle != nil {
		t.idle.Remove(e.idle)
		e.idle = nil
	}
	return e
}

// put is the end of the use of an entry, if it is one. Entries with sessions stay until their last put.
func (t *table) put(e *entry, now time.Duration) {
	if e == nil || e.sessions > 0 {
		return
	}
	if e.idle != nil {
		t.idle.Remove(e.idle)
	}
	e.idle = t.idle.PushFront(e)
	// Two for each that comes, so that the table shrinks when it is quieter.
	for range 2 {
		last := t.idle.Back()
		if last == nil || t.idle.Len() <= t.max && !t.forgettable(last.Value.(*entry), now) {
			return
		}
		gone := t.idle.Remove(last).(*entry)
		gone.idle = nil
		delete(t.entries, gone.key)
	}
}

func (t *table) forgettable(e *entry, now time.Duration) bool {
	if t.rate < 0 || t.burst < 0 {
		return true
	}
	e.fill(now, t.rate, t.burst)
	return e.tokens >= t.burst
}
