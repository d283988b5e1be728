package rawio

import (
	"sync/atomic"
	"time"
)

// QuietAfter is how long a stream has to be quiet before its reader gives up the goroutine that waits for
// it. Its stack is a third of what an idle session costs. What ends the silence starts another one; in a
// conversation nothing changes.
const QuietAfter = 200 * time.Millisecond

// A Sleeper stands for a goroutine that reads a stream, while that is quiet and needs none. The zero
// Sleeper is awake. Sleep is for the reader; Wake may be called at any time.
type Sleeper struct {
	silence atomic.Pointer[silence] // nil: awake
}

// A silence is one time that a stream is not read, because it is quiet.
type silence struct {
	run func()
	key atomic.Int32 // of whenReadable; 0 at first
}

// Sleep has run called once, in a goroutine of its own: when s has something to read, has ended or has
// failed, or by Wake. The caller reads no more, since whoever reads next may do so already. Sleep reports
// false, and does nothing, for streams that cannot be waited for in that way. Whoever closes s calls Wake first.
func (z *Sleeper) Sleep(s any, run func()) bool {
	q := &silence{run: run}
	z.silence.Store(q)
	key := whenReadable(s, z.Wake)
	if key == 0 {
		return !z.silence.CompareAndSwap(q, nil) // Wake may have been faster, and has called run
	}
	q.key.Store(key)
	if z.silence.Load() != q { // awake already, maybe by somebody who did not know the key
		forget(key)
	}
	return true
}

// Wake ends the sleep, if there is one.
func (z *Sleeper) Wake() {
	if q := z.silence.Swap(nil); q != nil {
		forget(q.key.Load())
		go q.run()
	}
}

// Asleep reports whether Sleep was called and nothing has ended that.
func (z *Sleeper) Asleep() bool { return z.silence.Load() != nil }
