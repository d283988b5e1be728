package cgi

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// queue bounds what runs at once, and what waits for its turn. First come, first served.
type queue struct {
	max, queued int

	mu      sync.Mutex // guards the fields below
	running int
	waiting []chan struct{} // closed when the place of somebody else is theirs
}

func busy(reason string, after time.Duration) error {
	return &GatewayError{Status: http.StatusServiceUnavailable, Reason: reason, RetryAfter: after}
}

// acquire takes a place. The caller gives it back with release.
func (q *queue) acquire(ctx context.Context, timeout time.Duration) error {
	q.mu.Lock()
	if q.running < q.max {
		q.running++
		q.mu.Unlock()
		return nil
	}
	if len(q.waiting) >= q.queued {
		q.mu.Unlock()
		return busy("too many programs are running and waiting", 5*time.Second)
	}
	turn := make(chan struct{})
	q.waiting = append(q.waiting, turn)
	q.mu.Unlock()

	var late <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		late = t.C
	}
	var err error
	select {
	case <-turn:
		return nil
	case <-late:
		err = busy("too many programs are running", 5*time.Second)
	case <-ctx.Done():
		err = ctx.Err()
	}
	q.mu.Lock()
	i := slices.Index(q.waiting, turn)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	q.mu.Unlock()
	if i < 0 {
		q.release() // it came at the same moment
	}
	return err
}

// release gives a place to the first that waits.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) > 0 {
		close(q.waiting[0])
		q.waiting = slices.Delete(q.waiting, 0, 1)
		return
	}
	q.running--
}
