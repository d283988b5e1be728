// Package gateway is what gateways do alike with the client of a request, whatever protocol they speak with the
// other side: they recognise a request for an upgrade, read the body in time, and answer where nobody else does.
package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// ErrGone says that there is nobody left to answer.
var ErrGone = errors.New("client is gone")

// An Error is a request that a gateway answers itself. It has the fields of cgi.GatewayError, and so one can be
// converted into the other.
type Error struct {
	Status     int           // of the answer
	Reason     string        // for the client, one line; "" is the text of Status
	RetryAfter time.Duration // for a Retry-After line, in whole seconds, at least 1; 0: no such line
	Err        error         // for the log; nil: nothing to log
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%d %s: %v", e.Status, e.Text(), e.Err)
	}
	return fmt.Sprintf("%d %s", e.Status, e.Text())
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Text is what the client is told.
func (e *Error) Text() string {
	if e.Reason != "" {
		return e.Reason
	}
	return http.StatusText(e.Status)
}

// Answer answers r with e. What others have put into the header of the answer stays, except what belongs to another
// body.
func (e *Error) Answer(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		// net/http would first wait for the body, which may come late or never.
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		rc.SetReadDeadline(time.Now().Add(DiscardTime))
		h.Set("Connection", "close")
	}
	for _, name := range []string{"Content-Length", "Content-Encoding", "Etag", "Last-Modified", "Cache-Control"} {
		h.Del(name)
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", fmt.Sprint(int64(max(1, (e.RetryAfter+time.Second-1)/time.Second))))
	}
	if r.Header.Get("Upgrade") != "" {
		h.Set("X-WebSocket-Reject-Reason", e.Text())
	}
	w.WriteHeader(e.Status)
	fmt.Fprintf(w, "%d %s\n", e.Status, e.Text())
}

// BodyError is what becomes of a request whose body could not be read: an *Error, or ErrGone.
func BodyError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &Error{Status: http.StatusRequestTimeout, Reason: "the request body did not come in time", Err: err}
	}
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &Error{Status: http.StatusRequestEntityTooLarge, Err: large}
	}
	if _, ok := errors.AsType[*net.OpError](err); ok || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return ErrGone
	}
	return &Error{Status: http.StatusBadRequest, Reason: "the request body cannot be read", Err: err}
}

// OrDefault returns what a setting means of which 0 is the default and a negative value no limit: 0 for that.
func OrDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return max(d, 0)
}
