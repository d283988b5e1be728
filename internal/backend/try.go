package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"
)

type unreachable struct{ err error }

func (e *unreachable) Error() string { return e.err.Error() }
func (e *unreachable) Unwrap() error { return e.err }

// Unreachable marks an error of the function that is given to [Set.Try]: nothing was sent, and so the next backend may be
// asked. It says nothing about the health of this one; see [Lease.Failed].
func Unreachable(err error) error { return &unreachable{err} }

// try is one call of Try.
type try struct {
	key   uint64
	keyed bool
	tried []*member
	slow  int // of them took too long
	until time.Time
}

// Try calls use with one backend after another, best first, until use returns nil, or an error that is not
// [Unreachable], which Try returns. When it returned nil the lease stays taken until Release; otherwise Try
// releases it.
//
// When no backend takes the session, the error is an [*Error]; when ctx ends, that of ctx. r is what hashes
// look at; nil is a request without any of that.
func (s *Set) Try(ctx context.Context, r *http.Request, use func(ctx context.Context, l *Lease) error) error {
	var t try
	if s.c.Balance.hashes() {
		t.key, t.keyed = s.c.key(r)
	}
	var failed []error
	for len(t.tried) < s.c.Retries && t.slow < maxSlow {
		l, err := s.acquire(ctx, &t)
		if err != nil {
			return withAll(err, failed)
		}
		if l == nil {
			break
		}
		if err = l.use(ctx, use); err == nil {
			return nil
		}
		u, ok := errors.AsType[*unreachable](err)
		switch {
		case !ok:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		t.tried = append(t.tried, l.m)
		if tooLong(u.err) {
			t.slow++
		}
		failed = append(failed, fmt.Errorf("%s: %w", l.m.id, u.err))
	}
	if t.slow > 0 && t.slow == len(failed) {
		return withAll(&Error{Status: http.StatusGatewayTimeout, Reason: "no backend can be reached in time"}, failed)
	}
	return withAll(&Error{Status: http.StatusServiceUnavailable, Reason: "no backend can be reached", RetryAfter: time.Second}, failed)
}

// withAll adds what failed before to an *Error.
func withAll(err error, failed []error) error {
	if e, ok := err.(*Error); ok && len(failed) > 0 {
		e.Err = errors.Join(append(failed, e.Err)...)
	}
	return err
}

func tooLong(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

func busy(err error) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Reason: "all backends are busy", RetryAfter: time.Second, Err: err}
}

var (
	errQueueFull = errors.New("too many wait already")
	errQueueWait = errors.New("waited too long")
)

// acquire finds a backend that has room. It returns nil when there is none to hope for.
func (s *Set) acquire(ctx context.Context, t *try) (*Lease, error) {
	if s.c.Pool != nil {
		return s.acquireWorker(ctx, t)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, closing()
	}
	if len(s.queue) == 0 {
		if l, wait := s.pick(t, time.Now()); l != nil || !wait {
			s.mu.Unlock()
			return l, nil
		}
	}
	if len(s.queue) >= s.c.MaxQueue || s.c.QueueWait < 0 {
		s.mu.Unlock()
		return nil, busy(errQueueFull)
	}
	w := &waiter{t: t, ready: make(chan struct{})}
	s.queue = append(s.queue, w)
	s.serve() // those in front may have become able to go on just by the time
	s.mu.Unlock()
	return s.wait(ctx, w)
}

func closing() *Error {
	return &Error{Status: http.StatusServiceUnavailable, Reason: "the server is shutting down", RetryAfter: 5 * time.Second}
}

// pick takes the best backend. wait says that there is none now, but may be later. s.mu is held.
func (s *Set) pick(t *try, now time.Time) (l *Lease, wait bool) {
	wait = s.pending > 0 && len(s.members) == 0
	for _, backup := range [...]bool{false, true} {
		c := s.scratch[:0]
		for _, m := range s.members {
			switch {
			case m.backup != backup || !m.usable(now) || slices.Contains(t.tried, m):
			case m.full():
				wait = true
			default:
				c = append(c, m)
			}
		}
		s.scratch = c
		if len(c) > 0 {
			return s.lend(s.choose(c, t)), false
		}
	}
	if wait || t.slow > 0 {
		// A second backend that does not even refuse is not waited for when it was known to be away.
		return nil, wait
	}
	var best *member
	for _, m := range s.members {
		switch {
		case slices.Contains(t.tried, m):
		case m.full():
			wait = true
		case best == nil || m.failedAt.Before(best.failedAt):
			best = m
		}
	}
	if best == nil {
		return nil, wait
	}
	return s.lend(best), false
}

// lend counts a session of m. s.mu is held.
func (s *Set) lend(m *member) *Lease {
	l := &Lease{s: s, m: m}
	if m.streak > 0 && !m.trial {
		m.trial, l.trial = true, true
	}
	m.active++
	m.total++
	return l
}

// A waiter is a session in the queue.
type waiter struct {
	t     *try
	ready chan struct{} // closed when it is out of the queue
	lease *Lease        // valid then; nil: there is nothing to wait for
}

// serve gives what is free to those who wait, in turn. s.mu is held.
func (s *Set) serve() {
	if len(s.queue) == 0 {
		return
	}
	now := time.Now()
	for i := 0; i < len(s.queue); {
		w := s.queue[i]
		l, wait := s.pick(w.t, now)
		switch {
		case l == nil && wait && !s.closed && len(w.t.tried) == 0:
			return // and so nobody behind it will find one
		case l == nil && wait && !s.closed:
			i++
			continue
		}
		w.lease = l
		close(w.ready)
		s.queue = slices.Delete(s.queue, i, i+1)
	}
}

// wait waits until w is served.
func (s *Set) wait(ctx context.Context, w *waiter) (*Lease, error) {
	if w.t.until.IsZero() {
		w.t.until = time.Now().Add(s.c.QueueWait)
	}
	for {
		next := s.nextTrial(w.t.until)
		timer := time.NewTimer(time.Until(next))
		var err error
		select {
		case <-w.ready:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			err = ctx.Err()
		case <-timer.C:
			if next.Before(w.t.until) {
				s.mu.Lock()
				s.serve()
				s.mu.Unlock()
				continue
			}
			err = busy(errQueueWait)
		}
		return s.leave(w, err)
	}
}

// leave takes w out of the queue, if it is not out already.
func (s *Set) leave(w *waiter, err error) (*Lease, error) {
	s.mu.Lock()
	i := slices.Index(s.queue, w)
	if i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
	closed := s.closed
	s.mu.Unlock()
	switch {
	case i >= 0:
		return nil, err
	case w.lease != nil:
		return w.lease, nil // maybe in the last moment
	case closed:
		return nil, closing()
	}
	return nil, nil
}

// nextTrial is when a disabled backend may be tried again, if that is before until.
func (s *Set) nextTrial(until time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, m := range s.members {
		if m.streak > 0 && m.until.After(now) && m.until.Before(until) {
			until = m.until
		}
	}
	return until
}
