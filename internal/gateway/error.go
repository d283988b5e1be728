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
	"slices"
	"time"

	"github.com/wspawn/wspawn/internal/stream"
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
	Early(w, r)
	if r.Header.Get("Upgrade") != "" {
		h.Set("X-WebSocket-Reject-Reason", e.Text())
		Last(h, r)
	}
	for _, name := range []string{"Content-Length", "Content-Encoding", "Etag", "Last-Modified", "Cache-Control"} {
		h.Del(name)
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", fmt.Sprint(int64(max(1, (e.RetryAfter+time.Second-1)/time.Second))))
	}
	w.WriteHeader(e.Status)
	fmt.Fprintf(w, "%d %s\n", e.Status, e.Text())
}

// Early is for answers to r that are given before its body is read, in front of their head: net/http would first wait for
// the body, which may come late or never.
func Early(w http.ResponseWriter, r *http.Request) {
	if http1(r) && r.ContentLength != 0 {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		rc.SetReadDeadline(time.Now().Add(DiscardTime))
		Last(w.Header(), r)
	}
}

// http1 tells it from HTTP/2, whose requests for an upgrade look like those of HTTP/1.
func http1(r *http.Request) bool { return r.ProtoMajor == 1 && !stream.Extended(r) }

// Last makes the answer to r with header h the last one of its connection, if that is of HTTP/1. That is for requests behind which the next one cannot
// be told from something else: the rest of a body, or what a client sent ahead of an upgrade that it did not get. A proxy in front
// that takes any answer for the upgrade would also let the requests behind it pass without its own checks.
func Last(h http.Header, r *http.Request) {
	if http1(r) { // in HTTP/2 it would take the requests of others down, too
		h["Connection"] = append([]string{"close"}, h["Connection"]...) // net/http looks at the first one only
	}
}

// hopByHop are fields that describe a connection.
var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// Copy puts the fields of an answer that came on another connection into h, without those that describe that
// connection.
func Copy(h, from http.Header) {
	for name, values := range from {
		if !slices.Contains(hopByHop, name) {
			h[name] = values
		}
	}
}

// Offer puts the protocols of a 426 into h, the header of the answer to r (RFC 9110, section 15.5.22). HTTP/2 has no
// such field, and its clients take an answer with it for a broken one.
func Offer(h http.Header, r *http.Request, status int, protocols []string) {
	if status == http.StatusUpgradeRequired && len(protocols) > 0 && http1(r) {
		h["Upgrade"], h["Connection"] = protocols, []string{"Upgrade"}
	}
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
