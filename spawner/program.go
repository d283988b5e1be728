package spawner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Program is what to run. It must not change once it was given to Start; many processes share one.
type Program struct {
	// Path is the program, and argv[0] as it is. With a slash it is a file, relative to Dir if not
	// absolute; without one it is searched in the server's PATH by [Look] at every start.
	Path string
	// Args are the arguments behind argv[0].
	Args []string
	// Dir is the working directory. "" = that of the server.
	Dir string
	// Env is the whole environment ("NAME=value"); nothing is inherited. (Windows adds SYSTEMROOT.)
	Env []string
	// User and Group, names or numbers, are whom it runs as; the supplementary groups are those of
	// User, none if only Group is set. The files that define them are read at every start.
	// "" = as the server; Group "" = the group of User.
	User, Group string
	// Umask takes permissions from the files it makes, for example 0o027. 0 = the umask of the server,
	// negative = 0, nothing is taken.
	Umask int
	// NoNewPrivileges keeps it, and all that it starts, from gaining rights by the execution of a file: set-uid and set-gid bits and
	// file capabilities have no effect (PR_SET_NO_NEW_PRIVS; Linux only). Such starts are forked by one thread, one
	// after the other. false = as the server, whose own bit is inherited in any case.
	NoNewPrivileges bool
	// Nice is its priority, -20 (first) to 19 (last). 0 = that of the server.
	Nice int
	// Limits are its resource limits, in force before its first instruction. Set-uid bits have no
	// effect on a program started with Limits or Nice. Together with User or Group, Limits need a server with
	// CAP_SYS_RESOURCE, which root in a container often lacks, and Nice one with CAP_SYS_NICE.
	Limits []Limit
	// Cgroup is a cgroup v2 directory the server may write to. Every process gets a fresh cgroup below it, and
	// everything inside is killed at Finish, also what left the process group. "" = none.
	Cgroup string
	// PipeSize is the size of the stdin and the stdout pipe in bytes. What the system refuses is logged once
	// and ignored. 0 = the system's (64 KiB on Linux).
	PipeSize int
	// Stderr says where stderr goes.
	Stderr StderrMode
	// MaxStderrLine is where lines in the log are cut, in bytes. 0 = 4096.
	MaxStderrLine int
	// Stop is how it is stopped. nil = [DefaultLadder].
	Stop Ladder
	// GiveUp is how long Stop waits after SIGKILL before it returns [ErrStuck]. 0 = 5 s: a machine that is
	// overloaded takes its time for that as well.
	GiveUp time.Duration
	// Linger is how long others of its group may keep stdout open after the program itself
	// ended. The reader of Stdout applies it, see [Process.Linger]. 0 = 500 ms.
	Linger time.Duration
}

// StderrMode says where the stderr of a program goes.
type StderrMode uint8

// The stderr modes.
const (
	StderrLog     StderrMode = iota // line by line into Config.Log
	StderrPipe                      // into a pipe, Process.Stderr
	StderrInherit                   // to the stderr of the server
	StderrDiscard                   // nowhere
)

// Unlimited is the value of a [Limit] that does not limit.
const Unlimited = ^uint64(0)

// Limit is one resource limit, see setrlimit(2): Name without "RLIMIT_", in lower case ("nofile", "as",
// "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nproc", "rss", "rtprio", "rttime",
// "sigpending", "stack"), and its values in the units found there. Only a privileged server may
// raise Hard above its own.
type Limit struct {
	Name       string
	Soft, Hard uint64
}

// Check returns what is wrong with p: values out of range, and, as [ErrUnsupported], what this platform
// cannot do. It does not look at files. Start calls it.
func (p *Program) Check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("program %q: %w", p.Path, fmt.Errorf(format, args...))
	}
	switch {
	case p.Path == "":
		return bad("the path is empty")
	case p.Umask > 0o777:
		return bad("umask %#o is out of range", p.Umask)
	case p.Nice < -20 || p.Nice > 19:
		return bad("nice %d is out of range", p.Nice)
	case p.Stderr > StderrDiscard:
		return bad("unknown stderr mode %d", p.Stderr)
	case p.PipeSize < 0:
		return bad("pipe size %d is negative", p.PipeSize)
	}
	if what := unsupported(p); what != "" {
		return bad("%s: %w", what, ErrUnsupported)
	}
	for _, l := range p.Limits {
		if !knownLimit(l.Name) {
			return bad("unknown limit %q", l.Name)
		}
		if l.Soft > l.Hard {
			return bad("limit %q: soft is above hard", l.Name)
		}
	}
	return nil
}

// Rights returns which of user, limits and priority the server may not set, so that no Start of p can succeed, as far as that is known
// before; nil where it is not: on other platforms than Linux, and for what Check refuses.
func (p *Program) Rights() error { return p.rights() }

func (p *Program) maxStderrLine() int {
	if p.MaxStderrLine > 0 {
		return p.MaxStderrLine
	}
	return 4096
}

func (p *Program) giveUp() time.Duration {
	if p.GiveUp > 0 {
		return p.GiveUp
	}
	return 5 * time.Second
}

// Look finds a program the way Start does: a name with a slash is a file, relative to dir (to the current
// directory if dir is ""); another one is searched in the directories of PATH, of which relative ones
// are left out. The path it returns is absolute. The errors are [ErrNotFound] and
// [ErrPermission] (a directory, or not executable).
func Look(name, dir string) (string, error) {
	e := &startError{verb: "program", path: name, kind: ErrNotFound, err: fs.ErrNotExist}
	if name == "" {
		e.text = "the name is empty"
		return "", e
	}
	if hasSeparator(name) || name == "." || name == ".." {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		path, err := filepath.Abs(path)
		if err == nil {
			err = executable(path)
		}
		if err != nil {
			return "", e.file(err)
		}
		return path, nil
	}
	if runtime.GOOS == "windows" { // PATHEXT
		path, err := exec.LookPath(name)
		if err != nil {
			e.text = "not found in PATH"
			return "", e
		}
		return path, nil
	}
	var found error // the best reason why a file of that name would not do
	for _, d := range filepath.SplitList(os.Getenv("PATH")) {
		if !filepath.IsAbs(d) {
			continue
		}
		path := filepath.Join(d, name)
		err := executable(path)
		if err == nil {
			return path, nil
		}
		if _, ok := errors.AsType[refusal](err); ok && found == nil {
			found = fmt.Errorf("%s: %w", path, err)
		}
	}
	if found != nil {
		return "", e.file(found)
	}
	e.text = "not found in PATH"
	return "", e
}

// refusal is a reason why a file that exists cannot be executed.
type refusal string

func (r refusal) Error() string      { return string(r) }
func (refusal) Is(target error) bool { return target == fs.ErrPermission }

func executable(path string) error {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return errors.Unwrap(err)
	case fi.IsDir():
		return refusal("it is a directory")
	case runtime.GOOS != "windows" && fi.Mode()&0o111 == 0:
		return refusal("the file is not executable (chmod +x)")
	}
	return nil
}

// file completes e with the error of executable.
func (e *startError) file(err error) error {
	e.err, e.text = err, err.Error()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.text = "no such file"
	case errors.Is(err, fs.ErrPermission):
		e.kind = ErrPermission
	}
	return e
}

func hasSeparator(path string) bool {
	return strings.ContainsRune(path, '/') || runtime.GOOS == "windows" && strings.ContainsAny(path, `\:`)
}
