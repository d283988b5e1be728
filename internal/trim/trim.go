// Package trim keeps the garbage collector away from a busy server, and gives memory back when it has become quiet.
package trim

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// A Trimmer collects the garbage of sessions, requests and connections that began or ended, when many of them were followed by
// silence. A server of idle sessions allocates nothing, so the collector would not run for minutes,
// while requests, environments and the stacks of their goroutines take as much memory as the sessions
// themselves: 22 KiB for each against 13. Those that ended may leave a megabyte each in pools: a
// hundred clients that never read made 100 MiB that were still there after four minutes, and so did eight thousand
// answers over HTTP/2 that nobody took.
type Trimmer struct {
	timer   *time.Timer
	changes atomic.Int32
	ballast []byte // keeps the collector from running all the time
}

const (
	after = 4 * time.Second // by then quiet sessions have given up what they can
	worth = 64              // changes

	// ballast is memory that is never touched, so that the system need not give it. The collector counts it, and lets as much
	// garbage come together before it begins. Beside a heap of a few megabytes it would run dozens of times in a
	// second, which was a tenth of the time of ordinary requests.
	ballast = 16 << 20
)

// New returns a Trimmer. Stop ends it.
func New() *Trimmer {
	t := &Trimmer{ballast: make([]byte, ballast)}
	t.timer = time.AfterFunc(time.Hour, func() {
		if t.changes.Swap(0) >= worth {
			runtime.GC() // a pool gives up what it has at the second collection
			debug.FreeOSMemory()
		}
	})
	t.timer.Stop()
	return t
}

// Changed counts a session, request or connection that begins or ends. It may be called by many goroutines at the same time.
func (t *Trimmer) Changed() {
	if t.changes.Add(1) >= worth {
		t.timer.Reset(after)
	}
}

// Stop ends the Trimmer.
func (t *Trimmer) Stop() { t.timer.Stop() }
