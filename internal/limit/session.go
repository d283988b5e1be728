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
// For most handlers that is the life of a WebSocket. What returns before the end of a session, as a [wsframe.Handler] does,
// calls [Keep].
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
	if !wsframe.IsUpgrade(r) { // nothing of it goes on behind the answer
		defer release()
		h.Next.ServeHTTP(w, r)
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
