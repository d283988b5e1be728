package cgi

import (
	"context"
	"sync"
	"time"

	"github.com/wspawn/wspawn/internal/relay"
)

// tunnelGrace is how long a tunnel may go on after the program was told, by the end of its input, that the
// server stops.
const tunnelGrace = 5 * time.Second

// Shutdown refuses further requests with 503, lets those that run come to their end, and tells the
// programs of tunnels, by the end of their input, to come to it. Tunnels that are left after five
// seconds are ended, and when ctx ends everything is. Shutdown returns when the last request is answered, with the
// error of ctx if that was first. The server of the requests is not touched.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.down = true
	if g.idle == nil {
		g.idle = make(chan struct{})
		if len(g.calls) == 0 {
			close(g.idle)
		}
	}
	idle := g.idle
	g.mu.Unlock()

	var told sync.WaitGroup
	defer told.Wait() // until the last exchange is closed, at most
	for _, c := range g.running() {
		if c.tunnel != nil {
			told.Go(func() { c.ex.CloseWrite() }) // may have to wait for what a program does not read
		}
	}
	grace := time.NewTimer(tunnelGrace)
	defer grace.Stop()
	for {
		select {
		case <-idle:
			return nil
		case <-grace.C:
			for _, c := range g.running() {
				if c.tunnel != nil {
					c.tunnel.Abort()
				}
			}
		case <-ctx.Done():
			for _, c := range g.running() {
				c.cut()
			}
			<-idle
			return ctx.Err()
		}
	}
}

// running returns what Shutdown has to look after. The fields of the copies do not change.
func (g *Gateway) running() []abortable {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]abortable, 0, len(g.calls))
	for c := range g.calls {
		if c.ex != nil {
			all = append(all, abortable{c, c.ex, c.tunnel})
		}
	}
	return all
}

// abortable is a request with what is known about it at one time.
type abortable struct {
	c      *call
	ex     Exchange
	tunnel *relay.Tunnel
}

// cut ends a request whatever it waits for.
func (a abortable) cut() {
	if a.tunnel != nil {
		a.tunnel.Abort()
		return
	}
	a.ex.Close()
	past := time.Unix(1, 0)
	a.c.rc.SetWriteDeadline(past)
	a.c.rc.SetReadDeadline(past)
}

// Active returns the number of requests that are being answered, tunnels included.
func (g *Gateway) Active() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.calls)
}

func (g *Gateway) enter(c *call) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.down {
		return false
	}
	if g.calls == nil {
		g.calls = make(map[*call]struct{})
	}
	g.calls[c] = struct{}{}
	return true
}

// opened notes the exchange of c; false: the server is being shut down.
func (g *Gateway) opened(c *call, ex Exchange) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.ex = ex
	return !g.down
}

// tunnels notes that c has become a tunnel; false: the server is being shut down.
func (g *Gateway) tunnels(c *call, t *relay.Tunnel) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.tunnel = t
	return !g.down
}

func (g *Gateway) leave(c *call) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.calls, c)
	if g.down && len(g.calls) == 0 && g.idle != nil {
		select {
		case <-g.idle:
		default:
			close(g.idle)
		}
	}
}
