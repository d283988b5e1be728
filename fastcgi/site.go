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

	"github.com/wspawn/wspawn/internal/backend"
)

const (
	// askAgain is when a backend that left the question open is asked again.
	askAgain = time.Minute
	// starveTime is how long a new connection may be without an answer before
	// idle ones are suspected to hold what it waits for.
	starveTime = 100 * time.Millisecond
	// restTime is how long a connection must have been idle for a request that
	// must not be sent twice.
	restTime = 50 * time.Millisecond
)

// A site is one backend, or one process of a pool, and its connections.
type site struct {
	c      *Client
	forget func() bool // of its OnStop

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
	closed   bool
}

// multiplexing is what a backend says about itself.
type multiplexing struct {
	known    bool
	shares   bool // FCGI_MPXS_CONNS
	requests int  // FCGI_MAX_REQS; 0: no word
	window   int  // it counts, and takes so much of each input; 0: it does not
}

func newSite(c *Client) *site { return &site{c: c, freed: make(chan struct{}, 1)} }

// open begins a request on whatever connection suits.
func (at *site) open(ctx context.Context, x *Exchange) (carrier, error) {
	ctx, cancel := context.WithTimeout(ctx, at.c.connectTimeout())
	defer cancel()
	if !at.c.NoMultiplex {
		if err := at.ask(ctx, x.lease); err != nil {
			return nil, err
		}
		for at.shares() {
			m, err := at.shared(ctx, x.lease)
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
		s, err := at.take(ctx, x)
		if err != nil {
			return nil, err
		}
		if err = s.start(x); err == nil {
			if !s.kept() {
				at.starve(s)
			}
			return s, nil
		}
		kept := s.kept()
		if at.drop(s); !kept {
			return nil, x.lease.Failed(err) // not all of the parameters were sent
		}
		// It was stale, and the next one is so, too, or fresh.
	}
}

func (at *site) shares() bool {
	at.mu.Lock()
	defer at.mu.Unlock()
	return at.can.shares
}

func (at *site) dial(ctx context.Context, l *backend.Lease) (net.Conn, error) {
	nc, err := l.Dial(ctx)
	if err != nil {
		return nil, err
	}
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.closed {
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
func (at *site) take(ctx context.Context, x *Exchange) (*single, error) {
	for {
		at.mu.Lock()
		if at.closed {
			at.mu.Unlock()
			return nil, net.ErrClosed
		}
		i := len(at.idle) - 1
		if i > 0 && !x.safe {
			i = 0 // the one that has rested longest
		}
		if i >= 0 {
			s, n := at.idle[i], len(at.idle)
			at.idle = slices.Delete(at.idle, i, i+1)
			rested := time.Since(s.since) >= restTime
			at.mu.Unlock()
			if n > 1 {
				wake(at.freed) // there is one for the next that waits, too
			}
			s.idle.Stop()
			if (x.safe || rested) && !stale(s.nc) {
				return s, nil
			}
			at.drop(s)
			if !x.safe && !rested { // a new one, for which the process of this one is free now
				return at.dialSingle(ctx, x.lease)
			}
			continue
		}
		if at.c.MaxConns <= 0 || at.conns < at.c.MaxConns {
			at.conns++
			if at.conns < at.c.MaxConns {
				wake(at.freed)
			}
			at.mu.Unlock()
			return at.dialCounted(ctx, x.lease)
		}
		at.mu.Unlock()
		select {
		case <-at.freed:
		case <-ctx.Done():
			return nil, errBusy
		}
	}
}

var errBusy = errors.New("all connections are busy")

func (at *site) dialSingle(ctx context.Context, l *backend.Lease) (*single, error) {
	at.mu.Lock()
	at.conns++
	at.mu.Unlock()
	return at.dialCounted(ctx, l)
}

// dialCounted is dialSingle with the connection in at.conns already.
func (at *site) dialCounted(ctx context.Context, l *backend.Lease) (*single, error) {
	nc, err := at.dial(ctx, l)
	if err != nil {
		at.gone()
		return nil, err
	}
	return &single{at: at, nc: nc, br: bufio.NewReaderSize(nc, 4096)}, nil
}

func (at *site) gone() {
	at.mu.Lock()
	at.conns--
	at.mu.Unlock()
	wake(at.freed)
}

// put keeps a connection whose request is over.
func (at *site) put(s *single) {
	s.nc.SetDeadline(time.Time{})
	at.mu.Lock()
	limit := or(at.c.MaxIdle, DefaultMaxIdle)
	// An idle connection holds a process of the backend; those who starve need it.
	if at.closed || at.starving > 0 || len(at.idle) >= limit {
		at.mu.Unlock()
		at.drop(s)
		return
	}
	s.idle = time.AfterFunc(or(at.c.IdleTimeout, DefaultIdleTimeout), func() { at.expire(s) })
	s.since = time.Now()
	at.idle = append(at.idle, s)
	at.mu.Unlock()
	wake(at.freed)
}

// expire closes a connection that is still idle.
func (at *site) expire(s *single) {
	at.mu.Lock()
	i := slices.Index(at.idle, s)
	if i >= 0 {
		at.idle = slices.Delete(at.idle, i, i+1)
	}
	at.mu.Unlock()
	if i >= 0 {
		at.drop(s)
	}
}

// drop closes a connection. Calls after the first one do nothing.
func (at *site) drop(s *single) {
	if s.dropped.Swap(true) {
		return
	}
	s.nc.Close()
	at.fed(s)
	at.gone()
}

// starve watches over a new connection until it is answered.
func (at *site) starve(s *single) {
	at.mu.Lock()
	defer at.mu.Unlock()
	s.watched = true
	s.starving = time.AfterFunc(starveTime, func() {
		at.mu.Lock()
		var idle []*single
		if s.watched && !s.counted {
			s.counted = true
			at.starving++
			idle, at.idle = at.idle, nil
		}
		at.mu.Unlock()
		for _, s := range idle {
			s.idle.Stop()
			at.drop(s)
		}
	})
}

// fed ends the watch.
func (at *site) fed(s *single) {
	at.mu.Lock()
	defer at.mu.Unlock()
	if !s.watched {
		return
	}
	s.starving.Stop()
	s.watched = false
	if s.counted {
		s.counted = false
		at.starving--
	}
}

// shared returns a shared connection with room for another request. Requests that
// come at the same time wait for one connection instead of opening one each.
func (at *site) shared(ctx context.Context, l *backend.Lease) (*mux, error) {
	for {
		at.mu.Lock()
		for _, m := range at.muxes {
			if m.hasRoom() {
				at.mu.Unlock()
				return m, nil
			}
		}
		opening, can := at.opening, at.can
		if opening == nil {
			at.opening = make(chan struct{})
		}
		at.mu.Unlock()
		if opening == nil {
			return at.openShared(ctx, l, can)
		}
		select {
		case <-opening:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (at *site) openShared(ctx context.Context, l *backend.Lease, can multiplexing) (*mux, error) {
	defer func() {
		at.mu.Lock()
		close(at.opening)
		at.opening = nil
		at.mu.Unlock()
	}()
	nc, err := at.dial(ctx, l)
	if err != nil {
		return nil, err
	}
	return at.share(nc, can)
}

// share makes a connection a shared one.
func (at *site) share(nc net.Conn, can multiplexing) (*mux, error) {
	m := newMux(at, nc, can)
	if can.window > 0 {
		// Before anything else: from here on both sides count.
		if _, err := nc.Write(appendWindow(nil, 0, window)); err != nil {
			nc.Close()
			return nil, err
		}
	}
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.closed {
		nc.Close()
		return nil, net.ErrClosed
	}
	at.muxes = append(at.muxes, m)
	at.c.running.Add(1)
	go m.run()
	return m, nil
}

// unshare forgets a connection that ended.
func (at *site) unshare(m *mux) {
	at.mu.Lock()
	defer at.mu.Unlock()
	if i := slices.Index(at.muxes, m); i >= 0 {
		at.muxes = slices.Delete(at.muxes, i, i+1)
	}
}

// refused notes that the backend cannot share connections after all.
func (at *site) refused() {
	at.mu.Lock()
	defer at.mu.Unlock()
	at.can = multiplexing{known: true}
}

// ask finds out what the backend can do, unless that is known. Others that come
// while it asks do not wait: they go on connections of their own. An error
// means that it cannot be reached.
func (at *site) ask(ctx context.Context, l *backend.Lease) error {
	at.mu.Lock()
	if at.can.known || at.asking || time.Since(at.asked) < askAgain && !at.asked.IsZero() {
		at.mu.Unlock()
		return nil
	}
	at.asking = true
	at.mu.Unlock()
	can, err := at.probe(ctx, l)
	at.mu.Lock()
	defer at.mu.Unlock()
	at.asking = false
	switch {
	case err == nil:
		can.known = true
		at.can = can
	case errors.Is(err, os.ErrDeadlineExceeded):
		at.asked = time.Now()
		return nil
	}
	return err
}

// retire closes a site that nobody uses.
func (at *site) retire() bool {
	at.mu.Lock()
	quiet := at.conns == len(at.idle) && len(at.muxes) == 0 && at.opening == nil && !at.asking
	at.closed = at.closed || quiet
	at.mu.Unlock()
	if quiet {
		at.close(net.ErrClosed)
	}
	return quiet
}

// close closes idle connections, and cuts those that are shared: requests on them end with err.
func (at *site) close(err error) {
	at.forget()
	at.mu.Lock()
	at.closed = true
	idle := at.idle
	at.idle = nil
	muxes := slices.Clone(at.muxes)
	at.mu.Unlock()
	for _, s := range idle {
		s.idle.Stop()
		at.drop(s)
	}
	for _, m := range muxes {
		m.cut(err)
	}
}
