package spawner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// Worker is one process of a [Pool]. All methods may be called at the same time.
type Worker struct {
	p      *Pool
	id     string
	slot   int
	place  *place
	born   time.Time
	done   chan struct{}
	cancel context.CancelFunc // ends it
	hurry  context.CancelFunc // kills it
	onStop func(f func()) (forget func() bool)

	active atomic.Int32 // changed under Pool.mu

	// guarded by Pool.mu; proc and address do not change once it is ready
	state   WorkerState
	proc    *Process // nil: not started yet, or adopted
	address string
	adopted bool
	served  int
	missed  int       // times in a row it was not reached
	broken  bool      // not reached too often
	fat     bool      // above MaxMemory
	idle    time.Time // since when it has no session
}

// WorkerInfo is what [Pool.Workers] tells about a worker.
type WorkerInfo struct {
	ID               string
	Network, Address string // address "": not known yet
	Pid              int    // 0: not started yet, or adopted
	State            WorkerState
	Adopted          bool      // not ours, see [Listen]
	Sessions         int       // now
	Served           int       // since its start, those of now included
	Since            time.Time // its start
}

// WorkerState is a stage in the life of a worker.
type WorkerState uint8

// The stages.
const (
	Starting WorkerState = iota // started or about to be, not ready yet
	Ready                       // takes sessions
	Retiring                    // takes no more, but has some
	Stopping                    // was told to end
)

// String returns the name in lower case.
func (s WorkerState) String() string {
	return [...]string{"starting", "ready", "retiring", "stopping"}[s]
}

// workerLadder is the default: a socket cannot be closed to say goodbye as a pipe can.
var workerLadder = Ladder{
	{After: 0, Signal: syscall.SIGTERM},
	{After: 5 * time.Second, Signal: os.Kill},
}

// missesAllowed is how often in a row a worker that lives may not be reached until it is replaced.
const missesAllowed = 3

// ID returns the name of its place in the pool, for example "php-0". A worker that replaces another one
// may have the same.
func (w *Worker) ID() string { return w.id }

// Address returns where it accepts sessions, in the form that [net.Dial] takes.
func (w *Worker) Address() (network, address string) { return w.place.network, w.address }

// Active returns how many sessions it has.
func (w *Worker) Active() int { return int(w.active.Load()) }

// Release ends one session.
func (w *Worker) Release() {
	fat := false
	if limit := w.p.c.MaxMemory; limit > 0 && w.proc != nil {
		fat = residentMemory(w.proc.Pid()) > limit
	}
	w.release(func() { w.missed, w.fat = 0, w.fat || fat })
}

// Failed ends one session that could not begin because the worker could not be reached. A worker that is
// not reached three times in a row is replaced, one that was adopted as soon as nothing answers there. An
// err that is not the worker's fault (no more descriptors, the context was cancelled) does not count.
func (w *Worker) Failed(err error) {
	w.p.c.Log.Warn("worker not reached", "worker", w.id, "err", err)
	w.release(func() {
		if !oursAlone(err) {
			w.missed++
		}
		switch {
		case w.adopted && w.state == Ready:
			w.p.workers.Go(w.lookAgain) // the worker itself is being waited for, so this cannot be too late
		case w.missed >= missesAllowed:
			w.broken = true
		}
	})
}

