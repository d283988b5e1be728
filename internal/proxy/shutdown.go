package proxy

import (
	"context"
	"time"

	"github.com/wspawn/wspawn/internal/relay"
)

// tunnelGrace is how long a tunnel may go on after the backend was told, by the end of its input, that the
// server stops.
const tunnelGrace = 5 * time.Second

// Shutdown refuses further requests with 503, lets those that run come to their end, and tells the
// backends of tunnels, by the end of their input, to come to it. Tunnels that are left after five
// seconds are ended, and when ctx ends everything is. Shutdown returns when the last request is answered, with the
// error of ctx if that was first. The server of the requests and the backends are not touched.
func (p *Proxy) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.down = true
	if p.idle == nil {
		p.idle = make(chan struct{})
		if len(p.calls) == 0 {
			close(p.idle)
		}
	}
	idle := p.idle
	p.mu.Unlock()
	defer p.transport.CloseIdleConnections()

	for _, t := range p.running() {
		if t.tunnel != nil {
			t.far.CloseWrite()
		}
	}
	grace := time.NewTimer(tunnelGrace)
	defer grace.Stop()
	for {
		select {
		case <-idle:
			return nil
		case <-grace.C:
			for _, t := range p.running() {
				if t.tunnel != nil {
					t.tunnel.Abort()
				}
			}
		case <-ctx.Done():
			for _, t := range p.running() {
				t.c.cut()
			}
			<-idle
			return ctx.Err()
		}
	}
}

// Active returns the number of requests that are being answered, tunnels included.
func (p *Proxy) Active() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.calls)
}

// abortable is a request with what is known about it at one time.
type abortable struct {
	c      *call
	tunnel *relay.Tunnel
	far    relay.Far
}

// running returns what Shutdown has to look after.
func (p *Proxy) running() []abortable {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]abortable, 0, len(p.calls))
	for c := range p.calls {
		all = append(all, abortable{c, c.tunnel, c.far})
	}
	return all
}

// cut ends a request whatever it waits for.
func (c *call) cut() {
	c.p.mu.Lock()
	c.dead = true
	t := c.tunnel
	c.p.mu.Unlock()
	if t != nil {
		t.Abort()
		return
	}
	c.cancel(errDown)
	past := time.Unix(1, 0)
	c.rc.SetWriteDeadline(past)
	c.rc.SetReadDeadline(past)
}

func (p *Proxy) enter(c *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return false
	}
	p.calls[c] = struct{}{}
	return true
}

// tunnels notes that c has become a tunnel, and does what Shutdown could not do to it.
func (p *Proxy) tunnels(c *call, t *relay.Tunnel, far relay.Far) {
	p.mu.Lock()
	c.tunnel, c.far = t, far
	down, dead := p.down, c.dead
	p.mu.Unlock()
	if dead {
		t.Abort()
	} else if down {
		far.CloseWrite()
	}
}

func (p *Proxy) leave(c *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, c)
	if p.down && len(p.calls) == 0 && p.idle != nil {
		select {
		case <-p.idle:
		default:
			close(p.idle)
		}
	}
}
