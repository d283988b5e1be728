package host

import (
	"net"
	"net/http"
	"testing"

	"github.com/wspawn/wspawn/internal/config"
)

func TestConnectionsThatWaitAreBounded(t *testing.T) {
	w := &waiting{max: 2}
	closed := make(map[net.Conn]bool)
	conn := func() net.Conn {
		c, _ := net.Pipe()
		return &closing{c, closed}
	}
	asking, other, idle := conn(), conn(), conn()
	w.track(asking, http.StateNew)
	w.track(asking, http.StateActive)
	w.track(other, http.StateNew)
	w.track(idle, http.StateNew)
	w.track(idle, http.StateActive)
	w.track(idle, http.StateIdle)
	if len(closed) != 0 {
		t.Error("a connection is closed though there is room")
	}
	next := conn()
	w.track(next, http.StateNew)
	if len(closed) != 1 || !closed[idle] {
		t.Errorf("%d connections are closed; the idle one: %v", len(closed), closed[idle])
	}
	last := conn()
	w.track(last, http.StateNew)
	if len(closed) != 2 || closed[asking] || closed[last] {
		t.Errorf("%d connections are closed; the one that asks: %v, the last one: %v", len(closed), closed[asking], closed[last])
	}
	w.track(asking, http.StateClosed)
	w.close()
	if len(closed) != 4 || closed[asking] {
		t.Errorf("%d connections are closed in the end; the one that asks: %v", len(closed), closed[asking])
	}
}

// Connections on which nothing is asked take no more memory where there are many descriptors.
func TestConnectionsThatWaitAreNoMoreThanMayAsk(t *testing.T) {
	set := func(c *config.Config, sessions, requests int) *config.Config {
		c.Limits.Sessions, c.Limits.Requests = sessions, requests
		return c
	}
	h, _ := run(t, set(routes(stdioRoute("/", "cat")), 15, 20))
	for _, want := range []struct{ sessions, requests, max int }{
		{15, 20, 35}, {20, 20, 40}, {1, 1, 16}, {0, 20, descriptors() / 4}, {20, 0, descriptors() / 4},
	} {
		if err := h.Reload(set(routes(stdioRoute("/", "cat")), want.sessions, want.requests)); err != nil {
			t.Fatal(err)
		}
		l := h.listeners[0]
		l.waiting.mu.Lock()
		if got := l.waiting.max; got != want.max {
			t.Errorf("%d sessions and %d requests: %d connections may wait, want %d", want.sessions, want.requests, got, want.max)
		}
		l.waiting.mu.Unlock()
	}
}

type closing struct {
	net.Conn
	closed map[net.Conn]bool
}

func (c *closing) Close() error {
	c.closed[c] = true
	return c.Conn.Close()
}
