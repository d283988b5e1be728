package cgi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wspawn/wspawn/internal/gateway"
	"github.com/wspawn/wspawn/internal/scripts"
	"github.com/wspawn/wspawn/spawner"
)

// DefaultPath is the PATH of programs whose environment has none.
const DefaultPath = "/usr/local/bin:/usr/bin:/bin"

// The defaults of [Config].
const (
	DefaultMaxProcesses = 256
	DefaultMaxQueue     = 256
	DefaultQueueTimeout = 10 * time.Second
)

// Config says what an [Endpoint] runs. Either File or Dir is needed.
type Config struct {
	// File is one program for all paths; Args are its arguments. A relative name is made absolute by New.
	File string
	Args []string

	// Dir is a directory of programs: the path of the URL names one, and what follows its name is
	// PATH_INFO. Links that lead outside are not found, nor, without Hidden, names that begin with a dot.
	Dir    string
	Hidden bool

	// Prefix is the part of the URL path that stands for the endpoint, without a slash at its end: it is
	// taken off before the program is looked for, and is part of SCRIPT_NAME. Requests that do not begin with it get 404.
	Prefix string

	// Interpreters run the files that are not programs themselves. The first one whose suffix fits is used.
	Interpreters []Interpreter

	// ExecutableOnly hands files without any execute bit to Fallback, also where an interpreter would
	// not need one. Off, such a file is 403 when there is no interpreter for it.
	ExecutableOnly bool

	// Fallback answers what this endpoint declines: what is not found, directories, and what
	// ExecutableOnly says. nil: 404, and 403 for files.
	Fallback http.Handler

	// DocumentRoot is DOCUMENT_ROOT. "" = Dir, or the directory of File.
	DocumentRoot string

	// Software is SERVER_SOFTWARE. "" = [DefaultSoftware].
	Software string

	// Amend changes the variables of a request before they are used: REMOTE_USER, or others in Extra. Errors as those
	// of [Gateway].Open. nil = nothing to change.
	Amend func(r *http.Request, v *Vars) error

	// Starting is called before each program starts, in the goroutine of its request, and may change r.Vars. ended is
	// called when that program has ended, which may be after the answer, or could not be started; nil = nobody. Errors
	// as those of [Gateway].Open. nil = nothing to do.
	Starting func(r *Request) (ended func(), err error)

	// Strict answers output that is no response with 500. Off, output that does not begin with a header line, or ends
	// before the header block does, is a body with status 200; for other faults the answer is 502.
	Strict bool

	// Spawner starts the programs.
	Spawner *spawner.Spawner

	// Program is the pattern of all programs: everything but Path and Args. Dir "" is the directory
	// of the program's file. Env is what it gets besides the variables of the request; nothing is inherited from the
	// server, and where it has no PATH it gets [DefaultPath].
	Program spawner.Program

	// MaxProcesses bounds the programs of this endpoint that are alive at once, tunnels included. Further
	// requests wait, at most MaxQueue of them and each at most QueueTimeout; the others get 503. 0 = 256,
	// 256 and 10 s; negative = no limit, no queue, no limit.
	MaxProcesses, MaxQueue int
	QueueTimeout           time.Duration

	Options

	// Log gets what goes wrong, and the start and end of tunnels. The stderr of the programs goes where Spawner and
	// Program say. nil = none.
	Log *slog.Logger
}

// An Interpreter runs files that have a suffix.
type Interpreter struct {
	// Suffix of the file name, as ".py". "" fits all.
	Suffix string
	// Program is searched in PATH if it has no slash. It gets Args and the path of the file. ""
	// executes the file itself.
	Program string
	Args    []string
}

// An Endpoint answers requests by programs, one process for each. It is an http.Handler; make it with New.
type Endpoint struct {
	c       Config
	dir     *scripts.Dir // nil: one file
	root    string
	env     []string
	null    *os.File // the input of programs that get none
	gateway Gateway
	queue   queue

	stopping sync.WaitGroup // goroutines that wait for programs to end
}

