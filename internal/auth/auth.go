// Package auth finds out who a client is before anything is started for it.
//
// A [Guard] asks its methods in order: passwords ([Basic]), tokens ([JWT]), client certificates
// ([Certificate]), another server ([Forward]) or a program ([Hook]). The first that knows the client lets
// the request pass, with the name of the user in REMOTE_USER for whatever program answers it. When
// none does, or one that matters cannot be asked, nothing passes. Who fails too often has to wait.
//
// Where the login of a client ends before its session does, [Bound] ends the session, and [Expires] tells others when.
//
// Cookies, client certificates and passwords that a browser remembers come with requests of any page.
// Check the origin as well.
package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/limit"
	"github.com/wspawn/wspawn/wsframe"
)

// A Method is one way to find out who a client is. Its methods may be called at the same time.
type Method interface {
	// Authenticate returns who sent r, or nil when r has nothing that this method is about. Errors are usually of
	// type [*Refusal]; all others mean 500. r must not be changed, and not be used after the return.
	Authenticate(r *http.Request) (*Identity, error)
	// Challenge is what WWW-Authenticate says of the method (RFC 9110, section 11.6.1), "" for nothing.
	Challenge() string
	// Strip removes from r, which is a copy, the secrets that this method is about.
	Strip(r *http.Request)
}

// Identity is what is known about a client.
type Identity struct {
	// User is REMOTE_USER. Empty: absent.
	User string
	// Type is AUTH_TYPE, as "Basic". With it, programs do not get the Authorization header.
	Type string
	// Vars are further variables for programs.
	Vars []cgi.Var
	// Expires is when the client has to prove again who it is: its session ends then. Zero: never.
	Expires time.Time
	// Header has lines for the answer, as cookies, be it that a WebSocket is opened or another one. Names are in canonical
	// form.
	Header http.Header
	// Protocol is the subprotocol of the WebSocket. A client that does not ask for it is refused with 500. Empty: the route
	// chooses.
	Protocol string
}

// A Refusal says why a client may not pass. The status is 401 or 403 when it is to blame, 503 or 504 when the
// question could not be answered.
type Refusal struct {
	Status int
	Reason string // for the client
	Err    error  // for the log; nil if there is no more to say
	// Wrong means that there were credentials and they were wrong, which counts as a failure of this address.
	Wrong bool
	// Header has further lines of the answer.
	Header http.Header
}

// Error returns the reason and the cause.
func (e *Refusal) Error() string {
	if e.Err == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Refusal) Unwrap() error { return e.Err }

func wrong(reason string, err error) *Refusal {
	return &Refusal{Status: http.StatusUnauthorized, Reason: reason, Err: err, Wrong: true}
}

func unavailable(err error) *Refusal {
	return &Refusal{Status: http.StatusServiceUnavailable, Reason: "authentication is not possible now", Err: err,
		Header: http.Header{"Retry-After": {"5"}}}
}

func late(err error) *Refusal {
	return &Refusal{Status: http.StatusGatewayTimeout, Reason: "authentication took too long", Err: err}
}

func blocked(wait time.Duration) *Refusal {
	rej := wsframe.Reject(http.StatusTooManyRequests, "too many failed logins").RetryAfter(wait)
	return &Refusal{Status: rej.Status, Reason: rej.Reason, Header: rej.Header}
}

// A Guard is a handler that only lets pass whom a method knows. The fields must not change after the first request.
type Guard struct {
	// Methods are asked in this order. One that succeeds is enough. Without any, nothing passes. To ask for more than
	// one thing, put a Guard behind a Guard.
	Methods []Method
	// Next answers what may pass. Required.
	Next http.Handler
	// Failures bounds the wrong credentials of an address; several Guards should share one. Nil: its defaults.
	Failures *limit.Failures
	// Outlive lets sessions go on when the login expires.
	Outlive bool
	// Log gets a line for each WebSocket that passes and each request that is refused, at level Info, and other requests
	// at level Debug. Nil logs nothing.
	Log *slog.Logger

	once     sync.Once
	failures *limit.Failures
	log      *slog.Logger
}

type key struct{}

// login is what a Guard leaves in the context of a request.
type login struct {
	id      *Identity
	expires time.Time // of the session; zero: never
}

func loginOf(ctx context.Context) *login {
	l, _ := ctx.Value(key{}).(*login)
	return l
}

// From returns who a request is from; ctx is its context behind a [Guard]. Nil: nobody was asked.
func From(ctx context.Context) *Identity {
	if l := loginOf(ctx); l != nil {
		return l.id
	}
	return nil
}

