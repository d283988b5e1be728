package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
)

// crashTime is how long Crashed waits for the end of a process whose connection has ended already.
const crashTime = 100 * time.Millisecond

// A Lease is one session on one backend. All methods may be called at the same time.
type Lease struct {
	s *Set
	m *member
	w *worker // nil: no worker of a pool

	// Set.mu guards the fields below.
	trial    bool // it finds out for the others
	released bool
}

// ID returns the stable name of the backend.
func (l *Lease) ID() string { return l.m.id }

// Address returns where it listens.
func (l *Lease) Address() Address {
	if l.w != nil {
		return l.w.addr
	}
	return l.m.addr
}

// Place names what a kept connection leads to: the address, or one process of a pool. The next process, which may
// have the same ID and even the same address, has another one. See [Set.Knows].
func (l *Lease) Place() string {
	if l.w != nil {
		return l.w.place
	}
	return l.m.id
}

// OnStop has f called in a goroutine of its own when the process behind the backend is about to be stopped, or has
// ended: connections that are kept to it are no good any more, and some programs do not end before they are closed. For a
// backend without a process f is never called. See [spawner.Worker.OnStop].
func (l *Lease) OnStop(f func()) (forget func() bool) {
	if l.w == nil {
		return func() bool { return true }
	}
	return l.w.w.OnStop(f)
}

// use calls f, and gives the session back unless f takes it.
func (l *Lease) use(ctx context.Context, f func(context.Context, *Lease) error) (err error) {
	taken := false
	defer func() {
		if !taken { // f may also have panicked
			l.Release()
		}
	}()
	if err = f(ctx, l); err == nil {
		taken = true
		l.reached()
	}
	return err
}

// Dial connects to the backend, within Config.ConnectTimeout. A failure counts against its health, unless
// ctx was cancelled. Errors are [Unreachable]. The connection is what package net makes, a *net.TCPConn or
// *net.UnixConn.
func (l *Lease) Dial(ctx context.Context) (net.Conn, error) {
	nc, err := l.s.dial(ctx, l.Address(), l.s.c.ConnectTimeout)
	if errors.Is(err, context.Canceled) {
		return nil, Unreachable(err)
	} else if err != nil {
		return nil, l.Failed(err)
	}
	l.reached()
	return nc, nil
}

// dialNet is the Dial of package net. On this machine it does without keep-alives, which are four system calls: whoever
// ends a connection there cannot vanish without a word.
func dialNet(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	if a, err := netip.ParseAddrPort(address); err == nil && a.Addr().IsLoopback() {
		d.KeepAlive = -1
	}
	nc, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return rawio.Direct(nc), nil
}

func (s *Set) dial(ctx context.Context, a Address, timeout time.Duration) (net.Conn, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		nc, err := s.c.Dial(ctx, a.Network, a.Addr)
		if a.Network != "unix" || !errors.Is(err, syscall.EAGAIN) {
			return nc, err
		}
		// The backlog is full. With TCP the system would wait, here we have to. The backend is just busy.
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// Failed says that the backend took the connection, but broke it off before it took anything else. That counts
// like a failure of Dial. Failed returns [Unreachable] of err.
func (l *Lease) Failed(err error) error {
	if l.w != nil {
		l.w.failed(l, err)
		return Unreachable(err)
	}
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.endTrial(l)
	l.s.failed(l.m, err)
	return Unreachable(err)
}

func (l *Lease) reached() {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.endTrial(l)
	l.s.reached(l.m)
}

// endTrial lets others try what l has tried. s.mu is held.
func (s *Set) endTrial(l *Lease) {
	if l.trial {
		l.trial, l.m.trial = false, false
	}
}

// Release ends the session. Calls after the first one do nothing.
func (l *Lease) Release() {
	s := l.s
	s.mu.Lock()
	if l.released {
		s.mu.Unlock()
		return
	}
	l.released = true
	if l.w != nil {
		s.mu.Unlock()
		l.w.w.Release()
		return
	}
	s.endTrial(l)
	l.m.active--
	if l.m.gone && l.m.active == 0 {
		s.leaving = slices.DeleteFunc(s.leaving, func(m *member) bool { return m == l.m })
	}
	s.serve()
	s.mu.Unlock()
}

// Crashed says, after the far side has ended the connection, whether the process behind it has died: an error if it
// has, nil if it has not or is none of ours. It waits at most 100 ms for that to be known.
func (l *Lease) Crashed() error {
	if l.w == nil {
		return nil
	}
	timer := time.NewTimer(crashTime)
	defer timer.Stop()
	select {
	case <-l.w.w.Done():
	case <-timer.C:
		return nil
	}
	if state := l.w.w.ExitState(); state.Code != 0 {
		return fmt.Errorf("worker %s: %s", l.m.id, state)
	}
	return nil
}