// New checks c, and opens its directory. Nothing is started before there are requests.
func New(c Config) (*Endpoint, error) {
	e := &Endpoint{c: c}
	if c.Spawner == nil {
		return nil, errors.New("cgi: no spawner")
	}
	var err error
	switch {
	case (c.File == "") == (c.Dir == ""):
		return nil, errors.New("cgi: one of a file and a directory of programs is needed")
	case c.File != "":
		if e.c.File, err = filepath.Abs(c.File); err != nil {
			return nil, err
		}
		if info, err := os.Stat(e.c.File); err != nil {
			return nil, err
		} else if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s: not a file", c.File)
		}
		e.root = filepath.Dir(e.c.File)
	default:
		if e.dir, err = scripts.Open(c.Dir, scripts.Options{Hidden: c.Hidden}); err != nil {
			return nil, err
		}
		e.root = e.dir.Path()
	}
	if c.DocumentRoot != "" {
		if e.root, err = filepath.Abs(c.DocumentRoot); err != nil {
			e.Close()
			return nil, err
		}
	}
	e.env = slices.Clone(c.Program.Env)
	if !slices.ContainsFunc(e.env, func(kv string) bool { return strings.HasPrefix(kv, "PATH=") }) {
		e.env = append(e.env, "PATH="+DefaultPath)
	}
	if e.null, err = os.Open(os.DevNull); err != nil {
		e.Close()
		return nil, err
	}
	e.gateway = Gateway{Open: e.open, Vars: vars, Options: c.Options, Bare: !c.Strict, Log: c.Log, strict: c.Strict}
	e.queue = queue{max: number(c.MaxProcesses, DefaultMaxProcesses), queued: number(c.MaxQueue, DefaultMaxQueue)}
	if c.MaxQueue < 0 {
		e.queue.queued = 0
	}
	return e, nil
}

// number returns a very large one for no limit.
func number(n, otherwise int) int {
	switch {
	case n == 0:
		return otherwise
	case n < 0:
		return 1 << 30
	}
	return n
}

// Close releases what New has opened. Shutdown comes first.
func (e *Endpoint) Close() error {
	if e.null != nil {
		e.null.Close()
	}
	if e.dir != nil {
		return e.dir.Close()
	}
	return nil
}

// Shutdown is that of [Gateway], and waits for the end of the programs.
func (e *Endpoint) Shutdown(ctx context.Context) error {
	if err := e.gateway.Shutdown(ctx); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		e.stopping.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err() // closing the spawner ends them, and that goroutine
	}
}

// target is what a request means.
type target struct {
	vars    Vars
	program spawner.Program
}

type targetKey struct{}

// ServeHTTP answers a request.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t, err := e.resolve(r)
	if err != nil {
		if err, ok := errors.AsType[*declined](err); ok && e.c.Fallback != nil {
			e.c.Fallback.ServeHTTP(w, r)
			return
		} else if ok {
			e.gateway.refuse(w, r, &err.GatewayError)
			return
		}
		e.gateway.refuse(w, r, err)
		return
	}
	e.gateway.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), targetKey{}, t)))
}

// declined is a request for something else than a program.
type declined struct{ GatewayError }

func decline(status int, reason string, err error) error {
	return &declined{GatewayError{Status: status, Reason: reason, Err: err}}
}

