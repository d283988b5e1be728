package host

import (
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// A trimmer collects the garbage that handshakes left, when many of them were followed by silence.
// A server of idle sessions allocates nothing, so the collector would not run for minutes, while
// requests, environments and the stacks of their goroutines take as much memory as the sessions
// themselves: 22 KiB for each against 13.
type trimmer struct {
	timer   *time.Timer
	started atomic.Int32
}

const (
	trimAfter = 4 * time.Second // by then quiet sessions have given up what they can
	trimWorth = 64              // sessions
)

func newTrimmer() *trimmer {
	t := &trimmer{}
	t.timer = time.AfterFunc(time.Hour, func() {
		if t.started.Swap(0) >= trimWorth {
			debug.FreeOSMemory()
		}
	})
	t.timer.Stop()
	return t
}

func (t *trimmer) opened(*wsframe.Request, *wsframe.Conn) {
	if t.started.Add(1) >= trimWorth {
		t.timer.Reset(trimAfter)
	}
}

func (t *trimmer) stop() { t.timer.Stop() }
