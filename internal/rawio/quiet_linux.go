package rawio

import (
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// quiet is the one epoll instance that all quiet streams share. It is itself in Go's network poller, so
// that one goroutine, and no thread, waits for all of them; and only as long as there are any.
var quiet quietSet

type quietSet struct {
	mu      sync.Mutex // guards the fields below
	epoll   *os.File   // nil before the first use
	raw     syscall.RawConn
	calls   map[int32]func()
	next    int32
	running bool
}

// whenReadable calls f once, when s has something to read, has ended or has failed. f runs in a goroutine
// that serves all quiet streams and must not block. It returns the key of that call, or 0, and does nothing,
// for streams that cannot be waited for in that way. There may be one call for a stream at a time; it must be
// forgotten before the stream is closed, or when it is not wanted any more.
func whenReadable(s any, f func()) (key int32) {
	raw := rawConn(s)
	if raw == nil {
		return 0
	}
	return quiet.add(raw, f)
}

// forget cancels a call, which may be running, or be about to, all the same.
func forget(key int32) {
	if key != 0 {
		quiet.forget(key)
	}
}

// CanSleep reports whether the reader of s can be a [Sleeper], as a rule.
func CanSleep(s any) bool { return rawConn(s) != nil }

func (q *quietSet) add(raw syscall.RawConn, f func()) (key int32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.epoll == nil && !q.open() {
		return 0
	}
	for q.next++; q.next <= 0 || q.calls[q.next] != nil; q.next++ {
		q.next = max(q.next, 0)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: q.next}
	added := false
	raw.Control(func(fd uintptr) {
		added = q.control(unix.EPOLL_CTL_ADD, int(fd), &ev) == nil || q.control(unix.EPOLL_CTL_MOD, int(fd), &ev) == nil
	})
	if !added {
		return 0
	}
	q.calls[q.next] = f // whoever takes it needs mu
	if !q.running {
		q.running = true
		go q.run()
	}
	return q.next
}

func (q *quietSet) open() bool {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	if err := unix.SetNonblock(fd, true); err != nil { // for os.NewFile: it can be polled
		unix.Close(fd)
		return false
	}
	q.epoll = os.NewFile(uintptr(fd), "epoll")
	if q.raw, err = q.epoll.SyscallConn(); err != nil {
		q.epoll.Close()
		q.epoll = nil
		return false
	}
	q.calls = make(map[int32]func())
	return true
}

func (q *quietSet) control(op, fd int, ev *unix.EpollEvent) (err error) {
	if e := q.raw.Control(func(ep uintptr) { err = unix.EpollCtl(int(ep), op, fd, ev) }); e != nil {
		return e
	}
	return err
}

func (q *quietSet) forget(key int32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.calls, key)
	if len(q.calls) == 0 && q.running {
		q.epoll.SetReadDeadline(past) // run ends
	}
}

// run calls the functions of streams that have become readable, until nobody waits any more.
func (q *quietSet) run() {
	events := make([]unix.EpollEvent, 64)
	for {
		n := 0
		q.raw.Read(func(ep uintptr) bool {
			var err error
			for {
				if n, err = unix.EpollWait(int(ep), events, 0); err != unix.EINTR {
					return n != 0 || err != nil
				}
			}
		})
		calls, over := q.take(events[:max(n, 0)])
		for _, f := range calls {
			f()
		}
		if over {
			return
		}
	}
}

func (q *quietSet) take(events []unix.EpollEvent) (calls []func(), over bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, ev := range events {
		if f := q.calls[ev.Fd]; f != nil {
			calls = append(calls, f)
			delete(q.calls, ev.Fd)
		}
	}
	q.epoll.SetReadDeadline(time.Time{})
	q.running = len(q.calls) > 0
	return calls, !q.running
}
