package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/spawner"
)

// Hook asks a program. It gets the variables of a CGI program (RFC 3875) and an empty standard input. Exit status 0 lets
// the client pass, any other one refuses it with 403. One that is killed, takes too long or says something that
// cannot be understood lets nobody pass.
//
// Standard output has lines, of which all are optional:
//
//	REMOTE_USER: alice            the name of the user
//	Variable-REMOTE_EMAIL: a@b.c  any variable, as in FastCGI
//	Expires: 1924991999           when the session ends: seconds since 1970, or RFC 3339
//	Set-Cookie: id=7; Secure      for the client, also when it is refused; several
//	Header-X-Room: 7              any other header line for the client, likewise
//	Protocol: chat                the subprotocol, which the client has to ask for
//	Status: 401                   400 to 499, for the exit statuses other than 0
//	WWW-Authenticate: Basic       for the client, likewise
//	Reason: no such user          for the client, likewise
//	Failed: true                  the client has tried something wrong, which counts for its address. Without this line, and
//	                              when it is false, it counts when there is an Authorization header
type Hook struct {
	// Spawner starts the program. Required.
	Spawner *spawner.Spawner
	// Program is what to run; the variables are added to its environment. Its stderr is logged, unless it says otherwise.
	// Required.
	Program *spawner.Program
	// Timeout is how long it may take from the wish to start it to its end. 0 = 5 s.
	Timeout time.Duration
	// Running is how many may run at once; others wait, as long as the timeout allows. 0 = 16, negative = no limit.
	Running int

	turn chan struct{} // set by NewHook; holds one element for each that runs; nil: no limit
}

// NewHook checks h and returns it.
func NewHook(h Hook) (*Hook, error) {
	if h.Spawner == nil || h.Program == nil {
		return nil, errors.New("authentication hook: spawner and program are needed")
	}
	if err := h.Program.Check(); err != nil {
		return nil, fmt.Errorf("authentication hook: %w", err)
	}
	if h.Timeout == 0 {
		h.Timeout = 5 * time.Second
	}
	if h.Running == 0 {
		h.Running = 16
	}
	if h.Running > 0 {
		h.turn = make(chan struct{}, h.Running)
	}
	// It has no more to say when it is stopped, and nobody wants to wait for it.
	program := *h.Program
	program.Stop = spawner.Ladder{{Signal: os.Kill}}
	h.Program = &program
	return &h, nil
}

// maxAnswer bounds what a hook may say, in bytes.
const maxAnswer = 64 << 10

// Authenticate runs the program.
func (h *Hook) Authenticate(r *http.Request) (*Identity, error) {
	env, err := cgi.Environ(r, cgi.Vars{})
	if err != nil {
		return nil, &Refusal{Status: http.StatusBadRequest, Reason: err.Error()}
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.Timeout)
	defer cancel()
	output, state, err := h.run(ctx, env, r.RemoteAddr)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return nil, late(fmt.Errorf("authentication hook: %w", err))
	case err != nil:
		return nil, unavailable(fmt.Errorf("authentication hook: %w", err))
	case state.Signal != 0:
		return nil, unavailable(fmt.Errorf("authentication hook: %v", state))
	}
	id, refusal, err := parseAnswer(output)
	if err != nil {
		return nil, unavailable(fmt.Errorf("authentication hook: %w", err))
	}
	if state.Success() {
		return id, nil
	}
	refusal.Err = fmt.Errorf("authentication hook: %v", state)
	refusal.Wrong = refusal.Wrong || r.Header.Get("Authorization") != ""
	return nil, refusal
}

// run returns what the program has said when it has ended.
func (h *Hook) run(ctx context.Context, env []string, remote string) (string, spawner.ExitState, error) {
	var none spawner.ExitState
	if h.turn != nil {
		select {
		case h.turn <- struct{}{}:
			defer func() { <-h.turn }()
		case <-ctx.Done():
			return "", none, ctx.Err()
		}
	}
	p, err := h.Spawner.Start(ctx, h.Program, spawner.StartOptions{
		Env: env, Label: []slog.Attr{slog.String("remote", remote)},
		// What it has left in its group must not hold up the answer.
		OnExit: func(p *spawner.Process) { p.Stdout.SetReadDeadline(time.Now().Add(p.Linger())) },
	})
	if err != nil {
		return "", none, err
	}
	p.CloseStdin()
	stop := context.AfterFunc(ctx, func() { p.Stdout.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	defer func() {
		p.ClosePipes()
		p.Stop(context.WithoutCancel(ctx)) // the spawner logs what is stuck
	}()
	output, err := io.ReadAll(io.LimitReader(p.Stdout, maxAnswer+1))
	switch {
	case ctx.Err() != nil:
		return "", none, ctx.Err()
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		return "", none, err
	case len(output) > maxAnswer:
		return "", none, fmt.Errorf("output of more than %d bytes", maxAnswer)
	}
	select {
	case <-p.Done():
		return string(output), p.ExitState(), nil
	case <-ctx.Done():
		return "", none, ctx.Err()
	}
}

// parseAnswer reads the lines of standard output.
func parseAnswer(output string) (*Identity, *Refusal, error) {
	id := &Identity{Type: "Hook", Header: make(http.Header)}
	refusal := &Refusal{Status: http.StatusForbidden, Reason: "not allowed", Header: make(http.Header)}
	n := 0
	for line := range strings.Lines(output) {
		n++
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		variable, isVar := cutPrefixFold(name, "Variable-")
		field, isField := cutPrefixFold(name, "Header-")
		if strings.EqualFold(name, "Set-Cookie") {
			isField = true
		}
		switch {
		case !ok:
			return nil, nil, fmt.Errorf("line %d of the output is not \"name: value\"", n)
		case name == "REMOTE_USER", isVar && variable == "REMOTE_USER":
			id.User = value
		case isVar && variable == "AUTH_TYPE":
			id.Type = value
		case isVar:
			if !isVariable(variable) {
				return nil, nil, fmt.Errorf("line %d of the output: %q is no name of a variable", n, variable)
			}
			id.Vars = append(id.Vars, cgi.Var{Name: variable, Value: value})
		case isField:
			if err := checkField(field, value); err != nil {
				return nil, nil, fmt.Errorf("line %d of the output: %w", n, err)
			}
			id.Header.Add(field, value)
			refusal.Header.Add(field, value)
		case strings.EqualFold(name, "Protocol"):
			id.Protocol = value
		case strings.EqualFold(name, "Expires"):
			var err error
			if id.Expires, err = parseExpiry(value); err != nil {
				return nil, nil, fmt.Errorf("line %d of the output: %w", n, err)
			}
		case strings.EqualFold(name, "Status"):
			code, _, _ := strings.Cut(value, " ")
			status, err := strconv.Atoi(code)
			if err != nil || status < 200 || status > 499 {
				return nil, nil, fmt.Errorf("line %d of the output: not a status", n)
			}
			if status >= 400 {
				refusal.Status = status
			}
		case strings.EqualFold(name, "WWW-Authenticate"):
			refusal.Header.Add("WWW-Authenticate", value)
		case strings.EqualFold(name, "Reason"):
			refusal.Reason = value
		case strings.EqualFold(name, "Failed"):
			refusal.Wrong = strings.EqualFold(value, "true")
		}
	}
	return id, refusal, nil
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// Challenge is empty: the program has its own.
func (h *Hook) Challenge() string { return "" }

// Strip does nothing: what the program looked at, nobody knows. Programs do not get Authorization.
func (h *Hook) Strip(*http.Request) {}
