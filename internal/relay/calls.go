package relay

import (
	"context"
	"sync"
	"time"
)

// tunnelGrace is how long a tunnel may go on after the far side was told, by the end of its input, that the
// server stops.
const tunnelGrace = 5 * time.Second

// Calls are the requests that a gateway is answering, some of which become tunnels, and how all of them come to
// an end. The zero value is ready to use, and its methods may be called at the same time.
type Calls struct {
	mu   sync.Mutex // guards the fields below
	down bool
	dead bool // there is no time left
	all  map[*Call]struct{}
	idle chan struct{} // closed when the last call ends; nil unless Shutdown waits
}

// A Call is one request.
type Call struct {
	s *Calls

	// guarded by Calls.mu
	cut    func()  // nil: it cannot be cut yet
	tunnel *Tunnel // nil: it is none
	end    func() error
}

// Enter begins a call that Leave has to end, or returns nil after Shutdown.
func (s *Calls) Enter() *Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil
	}
	if s.all == nil {
		s.all = make(map[*Call]struct{})
	}
	c := &Call{s: s}
	s.all[c] = struct{}{}
	return c
}

// Cut says how the call is ended whatever it waits for. It reports false when that is due already.
func (c *Call) Cut(cut func()) bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.cut = cut
	return !c.s.down
}

// Tunnel says that the call has become a tunnel, before that runs. end ends the input of its far side.
func (c *Call) Tunnel(t *Tunnel, end func() error) {
	c.s.mu.Lock()
	c.tunnel, c.end = t, end
	down, dead := c.s.down, c.s.dead
	c.s.mu.Unlock()
	switch {
	case dead:
		t.Abort()
	case down:
		end() // Shutdown could not
	}
}

// Leave ends the call.
func (c *Call) Leave() {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, c)
	if len(s.all) == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// Active returns the number of calls, tunnels included.
func (s *Calls) Active() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// Shutdown lets no more calls begin, lets those that run come to their end, and tells the far sides of tunnels,
// by the end of their input, to come to it. Tunnels that are left after five seconds are ended, and when ctx ends
// everything is. It returns when the last call has ended, with the error of ctx if that was first.
func (s *Calls) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.down = true
	if len(s.all) == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.mu.Unlock()

	var told sync.WaitGroup
	defer told.Wait() // until the last far side is closed, at most
	for _, c := range s.running() {
		if c.tunnel != nil {
			told.Go(func() { c.end() }) // may have to wait for what the far side does not read
		}
	}
	grace := time.NewTimer(tunnelGrace)
	defer grace.Stop()
	for {
		select {
		case <-idle:
			return nil
		case <-grace.C:
			for _, c := range s.running() {
				if c.tunnel != nil {
					c.tunnel.Abort()
				}
			}
		case <-ctx.Done():
			s.mu.Lock()
			s.dead = true
			s.mu.Unlock()
			for _, c := range s.running() {
				switch {
				case c.tunnel != nil:
					c.tunnel.Abort()
				case c.cut != nil:
					c.cut()
				}
			}
			<-idle
			return ctx.Err()
		}
	}
}

// running returns copies of all calls, which do not change.
func (s *Calls) running() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Call, 0, len(s.all))
	for c := range s.all {
		all = append(all, *c)
	}
	return all
}
