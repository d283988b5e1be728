package spawner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The errors of [Pool.Acquire], for errors.Is.
var (
	// ErrPoolBusy: all workers are busy, and the queue is full or the wait was over.
	ErrPoolBusy = errors.New("all workers are busy")
	// ErrPoolUnhealthy: no worker runs, because they die as soon as they are started or cannot be started
	// at all. The pool tries again by itself.
	ErrPoolUnhealthy = errors.New("no worker can be kept running")
	// ErrPoolClosed: the pool is closed, being closed, or was not started.
	ErrPoolClosed = errors.New("worker pool closed")
)

// Scaling says how many workers a [Pool] runs.
type Scaling uint8

// The ways of scaling.
const (
	// OnDemand runs no worker until one is needed. Workers without a session end after IdleTimeout.
	OnDemand Scaling = iota
	// Static runs Max workers all the time.
	Static
	// Dynamic runs Min to Max workers and keeps MinSpare to MaxSpare of them free.
	Dynamic
)

// PoolConfig describes a [Pool]. Spawner and Program have to be set, everything else has a zero value that
// works: up to four workers on demand, one session at a time each, the socket on descriptor 0.
type PoolConfig struct {
	// Name is the beginning of the names of workers, and stands in log records. "" = the base name of the
	// program.
	Name string
	// Spawner starts the workers. They count in its MaxProcesses. It has to be closed after the pool.
	Spawner *Spawner
	// Program is what a worker runs. Stop nil = SIGTERM, and SIGKILL 5 s later. A "close stdin" step
	// of its ladder does nothing. Stdout goes where stderr goes, which cannot be StderrPipe. PipeSize has no effect.
	Program *Program
	// Env is appended to Program.Env, and may hold placeholders as well.
	Env []string
	// Label is added to every log record of the workers. It must not be changed.
	Label []slog.Attr
	// Listen is how a worker comes to the socket it accepts sessions on.
	Listen Listen

	// Scaling says how many workers there are.
	Scaling Scaling
	// Max bounds the workers. Those being started and those that do not want to end are counted. 0 = 4.
	Max int
	// Min is how many run at least, with Dynamic. 0 = MinSpare.
	Min int
	// MinSpare and MaxSpare bound, with Dynamic, the room that is kept free for new sessions, in workers: room for
	// MinSpare×MaxSessions sessions is kept ready as long as Max allows, and what is above
	// MaxSpare×MaxSessions ends after IdleTimeout. Min spare 0 = 1, max spare 0 = min spare.
	MinSpare, MaxSpare int
	// MaxSessions is how many sessions one worker has at once. 0 = 1, negative = any number; such a pool
	// never needs a second worker, unless it is Static or has a Min.
	MaxSessions int

	// MaxServed, MaxAge and MaxMemory are when a worker is replaced by a fresh one: after so many sessions,
	// after that time, when so many bytes of its process alone are resident at the end of a session (Linux
	// only). It takes no more sessions and is stopped when its last one is over; none is cut. When Max workers run, they do so one after the other,
	// and the only worker of a pool only while it has no session. 0 = never.
	MaxServed int
	MaxAge    time.Duration
	MaxMemory int64
	// IdleTimeout is how long a worker without a session that is not needed is kept. 0 = 60 s.
	IdleTimeout time.Duration

	// StartTimeout bounds the time from the start of a worker until it is ready. 0 = 10 s.
	StartTimeout time.Duration
	// Ready tells whether a worker is ready, by nil. It is called again and again, at most until ctx ends.
	// nil = a worker that binds itself is ready when it accepts a connection, one that was given its socket at once.
	Ready func(ctx context.Context, network, address string) error

	// MaxQueue bounds the calls of Acquire that wait because all workers are busy. 0 = 100, negative = none
	// waits but for a worker that is being started.
	MaxQueue int
	// QueueWait bounds the time of that wait. 0 = 10 s, negative = until the context ends.
	QueueWait time.Duration

	// QuickDeath is the age up to which the end of a worker is a failure, unless it ended with status 0
	// after a session. 0 = 5 s.
	QuickDeath time.Duration
	// CrashLoop is how many failures in a row make the pool unhealthy. A program that cannot be started makes it
	// so at once. 0 = 5.
	CrashLoop int
	// Backoff is the pause after the first failure; it doubles up to MaxBackoff, and is shortened by up to
	// a half at random. 0 = 100 ms and 30 s.
	Backoff, MaxBackoff time.Duration

	// Log receives the life of the workers. nil = no log.
	Log *slog.Logger
}

