package spawner

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// spawnerSys is what a Spawner holds on Linux.
type spawnerSys struct {
	epoll    *os.File        // an epoll instance, itself in Go's network poller
	raw      syscall.RawConn // of epoll
	ended    chan struct{}   // closed when the watcher is gone
	noGate   atomic.Bool     // ptrace was found to be forbidden
	pipeSize sync.Once       // logs that pipes cannot be resized
	buf      []byte          // for reading stderr; guarded by Spawner.stderrMu
}

// stderrChunk is how much of one program's stderr is read at a time, so that one that writes without end
// does not keep the others from being read.
const stderrChunk = 64 << 10

// Kinds of events, in the second half of their data; the first half is the slot of the process.
const (
	onPidfd = iota
	onStderr
)

// setUp starts the watcher of s.
func (sys *spawnerSys) setUp(s *Spawner) error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	// A non-blocking descriptor is what os.NewFile takes for one that the network poller can wait for,
	// and an epoll instance can be polled like any other.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "epoll")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return err
	}
	// Go opens everything close-on-exec; what the server was given at its own birth (listening sockets,
	// leftovers of a shell) would go on to every program.
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		s.log.warn(nil, "descriptors inherited by the server may be inherited by programs", os.NewSyscallError("close_range", err))
	}
	sys.epoll, sys.raw, sys.ended = f, raw, make(chan struct{})
	sys.buf = make([]byte, stderrChunk)
	go s.watcher()
	return nil
}

// tearDown ends the watcher and waits for it.
func (sys *spawnerSys) tearDown() {
	sys.epoll.Close()
	<-sys.ended
}

// watch has the watcher look after p.
func (s *Spawner) watch(p *Process) error {
	if p.sys.stderr >= 0 {
		// Level-triggered: what one wake-up leaves unread is the next one.
		if err := s.epollCtl(unix.EPOLL_CTL_ADD, p.sys.stderr, unix.EPOLLIN, p.slot, onStderr); err != nil {
			return err
		}
	}
	// Edge-triggered, because an ended program stays readable until it is reaped.
	return s.epollCtl(unix.EPOLL_CTL_ADD, p.sys.pidfd, unix.EPOLLIN|unix.EPOLLET, p.slot, onPidfd)
}

func (s *Spawner) epollCtl(op int, fd int32, events uint32, slot, kind int32) (err error) {
	ev := unix.EpollEvent{Events: events, Fd: slot, Pad: kind}
	if e := s.sys.raw.Control(func(ep uintptr) { err = unix.EpollCtl(int(ep), op, int(fd), &ev) }); e != nil {
		return e
	}
	return err
}

// unwatch takes fd out of the epoll instance. Closing it would do, if no other start held a copy of it
// at this moment, between fork and exec.
func (s *Spawner) unwatch(fd int32) { s.epollCtl(unix.EPOLL_CTL_DEL, fd, 0, 0, 0) }

// watcher serves the pidfds and stderr pipes of all processes. Parked, it is a goroutine in the network
// poller and holds no thread.
//
// An event may be out of date when it is handled, because its process was finished in between and
// another one has the slot. That costs a system call which finds nothing, no more.
func (s *Spawner) watcher() {
	defer close(s.sys.ended)
	events := make([]unix.EpollEvent, 128)
	for {
		var n int
		var err error
		e := s.sys.raw.Read(func(ep uintptr) bool {
			for {
				if n, err = unix.EpollWait(int(ep), events, 0); err != unix.EINTR {
					return n != 0 || err != nil
				}
			}
		})
		if e != nil { // closed
			return
		}
		if err != nil {
			s.log.error(nil, "watcher ended", os.NewSyscallError("epoll_wait", err))
			return
		}
		for _, ev := range events[:n] {
			s.mu.Lock()
			p := s.procs[ev.Fd]
			s.mu.Unlock()
			if p == nil {
				continue
			}
			if ev.Pad == onPidfd {
				p.pollExit()
			} else {
				s.stderrMu.Lock()
				s.readStderr(p)
				s.stderrMu.Unlock()
			}
		}
	}
}