// resolve finds the program that a request means.
func (e *Endpoint) resolve(r *http.Request) (*target, error) {
	rest, ok := strings.CutPrefix(r.URL.Path, e.c.Prefix)
	if !ok || rest != "" && rest[0] != '/' {
		return nil, decline(http.StatusNotFound, "no such program", nil)
	}
	if dots(rest) {
		// No client sends them by itself, and PATH_INFO is made into file names.
		return nil, &GatewayError{Status: http.StatusBadRequest, Reason: "dot segments in the path"}
	}
	t := &target{vars: Vars{DocumentRoot: e.root, Software: e.c.Software}, program: e.c.Program}
	file := e.c.File
	var info fs.FileInfo
	var err error
	t.vars.ScriptName, t.vars.PathInfo = e.c.Prefix, rest
	if e.dir != nil {
		script, err := e.dir.Find(rest)
		if errors.Is(err, scripts.ErrNotFound) {
			return nil, decline(http.StatusNotFound, "no such program", nil)
		} else if err != nil {
			return nil, &GatewayError{Status: http.StatusForbidden, Err: err}
		}
		file, info = script.File, script.Info
		t.vars.ScriptName, t.vars.PathInfo = e.c.Prefix+script.Name, script.PathInfo
	} else {
		info, err = os.Stat(file)
	}
	t.vars.ScriptFilename = file
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, decline(http.StatusNotFound, "no such program", err)
	case err != nil:
		return nil, &GatewayError{Status: http.StatusForbidden, Err: err}
	}
	i := slices.IndexFunc(e.c.Interpreters, func(i Interpreter) bool { return strings.HasSuffix(file, i.Suffix) })
	direct := i < 0 || e.c.Interpreters[i].Program == ""
	if info.Mode()&0o111 == 0 && executeBits {
		err := fmt.Errorf("%s: the file is not executable (chmod +x) and has no interpreter", file)
		switch {
		case e.c.ExecutableOnly:
			return nil, decline(http.StatusForbidden, "not a program", err)
		case direct:
			return nil, &GatewayError{Status: http.StatusForbidden, Reason: "not a program", Err: err}
		}
	}
	t.program.Path, t.program.Args = file, e.c.Args
	if !direct {
		in := e.c.Interpreters[i]
		t.program.Path, t.program.Args = in.Program, slices.Concat(in.Args, []string{file}, e.c.Args)
	}
	if t.program.Dir == "" {
		t.program.Dir = filepath.Dir(file)
	}
	t.program.Env = e.env
	if t.program.Stderr == spawner.StderrPipe {
		t.program.Stderr = spawner.StderrLog // nobody would read the pipe
	}
	if e.c.Amend != nil {
		if err := e.c.Amend(r, &t.vars); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// dots reports whether there are dot segments in a path.
func dots(p string) bool {
	if !strings.Contains(p, "/.") {
		return false
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

// vars returns what resolve has found.
func vars(r *http.Request) (Vars, error) {
	t, ok := r.Context().Value(targetKey{}).(*target)
	if !ok {
		return Vars{}, errors.New("cgi: request without a program")
	}
	return t.vars, nil
}

// open starts the program of a request.
func (e *Endpoint) open(ctx context.Context, r *Request) (Exchange, error) {
	t := r.Context().Value(targetKey{}).(*target)
	if err := e.queue.acquire(ctx, gateway.OrDefault(e.c.QueueTimeout, DefaultQueueTimeout)); err != nil {
		return nil, err
	}
	x := &execution{e: e, release: e.queue.release}
	if e.c.Starting != nil {
		ended, err := e.c.Starting(r)
		if err != nil {
			x.release()
			return nil, err
		}
		if ended != nil {
			x.release = func() {
				e.queue.release()
				ended()
			}
		}
	}
	o := spawner.StartOptions{
		Env:    r.Vars.Environ(),
		Label:  []slog.Attr{slog.String("path", path.Clean(r.URL.Path))},
		OnExit: x.exited,
	}
	if !r.HasBody() && !r.Upgrade {
		o.Stdin = e.null // without a pipe, a request costs eight system calls less
	}
	p, err := e.c.Spawner.Start(ctx, &t.program, o)
	if err != nil {
		x.release()
		return nil, startError(err)
	}
	x.p = p
	return x, nil
}

// startError turns an error of package spawner into an answer.
func startError(err error) error {
	e := &GatewayError{Status: http.StatusInternalServerError, Reason: "the program could not be started", Err: err}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, spawner.ErrLimit), errors.Is(err, spawner.ErrResources), errors.Is(err, spawner.ErrClosed):
		e.Status, e.Reason, e.RetryAfter = http.StatusServiceUnavailable, "too busy to start the program", 5*time.Second
	case errors.Is(err, spawner.ErrPermission):
		e.Status = http.StatusForbidden
	}
	return e
}
