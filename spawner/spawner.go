package spawner

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Config says what a [Spawner] may do. The zero value works: no limits, no guard, no log.
type Config struct {
	// MaxProcesses bounds the processes that are alive at once, counted from the call of Start until
	// Finish; [Spares] come on top. Start fails with [ErrLimit] over it, without waiting. 0 = no limit. SetLimits changes
	// it, and StartRate.
	MaxProcesses int
	// MaxStarting bounds the starts that run at once; further ones wait. More of them than processors
	// only make all of them slower. 0 = GOMAXPROCS.
	MaxStarting int
	// StartRate bounds the starts per second; the burst is the same number, at least 1. Starts over it
	// wait. 0 = no limit.
	StartRate float64
	// Guard is the command line of a process that kills every group when this one dies without
	// having had the time to do it, SIGKILL included. It is started at the first Start and has to
	// call [GuardMain]: usually the own binary with a hidden command.
	// Its environment is empty but for settings of the Go runtime. nil = none.
	Guard []string
	// Log receives the stderr lines of programs ([StderrLog]) and what goes wrong. Handlers may be
	// slow: they run in one goroutine of their own behind a bounded queue. nil = no log.
	Log *slog.Logger
	// StderrLevel is the level of stderr lines. The zero value is Info.
	StderrLevel slog.Level
}

// Spawner starts programs and owns the processes it started until they are finished. All methods may
// be called at the same time.
type Spawner struct {
	c        Config
	log      *logger
	starting chan struct{} // holds one element for every start that runs
	closing  chan struct{} // closed when Close begins
	closed   chan struct{} // closed when Close is through

	background sync.WaitGroup // goroutines that finish abandoned processes

	stderrMu sync.Mutex // guards the stderr state of all processes, and the buffer they are read with

	setUpMu sync.Mutex // guards the fields below; they do not change once up is set
	up      bool
	guard   *guard // nil: none
	sys     spawnerSys

	mu       sync.Mutex    // guards the fields below
	down     bool          // no more starts
	over     bool          // background is being waited for
	max      int           // processes; 0 = no limit
	rate     *rate.Limiter // of starts; nil = no limit
	running  int
	inflight sync.WaitGroup // calls of Start, added to under mu while down is false
	procs    []*Process     // registered processes, by their slot; nil = free
	free     []int32        // free slots
	closeErr error          // written before closed is closed
}