// pollExit looks whether the program has ended, and leaves it a zombie if so.
func (p *Process) pollExit() {
	p.mu.Lock()
	if p.exited || p.sys.pidfd < 0 {
		p.mu.Unlock()
		return
	}
	var info unix.Siginfo
	var err error
	for {
		err = unix.Waitid(unix.P_PIDFD, int(p.sys.pidfd), &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
		if err != unix.EINTR {
			break
		}
	}
	switch {
	case err != nil: // ECHILD: somebody else reaps our children, or SIGCHLD is ignored
		p.exit(-1, 0, false)
	case info.Signo == 0: // not yet
		p.mu.Unlock()
		return
	default:
		switch status := exitStatus(&info); info.Code {
		case cldExited:
			p.exit(status, 0, false)
		default:
			p.exit(-1, uint8(status), info.Code == cldDumped)
		}
	}
	p.mu.Unlock()
	if err != nil {
		p.s.log.error(p, "exit status lost", os.NewSyscallError("waitid", err))
	}
	p.afterExit()
}

// Values of si_code for SIGCHLD.
const (
	cldExited = 1
	cldDumped = 3
)

// exitStatus returns si_status. Package unix has the structure but no name for this field, and package
// unsafe is not for here, so the padding that stands in its place is read by reflection: it
// comes after pid and uid, which start at the first multiple of the word size behind si_code.
func exitStatus(info *unix.Siginfo) int32 {
	v := reflect.ValueOf(info).Elem()
	pad := v.Field(v.NumField() - 1) // _ [112]byte, or [116] where a word has 32 bits
	var b [4]byte
	for i := range b {
		b[i] = byte(pad.Index(8 + i).Uint())
	}
	return int32(binary.NativeEndian.Uint32(b[:]))
}

// readStderr reads p's stderr once. It reports whether there may be more. The caller holds stderrMu.
func (s *Spawner) readStderr(p *Process) (n int, more bool) {
	if p.sys.stderr < 0 {
		return 0, false
	}
	n, err := unix.Read(int(p.sys.stderr), s.sys.buf)
	switch {
	case n > 0:
		s.addLines(p, s.sys.buf[:n])
		return n, true
	case err == unix.EAGAIN:
		return 0, false
	case err == unix.EINTR:
		return 0, true
	}
	s.endLines(p) // nobody can write any more
	s.closeStderr(p)
	return 0, false
}

func (s *Spawner) closeStderr(p *Process) {
	if p.sys.stderr >= 0 {
		s.unwatch(p.sys.stderr)
		unix.Close(int(p.sys.stderr))
		p.sys.stderr = -1
	}
}

// endStderr reads what is in the stderr pipe and closes it. It returns the number of the last log record. A
// pipe holds a megabyte unless root made it larger; the bound is for what left the group and goes on writing.
func (p *Process) endStderr() uint64 {
	s := p.s
	for read := 0; read <= 1<<20; {
		s.stderrMu.Lock() // anew each time: the others want to be read too
		n, more := s.readStderr(p)
		s.stderrMu.Unlock()
		if read += n; !more {
			break
		}
	}
	s.stderrMu.Lock()
	defer s.stderrMu.Unlock()
	s.closeStderr(p)
	return s.endLines(p)
}

// signalGroup sends sig to the group. The caller holds p.mu and knows that p is not reaped.
func (p *Process) signalGroup(sig os.Signal) error {
	n, ok := sig.(syscall.Signal)
	if !ok {
		return errors.ErrUnsupported
	}
	err := unix.Kill(-int(p.pid), n)
	if group, e := unix.Getpgid(int(p.pid)); e == nil && group != int(p.pid) { // it moved; others may have stayed
		err = unix.PidfdSendSignal(int(p.sys.pidfd), n, nil, 0)
	}
	return os.NewSyscallError("kill", err)
}

// reap reaps the zombie. The caller holds p.mu.
func (p *Process) reap() {
	p.s.unwatch(p.sys.pidfd)
	reap(int(p.sys.pidfd))
	p.sys.pidfd = -1
}

// undoStart takes back a start whose process cannot be watched.
func (p *Process) undoStart() {
	p.mu.Lock()
	p.signalGroup(os.Kill)
	p.mu.Unlock()
	p.killCgroup()
	p.s.stderrMu.Lock()
	p.s.closeStderr(p)
	p.s.stderrMu.Unlock()
	p.ClosePipes()
	p.bury() // waits for the end, which SIGKILL brings
	p.removeCgroup()
	p.s.unregister(p)
}

func (p *Process) cgroup() string { return p.sys.cgroupDir }

func guardAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func minimalEnv() []string { return nil }

// killGroup kills a group. It reports whether there was one, zombies included.
func killGroup(pgid int) bool { return unix.Kill(-pgid, unix.SIGKILL) == nil }

// newTable makes the file that the guard process shares.
func newTable() (*os.File, error) {
	fd, err := unix.MemfdCreate("wspawn-guard", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "wspawn-guard"), nil
}
