package wsframe

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// goingAway is what clients are told by a Handler that shuts down.
const goingAway = "server is shutting down"

// cutGrace is how long Shutdown waits for sessions whose connections it has cut.
const cutGrace = 2 * time.Second

// Shutdown ends all sessions and waits for them. New requests get 503 with a
// Retry-After header from now on, sessions that are just being opened are broken
// off with the same, and each running connection gets a Close frame with 1001. A
// client that does not answer that within CloseTimeout is cut.
//
// When ctx ends first, the connections that are left are cut without more words,
// the context that Run got ends, and Shutdown waits a little more, at most 2 s. It
// then returns a *[ShutdownError].
//
// Shutdown may be called several times; every call waits. There is no way back.
func (h *Handler) Shutdown(ctx context.Context) error {
	drained := h.sessions.shut()
	for c := range h.Conns() {
		c.WriteClose(CloseGoingAway, goingAway) // does not wait for the client
	}
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
	}
	cut := h.sessions.cut()
	grace := time.NewTimer(cutGrace)
	defer grace.Stop()
	select {
	case <-drained:
	case <-grace.C:
	}
	return &ShutdownError{Cut: cut, Left: h.sessions.count(), Err: context.Cause(ctx)}
}

// A ShutdownError tells that [Handler.Shutdown] ran out of time.
type ShutdownError struct {
	Cut  int   // sessions whose connections were cut
	Left int   // sessions and handshakes that had not even returned after that
	Err  error // why the context ended
}

func (e *ShutdownError) Error() string {
	s := fmt.Sprintf("shutdown: %d sessions cut", e.Cut)
	if e.Left > 0 {
		s += fmt.Sprintf(", %d did not return", e.Left)
	}
	return s + ": " + e.Err.Error()
}

// Unwrap returns why the context ended.
func (e *ShutdownError) Unwrap() error { return e.Err }

// A registry knows the handshakes and sessions of a Handler. Per session it costs
// one entry of a map.
type registry struct {
	mu      sync.Mutex // guards the fields below
	conns   map[*Conn]struct{}
	active  int           // handshakes and sessions
	drained chan struct{} // made by shut, closed when active is 0 then

	// The two contexts outlive every request, and a Handler has no constructor
	// that could hand them on, hence fields. The first ends when a shutdown
	// begins, the second when it runs out of time.
	contexts              sync.Once
	acceptCtx, runCtx     context.Context
	stopAccepting, cutAll context.CancelFunc
}

func (g *registry) init() {
	g.contexts.Do(func() {
		g.acceptCtx, g.stopAccepting = context.WithCancel(context.Background())
		g.runCtx, g.cutAll = context.WithCancel(context.Background())
	})
}

func (g *registry) accepting() context.Context {
	g.init()
	return g.acceptCtx
}

func (g *registry) running() context.Context {
	g.init()
	return g.runCtx
}

// enter counts a handshake, unless a shutdown has begun.
func (g *registry) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.drained != nil {
		return false
	}
	g.active++
	return true
}

// add enters the connection of a handshake that is counted already. It reports
// whether a shutdown has begun meanwhile, which then does not know c.
func (g *registry) add(c *Conn) (closing bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil {
		g.conns = make(map[*Conn]struct{})
	}
	g.conns[c] = struct{}{}
	return g.drained != nil
}

// remove takes back add.
func (g *registry) remove(c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

// leave ends what enter began, and removes the connection if there is one.
func (g *registry) leave(c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
	g.active--
	if g.drained != nil && g.active == 0 {
		close(g.drained)
	}
}

func (g *registry) snapshot() []*Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]*Conn, 0, len(g.conns))
	for c := range g.conns {
		all = append(all, c)
	}
	return all
}

func (g *registry) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.active
}

// shut begins a shutdown, once. The channel is closed when nothing is left.
func (g *registry) shut() <-chan struct{} {
	g.init()
	g.stopAccepting()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.drained == nil {
		g.drained = make(chan struct{})
		if g.active == 0 {
			close(g.drained)
		}
	}
	return g.drained
}

// cut ends all that is left and returns how many connections that were.
func (g *registry) cut() int {
	g.init()
	g.cutAll()
	all := g.snapshot()
	for _, c := range all {
		c.CloseNow()
	}
	return len(all)
}