// ServeHTTP lets the request pass or answers 400, 401, 403, 429, 500, 503 or 504.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.once.Do(g.init)
	if wait := g.failures.Blocked(r.RemoteAddr); wait > 0 {
		g.refuse(w, r, blocked(wait))
		return
	}
	id, refusal := g.ask(r)
	if refusal != nil {
		g.refuse(w, r, refusal)
		return
	}
	out := g.pass(r, id)
	if refusal := choose(out, id.Protocol); refusal != nil {
		g.refuse(w, r, refusal)
		return
	}
	level := slog.LevelDebug
	if wsframe.IsUpgrade(r) {
		level = slog.LevelInfo
	}
	g.log.Log(r.Context(), level, "authenticated", "remote", r.RemoteAddr, "user", id.User, "type", id.Type)
	g.Next.ServeHTTP(addLines(w, id.Header), out)
}

func (g *Guard) init() {
	if g.failures = g.Failures; g.failures == nil {
		g.failures = new(limit.Failures)
	}
	if g.log = g.Log; g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
}

// ask asks the methods. Of their refusals the one counts that says the least about the credentials: that of a method
// that could not be asked, and else the first.
func (g *Guard) ask(r *http.Request) (*Identity, *Refusal) {
	if len(r.Header["Authorization"]) > 1 { // it could be another one that somebody behind believes
		return nil, &Refusal{Status: http.StatusBadRequest, Reason: "more than one Authorization header"}
	}
	var first *Refusal
	failed := false
	for _, m := range g.Methods {
		id, err := m.Authenticate(r)
		if err == nil && id != nil {
			if failed {
				g.failures.Failed(r.RemoteAddr) // or who has one login could guess at others without end
			}
			return checked(id)
		}
		if err == nil {
			continue
		}
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			refusal = &Refusal{Status: http.StatusInternalServerError, Reason: "internal error", Err: err}
		}
		if failed = failed || refusal.Wrong; first == nil || first.Status < 500 && refusal.Status >= 500 {
			first = refusal
		}
	}
	if failed {
		g.failures.Failed(r.RemoteAddr)
	}
	if first == nil {
		first = &Refusal{Status: http.StatusForbidden, Reason: "authentication required"}
		if slices.ContainsFunc(g.Methods, func(m Method) bool { return m.Challenge() != "" }) {
			first.Status = http.StatusUnauthorized // which has to say how (RFC 9110, section 15.5.2)
		}
	}
	return nil, first
}

// checked refuses names with which somebody could forge lines where programs write them.
func checked(id *Identity) (*Identity, *Refusal) {
	if strings.ContainsFunc(id.User, unicode.IsControl) {
		return nil, &Refusal{Status: http.StatusForbidden, Reason: "user name has control characters"}
	}
	return id, nil
}

func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, refusal *Refusal) {
	rej := &wsframe.Rejection{Status: refusal.Status, Reason: refusal.Reason, Header: refusal.Header}
	if refusal.Status == http.StatusUnauthorized {
		rej.Header = rej.Header.Clone()
		if rej.Header == nil {
			rej.Header = make(http.Header)
		}
		for _, m := range g.Methods {
			if c := m.Challenge(); c != "" {
				rej.Header.Add("WWW-Authenticate", c)
			}
		}
	}
	level := slog.LevelInfo
	if rej.Status >= 500 {
		level = slog.LevelWarn
	}
	g.log.Log(r.Context(), level, "request refused", "remote", r.RemoteAddr, "status", rej.Status, "reason", rej.Reason, "err", refusal)
	rej.Write(w)
}

// pass returns the request as it is handed on.
func (g *Guard) pass(r *http.Request, id *Identity) *http.Request {
	vars := slices.Clone(id.Vars)
	if id.User != "" {
		vars = append(vars, cgi.Var{Name: "REMOTE_USER", Value: id.User})
	}
	if id.Type != "" {
		vars = append(vars, cgi.Var{Name: "AUTH_TYPE", Value: id.Type})
	}
	l := &login{id, Expires(r)} // that of a Guard in front
	if e := id.Expires; !g.Outlive && !e.IsZero() && (l.expires.IsZero() || e.Before(l.expires)) {
		l.expires = e
	}
	ctx := context.WithValue(cgi.WithVars(r.Context(), vars...), key{}, l)
	out := r.WithContext(ctx)
	out.Header = r.Header.Clone()
	url := *r.URL
	out.URL = &url
	for _, m := range g.Methods {
		m.Strip(out)
	}
	return out
}
