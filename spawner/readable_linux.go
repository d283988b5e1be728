package spawner

import (
	"sync"

	"golang.org/x/sys/unix"
)

// readers are the functions that wait for something to read. They have keys of their own, since they
// may wait longer than their process is known to the Spawner: the last thing to read is the end.
type readers struct {
	mu    sync.Mutex // guards the fields below
	next  int32
	calls map[int32]func()
	over  bool // nobody would call any more
}

func (r *readers) add(f func()) (key int32, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return 0, false
	}
	if r.calls == nil {
		r.calls = make(map[int32]func())
	}
	for r.next++; r.calls[r.next] != nil; r.next++ {
	}
	r.calls[r.next] = f
	return r.next, true
}

// take returns the function of a key, once.
func (r *readers) take(key int32) func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.calls[key]
	delete(r.calls, key)
	return f
}

// end returns all functions that still wait.
func (r *readers) end() map[int32]func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	calls := r.calls
	r.calls = nil
	return calls
}

// WhenReadable calls f once, when Stdout has something to read or has ended, so that whoever reads a
// quiet program need not keep a goroutine for it. f runs in the goroutine that serves all processes and
// must not block. It reports false, and does nothing, where that cannot be had: on other systems than
// Linux, and while the Spawner is closed. Only one call may be outstanding, and Stdout must stay open
// until then; ClosePipes ends the wait without a call.
func (p *Process) WhenReadable(f func()) bool {
	s := p.s
	key, ok := s.sys.readers.add(f)
	if !ok {
		return false
	}
	p.sys.reader.Store(key)
	raw, err := p.Stdout.SyscallConn()
	if err == nil {
		err2 := raw.Control(func(fd uintptr) {
			const events = unix.EPOLLIN | unix.EPOLLONESHOT
			if err = s.epollCtl(unix.EPOLL_CTL_ADD, int32(fd), events, key, onReadable); err == unix.EEXIST {
				err = s.epollCtl(unix.EPOLL_CTL_MOD, int32(fd), events, key, onReadable)
			}
		})
		if err == nil {
			err = err2
		}
	}
	// When it failed and the function is gone all the same, it has been called.
	return err == nil || s.sys.readers.take(key) == nil
}

// forgetReader ends a wait. The kernel has forgotten Stdout with its closing, and says nothing.
func (p *Process) forgetReader() { p.s.sys.readers.take(p.sys.reader.Load()) }
