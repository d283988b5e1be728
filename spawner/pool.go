package spawner

import (
	"context"
	"errors"
	"log/slog"
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
	// of its ladder does nothing. Stdout goes where stderr goes. PipeSize has no effect.
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
	// after that time, when so many bytes are resident at the end of a session (Linux only). It takes no more sessions
	// and is stopped when its last one is over; none is cut. When Max workers run, they do so one after the other,
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
// All methods may be called at the same time.
type Pool struct {
	c PoolConfig
}

// NewPool returns a pool that is not started. The error says what is wrong with c; what this platform lacks
// is [ErrUnsupported].
func NewPool(c PoolConfig) (*Pool, error) { return &Pool{c: c}, nil }

// Start makes the sockets and starts the workers that run all the time, without waiting for them. It fails when
// a socket cannot be made.
func (p *Pool) Start() error { return errors.ErrUnsupported }

// Close refuses further sessions, waits for those there are, stops every worker as soon as its last session is
// over, and removes the sockets. When ctx ends, workers that still run are killed at once. It
// returns [ErrStuck] when even that did not end all of them.
func (p *Pool) Close(ctx context.Context) error { return nil }

// Acquire counts one session on a worker that has room for it and returns that worker. The caller
// ends the session with Release or Failed, once.
//
// If several workers have room, choose picks one: it is given all of them, ordered by name, and must do no more
// than look at ID, Address and Active. nil = the least busy. If choose returns nil, Acquire goes on as if none had
// room: it starts a worker as far as allowed and waits, first come, first served.
//
// The errors are [ErrPoolBusy], [ErrPoolUnhealthy], [ErrPoolClosed] and the error of ctx.
func (p *Pool) Acquire(ctx context.Context, choose func(ready []*Worker) *Worker) (*Worker, error) {
	return nil, ErrPoolClosed
}

// Workers tells what every worker is doing, ordered by name.
func (p *Pool) Workers() []WorkerInfo { return nil }
