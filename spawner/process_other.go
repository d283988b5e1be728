//go:build !linux

package spawner

import (
	"errors"
	"os"
	"runtime"
	"time"
)

// unsupported returns what p asks for that this platform cannot do.
func unsupported(p *Program) string {
	switch {
	case p.Cgroup != "":
		return "cgroup"
	case len(p.Limits) > 0:
		return "limits"
	case p.Nice != 0:
		return "nice"
	case p.Umask != 0:
		return "umask"
	case p.NoNewPrivileges:
		return "no new privileges"
	case p.PipeSize != 0:
		return "pipe size"
	case runtime.GOOS == "windows" && p.User+p.Group != "":
		return "user and group"
	}
	return ""
}

func knownLimit(string) bool { return true } // refused as unsupported before

type spawnerSys struct{}

func (*spawnerSys) setUp(*Spawner) error { return nil }
func (*spawnerSys) tearDown()            {}

// processSys is what a process holds where a goroutine waits for it.
type processSys struct {
	proc       *os.Process
	stderr     *os.File      // read end with StderrLog, or nil
	stderrDone chan struct{} // closed when stderr is read to its end
}

// spawn starts cmd and fills in p. On an error nothing is left.
func (s *Spawner) spawn(p *Process, cmd *command) error {
	var child, parent []*os.File
	defer func() {
		for _, f := range child {
			f.Close()
		}
	}()
	failed := func(err error) error {
		for _, f := range parent {
			f.Close()
		}
		return err
	}
	pipe := func(childReads bool) (ours, theirs *os.File, err error) {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, nil, err
		}
		if childReads {
			r, w = w, r
		}
		parent, child = append(parent, r), append(child, w)
		return r, w, nil
	}
	var err error
	files := make([]*os.File, 3)
	if files[0] = cmd.opt.Stdin; files[0] == nil {
		if p.Stdin, files[0], err = pipe(true); err != nil {
			return failed(diagnose(cmd, err))
		}
	}
	if !cmd.opt.JoinStdout {
		if p.Stdout, files[1], err = pipe(false); err != nil {
			return failed(diagnose(cmd, err))
		}
	}
	switch cmd.prog.Stderr {
	case StderrLog:
		p.sys.stderr, files[2], err = pipe(false)
	case StderrPipe:
		p.Stderr, files[2], err = pipe(false)
	case StderrInherit:
		files[2] = os.Stderr
	case StderrDiscard:
		if files[2], err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
			child = append(child, files[2])
		}
	}
	if err != nil {
		return failed(diagnose(cmd, err))
	}
	if cmd.opt.JoinStdout {
		files[1] = files[2]
	}
	files = append(files, cmd.opt.Files...)
	attr, err := processAttr(cmd.prog)
	if err != nil {
		return failed(refused(cmd, err))
	}
	p.sys.proc, err = os.StartProcess(cmd.path, cmd.argv, &os.ProcAttr{
		Dir: cmd.dir, Env: append(minimalEnv(), cmd.env...), Files: files, Sys: attr,
	})
	if err != nil {
		if pe, ok := errors.AsType[*os.PathError](err); ok {
			err = pe.Err
		}
		return failed(diagnose(cmd, err))
	}
	p.pid = int32(p.sys.proc.Pid)
	return nil
}

// watch starts the goroutine that waits for p, and one for its stderr.
func (s *Spawner) watch(p *Process) error {
	p.sys.stderrDone = make(chan struct{})
	if p.sys.stderr == nil {
		close(p.sys.stderrDone)
	} else {
		go func() {
			defer close(p.sys.stderrDone)
			b := make([]byte, 4096)
			for {
				n, err := p.sys.stderr.Read(b)
				s.stderrMu.Lock()
				s.addLines(p, b[:n])
				s.stderrMu.Unlock()
				if err != nil {
					return
				}
			}
		}()
	}
	go func() {
		state, err := p.sys.proc.Wait()
		code, signal, core := int32(-1), uint8(0), false
		if err == nil {
			code, signal, core = exitCode(state)
		}
		p.mu.Lock()
		p.exit(code, signal, core)
		p.mu.Unlock()
		p.afterExit()
	}()
	return nil
}

// endStderr gives the reader of stderr a moment to come to the end, now that the group is dead.
func (p *Process) endStderr() uint64 {
	if p.sys.stderr != nil {
		t := time.NewTimer(flushTime)
		defer t.Stop()
		select {
		case <-p.sys.stderrDone:
		case <-t.C: // held open by something that left the group
		}
		p.sys.stderr.Close()
	}
	p.s.stderrMu.Lock()
	defer p.s.stderrMu.Unlock()
	return p.s.endLines(p)
}

func (p *Process) reap() {}

func (p *Process) undoStart() {} // watch does not fail

func (p *Process) cgroup() string { return "" }
func (p *Process) killCgroup()    {}
func (p *Process) removeCgroup()  {}

func killAndRemoveCgroup(string) bool { return true }

// newTable makes the file that the guard process shares.
func newTable() (*os.File, error) {
	f, err := os.CreateTemp("", "wspawn-guard-*")
	if err == nil {
		os.Remove(f.Name()) // where an open file has no name, nobody can leave it behind
	}
	return f, err
}
