package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/wspawn/wspawn/spawner"
)

// A worker is a process of the pool that this set has used. The member is that of its place in the pool,
// which others will have after it.
type worker struct {
	m     *member
	w     *spawner.Worker
	addr  Address
	place string
}

func (w *worker) ended() bool {
	select {
	case <-w.w.Done():
		return true
	default:
		return false
	}
}

// acquireWorker has the pool find a worker.
func (s *Set) acquireWorker(ctx context.Context, t *try) (*Lease, error) {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return nil, closing()
	}
	w, err := s.c.Pool.Acquire(ctx, func(ready []*spawner.Worker) *spawner.Worker { return s.chooseWorker(ready, t) })
	switch {
	case err == nil:
	case errors.Is(err, spawner.ErrPoolBusy):
		return nil, busy(err)
	case errors.Is(err, spawner.ErrPoolUnhealthy):
		return nil, &Error{Status: http.StatusServiceUnavailable, Reason: "no backend can be started", RetryAfter: 5 * time.Second, Err: err}
	case errors.Is(err, spawner.ErrPoolClosed):
		return nil, closing()
	default:
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.worker(w)
	return &Lease{s: s, m: known.m, w: known}, nil
}

// worker returns what is known of w. s.mu is held.
func (s *Set) worker(w *spawner.Worker) *worker {
	known := s.workers[w.ID()]
	if known != nil && known.w == w {
		return known
	}
	network, address := w.Address()
	next := &worker{w: w, addr: Address{network, address}}
	if known != nil {
		next.m = known.m
	} else {
		next.m = newMember(w.ID(), next.addr)
	}
	s.seen++
	next.place = fmt.Sprintf("%s/%d %s", w.ID(), s.seen, next.addr)
	s.workers[w.ID()] = next
	return next
}

// chooseWorker is called by the pool. Those that were tried come last, all the same: by
// then another process may be there.
func (s *Set) chooseWorker(ready []*spawner.Worker, t *try) *spawner.Worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	var c []*member
	for _, untried := range [...]bool{true, false} {
		c = s.scratch[:0]
		for _, w := range ready {
			m := s.worker(w).m
			m.active = w.Active() // other sets may use the pool, too
			if untried && slices.Contains(t.tried, m) {
				continue
			}
			c = append(c, m)
		}
		s.scratch = c
		if len(c) > 0 {
			break
		}
	}
	if len(c) == 0 {
		return nil
	}
	return s.workers[s.choose(c, t).id].w
}

// failed ends the session of l, and lets the pool know why.
func (w *worker) failed(l *Lease, err error) {
	l.s.mu.Lock()
	over := l.released
	l.released = true
	w.m.failures++
	w.m.err = err
	l.s.mu.Unlock()
	if !over {
		w.w.Failed(err)
	}
}

// poolStatus is Status of the workers.
func (s *Set) poolStatus() []Status {
	var list []Status
	workers := s.c.Pool.Workers()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range workers {
		st := Status{
			ID: w.ID, Address: Address{w.Network, w.Address}, State: w.State.String(), Since: w.Since, Weight: 1,
			Active: w.Sessions, Total: int64(w.Served),
		}
		if known := s.workers[w.ID]; known != nil {
			st.Failures, st.Err = known.m.failures, known.m.err
		}
		list = append(list, st)
	}
	return list
}
