package wsframe

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/wspawn/wspawn/internal/stream"
)

// An Endpoint is the far side of WebSocket connections: it decides about a
// handshake before it is answered.
type Endpoint interface {
	// Open gets everything ready that the session needs, so that what can fail
	// does so while an ordinary HTTP answer is still possible. It may be called by
	// many goroutines at the same time.
	//
	// ctx ends when the client goes away, and when the [Handler] begins to shut
	// down. net/http notices the former by the end of the client's stream, and
	// only until the client has sent something behind its handshake. ctx also ends
	// soon after Open returned; it is not for the session.
	//
	// A *[Rejection] refuses with its status. Of other errors, one that is
	// context.DeadlineExceeded or os.ErrDeadlineExceeded means 504 and the rest
	// 500, and the text is only logged. With an error the session is nil.
	//
	// r and what it refers to must not be used after Open returned.
	Open(ctx context.Context, r *Request) (Session, error)
}

// A Session is one WebSocket connection from the side of the [Endpoint]. Exactly
// one of its methods is called, once.
type Session interface {
	// Run does the work until the connection ends, in a goroutine of its own. It
	// should end the connection itself, with a Close frame that tells why; c is
	// closed behind it in any case, with 1000 when it returns nil or how c ended, and
	// 1011 when it returns another error, unless a Close frame was sent before.
	//
	// ctx belongs to all sessions of a Handler. It ends only when a shutdown has
	// run out of time; then c is cut and Run has to return at once. An orderly
	// shutdown is seen as the end of the connection: the client answers the Close
	// frame of the Handler.
	Run(ctx context.Context, c *Conn) error

	// Abort releases what Open made ready, because the handshake failed after all.
	// It must not block.
	Abort()
}

// A Starter is a Session that does not need a goroutine all the time, usually because it receives with
// [Conn.ReceiveThen]. Of its methods, Start is called instead of Run.
type Starter interface {
	Session

	// Start is Run, but returns at once, and calls done with what Run would have returned, exactly once
	// and not from inside Start.
	Start(ctx context.Context, c *Conn, done func(error))
}

// A Handler is the http.Handler that connects WebSocket clients to an Endpoint.
//
// For each request it checks the handshake and the origin, selects a subprotocol,
// opens the session, answers with 101 and runs the session. Whatever fails before
// the 101 is answered with an HTTP status and a reason (see [Rejection]).
//
// The session runs in goroutines of its own, and ServeHTTP returns, so that net/http
// can free the request and its buffers. http.Server.Shutdown therefore neither
// sees nor waits for sessions: call [Handler.Shutdown] as well.
//
// Over HTTP/2 (RFC 8441) the request is an extended CONNECT, and the session runs inside of ServeHTTP. net/http offers that
// only in processes that are started with GODEBUG=http2xconnect=1.
//
// Endpoint is required; the exported fields must not change after the first
// request. All methods may be called at the same time. A Handler must not be
// copied.
type Handler struct {
	// Endpoint opens the sessions.
	Endpoint Endpoint

	// Options are those of all connections. A Protocol is used when the client
	// asks for it; other clients get none.
	Options AcceptOptions

	// Select picks the subprotocol from r.Protocols, "" for none, in place of
	// Options.Protocol. [Prefer] makes such a function.
	Select func(r *Request) (protocol string)

	// Log gets a line for each refused handshake, at level Info, and for each
	// mistake of the server's own code, at level Error. Nil logs nothing.
	Log *slog.Logger

	// RetryAfter is what requests are told that come during a shutdown. 0 means
	// 5 s.
	RetryAfter time.Duration

	// OnRefuse is called after a handshake was refused, OnOpen before a session
	// runs. What OnOpen returns, unless it is nil, is called after the session and
	// after its connection was closed, with the error of Run. They are for access
	// logs, counters and limits, run in the goroutine of the request or session,
	// and should not block. Neither may keep r. Optional.
	OnRefuse func(r *http.Request, rej *Rejection)
	OnOpen   func(r *Request, c *Conn) (onClose func(err error))

	sessions registry
}

