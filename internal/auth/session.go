package auth

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// expired is what clients are told whose session ends because of Identity.Expires.
const expired = "the login has expired"

// Expires returns when the session of a request behind a [Guard] has to end. Zero: never.
func Expires(r *http.Request) time.Time {
	if l := loginOf(r.Context()); l != nil {
		return l.expires
	}
	return time.Time{}
}

// Endpoint wraps an endpoint behind a [Guard], so that its sessions end with 1008 when the login expires. A session
// whose login has no end is not wrapped.
func Endpoint(e wsframe.Endpoint) wsframe.Endpoint { return endpoint{e} }

type endpoint struct{ wsframe.Endpoint }

func (e endpoint) Open(ctx context.Context, r *wsframe.Request) (wsframe.Session, error) {
	at := Expires(r.Request) // r is not to be used afterwards
	s, err := e.Endpoint.Open(ctx, r)
	if err != nil || at.IsZero() {
		return s, err
	}
	bounded := session{s, at}
	if starter, ok := s.(wsframe.Starter); ok {
		return starterSession{bounded, starter}, nil
	}
	return bounded, nil
}

type session struct {
	wsframe.Session
	expires time.Time
}

// bound ends a connection in time. A timer, and no goroutine, waits for that.
func (s session) bound(c *wsframe.Conn) *time.Timer {
	return time.AfterFunc(time.Until(s.expires), func() { c.WriteClose(wsframe.ClosePolicy, expired) })
}

func (s session) Run(ctx context.Context, c *wsframe.Conn) error {
	defer s.bound(c).Stop()
	return s.Session.Run(ctx, c)
}

type starterSession struct {
	session
	starter wsframe.Starter
}

func (s starterSession) Start(ctx context.Context, c *wsframe.Conn, done func(error)) {
	timer := s.bound(c)
	s.starter.Start(ctx, c, func(err error) {
		timer.Stop()
		done(err)
	})
}

// parseExpiry reads when a login ends: seconds since 1970 (as in tokens), or RFC 3339. Empty: never.
func parseExpiry(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if seconds, err := strconv.ParseInt(s, 10, 64); err == nil && seconds > 0 && seconds < 1<<40 {
		return time.Unix(seconds, 0), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.IsZero() {
		return time.Time{}, fmt.Errorf("expiry %.40q is neither seconds since 1970 nor as 2030-12-31T23:59:59Z", s)
	}
	return t, nil
}
