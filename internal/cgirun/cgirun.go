// Package cgirun runs CGI programs for servers whose gateway has made the meta-variables already: it
// is what scgi-cgi and fcgi-cgi have in common.
//
// A [Handler] is an http.Handler for a server of such a protocol. It takes the connection over (http.Hijacker)
// and joins it to the standard streams of a program, so that what the gateway gets is exactly what
// the program writes: any CGI output, 101 answers among it.
package cgirun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/spawner"
)

// The defaults of a [Handler].
const (
	DefaultMax   = 16
	DefaultQueue = 64
)

// A Handler answers requests by running programs. Its fields must not change while it is in use.
type Handler struct {
	// Variables returns the meta-variables of a request. They, and PATH, are the environment of the program.
	Variables func(*http.Request) cgi.List

	// Program is the command that answers every request. Empty: the variable INTERPRETER with
	// SCRIPT_FILENAME as its argument, or SCRIPT_FILENAME itself.
	Program []string
	// Interpreter is used in the place of the variable INTERPRETER. It may do without a script.
	Interpreter string
	// EndIsGone says that the end of the input, behind the body, means that the gateway has gone, as it does for
	// protocols that have one request on each connection.
	EndIsGone bool
	// Stderr returns where the standard error of the program for a request goes. nil: where that of this
	// process goes.
	Stderr func(context.Context) io.Writer
	// End, if not nil, is called in the place of conn.Close for a request whose program ended by itself with a
	// status.
	End func(conn net.Conn, status int)
	// Path is PATH for the programs. "" = that of this process.
	Path string

	// Max is how many programs may run at once. 0 = 16.
	Max int
	// Queue is how many requests may wait for their turn; more are answered with 503. 0 = 64,
	// negative = none.
	Queue int

	// Spawner starts the programs and owns them.
	Spawner *spawner.Spawner
	// Stop is how programs are stopped whose gateway has gone. nil = [spawner.DefaultLadder].
	Stop spawner.Ladder
	// HalfTimeout is how long a program whose gateway has ended the input may write nothing, if it is
	// one that asked for an upgrade: the gateway may be gone. 0 = 60 s.
	HalfTimeout time.Duration
	// StallTimeout is how long a program may read nothing of the input that there is for it. 0 = 5 min.
	StallTimeout time.Duration
	// Log gets what goes wrong. nil = no log.
	Log *slog.Logger

	once  sync.Once
	turns chan struct{} // holds one element for every program that may run and every request that may wait
	slots chan struct{} // holds one element for every program that runs

	mu      sync.Mutex // guards the fields below
	down    bool
	running sync.WaitGroup // added to under mu while down is false
}

// An answer is an error with the HTTP status to answer it with.
type answer struct {
	status int
	reason string // for the client
	err    error  // for the log
}

func (a *answer) Error() string {
	if a.err != nil {
		return fmt.Sprintf("%s: %v", a.reason, a.err)
	}
	return a.reason
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.enter() {
		refuse(w, &answer{status: http.StatusServiceUnavailable, reason: "shutting down"})
		return
	}
	defer h.running.Done()
	err := h.serve(w, r)
	if err == nil {
		return
	}
	a, ok := errors.AsType[*answer](err)
	if !ok {
		a = &answer{http.StatusInternalServerError, "internal error", err}
	}
	if h.Log != nil && r.Context().Err() == nil {
		h.Log.Warn("request refused", "status", a.status, "err", a)
	}
	refuse(w, a)
}

func refuse(w http.ResponseWriter, a *answer) {
	if a.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, a.reason, a.status)
}

// serve returns an error as long as w can still answer.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	vars := h.Variables(r)
	leave, err := h.await(r.Context())
	if err != nil {
		return err
	}
	defer leave()
	p, err := h.program(vars)
	if err != nil {
		return err
	}
	proc, err := h.Spawner.Start(r.Context(), p, spawner.StartOptions{})
	if err != nil {
		return startProblem(err)
	}
	defer proc.ClosePipes()
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		h.abort(proc)
		return err
	}
	defer conn.Close()
	_, upgrade := vars.Lookup("HTTP_UPGRADE")
	_, messages := vars.Lookup(cgi.FramingVariable)
	s := &session{
		h: h, conn: conn, in: rw.Reader, proc: proc, left: r.ContentLength,
		upgrade: messages || upgrade && r.ContentLength == 0,
	}
	s.run(r.Context())
	return nil
}

