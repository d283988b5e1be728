package spawner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// The errors of Start, Look, Stop and Close, for errors.Is.
var (
	// ErrLimit: Config.MaxProcesses are alive already.
	ErrLimit = errors.New("too many processes")
	// ErrClosed: the Spawner is closed or being closed.
	ErrClosed = errors.New("spawner closed")
	// ErrNotFound: there is no such program, or the interpreter in its "#!" line does not exist.
	ErrNotFound = errors.New("program not found")
	// ErrPermission: the program may not be executed, or its user, group or limits may not be set.
	ErrPermission = errors.New("permission denied")
	// ErrFormat: the file is not a program of this machine.
	ErrFormat = errors.New("exec format error")
	// ErrDir: the working directory does not exist or cannot be entered.
	ErrDir = errors.New("bad directory")
	// ErrResources: the server or the system has too many open files or processes, or no memory.
	ErrResources = errors.New("out of resources")
	// ErrUnsupported: the program asks for something that this platform does not have.
	ErrUnsupported = errors.New("not supported on this platform")
	// ErrStuck: the process is alive after SIGKILL and the time to give up.
	ErrStuck = errors.New("still alive after SIGKILL")
)

// startError is an error about one program. It is (errors.Is) its kind, one of the above, and the
// error of the system.
type startError struct {
	verb, path, text string
	kind, err        error
}

func (e *startError) Error() string { return fmt.Sprintf("%s %q: %s", e.verb, e.path, e.text) }

func (e *startError) Unwrap() []error {
	if e.kind == nil {
		return []error{e.err}
	}
	return []error{e.kind, e.err}
}

// limitError is a limit or priority that could not be set.
type limitError struct {
	name string
	err  error
}

func (e *limitError) Error() string { return fmt.Sprintf("%s: %v", e.name, e.err) }
func (e *limitError) Unwrap() error { return e.err }

func (e *startError) in(verb string) *startError {
	c := *e
	c.verb = verb
	return &c
}

// diagnose turns the error of fork or exec, one number for a dozen reasons, into a sentence. It looks
// at the files again, which is a race, but only for the wording.
func diagnose(cmd *command, err error) error {
	e := &startError{verb: "start", path: cmd.prog.Path, text: err.Error(), err: err}
	if _, ok := errors.AsType[*limitError](err); ok {
		e.kind = ErrPermission
		return e
	}
	if dirErr := checkDir(cmd.dir); dirErr != nil {
		e.kind, e.text = ErrDir, dirErr.Error()
		return e
	}
	path := cmd.path
	if !filepath.IsAbs(path) && cmd.dir != "" {
		path = filepath.Join(cmd.dir, path)
	}
	switch {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		e.kind, e.text = ErrResources, "too many open files: raise the limit of open files of the server"
	case errors.Is(err, syscall.EAGAIN):
		e.kind, e.text = ErrResources, "too many processes for this user or cgroup"
	case errors.Is(err, syscall.ENOMEM):
		e.kind, e.text = ErrResources, "out of memory"
	case errors.Is(err, syscall.ENOEXEC):
		e.kind, e.text = ErrFormat, "exec format error: "+formatProblem(path)
	case errors.Is(err, fs.ErrNotExist):
		e.kind, e.text = ErrNotFound, notExistProblem(path)
	case errors.Is(err, syscall.E2BIG):
		e.kind, e.text = ErrResources, "arguments and environment are too long"
	case errors.Is(err, syscall.EPERM) && cmd.prog.User+cmd.prog.Group != "":
		e.kind = ErrPermission
		e.text = fmt.Sprintf("the server may not change to user %q, group %q: it has to run as root", cmd.prog.User, cmd.prog.Group)
	case errors.Is(err, fs.ErrPermission):
		e.kind, e.text = ErrPermission, permissionProblem(path)
		if cmd.prog.User != "" {
			e.text += fmt.Sprintf(" (user %q, who must also be allowed into the working directory)", cmd.prog.User)
		}
	case errors.Is(err, syscall.EINVAL):
		e.kind, e.text = ErrFormat, "invalid argument: a NUL byte in path, arguments, environment or directory"
	}
	return e
}

// refused is the error of a start that failed because of its user, group or cgroup.
func refused(cmd *command, err error) error {
	e := &startError{verb: "start", path: cmd.prog.Path, text: err.Error(), kind: ErrPermission, err: err}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) {
		e.kind = ErrResources
	}
	return e
}

// checkDir returns what is wrong with a working directory.
func checkDir(dir string) error {
	if dir == "" {
		return nil
	}
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("directory %q does not exist", dir)
	case err != nil:
		return fmt.Errorf("directory %q: %w", dir, errors.Unwrap(err))
	case !fi.IsDir():
		return fmt.Errorf("directory %q is not a directory", dir)
	}
	return nil
}

// head returns the first bytes of a file, as far as they can be read. To open a FIFO would wait for its writer.
func head(path string) []byte {
	if fi, err := os.Stat(path); err != nil || !fi.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, 256)
	n, _ := io.ReadFull(f, b)
	return b[:n]
}

// interpreter returns the interpreter of a script; script is false for other files.
func interpreter(path string) (name string, script bool) {
	line, script := bytes.CutPrefix(head(path), []byte("#!"))
	if !script {
		return "", false
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	line = bytes.TrimLeft(line, " \t")
	if i := bytes.IndexAny(line, " \t"); i >= 0 {
		line = line[:i]
	}
	return string(line), true
}

func formatProblem(path string) string {
	b := head(path)
	switch name, script := interpreter(path); {
	case script && name == "":
		return `the "#!" line names no interpreter`
	case script:
		return fmt.Sprintf("the interpreter %q cannot be run", name)
	case bytes.HasPrefix(b, []byte("\x7fELF")), bytes.HasPrefix(b, []byte("MZ")):
		return "the file is a binary for another machine"
	case len(b) == 0:
		return "the file is empty"
	}
	return `the file has no "#!" line and is not a binary`
}

func notExistProblem(path string) string {
	if _, err := os.Stat(path); err != nil {
		return "no such file"
	}
	name, script := interpreter(path)
	if !script {
		return "the file exists, but its dynamic loader or interpreter does not"
	}
	hint := ""
	if len(name) > 0 && name[len(name)-1] == '\r' {
		hint = `; the "#!" line ends with a carriage return`
	}
	return fmt.Sprintf("the interpreter %q in its \"#!\" line does not exist%s", name, hint)
}

func permissionProblem(path string) string {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return "permission denied"
	case fi.IsDir():
		return "it is a directory"
	case !fi.Mode().IsRegular():
		return "it is not a regular file"
	case fi.Mode()&0o111 == 0:
		return "permission denied: the file is not executable (chmod +x)"
	}
	if name, script := interpreter(path); script {
		return fmt.Sprintf("permission denied: the file or its interpreter %q may not be executed by this user", name)
	}
	return "permission denied: this user may not execute it, or its file system is mounted noexec"
}