// ServeHTTP handles one handshake.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, ok := r.Header[":protocol"]; ok && r.Method == http.MethodConnect {
		stream.Normalize(h).ServeHTTP(w, r) // HTTP/2, and nobody in front of h has done it
		return
	}
	if !h.sessions.enter() {
		h.refuse(w, r, h.unavailable())
		return
	}
	running := false
	defer func() {
		if !running {
			h.sessions.leave(nil)
		}
	}()
	req, rej := h.check(r)
	if rej != nil {
		h.refuse(w, r, rej)
		return
	}
	s, rej := h.open(req)
	if rej != nil {
		h.refuse(w, r, rej)
		return
	}
	c, onClose := h.answer(w, req, s)
	if c == nil {
		return
	}
	running = true
	if stream.Extended(r) {
		h.runToEnd(c, s, onClose) // the stream ends with the HTTP handler
		return
	}
	if starter, ok := s.(Starter); ok {
		h.start(starter, c, onClose)
		return
	}
	go h.runToEnd(c, s, onClose)
}

// check does everything that needs no far side.
func (h *Handler) check(r *http.Request) (*Request, *Rejection) {
	req := &Request{Request: r}
	if rej := req.parse(); rej != nil {
		return nil, rej
	}
	if err := h.Options.checkOrigin(req); err != nil {
		return nil, h.rejection(err)
	}
	if h.Select == nil {
		req.Protocol, _ = req.Offers(h.Options.Protocol)
	} else if p := h.Select(req); p != "" {
		var ok bool
		if req.Protocol, ok = req.Offers(p); !ok {
			return nil, mistake(notOffered(p))
		}
	}
	// What is wrong for every request is found before a program was started for
	// one.
	if err := addFields(make(http.Header), h.Options.Header, h.Options.Cookies); err != nil {
		return nil, mistake(err)
	}
	return req, nil
}

// open calls the endpoint under a context that also ends with a shutdown.
func (h *Handler) open(r *Request) (Session, *Rejection) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(h.sessions.accepting(), cancel)()
	s, err := h.Endpoint.Open(ctx, r)
	down := h.sessions.accepting().Err() != nil
	var rej *Rejection
	switch {
	case err == nil && down:
		s.Abort()
		return nil, h.unavailable()
	case err == nil:
		return s, nil
	case errors.As(err, &rej):
		return nil, rej
	case down:
		return nil, h.unavailable()
	case r.Context().Err() != nil:
		return nil, &Rejection{Status: statusClientGone, Reason: "client went away", Err: err}
	}
	return nil, h.rejection(err)
}

// statusClientGone is what access logs usually have for a client that did not
// wait for the answer. One that closed only its own direction even gets to see it.
const statusClientGone = 499

// answer sends the 101 and enters the connection into the registry. It returns
// nil when there is no connection; the session has been told then.
func (h *Handler) answer(w http.ResponseWriter, r *Request, s Session) (c *Conn, onClose func(error)) {
	done := false
	defer func() {
		if done {
			return
		}
		// No connection, or a panic in OnOpen.
		if c != nil {
			c.CloseNow()
			h.sessions.remove(c)
		}
		s.Abort()
	}()
	c, err := r.accept(w, &h.Options)
	if err != nil {
		var rej *Rejection
		if !errors.As(err, &rej) {
			h.logger().Info("websocket handshake broken off", "remote", r.RemoteAddr, "err", err)
			if h.OnRefuse != nil {
				h.OnRefuse(r.Request, &Rejection{Status: statusClientGone, Reason: "client went away", Err: err})
			}
			return nil, nil
		}
		h.refuse(w, r.Request, rej)
		return nil, nil
	}
	if h.sessions.add(c) {
		// A shutdown began after Open and does not know c.
		c.WriteClose(CloseGoingAway, goingAway)
		if h.sessions.running().Err() != nil {
			c.CloseNow()
		}
	}
	if h.OnOpen != nil {
		onClose = h.OnOpen(r, c)
	}
	done = true
	return c, onClose
}

