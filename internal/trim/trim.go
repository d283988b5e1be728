// Package trim gives memory back when a server has become quiet.
package trim

import (
	"runtime/debug"
	"sync/atomic"
	"time"
)

// A Trimmer collects the garbage that handshakes left, when many of them were followed by silence.
// A server of idle sessions allocates nothing, so the collector would not run for minutes, while
// requests, environments and the stacks of their goroutines take as much memory as the sessions
// themselves: 22 KiB for each against 13.
type Trimmer struct {
	timer   *time.Timer
	started atomic.Int32
}

const (
	after = 4 * time.Second // by then quiet sessions have given up what they can
	worth = 64              // sessions
)

// New returns a Trimmer. Stop ends it.
func New() *Trimmer {
	t := &Trimmer{}
	t.timer = time.AfterFunc(time.Hour, func() {
		if t.started.Swap(0) >= worth {
			debug.FreeOSMemory()
		}
	})
	t.timer.Stop()
	return t
}

// Opened counts a session. It may be called by many goroutines at the same time.
func (t *Trimmer) Opened() {
	if t.started.Add(1) >= worth {
		t.timer.Reset(after)
	}
}

// Stop ends the Trimmer.
func (t *Trimmer) Stop() { t.timer.Stop() }
