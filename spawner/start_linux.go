package spawner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsupported returns what p asks for that Linux cannot do.
func unsupported(*Program) string { return "" }

var limitNumbers = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
	"fsize": unix.RLIMIT_FSIZE, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE,
	"nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS,
	"rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING,
	"stack": unix.RLIMIT_STACK,
}

func knownLimit(name string) bool { _, ok := limitNumbers[name]; return ok }

// processSys is what a process holds on Linux.
type processSys struct {
	pidfd     int32 // -1 once reaped; guarded by Process.mu
	stderr    int32 // read end with StderrLog, or -1; guarded by Spawner.stderrMu
	cgroupDir string
}

// fds are descriptors that are closed together.
type fds []int

func (f *fds) add(fd int) int { *f = append(*f, fd); return fd }

func (f fds) close() {
	for _, fd := range f {
		unix.Close(fd)
	}
}

// spawn starts cmd and fills in p. On an error nothing is left.
func (s *Spawner) spawn(p *Process, cmd *command) error {
	var child, parent fds // what the child gets, and what stays here
	defer func() { child.close() }()
	failed := func(err error) error {
		parent.close()
		if p.sys.cgroupDir != "" {
			unix.Rmdir(p.sys.cgroupDir)
		}
		return err
	}
	fail := func(err error) error { return failed(diagnose(cmd, err)) }

	// The child's ends stay blocking, ours do not: the two ends of a pipe have flags of their own. Every
	// descriptor is close-on-exec from birth, so other starts at the same time do not leak them.
	pipe := func(childReads bool, size int) (int, int, error) {
		var fd [2]int
		if err := unix.Pipe2(fd[:], unix.O_CLOEXEC); err != nil {
			return -1, -1, err
		}
		ours, theirs := fd[0], fd[1]
		if childReads {
			ours, theirs = theirs, ours
		}
		parent.add(ours)
		child.add(theirs)
		if size > 0 {
			if _, err := unix.FcntlInt(uintptr(ours), unix.F_SETPIPE_SZ, size); err != nil {
				s.sys.pipeSize.Do(func() { s.log.warn(nil, "pipe size not set", err) })
			}
		}
		_, err := unix.FcntlInt(uintptr(ours), unix.F_SETFL, unix.O_NONBLOCK) // a new pipe has no flags to keep
		return ours, theirs, err
	}
	prog, opt := cmd.prog, cmd.opt
	var err error
	stdin, in := -1, -1
	if opt.Stdin != nil {
		in = int(opt.Stdin.Fd())
	} else if stdin, in, err = pipe(true, prog.PipeSize); err != nil {
		return fail(err)
	}
	stdout, out := -1, -1
	if !opt.JoinStdout {
		if stdout, out, err = pipe(false, prog.PipeSize); err != nil {
			return fail(err)
		}
	}
	stderr, errout := -1, 2
	switch prog.Stderr {
	case StderrLog, StderrPipe:
		stderr, errout, err = pipe(false, 0)
	case StderrDiscard:
		if errout, err = unix.Open(os.DevNull, unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
			child.add(errout)
		}
	}
	if err != nil {
		return fail(err)
	}

	if opt.JoinStdout {
		out = errout
	}

	pidfd := -1
	sys := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: &pidfd}
	if sys.Credential, err = credential(prog); err != nil {
		return failed(refused(cmd, err))
	}
	if prog.Cgroup != "" {
		dir, fd, err := newCgroup(prog.Cgroup)
		if err != nil {
			return failed(refused(cmd, err))
		}
		p.sys.cgroupDir = dir
		sys.UseCgroupFD, sys.CgroupFD = true, child.add(fd)
	}
	attr := &syscall.ProcAttr{
		Dir: cmd.dir, Env: cmd.env, Sys: sys,
		Files: []uintptr{uintptr(in), uintptr(out), uintptr(errout)},
	}
	for _, f := range opt.Files {
		attr.Files = append(attr.Files, f.Fd())
	}
	pid := 0
	kind := threadKind{umask: prog.Umask != 0, noNewPrivs: prog.NoNewPrivileges}
	if kind.umask {
		if attr.Dir, err = filepath.Abs(cmd.dir); err != nil { // the thread has a current directory of its own
			return fail(err)
		}
	}
	if e := inThread(kind, func() {
		if kind.umask {
			unix.Umask(max(prog.Umask, 0))
		}
		pid, err = s.fork(cmd, attr)
	}); e != nil {
		return failed(fmt.Errorf("start %q: %w", prog.Path, e))
	}
	if err != nil {
		return fail(err)
	}
	p.pid, p.sys.pidfd, p.sys.stderr = int32(pid), int32(pidfd), -1
	runtime.KeepAlive(opt) // not closed by the collector before the fork
	if stdin >= 0 {
		p.Stdin = os.NewFile(uintptr(stdin), "stdin")
	}
	if stdout >= 0 {
		p.Stdout = os.NewFile(uintptr(stdout), "stdout")
	}
	switch prog.Stderr {
	case StderrPipe:
		p.Stderr = os.NewFile(uintptr(stderr), "stderr")
	case StderrLog:
		p.sys.stderr = int32(stderr)
	}
	return nil
}

