package spawner

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// Process is one running program and the group it leads. All methods may be called at the same time.
//
// The pipe ends belong to the caller: it reads and writes them as it likes, and it closes them, with
// ClosePipes or one by one. Stop closes Stdin where the ladder says so; Finish closes none,
// because what the program wrote last is still to be read.
type Process struct {
	// Stdin is the write end of the program's standard input, non-blocking and in the network poller. It is nil
	// with [StartOptions].Stdin.
	Stdin *os.File
	// Stdout is the read end of its standard output, likewise. It is nil with [StartOptions].JoinStdout.
	Stdout *os.File
	// Stderr is the read end of its standard error with [StderrPipe], nil otherwise.
	Stderr *os.File

	s       *Spawner
	prog    *Program
	label   []slog.Attr
	started int64 // Unix nanoseconds; two time.Time would be 48 bytes
	pid     int32
	slot    int32 // in s.procs

	finished sync.Once

	spare bool // does not count in MaxProcesses; guarded by Spawner.mu

	mu      sync.Mutex // guards the fields below
	exited  bool
	reaped  bool
	onExit  func(*Process)
	auto    bool // to be finished as soon as it exits, because nobody waits for it any more
	core    bool
	signal  uint8
	code    int32
	ended   int64
	done    chan struct{} // nil until somebody asks
	stopped chan struct{} // nil until somebody calls Stop; closed at the end of the ladder
	stopErr error         // written before stopped is closed

	lines     lineState // guarded by Spawner.stderrMu
	logQueued int32     // guarded by logger.mu: weight of its lines in the queue

	sys processSys
}

// ExitState tells how a program ended.
type ExitState struct {
	Code           int            // exit status; -1 when a signal ended it
	Signal         syscall.Signal // the signal that ended it, or 0
	Core           bool           // it left a core dump
	Started, Ended time.Time
}

// Success says whether the program ended by itself with status 0.
func (e ExitState) Success() bool { return e.Code == 0 && e.Signal == 0 }

// String returns "exit status 3" or "signal: killed".
func (e ExitState) String() string {
	switch {
	case e.Signal == 0:
		return fmt.Sprintf("exit status %d", e.Code)
	case e.Core:
		return fmt.Sprintf("signal: %v (core dumped)", e.Signal)
	}
	return fmt.Sprintf("signal: %v", e.Signal)
}

// Pid returns the process id, which is the number of its group as well.
func (p *Process) Pid() int { return int(p.pid) }

// Linger returns how long, after Done, the reader of Stdout should go on while others of the
// group hold it open: [Program].Linger or its default. Nothing else in this package applies it.
func (p *Process) Linger() time.Duration {
	if p.prog.Linger > 0 {
		return p.prog.Linger
	}
	return 500 * time.Millisecond
}

// Done returns a channel that is closed when the program itself has ended. Others of its group may
// still run.
func (p *Process) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done == nil {
		p.done = make(chan struct{})
		if p.exited {
			close(p.done)
		}
	}
	return p.done
}

// ExitState tells how the program ended. It is valid after Done, and the zero value before.
func (p *Process) ExitState() ExitState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.exited {
		return ExitState{}
	}
	return ExitState{
		Code:    int(p.code),
		Signal:  syscall.Signal(p.signal),
		Core:    p.core,
		Started: time.Unix(0, p.started),
		Ended:   time.Unix(0, p.ended),
	}
}

func (p *Process) hasEnded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exited
}

// SetOnExit replaces [StartOptions].OnExit, which spares cannot have. If the program has ended already, f is
// called at once.
func (p *Process) SetOnExit(f func(*Process)) {
	p.mu.Lock()
	exited := p.exited
	if !exited {
		p.onExit = f
	}
	p.mu.Unlock()
	if exited {
		f(p)
	}
}

// Signal sends sig to the whole group. After Finish it returns [os.ErrProcessDone].
func (p *Process) Signal(sig os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return os.ErrProcessDone
	}
	return p.signalGroup(sig)
}

// CloseStdin closes the standard input of the program: for most programs the end of their work.
func (p *Process) CloseStdin() error {
	if p.Stdin == nil {
		return nil
	}
	return p.Stdin.Close()
}

// ClosePipes closes those of Stdin, Stdout and Stderr that are still open.
func (p *Process) ClosePipes() {
	for _, f := range []*os.File{p.Stdin, p.Stdout, p.Stderr} {
		if f != nil {
			f.Close()
		}
	}
}

// exit notes how the program ended. The caller holds p.mu and calls afterExit when it has let go of it.
func (p *Process) exit(code int32, signal uint8, core bool) {
	p.exited = true
	p.code, p.signal, p.core = code, signal, core
	p.ended = time.Now().UnixNano()
	if p.done != nil {
		close(p.done)
	}
}

func (p *Process) afterExit() {
	p.mu.Lock()
	auto, onExit := p.auto, p.onExit
	p.mu.Unlock()
	if onExit != nil {
		onExit(p)
	}
	if auto {
		p.s.later(p.Finish)
	}
}

// Finish kills what is left of the group (and of the cgroup), logs the rest of stderr, reaps the program
// and gives its place to others. It is for programs that have ended (Done); one that still runs is killed, and finished in the
// background. Finish waits neither for readers of Stdout nor for a slow log: at most about a second
// for the last lines. Only the first call does something, the others wait for it.
func (p *Process) Finish() {
	p.mu.Lock()
	exited := p.exited
	if !exited {
		p.auto = true
		p.signalGroup(os.Kill)
	}
	p.mu.Unlock()
	if exited {
		p.finished.Do(p.finish)
	}
}

func (p *Process) finish() {
	// The order matters. The group is killed while the unreaped leader keeps its number; stderr is read
	// when nobody writes it any more; the guard forgets the group before the number can be given
	// to another one; and Close finds the process until nothing is left to do.
	p.mu.Lock()
	p.signalGroup(os.Kill)
	p.mu.Unlock()
	p.killCgroup()
	last := p.endStderr()
	p.bury()
	p.s.leave(p)
	p.removeCgroup()
	p.s.log.flush(last)
	p.s.unregister(p)
}

// bury reaps the program, which was killed if it has not ended by itself.
func (p *Process) bury() {
	if p.s.guard != nil {
		p.s.guard.remove(p)
	}
	p.mu.Lock()
	p.reap()
	p.reaped = true
	p.mu.Unlock()
}
