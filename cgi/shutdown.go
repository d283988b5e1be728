package cgi

import (
	"context"
	"time"
)

// Shutdown refuses further requests with 503, lets those that run come to their end, and tells the
// programs of tunnels, by the end of their input, to come to it. Tunnels that are left after five
// seconds are ended, and when ctx ends everything is. Shutdown returns when the last request is answered, with the
// error of ctx if that was first. The server of the requests is not touched.
func (g *Gateway) Shutdown(ctx context.Context) error { return g.calls.Shutdown(ctx) }

// Active returns the number of requests that are being answered, tunnels included.
func (g *Gateway) Active() int { return g.calls.Active() }

// cut ends a request whatever it waits for.
func (c *call) cut() {
	c.ex.Close()
	past := time.Unix(1, 0)
	c.rc.SetWriteDeadline(past)
	c.rc.SetReadDeadline(past)
}