// Pool runs workers: processes of one program that accept sessions on a socket. It counts the sessions,
// starts and stops workers as they are needed, and replaces those that die. The bytes are the caller's:
// it connects to the address of the worker that [Pool.Acquire] returned.
//
// When the server is killed, the [Spawner] sees to it that no worker survives; the private directory of Unix
// sockets is left behind.
//
// All methods may be called at the same time.
type Pool struct {
	c      PoolConfig // complete
	own    bool       // workers make their sockets themselves
	ladder Ladder

	dir     string   // the private directory, "" = none
	places  []*place // one for each slot
	drained chan struct{}
	abandon chan struct{} // closed when Close does not wait any longer
	closed  chan struct{} // closed when Close is through
	workers sync.WaitGroup
	runner  func(told, hurry context.Context, w *Worker) // p.run, but for tests

	mu          sync.Mutex // guards the fields below
	up, down    bool
	slots       []*Worker // nil = free; what is not really gone is in here, so that Max is never exceeded
	queue       []*waiter
	timer       *time.Timer // calls tick when something is due
	failures    int         // in a row
	lastFailure time.Time
	notBefore   time.Time // of the next start after a failure
	unhealthy   bool
	cause       error     // of the last failure
	ready       []*Worker // for pick
	closeErr    error     // written before closed is closed
}

// waiter is a call of Acquire that waits.
type waiter struct {
	choose func([]*Worker) *Worker
	got    chan *Worker // has room for one; closed when err is set
	err    error
}

// NewPool returns a pool that is not started. The error says what is wrong with c; what this platform lacks
// is [ErrUnsupported].
func NewPool(c PoolConfig) (*Pool, error) {
	if c.Spawner == nil || c.Program == nil {
		return nil, errors.New("worker pool: no spawner or no program")
	}
	if c.Name == "" {
		c.Name = strings.TrimSuffix(filepath.Base(c.Program.Path), filepath.Ext(c.Program.Path))
	}
	p := &Pool{drained: make(chan struct{}), abandon: make(chan struct{}), closed: make(chan struct{})}
	p.runner = p.run
	if err := p.complete(&c); err != nil {
		return nil, fmt.Errorf("worker pool %q: %w", c.Name, err)
	}
	p.c = c
	p.slots = make([]*Worker, c.Max)
	return p, nil
}

// complete checks c and fills in the defaults.
func (p *Pool) complete(c *PoolConfig) (err error) {
	for _, n := range []*int{&c.Max, &c.Min, &c.MinSpare, &c.MaxSpare, &c.MaxServed, &c.CrashLoop} {
		if *n < 0 {
			return errors.New("a number of workers, sessions or failures is negative")
		}
	}
	byDefault(&c.Max, 4)
	byDefault(&c.MinSpare, 1)
	byDefault(&c.MaxSpare, c.MinSpare)
	byDefault(&c.Min, min(c.MinSpare, c.Max))
	byDefault(&c.MaxSessions, 1)
	byDefault(&c.MaxQueue, 100)
	byDefault(&c.CrashLoop, 5)
	byDefault(&c.IdleTimeout, time.Minute)
	byDefault(&c.StartTimeout, 10*time.Second)
	byDefault(&c.QueueWait, 10*time.Second)
	byDefault(&c.QuickDeath, 5*time.Second)
	byDefault(&c.Backoff, 100*time.Millisecond)
	byDefault(&c.MaxBackoff, 30*time.Second)
	if c.MaxSessions < 0 {
		c.MaxSessions = unlimited
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("pool", c.Name)
	if p.ladder = c.Program.Stop; p.ladder == nil {
		p.ladder = workerLadder
	}
	if err := c.Program.Check(); err != nil {
		return err
	}
	switch recycles := c.MaxServed > 0 || c.MaxAge > 0 || c.MaxMemory > 0; {
	case c.Scaling > Dynamic:
		return fmt.Errorf("unknown scaling %d", c.Scaling)
	case c.Min > c.Max:
		return fmt.Errorf("min %d is above max %d", c.Min, c.Max)
	case c.MinSpare > c.MaxSpare:
		return fmt.Errorf("min spare %d is above max spare %d", c.MinSpare, c.MaxSpare)
	case c.Listen.Shared && (c.Scaling != Static || recycles):
		return errors.New("workers that share a socket have to be static and are not recycled")
	case c.Program.Stderr == StderrPipe:
		return errors.New("nobody would read a stderr pipe of the workers")
	case c.MaxMemory > 0 && !canReadMemory:
		return fmt.Errorf("max memory: %w", ErrUnsupported)
	}
	p.own, err = c.Listen.complete(c.Max, c.Program.Args, c.Program.Env, c.Env)
	return err
}

// unlimited is a MaxSessions without a limit, small enough for sums.
const unlimited = 1 << 20

func byDefault[T int | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// Start makes the sockets and starts the workers that run all the time, without waiting for them. It fails when
// a socket cannot be made; the pool is closed then.
func (p *Pool) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.up || p.down {
		return p.error(ErrPoolClosed)
	}
	if err := p.listen(); err != nil {
		p.down = true
		p.unlisten()
		close(p.closed)
		return p.error(err)
	}
	p.up = true
	p.timer = time.AfterFunc(time.Hour, p.tick)
	p.settle()
	return nil
}

// listen makes the sockets.
func (p *Pool) listen() (err error) {
	l := &p.c.Listen
	if l.Network == "unix" && l.Path == "" {
		if p.dir, err = os.MkdirTemp(l.Dir, "wspawn-*"); err != nil {
			return err
		}
		if prog := p.c.Program; p.own && prog.User != "" { // who makes the sockets in it
			if err := chown(p.dir, prog.User, prog.Group); err != nil {
				return err
			}
		}
	}
	p.places = l.places(p.c.Max, p.own, p.dir)
	for _, pl := range p.places {
		if err := dialable(pl.network, pl.address); err != nil {
			return err
		}
		if _, err := pl.prepare(); err != nil {
			return err
		}
	}
	return nil
}

// unlisten undoes listen.
func (p *Pool) unlisten() {
	for _, pl := range p.places {
		pl.close()
	}
	if p.dir != "" {
		os.RemoveAll(p.dir)
	}
}

// Close refuses further sessions, waits for those there are, stops every worker as soon as its last session is
// over, and removes the sockets. When ctx ends, workers that still run are killed at once. It
// returns [ErrStuck] when even that did not end all of them. Further calls wait for the first one and return
// what it returned.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	if p.down {
		p.mu.Unlock()
		<-p.closed
		return p.closeErr
	}
	p.down = true
	if !p.up {
		p.mu.Unlock()
		close(p.closed)
		return nil
	}
	p.refuse(ErrPoolClosed)
	p.settle()
	p.mu.Unlock()

	select {
	case <-p.drained:
	case <-ctx.Done():
		p.closeErr = p.kill()
	}
	close(p.abandon)
	p.workers.Wait()
	p.timer.Stop()
	p.unlisten()
	close(p.closed)
	return p.closeErr
}