// await waits for a turn.
func (h *Handler) await(ctx context.Context) (leave func(), err error) {
	h.once.Do(func() {
		n, queue := h.Max, h.Queue
		if n <= 0 {
			n = DefaultMax
		}
		if queue == 0 {
			queue = DefaultQueue
		}
		h.slots = make(chan struct{}, n)
		h.turns = make(chan struct{}, n+max(queue, 0))
	})
	select {
	case h.turns <- struct{}{}:
	default:
		return nil, &answer{status: http.StatusServiceUnavailable, reason: "too many requests are waiting"}
	}
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots; <-h.turns }, nil
	case <-ctx.Done():
		<-h.turns
		return nil, ctx.Err()
	}
}

// program finds what is to be run.
func (h *Handler) program(vars cgi.List) (*spawner.Program, error) {
	script, _ := vars.Lookup("SCRIPT_FILENAME")
	command, dir := h.Program, ""
	if len(command) == 0 {
		interpreter := h.Interpreter
		if interpreter == "" {
			interpreter, _ = vars.Lookup("INTERPRETER")
		}
		switch {
		case script == "" && h.Interpreter == "":
			return nil, &answer{status: http.StatusInternalServerError, reason: "the gateway does not say which program", err: errors.New("no SCRIPT_FILENAME")}
		case script == "":
			command = []string{interpreter}
		case interpreter == "":
			command = []string{script}
		default:
			command = []string{interpreter, script}
		}
		if script != "" {
			if err := check(script, interpreter == ""); err != nil {
				return nil, err
			}
			dir = filepath.Dir(script)
		}
	}
	path, err := spawner.Look(command[0], "")
	if err != nil {
		return nil, startProblem(err)
	}
	if dir == "" {
		dir = filepath.Dir(path)
	}
	p := &spawner.Program{Path: path, Args: command[1:], Dir: dir, Env: h.environ(vars), Stop: h.Stop, Stderr: spawner.StderrInherit}
	if h.Stderr != nil {
		p.Stderr = spawner.StderrPipe
	}
	return p, nil
}

func (h *Handler) environ(vars cgi.List) []string {
	path := h.Path
	if path == "" {
		path = os.Getenv("PATH")
	}
	if _, ok := vars.Lookup("PATH"); ok || path == "" {
		return vars.Environ()
	}
	return append(vars.Environ(), "PATH="+path)
}

// check looks at the file of a script, of which no client should learn more than it must.
func check(script string, execute bool) error {
	if !filepath.IsAbs(script) {
		return &answer{http.StatusInternalServerError, "the gateway does not say which program", fmt.Errorf("SCRIPT_FILENAME %q is not absolute", script)}
	}
	fi, err := os.Stat(script)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &answer{http.StatusNotFound, "not found", err}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR):
		return &answer{http.StatusForbidden, "forbidden", err}
	case err != nil:
		return &answer{http.StatusInternalServerError, "internal error", err}
	case !fi.Mode().IsRegular():
		return &answer{http.StatusForbidden, "forbidden", fmt.Errorf("%s is not a regular file", script)}
	case execute && fi.Mode()&0o111 == 0:
		return &answer{http.StatusForbidden, "forbidden", fmt.Errorf("%s is not executable", script)}
	}
	return nil
}

func startProblem(err error) error {
	switch {
	case errors.Is(err, spawner.ErrPermission):
		return &answer{http.StatusForbidden, "forbidden", err}
	case errors.Is(err, spawner.ErrResources), errors.Is(err, spawner.ErrLimit), errors.Is(err, spawner.ErrClosed):
		return &answer{http.StatusServiceUnavailable, "no resources to run the program", err}
	}
	return &answer{http.StatusInternalServerError, "the program cannot be started", err}
}

// abort gets rid of a program that nobody is connected to.
func (h *Handler) abort(proc *spawner.Process) {
	if err := proc.Stop(context.Background()); err != nil && h.Log != nil {
		h.Log.Error("program does not end", "pid", proc.Pid(), "err", err)
	}
	proc.Finish()
}

func (h *Handler) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return false
	}
	h.running.Add(1)
	return true
}

// Shutdown refuses new requests and waits until all programs have ended, or ctx has.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.mu.Lock()
	h.down = true
	h.mu.Unlock()
	done := make(chan struct{})
	go func() {
		h.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
