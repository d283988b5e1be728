// Package stdio connects each WebSocket to the standard streams of a program of its own.
//
// An [Endpoint] starts the program before the handshake is answered, so that what cannot be started
// is an HTTP status. It turns messages into what the program reads and what the program writes into
// messages, by a [framing.Kind]; it stops the program when the client leaves and closes the connection
// with the truth when the program ends. Which program, and with which environment, its Resolve
// function says.
package stdio

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// An Endpoint is a [wsframe.Endpoint]. Its fields must not change while it is in use.
type Endpoint struct {
	Spawner *spawner.Spawner

	// Resolve finds what to run for a request. A *[wsframe.Rejection] refuses the request; other
	// errors are those of package spawner, see [Refusal].
	Resolve func(*wsframe.Request) (*Target, error)

	Options Options

	// Log gets a line for the start and the end of each session, and the errors. nil: none.
	Log *slog.Logger

	// Refuse turns an error of Resolve or of the start into an answer; nil: [Refusal].
	Refuse func(error) *wsframe.Rejection
}

// A Target is what to run for one request.
type Target struct {
	Program *spawner.Program
	Env     []string // behind that of the program
	Args    []string // likewise
	Dir     string   // instead of that of the program, if not ""

	// Spares are processes of the program that were started ahead. When one is alive, the session has that one,
	// and Env, Args and Dir, which it knows nothing of, have no effect; see Options.RequestMessage. Its lines
	// on stderr are logged with the label of the spares. Optional.
	Spares *spawner.Spares

	// Attrs go to the log lines of the session.
	Attrs []slog.Attr

	// Stderr gets a copy of the stderr of the program, in pieces as they are read, when it is passed
	// on to the client; with the client gone, too. It must not block. Optional.
	Stderr io.Writer

	// Started is called at the start of the session. Ended is called once for each program that was
	// started, when it is gone: at the end of the session, or after a handshake that failed, for
	// which there was no Started. Optional.
	Started func(pid int)
	Ended   func(Summary)
}

// A Summary tells how a session was.
type Summary struct {
	Pid      int
	Exit     spawner.ExitState
	Close    wsframe.CloseError // how the connection ended
	In, Out  int64              // bytes to and from the program
	Duration time.Duration
	StopErr  error // the program could not be stopped
}

// Refusal turns an error of package spawner into the answer to a request.
func Refusal(err error) *wsframe.Rejection {
	var r *wsframe.Rejection
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, spawner.ErrLimit):
		return busy("too many programs are running, try again later")
	case errors.Is(err, spawner.ErrResources):
		return busy("the server is out of resources, try again later")
	case errors.Is(err, spawner.ErrClosed):
		return busy("the server is shutting down")
	case errors.Is(err, context.DeadlineExceeded):
		return busy("the program could not be started in time, try again later")
	case errors.Is(err, spawner.ErrNotFound):
		return &wsframe.Rejection{Status: http.StatusBadGateway, Reason: "the program could not be found"}
	}
	// The client learns that it failed; why is in the log, since it may name files.
	return &wsframe.Rejection{Status: http.StatusBadGateway, Reason: "the program could not be started"}
}

func busy(reason string) *wsframe.Rejection {
	return &wsframe.Rejection{
		Status: http.StatusServiceUnavailable, Reason: reason,
		Header: http.Header{"Retry-After": {"5"}},
	}
}

// Open starts the program of a request.
func (e *Endpoint) Open(ctx context.Context, r *wsframe.Request) (wsframe.Session, error) {
	t, err := e.Resolve(r)
	if err != nil {
		return nil, e.refuse(r, err)
	}
	if pipe := t.Program.Stderr == spawner.StderrPipe; pipe != e.Options.PassStderr {
		return nil, e.refuse(r, errStderr)
	}
	// The session keeps what it needs later, not the environment: idle sessions are many.
	s := &session{e: e, t: Target{Program: t.Program, Attrs: t.Attrs, Stderr: t.Stderr, Started: t.Started, Ended: t.Ended}, remote: r.RemoteAddr, started: time.Now()}
	if e.Options.RequestMessage {
		s.open = openEvent(r, t.Env)
	} else if e.Options.Events {
		s.open = openEvent(r, nil)
	}
	if t.Spares != nil {
		if p, ok := t.Spares.Take(); ok {
			s.process = p
			p.SetOnExit(s.onExit)
			return s, nil
		}
	}
	o := spawner.StartOptions{Env: t.Env, Args: t.Args, Dir: t.Dir, Label: t.Attrs, OnExit: s.onExit}
	p, err := e.Spawner.Start(ctx, t.Program, o)
	if err != nil {
		return nil, e.refuse(r, err)
	}
	s.process = p
	return s, nil
}

// errStderr: nobody would read the stderr of the program, or nothing would come out of it.
var errStderr = errors.New("a program must have its stderr in a pipe exactly when it is passed on")

func (e *Endpoint) refuse(r *wsframe.Request, err error) error {
	if errors.Is(err, context.Canceled) {
		return err // the client did not wait, or the server stops: [wsframe.Handler] knows which
	}
	var rejection *wsframe.Rejection
	if e.Log != nil && !errors.As(err, &rejection) {
		e.Log.Error("program not started", "remote", r.RemoteAddr, "path", r.URL.Path, "err", err)
	}
	if e.Refuse != nil {
		return e.Refuse(err)
	}
	return Refusal(err)
}