// kill kills all workers and waits for their end.
func (p *Pool) kill() error {
	p.mu.Lock()
	for _, w := range p.slots {
		if w != nil {
			p.stop(w)
			w.hurry()
		}
	}
	p.mu.Unlock()
	t := time.NewTimer(p.c.Program.giveUp() + flushTime + time.Second)
	defer t.Stop()
	select {
	case <-p.drained:
		return nil
	case <-t.C:
		return fmt.Errorf("close worker pool %q: %w", p.c.Name, ErrStuck)
	}
}

// Acquire counts one session on a worker that has room for it and returns that worker. The caller
// ends the session with Release or Failed, once.
//
// If several workers have room, choose picks one: it is given all of them, ordered by name, in a slice that is valid
// during the call, and must do no more than look at ID, Address and Active. nil = the least busy. If choose
// returns nil, Acquire goes on as if none had room: it starts a worker as far as allowed and waits,
// first come, first served.
//
// The errors are [ErrPoolBusy], [ErrPoolUnhealthy], [ErrPoolClosed] and the error of ctx.
func (p *Pool) Acquire(ctx context.Context, choose func(ready []*Worker) *Worker) (*Worker, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	if !p.up || p.down {
		p.mu.Unlock()
		return nil, p.error(ErrPoolClosed)
	}
	if w := p.take(choose); w != nil {
		p.settle()
		p.mu.Unlock()
		return w, nil
	}
	q := &waiter{choose: choose, got: make(chan *Worker, 1)}
	p.queue = append(p.queue, q)
	p.settle() // which may start workers, and refuses q if none can run
	if n := p.count(); len(q.got) == 0 && q.err == nil && len(p.queue) > max(p.c.MaxQueue, 0)+n.startingRoom {
		p.leave(q)
		p.mu.Unlock()
		return nil, p.error(ErrPoolBusy)
	}
	p.mu.Unlock()
	return p.await(ctx, q)
}

// await waits for the turn of q.
func (p *Pool) await(ctx context.Context, q *waiter) (*Worker, error) {
	var over <-chan time.Time
	if p.c.QueueWait > 0 {
		t := time.NewTimer(p.c.QueueWait)
		defer t.Stop()
		over = t.C
	}
	var err error
	select {
	case w, ok := <-q.got:
		if !ok {
			return nil, q.err
		}
		return w, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-over:
		err = p.error(ErrPoolBusy)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case w, ok := <-q.got: // just in time
		if !ok {
			return nil, q.err
		}
		return w, nil
	default:
	}
	p.leave(q)
	return nil, err
}

func (p *Pool) error(err error) error { return fmt.Errorf("worker pool %q: %w", p.c.Name, err) }

// leave takes q out of the queue. The caller holds p.mu.
func (p *Pool) leave(q *waiter) {
	if i := slices.Index(p.queue, q); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
	}
}

// refuse ends the wait of everybody. The caller holds p.mu.
func (p *Pool) refuse(err error) {
	for _, q := range p.queue {
		q.err = p.error(err)
		close(q.got)
	}
	p.queue = nil
}

// Workers tells what every worker is doing, ordered by name.
func (p *Pool) Workers() []WorkerInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]WorkerInfo, 0, len(p.slots))
	for _, w := range p.slots {
		if w != nil {
			list = append(list, w.info())
		}
	}
	return list
}
