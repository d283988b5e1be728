package spawner

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// What a pool does next is worked out by settle, from nothing but the state under its mutex, after every
// event: a session came or went, a worker is ready or gone, a time has come. There is no
// clock that ticks: the one timer is set to the next moment at which something is due.

// tally is what the workers add up to.
type tally struct {
	places       int // all that are not gone
	live         int // starting and ready
	starting     int
	retiring     int
	stopping     int
	freeRoom     int // sessions that the ready ones could take
	startingRoom int // sessions that the starting ones will be able to take
}

func (p *Pool) count() (n tally) {
	for _, w := range p.slots {
		if w == nil {
			continue
		}
		n.places++
		switch w.state {
		case Starting:
			n.live++
			n.starting++
			n.startingRoom += p.c.MaxSessions
		case Ready:
			n.live++
			n.freeRoom += p.room(w)
		case Retiring:
			n.retiring++
		case Stopping:
			n.stopping++
		}
	}
	return n
}

// room is how many sessions w could take.
func (p *Pool) room(w *Worker) int {
	if p.c.MaxSessions == unlimited {
		return unlimited
	}
	return p.c.MaxSessions - w.Active()
}

// take counts a session on a worker that has room and returns it, or nil.
func (p *Pool) take(choose func([]*Worker) *Worker) *Worker {
	p.ready = p.ready[:0]
	var best *Worker
	for _, w := range p.slots {
		if w == nil || w.state != Ready || w.ended() || p.room(w) <= 0 {
			continue
		}
		p.ready = append(p.ready, w)
		if best == nil || w.Active() < best.Active() {
			best = w
		}
	}
	if choose != nil && best != nil {
		best = choose(p.ready)
	}
	if best != nil {
		best.active.Add(1)
		best.served++
	}
	return best
}

// tick is called by the timer.
func (p *Pool) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
}

// settle does what there is to do now. The caller holds p.mu.
func (p *Pool) settle() {
	now := time.Now()
	if p.down {
		p.drain()
		return
	}
	next := time.Hour
	due := func(at time.Time) bool {
		d := at.Sub(now)
		if d > 0 {
			next = min(next, d)
		}
		return d <= 0
	}
	p.grant()
	p.forget(due)
	p.shrink(due)
	p.grow(due)
	if p.recycle(due) {
		p.grow(due)
	}
	p.hopeless()
	p.timer.Reset(next)
}

// drain stops what has no session any more.
func (p *Pool) drain() {
	left := false
	for _, w := range p.slots {
		if w == nil {
			continue
		}
		left = true
		if w.state < Retiring {
			p.retire(w)
		}
	}
	if !left {
		select {
		case <-p.drained:
		default:
			close(p.drained)
		}
	}
}

// grant gives room to those who wait, in their order.
func (p *Pool) grant() {
	rest := p.queue[:0]
	for _, q := range p.queue {
		if w := p.take(q.choose); w != nil {
			q.got <- w
		} else {
			rest = append(rest, q)
		}
	}
	clear(p.queue[len(rest):])
	p.queue = rest
}

// forget forgives failures when a worker that was started after the last one has grown old enough.
func (p *Pool) forget(due func(time.Time) bool) {
	if p.failures == 0 {
		return
	}
	for _, w := range p.slots {
		if w != nil && w.state == Ready && w.born.After(p.lastFailure) && due(w.born.Add(p.c.QuickDeath)) {
			p.failures, p.unhealthy, p.cause = 0, false, nil
			return
		}
	}
}

// recycle retires workers that have served long enough. It reports whether there were any.
func (p *Pool) recycle(due func(time.Time) bool) (some bool) {
	for _, w := range p.slots {
		if w == nil || w.state != Ready || w.adopted {
			continue
		}
		old := p.c.MaxAge > 0 && due(w.born.Add(p.c.MaxAge))
		if !old && !w.fat && !w.broken && (p.c.MaxServed == 0 || w.served < p.c.MaxServed) {
			continue
		}
		// One after the other, so that the pool does not lose all its room at once; and where there is no
		// place for a replacement beside one that has to wait for the end of its sessions, there
		// is but one that waits.
		n := p.count()
		full := n.places == p.c.Max
		switch {
		case w.broken:
		case n.starting+n.stopping > 0, p.failures > 0:
			continue
		case full && n.retiring > 0:
			continue
		case p.c.Max == 1 && w.Active() > 0:
			continue
		}
		p.retire(w)
		some = true
	}
	return some
}

// shrink retires the workers that nobody needs, first the one without a session for the longest time.
func (p *Pool) shrink(due func(time.Time) bool) {
	if p.c.Scaling == Static {
		return
	}
	for {
		if n := p.count(); p.c.Scaling == Dynamic && (n.live <= p.c.Min || n.freeRoom < (p.c.MaxSpare+1)*p.c.MaxSessions) {
			return
		}
		var idle *Worker
		for _, w := range p.slots {
			if w != nil && w.state == Ready && !w.adopted && w.Active() == 0 && (idle == nil || !w.idle.After(idle.idle)) {
				idle = w
			}
		}
		if idle == nil || !due(idle.idle.Add(p.c.IdleTimeout)) {
			return
		}
		p.retire(idle)
	}
}

