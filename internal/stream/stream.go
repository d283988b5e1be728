// Package stream turns an HTTP request into one full-duplex byte stream.
//
// [Upgrade] is the only place that knows how the connection below a request is
// taken over: with a 101 answer on HTTP/1.1 (RFC 9110, section 7.8), with a 200
// answer on an HTTP/2 stream (RFC 8441). Callers hand in the header lines of the
// answer and get bytes in both directions; what those bytes mean is theirs.
//
// [Normalize] gives the requests of HTTP/2 the shape of those of HTTP/1.1, so
// that nobody between it and Upgrade has to know the difference.
package stream

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// answerTimeout bounds the write of the answer. It is a few hundred bytes, so
// only a client that reads nothing at all, and has let earlier answers fill its
// window, ever meets it.
const answerTimeout = 10 * time.Second

// owned are the lines of the answer that are not the caller's to choose: they
// describe this connection, or would announce a body that a 101 cannot have
// (RFC 9110, sections 6.4.1 and 8.6). The keys are in canonical form.
var owned = map[string]bool{
	"Connection":        true,
	"Content-Length":    true,
	"Keep-Alive":        true,
	"Proxy-Connection":  true,
	"Te":                true,
	"Trailer":           true,
	"Transfer-Encoding": true,
	"Upgrade":           true,
}

// Reserved reports whether a header line, spelled in any way, belongs to the connection or to the handshake of WebSockets,
// so that it cannot be chosen by who has something to add to an answer.
func Reserved(name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	return owned[name] || strings.HasPrefix(name, "Sec-Websocket-")
}

// Upgrade answers r with 101 Switching Protocols and takes its connection over. An extended CONNECT
// that came through [Normalize] is answered with 200, without the lines that only a 101 has, and
// its HTTP/2 stream is the connection.
//
// The answer has a Connection line, an Upgrade line (the one in header, or
// "websocket"), and the lines of header in the spelling given there. Lines that
// a middleware has put into w.Header() are sent too unless header has the same
// name, but cookies of both are sent; Sec-WebSocket-* lines are taken from header
// alone. The answer leaves in one write.
//
// conn is the bare connection of the server, not a wrapper of this package: a
// *net.TCPConn stays visible as one. (Of HTTP/2, it is a stream, see [Normalize].) Its deadlines are cleared. buffered is what
// the client sent glued to its request; it comes before anything read from conn
// and is a copy of its own, so that the buffers of net/http can be freed.
//
// An error that matches [http.ErrNotSupported] means that nothing was written
// and w can still answer; after any other error the connection is closed.
func Upgrade(w http.ResponseWriter, r *http.Request, header http.Header) (conn net.Conn, buffered []byte, err error) {
	if x, ok := exchangeOf(r); ok {
		c, err := x.upgrade(w.Header(), header)
		if err != nil {
			return nil, nil, err
		}
		tell(w)
		return c, nil, nil
	}
	// The answer is built first: w.Header() is not ours to read after Hijack.
	answer := appendAnswer(w.Header(), header)
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("upgrade: %w", err)
	}
	// Peek cannot fail for what is buffered already.
	if n := rw.Reader.Buffered(); n > 0 {
		glued, _ := rw.Reader.Peek(n)
		buffered = bytes.Clone(glued)
	}
	if err = writeAnswer(conn, answer); err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("upgrade: client is gone: %w", err)
	}
	tell(w)
	return conn, buffered, nil
}

// An Observer is a ResponseWriter of a middleware that wants to know of a successful [Upgrade], which does not write
// to it. It is called once, before Upgrade returns.
type Observer interface {
	http.ResponseWriter
	Upgraded()
}

// tell finds the observer of an answer, if there is one.
func tell(w http.ResponseWriter) {
	for {
		if o, ok := w.(Observer); ok {
			o.Upgraded()
			return
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return
		}
		w = wrapper.Unwrap()
	}
}

// writeAnswer sends the head and leaves conn without deadlines.
func writeAnswer(conn net.Conn, answer []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(answer); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// appendAnswer builds the head of the 101 answer.
func appendAnswer(middleware, header http.Header) []byte {
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	lines := answerLines(middleware, header)
	upgrade := "websocket"
	for name, values := range header {
		if strings.EqualFold(name, "Upgrade") && len(values) > 0 {
			upgrade = values[0]
			break
		}
	}
	lines["Upgrade"] = []string{upgrade}
	lines["Connection"] = []string{"Upgrade"}
	// Write sorts the lines, replaces line breaks in values and cannot fail here.
	_ = lines.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

// answerLines are those of the caller and of middleware that an answer has.
func answerLines(middleware, header http.Header) http.Header {
	lines := make(http.Header, len(header)+len(middleware)+2)
	named := make(map[string]bool, len(header))
	for name, values := range header {
		key := textproto.CanonicalMIMEHeaderKey(name)
		named[key] = true
		if !owned[key] {
			lines[name] = values
		}
	}
	for name, values := range middleware {
		key := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case Reserved(key):
		case !named[key]:
			lines[name] = values
		case key == "Set-Cookie":
			// Each line is a cookie of its own, and no list is made of them (RFC 6265, section 3). Of two with the same name the
			// second counts: that of who is asked last.
			for spelling := range header {
				if textproto.CanonicalMIMEHeaderKey(spelling) == key {
					lines[spelling] = slices.Concat(values, header[spelling])
					break
				}
			}
		}
	}
	return lines
}

type extendedKey struct{}

// exchangeOf returns what [Normalize] keeps of an extended CONNECT request: nil of one that was only marked.
func exchangeOf(r *http.Request) (*exchange, bool) {
	x, ok := r.Context().Value(extendedKey{}).(*exchange)
	return x, ok
}

func (x *exchange) mark(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), extendedKey{}, x))
}

// MarkExtended returns a copy of r that [Extended] knows as a WebSocket request
// which came as an extended CONNECT, for tests of what lies below [Normalize]. It cannot be upgraded.
func MarkExtended(r *http.Request) *http.Request { return (*exchange)(nil).mark(r) }

// Extended reports whether r came as an extended CONNECT request: its Sec-WebSocket-Key is not the client's (RFC
// 8441, section 5), there is no 101, and its stream ends when the HTTP handler returns.
func Extended(r *http.Request) bool {
	_, ok := exchangeOf(r)
	return ok
}