// oursAlone reports whether a failure to connect says nothing about the other side.
func oursAlone(err error) bool {
	for _, e := range []error{context.Canceled, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (w *Worker) release(note func()) {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	note()
	if w.active.Add(-1) == 0 {
		w.idle = time.Now()
		if w.state == Retiring {
			p.stop(w)
		}
	}
	p.settle()
}

// lookAgain gives an adopted worker up when it is gone.
func (w *Worker) lookAgain() {
	if w.place.answered() {
		return
	}
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.p.stop(w)
}

// Done returns a channel that is closed when its process has ended. That of an adopted worker
// is closed when the pool gives it up.
func (w *Worker) Done() <-chan struct{} {
	if w.proc != nil {
		return w.proc.Done()
	}
	return w.done
}

// ExitState tells how its process ended. It is valid after Done; an adopted worker has none.
func (w *Worker) ExitState() ExitState {
	if w.proc == nil {
		return ExitState{}
	}
	return w.proc.ExitState()
}

// OnStop has f called in a goroutine of its own when the worker is told to end, which is when its last session
// is over, and when it has ended by itself. Who keeps connections to it should close them then: there are programs that end
// only when they have none (php-cgi). forget undoes that, and reports whether it was in time.
func (w *Worker) OnStop(f func()) (forget func() bool) { return w.onStop(f) }

func (w *Worker) ended() bool {
	select {
	case <-w.Done():
		return true
	default:
		return false
	}
}

// info is for Workers. The caller holds Pool.mu.
func (w *Worker) info() WorkerInfo {
	i := WorkerInfo{
		ID: w.id, Network: w.place.network, Address: w.address, State: w.state, Adopted: w.adopted,
		Sessions: w.Active(), Served: w.served, Since: w.born,
	}
	if w.proc != nil {
		i.Pid = w.proc.Pid()
	}
	return i
}

// run is the life of a worker: it is started, becomes ready, ends by itself or when told, and is gone.
func (p *Pool) run(told, hurry context.Context, w *Worker) {
	adopted, err := w.place.prepare()
	if adopted {
		p.adopt(told, w)
		return
	}
	if err == nil {
		err = p.startWorker(told, w)
	}
	if err != nil {
		if told.Err() != nil {
			err = nil
		} else {
			p.c.Log.Warn("worker not started", "worker", w.id, "err", err)
		}
		p.gone(w, err)
		return
	}
	err = p.awaitReady(told, w)
	switch {
	case told.Err() != nil:
		err = nil
	case err == nil:
		p.c.Log.Debug("worker ready", "worker", w.id, "pid", w.proc.Pid())
		p.started(w)
		select {
		case <-told.Done():
		case <-w.proc.Done():
		}
	}
	p.gone(w, p.end(hurry, w, err))
}

// adopt uses what answers at the address.
func (p *Pool) adopt(told context.Context, w *Worker) {
	p.mu.Lock()
	w.adopted, w.address = true, w.place.address
	p.mu.Unlock()
	p.c.Log.Info("worker adopted: something answers at its address", "worker", w.id, "address", w.address)
	p.started(w)
	<-told.Done()
	close(w.done)
	p.gone(w, nil)
}

// startWorker starts the process.
func (p *Pool) startWorker(told context.Context, w *Worker) error {
	ctx, cancel := context.WithTimeout(told, p.c.StartTimeout)
	defer cancel()
	address := w.place.address
	prog := *p.c.Program
	prog.Stop, prog.PipeSize = p.ladder, 0
	o := StartOptions{Env: p.c.Env, JoinStdout: true, Label: append(slices.Clip(p.c.Label), slog.String("worker", w.id))}
	switch {
	case p.own:
		var err error
		if address, err = w.place.choose(); err != nil {
			return err
		}
		prog.Args = fill(prog.Args, w.place.network, address)
		prog.Env = fill(prog.Env, w.place.network, address)
		o.Env = fill(o.Env, w.place.network, address)
	case p.c.Listen.ListenFDs:
		path, err := Look(prog.Path, prog.Dir)
		if err != nil {
			return err
		}
		prog.Args = append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, path}, prog.Args...)
		prog.Path = "/bin/sh"
		o.Env = append(slices.Clip(o.Env), "LISTEN_FDS=1")
		o.Files = []*os.File{w.place.socket}
	default:
		o.Stdin = w.place.socket
	}
	if o.Stdin == nil {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		defer null.Close()
		o.Stdin = null
	}
	proc, err := p.c.Spawner.Start(ctx, &prog, o)
	if err != nil {
		return err
	}
	p.mu.Lock()
	w.proc, w.address = proc, address
	p.mu.Unlock()
	return nil
}

// awaitReady waits until w is ready. The error is that it ended or took too long; what
// the end of told means is up to the caller.
func (p *Pool) awaitReady(told context.Context, w *Worker) error {
	check := p.c.Ready
	if check == nil && p.own {
		check = dial
	}
	if check == nil {
		return p.probation(told, w)
	}
	ctx, cancel := context.WithTimeout(told, p.c.StartTimeout)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	p.workers.Go(func() { // so that a check that waits for a dead worker ends
		select {
		case <-w.proc.Done():
			cancel()
		case <-stop:
		}
	})
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err := check(ctx, w.place.network, w.address)
		if err == nil {
			return nil
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
			continue
		case <-ctx.Done():
		}
		t.Stop()
		if w.ended() {
			return fmt.Errorf("worker ended before it was ready: %v", w.ExitState())
		}
		return fmt.Errorf("worker not ready after %v: %w", p.c.StartTimeout, err)
	}
}

// probation is for workers that nobody can ask: after a failure they have to live for a moment.
func (p *Pool) probation(told context.Context, w *Worker) error {
	p.mu.Lock()
	d := time.Duration(0)
	if p.failures > 0 {
		d = 100 * time.Millisecond
	}
	if p.unhealthy {
		d = time.Second
	}
	p.mu.Unlock()
	t := time.NewTimer(min(d, p.c.QuickDeath))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-told.Done():
		return nil
	case <-w.proc.Done():
		return fmt.Errorf("worker ended at once: %v", w.ExitState())
	}
}

func dial(ctx context.Context, network, address string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err == nil {
		c.Close()
	}
	return err
}

// end stops w if it runs, and waits until nothing is left of it. early is why it never became ready, or nil. It
// returns what is to be counted as a failure, or nil.
func (p *Pool) end(hurry context.Context, w *Worker, early error) error {
	alone := w.ended()
	p.mu.Lock()
	alone = alone && w.state < Stopping
	if w.state < Stopping {
		w.state = Stopping
	}
	served, broken := w.served, w.broken
	p.mu.Unlock()
	if err := w.proc.Stop(hurry); errors.Is(err, ErrStuck) {
		select { // it counts as long as it is there
		case <-w.proc.Done():
		case <-p.abandon:
		}
	}
	w.proc.ClosePipes()
	st := w.ExitState()
	log := p.c.Log.With("worker", w.id, "pid", w.proc.Pid(), "exit", st.String(), "served", served)
	switch {
	case early != nil:
		log.Warn("worker failed", "err", early)
		return early
	case broken:
		log.Warn("worker replaced: it could not be reached")
		return errors.New("worker could not be reached")
	case !alone:
		log.Debug("worker stopped")
		return nil
	case st.Success() && served > 0: // it has done its work, as PHP does after a number of requests
		log.Debug("worker ended")
		return nil
	}
	log.Warn("worker died")
	if st.Ended.Sub(st.Started) >= p.c.QuickDeath {
		return nil
	}
	return fmt.Errorf("worker died: %v", st)
}

func init() {
	if runtime.GOOS == "windows" { // where nothing else ends a process
		workerLadder = Ladder{{Signal: os.Kill}}
	}
}
