package spawner

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Ladder is how a process is stopped: its steps one after the other, until the program ends.
// A ladder that does not end with [os.Kill] is followed by [Program].GiveUp and os.Kill. An empty ladder that is
// not nil kills at that time.
type Ladder []Step

// Step is one step of a [Ladder].
type Step struct {
	// After is the time between the step before, or the call of Stop, and this one.
	After time.Duration
	// Signal goes to the whole group. nil closes stdin instead.
	Signal os.Signal
}

// DefaultLadder closes stdin, sends SIGTERM 2 s later and SIGKILL 3 s after that.
var DefaultLadder = Ladder{
	{After: 0, Signal: nil},
	{After: 2 * time.Second, Signal: syscall.SIGTERM},
	{After: 3 * time.Second, Signal: os.Kill},
}

// WebsocketdLadder returns the ladder of websocketd: close stdin, 100 ms later SIGINT, 250 ms later
// SIGTERM, 500 ms later SIGKILL, with closems added to each of the three times. (websocketd
// signals the program alone, this package its group.)
func WebsocketdLadder(closems time.Duration) Ladder {
	return Ladder{
		{After: 0, Signal: nil},
		{After: 100*time.Millisecond + closems, Signal: syscall.SIGINT},
		{After: 250*time.Millisecond + closems, Signal: syscall.SIGTERM},
		{After: 500*time.Millisecond + closems, Signal: os.Kill},
	}
}

// Stop stops the process by the ladder of its program and finishes it. When ctx ends first, the group is
// killed at once. The second caller waits for the ladder of the first one, and kills in the same way
// when its own ctx ends. Stop returns [ErrStuck] when the program is alive [Program].GiveUp after SIGKILL;
// it is finished in the background then, should it ever end.
func (p *Process) Stop(ctx context.Context) error {
	p.mu.Lock()
	first := p.stopped == nil
	if first {
		p.stopped = make(chan struct{})
	}
	p.mu.Unlock()
	if !first {
		return p.joinStop(ctx)
	}
	p.stopErr = p.climb(ctx)
	close(p.stopped)
	return p.stopErr
}

// joinStop waits for the Stop of somebody else.
func (p *Process) joinStop(ctx context.Context) error {
	select {
	case <-p.stopped:
		return p.stopErr
	default:
	}
	select {
	case <-p.stopped:
		return p.stopErr
	case <-ctx.Done():
	}
	p.Signal(os.Kill)
	// One second more than it takes the other one to give up or to finish.
	t := time.NewTimer(p.prog.giveUp() + flushTime + time.Second)
	defer t.Stop()
	select {
	case <-p.stopped:
		return p.stopErr
	case <-t.C:
		return p.stuck()
	}
}

// climb goes through the ladder.
func (p *Process) climb(ctx context.Context) error {
	steps := p.prog.Stop
	if steps == nil {
		steps = DefaultLadder
	}
	done := p.Done()
	t := time.NewTimer(0)
	defer t.Stop()
	killed := false
	for _, step := range steps {
		if p.ends(done, ctx.Done(), t, step.After) {
			p.Finish()
			return nil
		}
		if ctx.Err() != nil {
			break
		}
		if step.Signal == nil {
			p.CloseStdin()
		} else {
			p.Signal(step.Signal)
		}
		killed = step.Signal == os.Kill
	}
	if !killed {
		if p.ends(done, ctx.Done(), t, p.prog.giveUp()) {
			p.Finish()
			return nil
		}
		p.Signal(os.Kill)
	}
	if p.ends(done, nil, t, p.prog.giveUp()) {
		p.Finish()
		return nil
	}
	p.Finish() // as soon as it ends
	p.s.log.error(p, "process did not stop", ErrStuck)
	return p.stuck()
}

func (p *Process) stuck() error { return fmt.Errorf("stop process %d: %w", p.pid, ErrStuck) }

// ends waits until the program has ended (true), for d or until cancel.
func (p *Process) ends(done, cancel <-chan struct{}, t *time.Timer, d time.Duration) bool {
	select {
	case <-done:
		return true
	default:
	}
	if d <= 0 {
		return false
	}
	t.Reset(d)
	select {
	case <-done:
		return true
	case <-cancel:
	case <-t.C:
	}
	return false
}
