package limit

import (
	"context"
	"log/slog"
	"net/http"
	"sync"

	"github.com/wspawn/wspawn/wsframe"
)

// A Handler counts requests as sessions while Next answers them. The fields must not change after the first request.
//
// For most handlers that is the life of a WebSocket. A [wsframe.Handler] returns earlier: wrap its Endpoint in
// [Endpoint], which takes the session over. Whatever else returns before the end calls [Keep].
type Handler struct {
	// Limiter counts those of all and of addresses, or Users those of users. One of them is required.
	Limiter *Limiter
	Users   *Users
	// Next answers requests that may be. Required.
	Next http.Handler
	// All counts all requests. By default only those count that ask for a WebSocket.
	All bool
	// Log gets a line for each refusal, at level Info. Nil logs nothing.
	Log *slog.Logger
}

// ServeHTTP counts a request, or refuses it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.All && !wsframe.IsUpgrade(r) {
		h.Next.ServeHTTP(w, r)
		return
	}
	release, refusal := h.acquire(r)
	if refusal != nil {
		if h.Log != nil {
			h.Log.Info("request refused", "remote", r.RemoteAddr, "status", refusal.Status, "reason", refusal.Reason, "err", refusal.Err)
		}
		refusal.Write(w)
		return
	}
	// Behind another Handler, which counts the same session: both let go of it together.
	outer := Keep(r.Context())
	held := &hold{release: func() { release(); outer() }}
	defer held.end()
	h.Next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, held)))
}

func (h *Handler) acquire(r *http.Request) (release func(), refusal *wsframe.Rejection) {
	if h.Users != nil {
		return h.Users.Acquire(r)
	}
	return h.Limiter.Acquire(r.Context(), r.RemoteAddr)
}

type key struct{}

// hold is a session that a Handler ends, unless somebody else promises to.
type hold struct {
	mu      sync.Mutex // guards the field below
	release func()     // nil: kept or over
}

func (h *hold) take() func() {
	h.mu.Lock()
	defer h.mu.Unlock()
	release := h.release
	h.release = nil
	return release
}

func (h *hold) end() {
	if release := h.take(); release != nil {
		release()
	}
}

// Keep makes the session of a request last until release is called, and not only until its [Handler] returns. ctx is
// that of the request. There is always a release function; it does nothing when the request is not
// counted, or was kept already.
func Keep(ctx context.Context) (release func()) {
	if held, _ := ctx.Value(key{}).(*hold); held != nil {
		if release := held.take(); release != nil {
			return release
		}
	}
	return func() {}
}

// Endpoint wraps the endpoint of a [wsframe.Handler] behind a [Handler], so that sessions count until they are over.
func Endpoint(e wsframe.Endpoint) wsframe.Endpoint { return endpoint{e} }

type endpoint struct{ wsframe.Endpoint }

func (e endpoint) Open(ctx context.Context, r *wsframe.Request) (wsframe.Session, error) {
	s, err := e.Endpoint.Open(ctx, r)
	if err != nil {
		return nil, err
	}
	counted := &session{s, Keep(r.Context())}
	if starter, ok := s.(wsframe.Starter); ok {
		return &starterSession{counted, starter}, nil
	}
	return counted, nil
}

type session struct {
	s       wsframe.Session
	release func()
}

func (s *session) Run(ctx context.Context, c *wsframe.Conn) error {
	defer s.release()
	return s.s.Run(ctx, c)
}

func (s *session) Abort() {
	defer s.release()
	s.s.Abort()
}

type starterSession struct {
	*session
	starter wsframe.Starter
}

func (s *starterSession) Start(ctx context.Context, c *wsframe.Conn, done func(error)) {
	s.starter.Start(ctx, c, func(err error) {
		s.release()
		done(err)
	})
}
