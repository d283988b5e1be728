package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/wspawn/wspawn/scripts/benchpeers/internal/table"
	"github.com/wspawn/wspawn/wsframe"
)

// Where clients come from, as the server believes.
const (
	attackers   = "198.51.100.7"
	wellBehaved = "192.0.2.1"
)

// good is the well-behaved client: one session that lasts, with an echo every 10 ms, and a new session every
// second, each on a connection of its own.
type good struct {
	server *process
	http2  bool // over TLS
	conn   *wsframe.Conn
}

// A report is how the well-behaved client fared. It may fail to get new sessions under attack, but must not lose the
// one it has.
type report struct {
	echo, fresh    string
	tried, refused int
	errs           []error
}

func (g *good) dial(ctx context.Context) (*wsframe.Conn, error) {
	if g.http2 {
		return g.dial2(ctx)
	}
	c, _, err := wsframe.Dial(ctx, "ws://"+g.server.address+"/echo", &wsframe.DialOptions{
		Header: http.Header{"X-Forwarded-For": {wellBehaved}}, HandshakeTimeout: 15 * time.Second,
	})
	return c, err
}

// echo sends a message and waits for it.
func echo(c *wsframe.Conn, buf []byte) ([]byte, error) {
	text := fmt.Appendf(nil, "%d well behaved ..............................", time.Now().UnixNano())
	if err := c.WriteMessage(wsframe.OpText, text); err != nil {
		return buf, err
	}
	_, buf, err := c.ReadMessage(buf)
	if err == nil && !bytes.Equal(buf, text) {
		err = fmt.Errorf("another echo: %.60q", buf)
	}
	return buf, err
}

// warmUp makes the server start what it keeps for good.
func warmUp(ctx context.Context, p *process) error {
	for i := range 6 {
		g := &good{server: p, http2: i%2 == 1}
		if err := g.connect(ctx); err != nil {
			return err
		}
		if _, err := echo(g.conn, nil); err != nil {
			return err
		}
		g.conn.Close(wsframe.CloseNormal, "")
	}
	time.Sleep(time.Second)
	return nil
}

func (g *good) connect(ctx context.Context) (err error) {
	g.conn, err = g.dial(ctx)
	return err
}

func (g *good) run(ctx context.Context) (r report) {
	var echoes, sessions []float64
	var both sync.WaitGroup
	both.Go(func() {
		defer g.conn.CloseNow()
		var buf []byte
		for every(ctx, 10*time.Millisecond) {
			// A server that never answers is noticed too.
			g.conn.NetConn().SetDeadline(time.Now().Add(30 * time.Second))
			began := time.Now()
			var err error
			if buf, err = echo(g.conn, buf); err != nil {
				r.errs = append(r.errs, fmt.Errorf("the well-behaved client: %w", err))
				return
			}
			echoes = append(echoes, milliseconds(began))
		}
		g.conn.Close(wsframe.CloseNormal, "")
	})
	both.Go(func() {
		for every(ctx, time.Second) {
			r.tried++
			began := time.Now()
			c, err := g.dial(ctx)
			if err == nil {
				c.NetConn().SetDeadline(time.Now().Add(15 * time.Second))
				_, err = echo(c, nil)
				c.CloseNow()
			}
			if ctx.Err() != nil {
				r.tried--
				return
			}
			if err != nil {
				r.refused++
				continue
			}
			sessions = append(sessions, milliseconds(began))
		}
	})
	both.Wait()
	slices.Sort(echoes)
	slices.Sort(sessions)
	r.echo = figures(echoes, 0.99)
	r.fresh = figures(sessions, 1)
	return r
}

func milliseconds(since time.Time) float64 {
	return float64(time.Since(since)) / float64(time.Millisecond)
}

// figures are the median and a higher quantile.
func figures(sorted []float64, high float64) string {
	if len(sorted) == 0 {
		return "none"
	}
	return table.Number(table.Median(sorted)) + " / " + table.Number(sorted[min(len(sorted)-1, int(high*float64(len(sorted))))])
}

// every waits, and reports whether ctx goes on.
func every(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
