package fastcgi

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// downTime is how long a backend that could not be reached is asked last.
	downTime = time.Second
	// askAgain is when a backend that left the question open is asked again.
	askAgain = time.Minute
	// starveTime is how long a new connection may be without an answer before
	// idle ones are suspected to hold what it waits for.
	starveTime = 100 * time.Millisecond
	// restTime is how long a connection must have been idle for a request that
	// must not be sent twice.
	restTime = 50 * time.Millisecond
)

// A backend is one address and its connections.
type backend struct {
	c                *Client
	network, address string

	mu       sync.Mutex // guards the fields below
	conns    int        // those of type single that are open or being opened
	freed    chan struct{}
	idle     []*single // the one used last is at the end
	starving int       // connections without an answer for starveTime
	muxes    []*mux
	opening  chan struct{} // closed when another shared connection has been opened; nil: none is being opened
	can      multiplexing
	asked    time.Time // the last question that was left open
	asking   bool
	down     time.Time
	closed   bool
}

// multiplexing is what a backend says about itself.
type multiplexing struct {
	known    bool
	shares   bool // FCGI_MPXS_CONNS
	requests int  // FCGI_MAX_REQS; 0: no word
	window   int  // it counts, and takes so much of each input; 0: it does not
}

func newBackend(c *Client, network, address string) *backend {
	return &backend{c: c, network: network, address: address, freed: make(chan struct{}, 1)}
}

func (b *backend) isDown() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.down)
}

// open begins a request on whatever connection suits.
func (b *backend) open(ctx context.Context, x *Exchange) (carrier, error) {
	ctx, cancel := context.WithTimeout(ctx, b.c.connectTimeout())
	defer cancel()
	if !b.c.NoMultiplex {
		if err := b.ask(ctx); err != nil {
			return nil, err
		}
		for b.shares() {
			m, err := b.shared(ctx)
			if err != nil {
				return nil, err
			}
			if s, err := m.begin(x); err == nil {
				return s, nil
			}
			// It ended or filled up meanwhile.
		}
	}
	for {
		s, err := b.take(ctx, x.safe)
		if err != nil {
			return nil, err
		}
		if err = s.start(x); err == nil {
			if !s.kept() {
				b.starve(s)
			}
			return s, nil
		}
		kept := s.kept()
		if b.drop(s); !kept {
			return nil, err
		}
		// It was stale, and the next one is so, too, or fresh.
	}
}

func (b *backend) shares() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.can.shares
}

func (b *backend) dial(ctx context.Context) (net.Conn, error) {
	dial := b.c.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	nc, err := dial(ctx, b.network, b.address)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			b.down = time.Now().Add(downTime)
		}
		return nil, err
	}
	b.down = time.Time{}
	if b.closed {
		nc.Close()
		return nil, net.ErrClosed
	}
	return nc, nil
}

// take returns an idle connection, or a new one.
//
// A process that has done its share (php-fpm: pm.max_requests) closes its connection
// a moment after the end of the last request, and may swallow what comes
// in between. A request that must not be sent twice stays clear of that moment.
func (b *backend) take(ctx context.Context, safe bool) (*single, error) {
	for {
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			return nil, net.ErrClosed
		}
		i := len(b.idle) - 1
		if i > 0 && !safe {
			i = 0 // the one that has rested longest
		}
		if i >= 0 {
			s, n := b.idle[i], len(b.idle)
			b.idle = slices.Delete(b.idle, i, i+1)
			rested := time.Since(s.since) >= restTime
			b.mu.Unlock()
			if n > 1 {
				wake(b.freed) // there is one for the next that waits, too
			}
			s.idle.Stop()
			if (safe || rested) && !stale(s.nc) {
				return s, nil
			}
			b.drop(s)
			if !safe && !rested { // a new one, for which the process of this one is free now
				return b.dialSingle(ctx)
			}
			continue
		}
		if b.c.MaxConns <= 0 || b.conns < b.c.MaxConns {
			b.conns++
			if b.conns < b.c.MaxConns {
				wake(b.freed)
			}
			b.mu.Unlock()
			return b.dialCounted(ctx)
		}
		b.mu.Unlock()
		select {
		case <-b.freed:
		case <-ctx.Done():
			return nil, errBusy
		}
	}
}

var errBusy = errors.New("all connections are busy")

func (b *backend) dialSingle(ctx context.Context) (*single, error) {
	b.mu.Lock()
	b.conns++
	b.mu.Unlock()
	return b.dialCounted(ctx)
}

// dialCounted is dialSingle with the connection in b.conns already.
func (b *backend) dialCounted(ctx context.Context) (*single, error) {
	nc, err := b.dial(ctx)
	if err != nil {
		b.gone()
		return nil, err
	}
	return &single{b: b, nc: nc, br: bufio.NewReaderSize(nc, 4096)}, nil
}