// New returns a Spawner. It starts nothing; the goroutines (two, whatever the number of processes)
// and the guard come with the first Start and go with Close.
func New(c Config) *Spawner {
	if c.MaxStarting <= 0 {
		c.MaxStarting = runtime.GOMAXPROCS(0)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Spawner{
		c:        c,
		log:      newLogger(c.Log, c.StderrLevel),
		starting: make(chan struct{}, c.MaxStarting),
		closing:  make(chan struct{}),
		closed:   make(chan struct{}),
	}
	s.SetLimits(c.MaxProcesses, c.StartRate)
	return s
}

// SetLimits changes MaxProcesses and StartRate, see [Config]. Processes that are too many go on; starts that wait for their turn
// keep the one they have.
func (s *Spawner) SetLimits(maxProcesses int, startRate float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max = maxProcesses
	switch {
	case startRate <= 0:
		s.rate = nil
	case s.rate == nil || s.rate.Limit() != rate.Limit(startRate): // a new one begins with a whole burst
		s.rate = rate.NewLimiter(rate.Limit(startRate), int(math.Max(1, startRate)))
	}
}

// StartOptions is what differs from one start of a [Program] to the next.
type StartOptions struct {
	Env  []string // appended to Program.Env; a name that is in both has the value given here
	Args []string // appended to Program.Args
	Dir  string   // working directory instead of Program.Dir; "" = that one
	// Label is added to every log record about the process, stderr lines included. It is kept, and
	// must not be changed, until the process is finished.
	Label []slog.Attr
	// OnExit is called once when the program itself has ended, just after Done was closed. It runs in the
	// goroutine that serves all processes, possibly before Start has returned, and must not
	// block; Stop and Finish can. nil = none.
	OnExit func(*Process)

	// Stdin is the standard input instead of a pipe, for example a listening socket; Process.Stdin is nil
	// then. The program shares its flags, so it should be in blocking mode. nil = a pipe.
	Stdin *os.File
	// Files are the descriptors 3, 4 … of the program, likewise. Windows has none.
	Files []*os.File
	// JoinStdout sends stdout where stderr goes; Process.Stdout is nil then.
	JoinStdout bool

	spare bool // does not count in MaxProcesses until it is taken
}

// command is one start, worked out.
type command struct {
	prog *Program
	opt  *StartOptions
	path string // for exec; relative to dir if not absolute
	argv []string
	env  []string
	dir  string // "" = the current one
}

// Start starts p. It waits for its turn (MaxStarting, StartRate) as long as ctx allows; ctx has no
// influence on the process once it runs. p must not change any more and is kept until the process is
// finished.
//
// The errors are [ErrLimit], [ErrClosed], the error of ctx, [ErrUnsupported], and for a program
// that cannot be started [ErrNotFound], [ErrPermission], [ErrFormat], [ErrDir] or [ErrResources];
// all of them are one line that says what to look at.
func (s *Spawner) Start(ctx context.Context, p *Program, o StartOptions) (*Process, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if len(o.Files) > 0 && runtime.GOOS == "windows" {
		return nil, fmt.Errorf("start %q: more descriptors: %w", p.Path, ErrUnsupported)
	}
	if err := s.admit(&o); err != nil {
		return nil, fmt.Errorf("start %q: %w", p.Path, err)
	}
	defer s.inflight.Done()
	proc, err := s.startInTurn(ctx, p, o)
	if err != nil && !o.spare {
		s.release()
	}
	return proc, err
}

func (s *Spawner) startInTurn(ctx context.Context, p *Program, o StartOptions) (*Process, error) {
	if err := s.await(ctx); err != nil {
		return nil, fmt.Errorf("start %q: %w", p.Path, err)
	}
	defer func() { <-s.starting }()
	return s.start(p, o)
}

// admit takes one of the MaxProcesses and announces a start. inflight.Done is up to the caller then.
func (s *Spawner) admit(o *StartOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return ErrClosed
	}
	if !o.spare {
		if err := s.count(); err != nil {
			return err
		}
	}
	s.inflight.Add(1)
	return nil
}

// count takes one of the MaxProcesses. The caller holds s.mu.
func (s *Spawner) count() error {
	if s.max > 0 && s.running >= s.max {
		return fmt.Errorf("%w (limit %d)", ErrLimit, s.max)
	}
	s.running++
	return nil
}

// release gives back what admit took from MaxProcesses.
func (s *Spawner) release() {
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
}

// takeSpare has p count from now on. It reports whether that is allowed.
func (s *Spawner) takeSpare(p *Process) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || s.count() != nil {
		return false
	}
	p.spare = false
	return true
}

// leave gives back the place of p, if it has one.
func (s *Spawner) leave(p *Process) {
	s.mu.Lock()
	if !p.spare {
		s.running--
	}
	s.mu.Unlock()
}

// await waits for the start rate and for a place among the running starts.
func (s *Spawner) await(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	limiter := s.rate
	s.mu.Unlock()
	if limiter != nil {
		if err := s.awaitRate(ctx, limiter); err != nil {
			return err
		}
	}
	select {
	case s.starting <- struct{}{}:
	default:
		select {
		case s.starting <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closing:
			return ErrClosed
		}
	}
	return nil
}

func (s *Spawner) awaitRate(ctx context.Context, limiter *rate.Limiter) error {
	turn := limiter.Reserve()
	d := turn.Delay()
	if d <= 0 {
		return nil
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) < d {
		turn.Cancel()
		return fmt.Errorf("start rate: %w", context.DeadlineExceeded)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		turn.Cancel()
		return ctx.Err()
	case <-s.closing:
		return ErrClosed
	}
}