// runToEnd is the life of a session that was not started. Its frame stays on the stack all the time.
func (h *Handler) runToEnd(c *Conn, s Session, onClose func(error)) {
	var err error
	defer func() { h.closeBooks(c, err, onClose) }() // also when Run ends its goroutine
	err = h.runSession(c, s)
	sayGoodbye(c, err)
}

// start starts a session. One that panics meanwhile will not say that it is done.
func (h *Handler) start(s Starter, c *Conn, onClose func(error)) {
	done := func(err error) { h.ended(c, h.logPanic(c, err), onClose) }
	defer func() {
		if p := recover(); p != nil {
			done(&panicError{p, debug.Stack()})
		}
	}()
	s.Start(h.sessions.running(), c, done)
}

// ended is the end of a session that was started.
func (h *Handler) ended(c *Conn, err error, onClose func(error)) {
	defer h.closeBooks(c, err, onClose)
	sayGoodbye(c, err)
}

func (h *Handler) closeBooks(c *Conn, err error, onClose func(error)) {
	c.CloseNow()
	defer h.sessions.leave(c)
	if onClose != nil {
		onClose(err)
	}
}

func (h *Handler) logPanic(c *Conn, err error) error {
	var p *panicError
	if !errors.As(err, &p) {
		return err
	}
	h.logger().Error("session panicked", "remote", c.RemoteAddr(), "panic", p.value, "stack", string(p.stack))
	return errPanicked
}

// errPanicked stands for a panic of Run, which is logged where it is recovered.
var errPanicked = errors.New("session panicked")

func (h *Handler) runSession(c *Conn, s Session) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = h.logPanic(c, &panicError{p, debug.Stack()})
		}
	}()
	return s.Run(h.sessions.running(), c)
}

// sayGoodbye ends the connection for a session that did not. On one that has
// ended it does nothing.
func sayGoodbye(c *Conn, err error) {
	if err == nil || errors.Is(err, c.Err()) {
		c.Close(CloseNormal, "")
	} else { // it may be how another connection ended
		c.Close(CloseInternalError, "internal error")
	}
}

// Conns iterates over the connections whose sessions run now, in no order. The
// loop body may take its time, write to them and close them; it sees connections
// that end meanwhile, and none that begin.
func (h *Handler) Conns() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		for _, c := range h.sessions.snapshot() {
			if !yield(c) {
				return
			}
		}
	}
}

// refuse answers with the rejection and reports it.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, rej *Rejection) {
	rej.Write(w)
	level := slog.LevelInfo
	if rej.status() == http.StatusInternalServerError {
		level = slog.LevelError
	}
	attrs := []any{"remote", r.RemoteAddr, "status", rej.status(), "reason", rej.Reason}
	if rej.Err != nil {
		attrs = append(attrs, "err", rej.Err)
	}
	h.logger().Log(r.Context(), level, "request refused", attrs...)
	if h.OnRefuse != nil {
		h.OnRefuse(r, rej)
	}
}

// rejection makes the answer to an error of the endpoint or of a hook.
func (h *Handler) rejection(err error) *Rejection {
	var rej *Rejection
	switch {
	case errors.As(err, &rej):
		return rej
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		return &Rejection{Status: http.StatusGatewayTimeout, Reason: "far side took too long", Err: err}
	}
	return &Rejection{Status: http.StatusInternalServerError, Reason: "internal error", Err: err}
}

func (h *Handler) unavailable() *Rejection {
	d := h.RetryAfter
	if d == 0 {
		d = 5 * time.Second
	}
	return Reject(http.StatusServiceUnavailable, goingAway).RetryAfter(d)
}

func (h *Handler) logger() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}
