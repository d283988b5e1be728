package host

import (
	"net"
	"net/http"
	"sync"
)

// fresh are the connections on which nothing has been asked yet. Browsers open some in advance, and
// http.Server.Shutdown waits five seconds for their first request.
type fresh struct {
	mu    sync.Mutex // guards the field below
	conns map[net.Conn]struct{}
}

// track is a hook for http.Server.ConnState.
func (f *fresh) track(c net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if state != http.StateNew {
		delete(f.conns, c)
		return
	}
	if f.conns == nil {
		f.conns = make(map[net.Conn]struct{})
	}
	f.conns[c] = struct{}{}
}

func (f *fresh) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		c.Close()
	}
}
