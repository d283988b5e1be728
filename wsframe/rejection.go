package wsframe

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/wspawn/wspawn/internal/stream"
)

// A Rejection is an HTTP answer in place of a WebSocket connection. As an error
// it is how [ParseRequest], an AllowOrigin hook and an [Endpoint] refuse.
//
// Statuses as this package uses them: 400 for a broken handshake, 403 for a
// foreign origin, 405 for another method than GET, 426 for a request that is no
// WebSocket handshake or has another version, 500 for a mistake of the server's
// own code, 503 while a [Handler] shuts down, 504 for a far side that took too long.
type Rejection struct {
	// Status is the HTTP status, 300 to 599. 0 means 403, all others 500.
	Status int

	// Reason says in a few words why, to the client. It is sent in the header
	// X-WebSocket-Reject-Reason and as the body; line breaks and other control
	// characters become blanks. Empty means the standard phrase of the status,
	// in the body only.
	Reason string

	// Header has further lines of the answer. Lines that cannot be sent are left
	// out; Connection, Content-Length and the like are ignored.
	Header http.Header

	// Body is sent in place of the reason, as text/plain unless Header has
	// another Content-Type.
	Body string

	// Err is the cause. It is for logs and never sent.
	Err error
}

// Reject returns a Rejection with a status and a reason.
func Reject(status int, reason string) *Rejection {
	return &Rejection{Status: status, Reason: reason}
}

// RetryAfter returns a copy of e that tells the client, in a Retry-After header,
// to come back after d, rounded up to seconds and at least one. It fits to 503
// and 429.
func (e *Rejection) RetryAfter(d time.Duration) *Rejection {
	seconds := max(1, int64(math.Ceil(d.Seconds())))
	return e.with("Retry-After", strconv.FormatInt(seconds, 10))
}

// with returns a copy of e with one more header line.
func (e *Rejection) with(name, value string) *Rejection {
	c := *e
	if c.Header = e.Header.Clone(); c.Header == nil {
		c.Header = make(http.Header)
	}
	c.Header[name] = []string{value}
	return &c
}

// Error returns the status, the reason and the cause.
func (e *Rejection) Error() string {
	s := fmt.Sprintf("websocket refused: %d %s", e.status(), http.StatusText(e.status()))
	if e.Reason != "" {
		s += ": " + oneLine(e.Reason)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Rejection) Unwrap() error { return e.Err }

func (e *Rejection) status() int {
	switch {
	case e.Status == 0:
		return http.StatusForbidden
	case e.Status < 300 || e.Status > 599:
		return http.StatusInternalServerError
	}
	return e.Status
}

// maxReason bounds the header line, in bytes. The body has the whole reason.
const maxReason = 512

// Write sends the answer. On HTTP/1 it also ends the connection, because what a
// client may have sent behind its handshake are frames and not the next request.
func (e *Rejection) Write(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range e.Header {
		if !isToken(name) || stream.Reserved(name) && textproto.CanonicalMIMEHeaderKey(name) != "Sec-Websocket-Version" {
			continue
		}
		var clean []string
		for _, v := range values {
			clean = append(clean, oneLine(v))
		}
		h[name] = clean
	}
	reason := oneLine(e.Reason)
	if reason != "" {
		h[fieldReason] = []string{strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")}
	}
	body := e.Body
	if body == "" {
		if reason == "" {
			reason = http.StatusText(e.status())
		}
		body = reason + "\n"
	}
	if e.Header.Get("Content-Type") == "" {
		// Also against what a middleware has set: the reason may quote the client.
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if hijackable(w) {
		// The order matters: net/http looks at the first one only.
		h["Connection"] = []string{"close"}
		if e.Status == http.StatusUpgradeRequired {
			h["Connection"] = []string{"close", "Upgrade"}
			h["Upgrade"] = []string{"websocket"} // RFC 9110, section 15.5.22
		}
	}
	w.WriteHeader(e.status())
	io.WriteString(w, body)
}

// hijackable tells HTTP/1 from HTTP/2, where "Connection: close" would take the
// streams of all others down too. It looks for the method, and does not call it.
func hijackable(w http.ResponseWriter) bool {
	for {
		if _, ok := w.(http.Hijacker); ok {
			return true
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = u.Unwrap()
	}
}

// oneLine makes s fit for a header line: CR and LF are gone, other control
// characters are blanks.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\r' || r == '\n':
			return -1
		case r < ' ' || r == 0x7f:
			return ' '
		}
		return r
	}, s))
}