func (b *backend) gone() {
	b.mu.Lock()
	b.conns--
	b.mu.Unlock()
	wake(b.freed)
}

// put keeps a connection whose request is over.
func (b *backend) put(s *single) {
	s.nc.SetDeadline(time.Time{})
	b.mu.Lock()
	limit := or(b.c.MaxIdle, DefaultMaxIdle)
	// An idle connection holds a process of the backend; those who starve need it.
	if b.closed || b.starving > 0 || len(b.idle) >= limit {
		b.mu.Unlock()
		b.drop(s)
		return
	}
	s.idle = time.AfterFunc(or(b.c.IdleTimeout, DefaultIdleTimeout), func() { b.expire(s) })
	s.since = time.Now()
	b.idle = append(b.idle, s)
	b.mu.Unlock()
	wake(b.freed)
}

// expire closes a connection that is still idle.
func (b *backend) expire(s *single) {
	b.mu.Lock()
	i := slices.Index(b.idle, s)
	if i >= 0 {
		b.idle = slices.Delete(b.idle, i, i+1)
	}
	b.mu.Unlock()
	if i >= 0 {
		b.drop(s)
	}
}

// drop closes a connection. Calls after the first one do nothing.
func (b *backend) drop(s *single) {
	if s.dropped.Swap(true) {
		return
	}
	s.nc.Close()
	b.fed(s)
	b.gone()
}

// starve watches over a new connection until it is answered.
func (b *backend) starve(s *single) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.watched = true
	s.starving = time.AfterFunc(starveTime, func() {
		b.mu.Lock()
		var idle []*single
		if s.watched && !s.counted {
			s.counted = true
			b.starving++
			idle, b.idle = b.idle, nil
		}
		b.mu.Unlock()
		for _, s := range idle {
			s.idle.Stop()
			b.drop(s)
		}
	})
}

// fed ends the watch.
func (b *backend) fed(s *single) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !s.watched {
		return
	}
	s.starving.Stop()
	s.watched = false
	if s.counted {
		s.counted = false
		b.starving--
	}
}

// shared returns a shared connection with room for another request. Requests that
// come at the same time wait for one connection instead of opening one each.
func (b *backend) shared(ctx context.Context) (*mux, error) {
	for {
		b.mu.Lock()
		for _, m := range b.muxes {
			if m.hasRoom() {
				b.mu.Unlock()
				return m, nil
			}
		}
		opening, can := b.opening, b.can
		if opening == nil {
			b.opening = make(chan struct{})
		}
		b.mu.Unlock()
		if opening == nil {
			return b.openShared(ctx, can)
		}
		select {
		case <-opening:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (b *backend) openShared(ctx context.Context, can multiplexing) (*mux, error) {
	defer func() {
		b.mu.Lock()
		close(b.opening)
		b.opening = nil
		b.mu.Unlock()
	}()
	nc, err := b.dial(ctx)
	if err != nil {
		return nil, err
	}
	return b.share(nc, can)
}

// share makes a connection a shared one.
func (b *backend) share(nc net.Conn, can multiplexing) (*mux, error) {
	m := newMux(b, nc, can)
	if can.window > 0 {
		// Before anything else: from here on both sides count.
		if _, err := nc.Write(appendWindow(nil, 0, window)); err != nil {
			nc.Close()
			return nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		nc.Close()
		return nil, net.ErrClosed
	}
	b.muxes = append(b.muxes, m)
	b.c.running.Add(1)
	go m.run()
	return m, nil
}

// unshare forgets a connection that ended.
func (b *backend) unshare(m *mux) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.muxes, m); i >= 0 {
		b.muxes = slices.Delete(b.muxes, i, i+1)
	}
}

// refused notes that the backend cannot share connections after all.
func (b *backend) refused() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.can = multiplexing{known: true}
}

// ask finds out what the backend can do, unless that is known. Others that come
// while it asks do not wait: they go on connections of their own. An error
// means that it cannot be reached.
func (b *backend) ask(ctx context.Context) error {
	b.mu.Lock()
	if b.can.known || b.asking || time.Since(b.asked) < askAgain && !b.asked.IsZero() {
		b.mu.Unlock()
		return nil
	}
	b.asking = true
	b.mu.Unlock()
	can, err := b.probe(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asking = false
	switch {
	case err == nil:
		can.known = true
		b.can = can
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.asked = time.Now()
		return nil
	}
	return err
}

func (b *backend) close() {
	b.mu.Lock()
	b.closed = true
	idle := b.idle
	b.idle = nil
	muxes := slices.Clone(b.muxes)
	b.mu.Unlock()
	for _, s := range idle {
		s.idle.Stop()
		b.drop(s)
	}
	for _, m := range muxes {
		m.cut(net.ErrClosed)
	}
}
