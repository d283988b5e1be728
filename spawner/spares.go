package spawner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Spares keeps processes of one program started ahead, so that a session does not have to wait for the
// start of an interpreter. Each one serves one session, like any other process; when one is taken, another is
// started in its place a moment later.
//
// A spare does not count in [Config].MaxProcesses, so it never takes the place of a session: the spares come on
// top of it. It counts from Take on. Spares that die are replaced, after a pause that doubles from 100 ms to
// 30 s if they die young.
//
// All methods may be called at the same time.
type Spares struct {
	// Options are those of every start. A request is not known then, so Env cannot tell of it. OnExit is not
	// called, see [Process.SetOnExit]. They must not change after Start.
	Options StartOptions
	// Log receives failures. nil = no log.
	Log *slog.Logger

	s    *Spawner
	prog *Program
	n    int

	wake  chan struct{} // holds one element: there is something to do
	ended chan struct{} // closed when the goroutine is gone

	mu   sync.Mutex // guards the fields below
	down bool
	stop context.CancelFunc // of the goroutine; nil: not started
	idle []*Process         // the oldest first
}

const (
	// spareRest is the time between Take and the next start. Interpreters keep a processor busy while they start,
	// and the session that has just begun would feel it: without the rest the first answer of a Python
	// program took a third longer on a busy machine, see BenchmarkFirstEcho in internal/stdio.
	spareRest = 20 * time.Millisecond
	// A spare that dies before it is that old is a failure; the pauses after failures.
	spareYoung    = 5 * time.Second
	sparePause    = 100 * time.Millisecond
	spareMaxPause = 30 * time.Second
)

// NewSpares returns n spares (at least one) of p, which Start begins to start.
func NewSpares(s *Spawner, p *Program, n int) *Spares {
	return &Spares{
		s: s, prog: p, n: max(n, 1),
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
}

// Start begins to start processes, in one goroutine that Close ends. Only the first call does something.
func (x *Spares) Start() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stop != nil || x.down {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	x.stop = cancel
	x.Options.spare = true
	x.Options.OnExit = func(*Process) { x.rouse() }
	go x.refill(ctx)
}

// Take returns a process that is alive, the one that was started first, or false if there is none or MaxProcesses
// are reached: then the caller starts one itself, and learns what is wrong. The process belongs to the caller like one
// that [Spawner.Start] returned. It may have written to Stdout already.
func (x *Spares) Take() (*Process, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.down {
		return nil, false
	}
	for i, p := range x.idle {
		if p.hasEnded() {
			continue
		}
		if !x.s.takeSpare(p) {
			return nil, false
		}
		x.idle = slices.Delete(x.idle, i, i+1)
		time.AfterFunc(spareRest, x.rouse)
		return p, true
	}
	return nil, false
}

// Idle returns how many spares there are.
func (x *Spares) Idle() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.idle)
}

// Close stops the spares by their ladders, and kills them when ctx ends. Processes that were taken are not
// touched. It has to be called before [Spawner.Close].
func (x *Spares) Close(ctx context.Context) error {
	x.mu.Lock()
	x.down = true
	stop := x.stop
	x.mu.Unlock()
	if stop == nil {
		return nil
	}
	stop()
	<-x.ended // after which idle does not change
	var wg sync.WaitGroup
	errs := make([]error, len(x.idle))
	for i, p := range x.idle {
		wg.Go(func() {
			errs[i] = p.Stop(ctx)
			p.ClosePipes()
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *Spares) rouse() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// refill keeps the number of spares until ctx ends.
func (x *Spares) refill(ctx context.Context) {
	defer close(x.ended)
	var pause time.Duration
	var last time.Time // of the failures
	for {
		err := x.bury()
		for err == nil && x.Idle() < x.n {
			err = x.add(ctx)
		}
		if err == nil {
			select {
			case <-x.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return
		}
		if time.Since(last) > pause+spareYoung { // the ones between grew old
			pause = 0
		}
		pause, last = min(max(2*pause, sparePause), spareMaxPause), time.Now()
		x.log("spare process failed", err)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// add starts a spare.
func (x *Spares) add(ctx context.Context) error {
	p, err := x.s.Start(ctx, x.prog, x.Options)
	if err != nil {
		return err
	}
	x.mu.Lock()
	x.idle = append(x.idle, p)
	x.mu.Unlock()
	return nil
}

// bury takes the dead away. The error is that of one that died young.
func (x *Spares) bury() (err error) {
	var dead []*Process
	x.mu.Lock()
	x.idle = slices.DeleteFunc(x.idle, func(p *Process) bool {
		if p.hasEnded() {
			dead = append(dead, p)
			return true
		}
		return false
	})
	x.mu.Unlock()
	for _, p := range dead {
		p.Finish()
		p.ClosePipes()
		if st := p.ExitState(); st.Ended.Sub(st.Started) < spareYoung {
			err = fmt.Errorf("spare %q ended: %v", x.prog.Path, st)
		}
	}
	return err
}

func (x *Spares) log(msg string, err error) {
	if x.Log != nil {
		x.Log.Warn(msg, "err", err)
	}
}
