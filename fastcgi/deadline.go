package fastcgi

import (
	"sync"
	"time"
)

// A deadline is a point in time that may be moved while others wait for it. The
// zero value has none.
type deadline struct {
	mu    sync.Mutex // guards the fields below
	timer *time.Timer
	done  chan struct{} // closed when the time has come; nil: never
}

// set moves the deadline; the zero time takes it away.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.done // the timer fires, or has fired: done gets closed by it alone
	}
	d.timer = nil
	if d.done != nil {
		select {
		case <-d.done:
			d.done = nil // used up; those who waited have seen it
		default:
		}
	}
	if t.IsZero() {
		// Whoever waits on done goes on waiting, which is right.
		return
	}
	if d.done == nil {
		d.done = make(chan struct{})
	}
	done := d.done
	if left := time.Until(t); left > 0 {
		d.timer = time.AfterFunc(left, func() { close(done) })
		return
	}
	close(done)
}

// wait returns the channel that closes at the deadline. A deadline that is set
// later closes it too.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done == nil {
		d.done = make(chan struct{})
	}
	return d.done
}

// passed reports whether the deadline is over.
func (d *deadline) passed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.done: // nil: blocks, so default
		return true
	default:
		return false
	}
}

// stop frees the timer.
func (d *deadline) stop() { d.set(time.Time{}) }
