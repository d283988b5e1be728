package host

import (
	"net"
	"net/http"
	"sync"

	"github.com/wspawn/wspawn/internal/config"
)

// waiting are the connections of a listener on which nothing is being asked: new ones until their request header is
// complete, and idle ones. Browsers open some in advance, and http.Server.Shutdown waits five seconds for
// their first request.
//
// Limits count sessions, not connections, so that whoever opens those and asks for nothing could take all
// descriptors. There are at most max of them: one more ends another one, whichever, but an idle one if there is any:
// who idles can come back, and who makes a TLS handshake while others flood needs its time. Who sends a
// request at once is not there for long enough.
type waiting struct {
	mu          sync.Mutex // guards the fields below
	max         int
	fresh, idle map[net.Conn]struct{}
}

// maxWaiting leaves room for sessions and programs, and for other listeners. Where there are descriptors without end, memory is
// what is short: more than may ask for something at once have no reason to wait.
func maxWaiting(l *config.Limits) int {
	n := descriptors() / 4
	if l.Sessions > 0 && l.Requests > 0 {
		n = min(n, l.Sessions+l.Requests)
	}
	return max(n, 16)
}

// bound changes how many there may be.
func (w *waiting) bound(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.max = n
}

// track is a hook for http.Server.ConnState.
func (w *waiting) track(c net.Conn, state http.ConnState) {
	if other := w.change(c, state); other != nil {
		other.Close()
	}
}

func (w *waiting) change(c net.Conn, state http.ConnState) (over net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.fresh, c)
	delete(w.idle, c)
	if state != http.StateNew && state != http.StateIdle {
		return nil
	}
	if w.fresh == nil {
		w.fresh, w.idle = make(map[net.Conn]struct{}), make(map[net.Conn]struct{})
	}
	if len(w.fresh)+len(w.idle) >= w.max {
		from := w.idle
		if len(from) == 0 {
			from = w.fresh
		}
		for over = range from {
			break
		}
		delete(from, over)
	}
	if state == http.StateNew {
		w.fresh[c] = struct{}{}
	} else {
		w.idle[c] = struct{}{}
	}
	return over
}

func (w *waiting) empty() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.fresh)+len(w.idle) == 0
}

func (w *waiting) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.fresh {
		c.Close()
	}
	for c := range w.idle {
		c.Close()
	}
}
