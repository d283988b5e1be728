package stream

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Key is the Sec-WebSocket-Key of requests that came as an extended CONNECT, whose clients send none: sixteen ASCII zeros, as
// lighttpd has it. The Sec-WebSocket-Accept that a program makes of it is not sent.
const Key = "MDAwMDAwMDAwMDAwMDAwMA=="

// Normalize turns the extended CONNECT requests of HTTP/2 (RFC 8441), once and before anybody looks at them, into what
// HTTP/1.1 would have brought: a GET without a body, with Upgrade, Connection and Sec-WebSocket-Key ([Key]) in its
// header and HTTP/1.1 as its protocol. [Extended] tells them from others. Requests for other protocols than websocket,
// and ordinary CONNECT requests, which are for proxies, are answered with 405. So are those to which the
// handler answers with success but without Upgrade: the client would take that for the beginning of a conversation.
//
// What [Upgrade] makes of such a request is a connection like any other, with these differences:
//
//   - It is no descriptor, so nothing is spliced, and a reader needs a goroutine.
//   - It has no CloseWrite: net/http ends its side of a stream only together with the handler. Close ends both. The client's
//     end of its own side is io.EOF; that it has reset the stream, or is gone, is an error.
//   - A deadline that passes while a Read or Write waits is the end of that direction, and after such a Write the
//     stream is reset. A deadline that nobody meets does no harm.
//
// The handler may return before the connection is closed, or use it until then: Normalize itself returns to net/http when
// both is over. Then the client sees the end of the stream, or, if the handler panicked with
// [http.ErrAbortHandler], a reset.
func Normalize(next http.Handler) http.Handler { return &Normalizer{Next: next} }

// A Normalizer is what [Normalize] returns, for those who want to know what it refuses itself.
type Normalizer struct {
	Next http.Handler
	// Refused is called for each request that Next does not see, or whose answer is replaced. Nil: nobody wants to know.
	Refused func(r *http.Request, status int, reason string)
}

// ServeHTTP is described at [Normalize].
func (n *Normalizer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if status, reason := unwelcome(r); status != 0 {
		n.refuse(w, r, status, reason)
		return
	}
	if r.Method != http.MethodConnect {
		n.Next.ServeHTTP(w, r)
		return
	}
	x := &exchange{w: w, r: r}
	returned := false
	defer func() { x.wait(returned) }()
	a := &answer{ResponseWriter: w, drop: func() { n.refuse(w, r, http.StatusMethodNotAllowed, "there is no WebSocket here") }}
	n.Next.ServeHTTP(a, x.normal())
	if x.conn == nil {
		a.begin() // net/http would say 200
	}
	returned = true
}

func (n *Normalizer) refuse(w http.ResponseWriter, r *http.Request, status int, reason string) {
	if n.Refused != nil {
		n.Refused(r, status, reason)
	}
	if status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", "GET")
	}
	w.Header().Set("X-WebSocket-Reject-Reason", reason)
	http.Error(w, fmt.Sprintf("%d %s", status, reason), status)
}

// An answer is one without Upgrade. It is never a success.
type answer struct {
	http.ResponseWriter
	drop           func() // answers in place of a success
	begun, dropped bool
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) begin() {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
}

func (a *answer) WriteHeader(status int) {
	if a.begun || status >= 300 || status < 200 && status != http.StatusSwitchingProtocols {
		a.begun = a.begun || status >= 300
		a.ResponseWriter.WriteHeader(status)
		return
	}
	a.begun, a.dropped = true, true
	clear(a.Header())
	a.drop()
}

func (a *answer) Write(p []byte) (int, error) {
	if a.begin(); a.dropped {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}

// FlushError is for [http.ResponseController].
func (a *answer) FlushError() error {
	a.begin()
	return http.NewResponseController(a.ResponseWriter).Flush()
}

func (a *answer) Flush() { a.FlushError() }

// unwelcome returns the answer to a CONNECT request that is no WebSocket handshake, and to one that seems to be both.
func unwelcome(r *http.Request) (status int, reason string) {
	protocol := r.Header[":protocol"]
	switch {
	case r.Method != http.MethodConnect && protocol == nil:
	case r.Method != http.MethodConnect: // net/http passes it on like a field, also to those who take it for one
		return http.StatusBadRequest, "a protocol is for CONNECT requests"
	case len(protocol) == 0:
		return http.StatusMethodNotAllowed, "this server is no proxy"
	case len(protocol) > 1 || protocol[0] != "websocket":
		return http.StatusMethodNotAllowed, "the only protocol of CONNECT requests here is websocket"
	case !strings.HasPrefix(r.URL.Path, "/") || r.URL.Host != "":
		return http.StatusBadRequest, "the path of a WebSocket begins with a slash"
	case r.ContentLength != -1:
		// With the end of the stream, or a length after which it comes, there is no room for a conversation.
		return http.StatusBadRequest, "a WebSocket handshake does not end its stream"
	}
	return 0, ""
}

// An exchange is an extended CONNECT request.
type exchange struct {
	w    http.ResponseWriter
	r    *http.Request
	conn *conn // nil before Upgrade
}

// normal returns the request in the shape of HTTP/1.1.
func (x *exchange) normal() *http.Request {
	r := x.mark(x.r)
	r.Method = http.MethodGet
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	r.Body, r.ContentLength = http.NoBody, 0
	r.Header = r.Header.Clone()
	delete(r.Header, ":protocol")
	r.Header["Upgrade"] = []string{"websocket"}
	r.Header["Connection"] = []string{"Upgrade"}
	if len(r.Header["Sec-Websocket-Key"]) != 1 {
		r.Header["Sec-Websocket-Key"] = []string{Key}
	}
	return r
}

// upgrade answers with 200.
func (x *exchange) upgrade(middleware, header http.Header) (*conn, error) {
	switch {
	case x == nil:
		return nil, fmt.Errorf("upgrade: not an HTTP/2 stream: %w", http.ErrNotSupported)
	case x.conn != nil:
		return nil, fmt.Errorf("upgrade: %w", http.ErrHijacked)
	}
	lines := answerLines(middleware, header)
	h := x.w.Header()
	clear(h)
	for name, values := range lines {
		if !strings.EqualFold(name, "Sec-WebSocket-Accept") {
			h[name] = values
		}
	}
	c := newConn(x.w, x.r)
	err := errors.Join(c.rc.SetReadDeadline(time.Time{}), c.rc.SetWriteDeadline(time.Time{}))
	if err == nil {
		x.w.WriteHeader(http.StatusOK)
		err = c.rc.Flush()
	}
	if err != nil {
		return nil, fmt.Errorf("upgrade: client is gone: %w", err)
	}
	x.conn = c
	return c, nil
}

// wait waits for the end of the connection, if there is one. A handler that panicked has ended it.
func (x *exchange) wait(returned bool) {
	c := x.conn
	if c == nil {
		return
	}
	if !returned {
		c.Close()
	}
	<-c.closed
	// net/http uses what is behind these calls again for other requests.
	c.in.wait()
	c.out.wait()
}
