package auth

import (
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

// Bound ends a session with 1008 when the login of its request, which came through a [Guard], expires. The caller stops
// it when the session has ended before.
func Bound(r *http.Request, c *wsframe.Conn) (stop func()) {
	at := Expires(r)
	if at.IsZero() {
		return func() {}
	}
	timer := time.AfterFunc(time.Until(at), func() { c.WriteClose(wsframe.ClosePolicy, expired) })
	return func() { timer.Stop() }
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