// fork starts the program and sets its limits. A process that could not get them is gone when fork
// returns an error.
func (s *Spawner) fork(cmd *command, attr *syscall.ProcAttr) (int, error) {
	prog := cmd.prog
	if len(prog.Limits) == 0 && prog.Nice == 0 {
		return forkExec(cmd, attr)
	}
	if !s.sys.noGate.Load() {
		pid, err := forkGated(cmd, attr)
		switch {
		case err == nil, !errors.Is(err, syscall.EPERM), isLimitError(err):
			return pid, err
		}
		// Either tracing is forbidden or something else is; without the gate we shall see.
		attr.Sys.Ptrace = false
		pid, err2 := s.forkUngated(cmd, attr)
		if err2 == nil && !s.sys.noGate.Swap(true) {
			s.log.warn(nil, "ptrace is forbidden: limits are set right after the start of a program, not before", err)
		}
		return pid, err2
	}
	return s.forkUngated(cmd, attr)
}

// forkGated uses ptrace as a gate: a traced program stops when exec is through, before its
// first instruction; then the limits are set and the tracing ends. All of it has to happen in one thread,
// because only the thread that traces may wait and let go. The goroutine must not end while locked.
func forkGated(cmd *command, attr *syscall.ProcAttr) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attr.Sys.Ptrace = true
	pid, err := forkExec(cmd, attr)
	if err != nil {
		return 0, err
	}
	var ws unix.WaitStatus
	for {
		if _, err = unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
			break
		}
	}
	if err != nil || !ws.Stopped() { // killed at once, by whomever, and reaped by this very Wait4
		unix.Close(*attr.Sys.PidFD)
		return 0, fmt.Errorf("the program was killed before it began (%#x)", uint32(ws))
	}
	err = setLimits(pid, cmd.prog)
	if err == nil {
		err = unix.PtraceDetach(pid)
	}
	if err != nil {
		unix.Kill(pid, unix.SIGKILL)
		reap(*attr.Sys.PidFD)
		return 0, err
	}
	return pid, nil
}

func (s *Spawner) forkUngated(cmd *command, attr *syscall.ProcAttr) (int, error) {
	pid, err := forkExec(cmd, attr)
	if err != nil {
		return 0, err
	}
	if err := setLimits(pid, cmd.prog); err != nil {
		unix.Kill(-pid, unix.SIGKILL)
		reap(*attr.Sys.PidFD)
		return 0, err
	}
	return pid, nil
}

// forkExec is fork and exec. It returns when exec is through or has failed.
func forkExec(cmd *command, attr *syscall.ProcAttr) (int, error) {
	pid, err := syscall.ForkExec(cmd.path, cmd.argv, attr)
	if err == nil && *attr.Sys.PidFD < 0 {
		unix.Kill(-pid, unix.SIGKILL)
		unix.Wait4(pid, nil, 0, nil)
		err = errors.New("the kernel has no pidfds: Linux 5.4 is needed")
	}
	return pid, err
}

// reap reaps a process that was killed, waits for it if need be, and closes its pidfd.
func reap(pidfd int) {
	for {
		if err := unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED, nil); err != unix.EINTR {
			break
		}
	}
	unix.Close(pidfd)
}

func isLimitError(err error) bool { _, ok := errors.AsType[*limitError](err); return ok }

func setLimits(pid int, prog *Program) error {
	for _, l := range prog.Limits {
		if err := unix.Prlimit(pid, limitNumbers[l.Name], &unix.Rlimit{Cur: l.Soft, Max: l.Hard}, nil); err != nil {
			if err == unix.EPERM && prog.User+prog.Group != "" {
				err = fmt.Errorf("%w: limits of another user's program need CAP_SYS_RESOURCE", err)
			}
			return &limitError{"limit " + l.Name, err}
		}
	}
	if prog.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, pid, prog.Nice); err != nil {
			return &limitError{fmt.Sprintf("nice %d", prog.Nice), err}
		}
	}
	return nil
}
