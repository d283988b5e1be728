package main

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/internal/stdio"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// stderrLevel is the level of lines that programs write to stderr.
const stderrLevel = slog.LevelError

// session is a WebSocket between the handshake and the end of its program. It
// travels from our handler to our hooks in the context of the request.
type session struct {
	request
	scope   scope // without pid
	program *spawner.Program
	release func() // of the place among maxforks
	greeted bool   // CONNECT was logged
	opened  bool   // the program was started: release and DISCONNECT belong to its end
}

type sessionKey struct{}

func sessionOf(r *http.Request) *session {
	return r.Context().Value(sessionKey{}).(*session)
}

// serveWebSocket takes the steps that come before the handshake: a place for
// the program, and which program.
func (s *server) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	sc := s.log.scope().with("url", s.url(r))
	release, ok := s.acquire()
	if !ok {
		sc.error("http", "Max of possible forks already active, upgrade rejected")
		refuse(w, http.StatusTooManyRequests, "429 Too Many Requests\n")
		return
	}
	q := &session{release: release}
	defer func() {
		if q.opened {
			return
		}
		release()
		if q.greeted {
			q.scope.access("session", "DISCONNECT")
		}
	}()
	q.request = request{r: r, id: cgi.NewUniqueID(), peer: peerOf(r, s.c.reverseLookup), script: "/", pathInfo: r.URL.Path}
	sc = sc.with("id", q.id).with("remote", q.peer.host)
	if q.program = s.program; q.program == nil {
		script, err := s.programs.Find(r.URL.Path)
		if err != nil {
			sc.access("session", "NOT FOUND: %v", err)
			refuse(w, http.StatusNotFound, "404 Not Found\n")
			return
		}
		q.script, q.pathInfo = script.Name, script.PathInfo
		q.program = s.newProgram(script.File, nil)
	}
	q.scope = sc.with("command", q.program.Path)

	h := r.WithContext(context.WithValue(r.Context(), sessionKey{}, q))
	if rej := lenient(h); rej != nil {
		rej.Write(w)
		s.refused(h, rej)
		return
	}
	s.ws.ServeHTTP(w, h)
}

// lenient makes a handshake that websocketd accepts one that our engine
// accepts, and refuses another version with the status of websocketd. The
// program gets to see the request as it came.
func lenient(h *http.Request) *wsframe.Rejection {
	if h.Method == http.MethodGet && h.Header.Get("Sec-WebSocket-Version") != "13" {
		return &wsframe.Rejection{
			Status: http.StatusBadRequest,
			Reason: "Sec-WebSocket-Version is not 13",
			Header: http.Header{"Sec-Websocket-Version": {"13"}},
		}
	}
	if h.ProtoMajor == 1 && h.ProtoMinor == 0 {
		h.Proto, h.ProtoMinor = "HTTP/1.1", 1
		if h.Host == "" {
			h.Host = "localhost"
		}
	}
	return nil
}

// refuse answers an upgrade request with the exact body websocketd sends.
func refuse(w http.ResponseWriter, status int, body string) {
	(&wsframe.Rejection{Status: status, Body: body}).Write(w)
}

// newProgram describes a program. It runs in the server's directory.
func (s *server) newProgram(file string, args []string) *spawner.Program {
	p := &spawner.Program{Path: file, Args: args, Stop: spawner.WebsocketdLadder(s.c.closeWait)}
	if s.c.passStderr {
		p.Stderr = spawner.StderrPipe
	}
	return p
}

// endpoint notes whether a program was started.
type endpoint struct{ stdio *stdio.Endpoint }

func (e endpoint) Open(ctx context.Context, r *wsframe.Request) (wsframe.Session, error) {
	session, err := e.stdio.Open(ctx, r)
	sessionOf(r.Request).opened = err == nil
	return session, err
}

// resolve tells the engine what to run for a handshake that was accepted.
func (s *server) resolve(r *wsframe.Request) (*stdio.Target, error) {
	q := sessionOf(r.Request)
	env, err := s.c.environment(&q.request)
	if err != nil {
		return nil, &wsframe.Rejection{Status: http.StatusBadRequest, Reason: "bad request: " + err.Error(), Err: err}
	}
	sc := q.scope
	if sc.enabled(levelDebug) {
		for _, kv := range env {
			sc.debug("env", "Variable: %s", discreet(kv))
		}
	}
	// Before the start, so that it comes before what the program says.
	q.greeted = true
	sc.access("session", "CONNECT")
	release := q.release // and nothing else of q, whose request is large
	stderr := &lineLogger{scope: sc}
	return &stdio.Target{
		Program: q.program,
		Env:     env,
		Attrs:   []slog.Attr{sc.attr()},
		Stderr:  stderr,
		Started: func(pid int) { stderr.scope = sc.withPid(pid) },
		Ended: func(sum stdio.Summary) {
			stderr.flush()
			release() // who reads DISCONNECT may count on a free place
			ended(sc, sum)
		},
	}, nil
}

// discreet hides what must not lie around in log files.
func discreet(kv string) string {
	switch name, _, _ := strings.Cut(kv, "="); name {
	case "HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION", "HTTP_COOKIE":
		return name + "=(not shown)"
	}
	return kv
}

// ended logs the end of a session. The program is gone.
func ended(sc scope, sum stdio.Summary) {
	sc = sc.withPid(sum.Pid)
	if sum.StopErr != nil {
		sc.error("process", "Process %d did not end: %v", sum.Pid, sum.StopErr)
	} else {
		sc.debug("process", "Process %d ended: %v", sum.Pid, sum.Exit)
	}
	sc.debug("websocket", "Connection ended: %v (%d bytes in, %d bytes out, %v)", &sum.Close, sum.In, sum.Out, sum.Duration.Round(time.Millisecond))
	sc.access("session", "DISCONNECT")
}

// refusal keeps the cause of what could not be started, for the log.
func refusal(err error) *wsframe.Rejection {
	rej := *stdio.Refusal(err)
	if rej.Err == nil {
		rej.Err = err
	}
	return &rej
}

// refused logs why a handshake was not accepted.
func (s *server) refused(r *http.Request, rej *wsframe.Rejection) {
	sc := sessionOf(r).scope
	switch {
	case rej.Err == nil:
		sc.access("session", "Unable to upgrade: %s", rej.Reason)
	case rej.Status < 500:
		sc.access("session", "Unable to upgrade: %v", rej.Err)
	default:
		sc.error("process", "Could not launch process: %v", rej.Err)
	}
}

// stdioOptions says how messages and streams become each other.
func stdioOptions(c *config) stdio.Options {
	o := stdio.Options{PassStderr: c.passStderr}
	if c.binary {
		o.Framing, o.Binary = framing.Raw, true
	}
	return o
}

// wireOptions are the limits of connections. Where websocketd has none, that
// of wspawn stays.
func wireOptions(c *config) wsframe.Options {
	o := wsframe.Options{MaxFrame: c.maxFrameSize, MaxMessage: c.maxFrameSize}
	if c.maxFrameSize <= 0 {
		o.MaxFrame, o.MaxMessage = -1, -1
	}
	o.PingInterval, o.PingGrace = c.ping, c.ping
	if c.ping == 0 {
		o.PingInterval = -1
	}
	return o
}