func (s *Spawner) start(prog *Program, o StartOptions) (*Process, error) {
	cmd := &command{
		prog: prog,
		opt:  &o,
		path: prog.Path,
		argv: make([]string, 0, 1+len(prog.Args)+len(o.Args)),
		env:  mergeEnv(prog.Env, o.Env),
		dir:  prog.Dir,
	}
	cmd.argv = append(append(append(cmd.argv, prog.Path), prog.Args...), o.Args...)
	if o.Dir != "" {
		cmd.dir = o.Dir
	}
	if !hasSeparator(cmd.path) {
		path, err := Look(cmd.path, cmd.dir)
		if err != nil {
			return nil, err.(*startError).in("start")
		}
		cmd.path = path
	}
	if err := s.setUp(); err != nil {
		return nil, fmt.Errorf("start %q: %w", prog.Path, err)
	}

	p := &Process{s: s, prog: prog, label: o.Label, onExit: o.OnExit, spare: o.spare, started: time.Now().UnixNano()}
	if err := s.spawn(p, cmd); err != nil {
		return nil, err
	}
	// The guard has to know the group before anybody can finish the process, that is before the
	// watcher knows it: the table must not keep what is gone.
	s.register(p)
	if s.guard != nil {
		s.guard.add(p)
	}
	if err := s.watch(p); err != nil {
		p.undoStart()
		return nil, fmt.Errorf("start %q: watch the process: %w", prog.Path, err)
	}
	return p, nil
}

// setUp starts at the first call what all processes share.
func (s *Spawner) setUp() error {
	s.setUpMu.Lock()
	defer s.setUpMu.Unlock()
	if s.up {
		return nil
	}
	if err := s.sys.setUp(s); err != nil {
		return err
	}
	s.log.start()
	if len(s.c.Guard) > 0 {
		s.guard = newGuard(s)
		s.guard.start()
	}
	s.up = true
	return nil
}

// register gives p a slot. The watcher finds processes by slot, Close and the guard find all of them.
func (s *Spawner) register(p *Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		p.slot = s.free[n-1]
		s.free = s.free[:n-1]
		s.procs[p.slot] = p
		return
	}
	p.slot = int32(len(s.procs))
	s.procs = append(s.procs, p)
}

func (s *Spawner) unregister(p *Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.procs[p.slot] = nil
	s.free = append(s.free, p.slot)
}

func (s *Spawner) registered() []*Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Process, 0, s.running)
	for _, p := range s.procs {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

// later runs f in a goroutine that Close waits for, unless Close has given f's process up.
func (s *Spawner) later(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		go f()
		return
	}
	s.background.Go(f)
}

// Running returns the number of processes that count against MaxProcesses: those being started, those
// alive, and those that have ended but are not finished.
func (s *Spawner) Running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// Close refuses further starts, stops all processes at the same time, each by the ladder of its
// program, and ends the guard and the goroutines of s. When ctx ends, what still runs is killed at once,
// so that Close returns soon after ctx in any case. It returns [ErrStuck] for processes that even SIGKILL
// did not end. Descriptors of processes stay open, see [Process]. Further calls wait for the first one
// and return what it returned.
func (s *Spawner) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.down {
		s.mu.Unlock()
		<-s.closed
		return s.closeErr
	}
	s.down = true
	s.mu.Unlock()
	close(s.closing)
	s.inflight.Wait()

	var wg sync.WaitGroup
	stuck := 0
	for _, p := range s.registered() {
		wg.Go(func() {
			if p.Stop(ctx) != nil {
				s.mu.Lock()
				stuck++
				s.mu.Unlock()
			}
		})
	}
	wg.Wait()

	s.setUpMu.Lock()
	up := s.up
	s.setUpMu.Unlock()
	if up {
		s.sys.tearDown()
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
		s.background.Wait()
		if s.guard != nil {
			s.guard.stop()
		}
		s.log.stop(ctx)
	}
	if stuck > 0 {
		s.closeErr = fmt.Errorf("close spawner: %d processes: %w", stuck, ErrStuck)
	}
	close(s.closed)
	return s.closeErr
}

// mergeEnv appends extra to base without the entries of base that extra replaces: of two entries with
// one name most programs see the first, which is not what "appended" promises.
func mergeEnv(base, extra []string) []string {
	env := make([]string, 0, len(base)+len(extra))
	for _, kv := range base {
		name, _, _ := strings.Cut(kv, "=")
		replaced := false
		for _, x := range extra {
			if len(x) > len(name) && x[len(name)] == '=' && x[:len(name)] == name {
				replaced = true
				break
			}
		}
		if !replaced {
			env = append(env, kv)
		}
	}
	return append(env, extra...)
}
