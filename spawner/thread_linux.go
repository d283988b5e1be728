package spawner

import (
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// A threadKind is what a thread has that the others of the server must not have. A child gets it from the thread that
// forks it:
//
//   - umask: a umask and a current directory of its own. They belong to the process, so setting the umask around a
//     fork would change the permissions of files the server makes at that moment. But a Linux thread can take them
//     out of the common ones, by unshare(CLONE_FS). That needs no privilege; only a seccomp filter can forbid it.
//   - noNewPrivs: PR_SET_NO_NEW_PRIVS, which is of one thread and can never be taken back. It is nothing that
//     syscall.SysProcAttr can ask for.
type threadKind struct{ umask, noNewPrivs bool }

// threads perform the starts that need one of their kind.
//
// The Go scheduler knows nothing of what they have: such a thread must belong to one goroutine for ever, and the runtime
// never makes another thread as its copy, because it is locked. It must not end either, since its children would be
// killed by their parent-death signal. So there is one of each kind, for the life of the server, from the
// first program on that needs it, and it does nothing else.
var threads struct {
	sync.Mutex // guards the field below
	work       map[threadKind]chan<- threadWork
}

type threadWork struct {
	f    func()
	done chan struct{}
}

// inThread runs f in the thread of that kind, in any for none. When there can be no such thread, it returns an error, and f
// does not run.
func inThread(kind threadKind, f func()) error {
	if kind == (threadKind{}) {
		f()
		return nil
	}
	work, err := kind.thread()
	if err != nil {
		return err
	}
	w := threadWork{f, make(chan struct{})}
	work <- w
	<-w.done
	return nil
}

// thread returns the work of the thread, which begins to exist if it does not.
func (kind threadKind) thread() (chan<- threadWork, error) {
	threads.Lock()
	defer threads.Unlock()
	if work := threads.work[kind]; work != nil {
		return work, nil
	}
	work, failed := make(chan threadWork), make(chan error)
	go threadLoop(kind, work, failed)
	if err := <-failed; err != nil {
		return nil, err
	}
	if threads.work == nil {
		threads.work = make(map[threadKind]chan<- threadWork)
	}
	threads.work[kind] = work
	return work, nil
}

// threadLoop is the life of a thread. Its name is known to tests that look for leaked goroutines.
func threadLoop(kind threadKind, work <-chan threadWork, failed chan<- error) {
	runtime.LockOSThread()
	err := kind.set()
	failed <- err
	if err != nil {
		return // and with it ends the thread, whatever it has by now; nothing was forked yet
	}
	for w := range work {
		w.f()
		close(w.done)
	}
	select {} // never: work is not closed
}

// set gives the calling thread what its kind has.
func (kind threadKind) set() error {
	if kind.noNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("no new privileges: %w", err)
		}
	}
	if kind.umask {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("umask: unshare: %w", err)
		}
	}
	return nil
}
