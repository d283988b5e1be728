package proxy

import (
	"context"
	"time"
)

// Shutdown refuses further requests with 503, lets those that run come to their end, and tells the
// backends of tunnels, by the end of their input, to come to it. Tunnels that are left after five
// seconds are ended, and when ctx ends everything is. Shutdown returns when the last request is answered, with the
// error of ctx if that was first. The server of the requests and the backends are not touched.
func (p *Proxy) Shutdown(ctx context.Context) error {
	defer p.transport.CloseIdleConnections()
	return p.calls.Shutdown(ctx)
}

// Active returns the number of requests that are being answered, tunnels included.
func (p *Proxy) Active() int { return p.calls.Active() }

// cut ends a request whatever it waits for.
func (c *call) cut() {
	c.cancel(errDown)
	past := time.Unix(1, 0)
	c.rc.SetWriteDeadline(past)
	c.rc.SetReadDeadline(past)
}