// grow starts the workers that are needed.
func (p *Pool) grow(due func(time.Time) bool) {
	for need := p.needed(); need > 0; need-- {
		slot := p.freeSlot()
		if slot < 0 {
			return
		}
		if p.failures > 0 { // one at a time, to see whether it lives
			if !due(p.notBefore) || p.count().starting > 0 {
				return
			}
			p.notBefore = time.Now().Add(p.delay())
		}
		p.launch(slot)
	}
}

// needed is how many workers should be started. Since grant went before, the free room there is does not
// suit those who wait.
func (p *Pool) needed() int {
	n := p.count()
	waiting := len(p.queue)
	short := max(0, waiting-n.startingRoom)
	need := 0
	switch p.c.Scaling {
	case Static:
		return p.c.Max - n.live
	case Dynamic:
		short += max(0, p.c.MinSpare*p.c.MaxSessions-n.freeRoom-max(0, n.startingRoom-waiting))
		need = p.c.Min - n.live
	}
	need = max(need, (short+p.c.MaxSessions-1)/p.c.MaxSessions)
	if p.unhealthy { // to find out when it is not any more
		need = max(need, 1)
	}
	return need
}

func (p *Pool) freeSlot() int {
	for i, w := range p.slots {
		if w == nil {
			return i
		}
	}
	return -1
}

// launch starts a worker in a slot.
func (p *Pool) launch(slot int) {
	w := &Worker{p: p, id: fmt.Sprintf("%s-%d", p.c.Name, slot), slot: slot, place: p.places[slot], born: time.Now(), done: make(chan struct{})}
	told, cancel := context.WithCancel(context.Background())
	hurry, kill := context.WithCancel(context.Background())
	w.cancel, w.hurry = cancel, kill
	w.onStop = func(f func()) (forget func() bool) { return context.AfterFunc(told, f) }
	p.slots[slot] = w
	p.workers.Go(func() {
		defer cancel()
		defer kill()
		p.runner(told, hurry, w)
	})
}

// retire lets w have no more sessions and stops it when it has none.
func (p *Pool) retire(w *Worker) {
	w.state = Retiring
	if w.Active() == 0 {
		p.stop(w)
	}
}

// stop stops w, whatever it is doing.
func (p *Pool) stop(w *Worker) {
	w.state = Stopping
	w.cancel()
}

// started marks w ready.
func (p *Pool) started(w *Worker) {
	p.mu.Lock()
	recovered := p.unhealthy
	if w.state == Starting {
		w.state = Ready
		w.idle = time.Now()
		p.unhealthy = false
	}
	p.settle()
	p.mu.Unlock()
	if recovered {
		p.c.Log.Info("pool is healthy again", "worker", w.id)
	}
}

// gone frees the place of w. failure is what it did wrong, or nil.
func (p *Pool) gone(w *Worker, failure error) {
	p.mu.Lock()
	p.slots[w.slot] = nil
	looping := false
	if failure != nil && !p.down {
		looping = p.failed(w, failure)
	}
	p.settle()
	if p.unhealthy || p.slots[w.slot] == nil && p.c.Scaling != Static { // the next worker there may be long in coming
		w.place.hangUp()
	}
	p.mu.Unlock()
	if looping {
		p.c.Log.Error("pool is unhealthy", "worker", w.id, "err", failure)
	}
}

// failed takes down a failure of w. It reports whether it made the pool unhealthy. The caller holds p.mu.
func (p *Pool) failed(w *Worker, err error) bool {
	// What died together failed once: after a start of twenty, one of them tells as much as all.
	if w.born.After(p.lastFailure) {
		p.lastFailure = time.Now()
		p.failures++
		p.notBefore = p.lastFailure.Add(p.delay())
	}
	p.cause = err
	before := p.unhealthy
	if _, cannotStart := errors.AsType[*startError](err); cannotStart || p.failures >= p.c.CrashLoop && !errors.Is(err, ErrLimit) {
		p.unhealthy = true
	}
	return p.unhealthy && !before
}

// delay returns the pause after so many failures.
func (p *Pool) delay() time.Duration {
	d := p.c.MaxBackoff
	if n := p.failures - 1; n < 30 && p.c.Backoff<<n < d {
		d = p.c.Backoff << n
	}
	return d - rand.N(d/2+1)
}

// hopeless refuses those who wait when no worker can be expected soon.
func (p *Pool) hopeless() {
	if !p.unhealthy {
		return
	}
	for _, w := range p.slots {
		if w != nil && (w.state == Ready || w.state == Retiring) {
			return
		}
	}
	p.refuse(fmt.Errorf("%w: %w", ErrPoolUnhealthy, p.cause))
}
