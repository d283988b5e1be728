package host

import (
	"net"
	"net/http"
	"testing"
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

type closing struct {
	net.Conn
	closed map[net.Conn]bool
}

func (c *closing) Close() error {
	c.closed[c] = true
	return c.Conn.Close()
}
