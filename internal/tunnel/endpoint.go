// Package tunnel connects each WebSocket to a byte stream: a TCP or Unix socket of a server that knows
// nothing of WebSockets (as mod_wstunnel and websockify do), or the input and output of an application
// behind SCGI or FastCGI.
//
// An [Endpoint] opens the stream before the handshake is answered, so that what cannot be reached is an
// HTTP status. Where it goes is said by its Dial function: [Backends], [Tokens] and [Application] have one.
// The payload of messages goes on as it arrives, and what one read of the stream returns becomes a
// message; with a framing of package framing, messages keep their limits.
package tunnel

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/wsframe"
)

// A Stream is the far side of a session. One goroutine reads and one writes at the same time; the other
// methods may be called by anybody at any time.
//
// A Stream may also have these methods. Unwrap returns descriptors that may be used for reading and
// writing instead, which is faster (rawio). Early returns what was read before. Crashed is asked once the stream has ended, and returns an error when the
// far side failed. ID names the far side in the log.
type Stream interface {
	io.ReadWriteCloser
	CloseWrite() error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

type unwrapper interface {
	Unwrap() (io.Reader, rawio.WriteStream)
}

// An Endpoint is a [wsframe.Endpoint]. Its fields must not change while it is in use; all methods may be
// called at the same time.
type Endpoint struct {
	// Dial reaches the far side. ctx ends when the client goes away, and soon after Dial returned. Errors:
	// *[wsframe.Rejection], *[backend.Error] and *[cgi.GatewayError] are answered as they say, those of time with
	// 504, all others with 502.
	Dial func(ctx context.Context, r *wsframe.Request) (Stream, error)

	Options

	// Log gets a line for the start and the end of each session. nil: none.
	Log *slog.Logger

	// Attrs returns more of a session for its lines in the log. nil: there is no more.
	Attrs func(*wsframe.Request) []slog.Attr

	once           sync.Once
	binary, base64 framing.Options // for the subprotocols
	plain          framing.Options
}

// Options are the settings of an [Endpoint]. The zero value works.
type Options struct {
	// Framing says how messages lie in the stream. nil: Raw, as text. Messages of the other type than Binary
	// says are taken, unless OtherType is Refuse.
	Framing *framing.Options

	// Protocols gives clients of noVNC and the like the subprotocol they ask for, if the framing is Raw:
	// "binary" makes the messages to the client binary ones, "base64" codes the messages of both directions. See
	// [Endpoint.Select].
	Protocols bool

	// Queue is how many bytes wait for a far side that does not read, so that pings and a Close frame
	// behind them are seen; 0 = 256 KiB. When it is full, the client is held back.
	Queue int64

	// StallTimeout is how long the far side may then take nothing at all, before the session ends with
	// 1013; 0 = 5 min. It is 2 s once the client has left.
	StallTimeout time.Duration

	// HalfTimeout is how long the far side may be silent when the client has ended its direction (of TCP:
	// behind a Close frame nothing can be delivered any more); 0 = 10 s.
	HalfTimeout time.Duration
}

// Check returns what is contradictory in the options.
func (o *Options) Check() error {
	if o.Queue < 0 || o.StallTimeout < 0 || o.HalfTimeout < 0 {
		return errors.New("negative limit")
	}
	if o.Framing == nil {
		return nil
	}
	return o.Framing.Check()
}

func (o *Options) queue() int {
	if o.Queue <= 0 {
		return 256 << 10
	}
	return int(o.Queue)
}

func (o *Options) stallTimeout() time.Duration {
	if o.StallTimeout <= 0 {
		return 5 * time.Minute
	}
	return o.StallTimeout
}

func (o *Options) halfTimeout() time.Duration {
	if o.HalfTimeout <= 0 {
		return 10 * time.Second
	}
	return o.HalfTimeout
}

// The subprotocols that [Endpoint.Select] knows.
const (
	protocolBinary = "binary"
	protocolBase64 = "base64"
)

// Select picks the subprotocol, for [wsframe.Handler]: with Options.Protocols "binary" or else "base64" of
// those the client offers, or none.
func (e *Endpoint) Select(r *wsframe.Request) string {
	if !e.Protocols || e.Framing != nil && e.Framing.Framing != framing.Raw {
		return ""
	}
	for _, p := range []string{protocolBinary, protocolBase64} {
		if _, ok := r.Offers(p); ok {
			return p
		}
	}
	return ""
}

func (e *Endpoint) init() {
	e.plain = framing.Options{Framing: framing.Raw}
	if e.Framing != nil {
		e.plain = *e.Framing
	}
	if e.plain.OtherType == framing.Default {
		e.plain.OtherType = framing.Pass
	}
	e.binary, e.base64 = e.plain, e.plain
	e.binary.Binary = true
	e.base64.Framing = framing.Base64
}

// framing returns the options for a subprotocol.
func (e *Endpoint) framing(protocol string) *framing.Options {
	e.once.Do(e.init)
	switch {
	case !e.Protocols || e.plain.Framing != framing.Raw:
	case strings.EqualFold(protocol, protocolBinary):
		return &e.binary
	case strings.EqualFold(protocol, protocolBase64):
		return &e.base64
	}
	return &e.plain
}

// Open reaches the far side for a request.
func (e *Endpoint) Open(ctx context.Context, r *wsframe.Request) (wsframe.Session, error) {
	stream, err := e.Dial(ctx, r)
	if err != nil {
		return nil, refusal(err)
	}
	s := &session{e: e, stream: stream, options: e.framing(r.Protocol), remote: r.RemoteAddr, started: time.Now()}
	if e.Attrs != nil {
		s.attrs = e.Attrs(r)
	}
	return s, nil
}

// refusal turns an error of Dial into the answer to a request.
func refusal(err error) *wsframe.Rejection {
	if r, ok := errors.AsType[*wsframe.Rejection](err); ok {
		return r
	}
	rejection := &wsframe.Rejection{Status: http.StatusBadGateway, Reason: "the backend did not answer correctly", Err: err}
	if b, ok := errors.AsType[*backend.Error](err); ok {
		err = (*cgi.GatewayError)(b)
	}
	g, ok := errors.AsType[*cgi.GatewayError](err)
	switch {
	case ok:
		rejection.Status, rejection.Reason = g.Status, g.Reason
		if g.RetryAfter > 0 {
			return rejection.RetryAfter(g.RetryAfter)
		}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		rejection.Status, rejection.Reason = http.StatusGatewayTimeout, "the backend did not answer in time"
	}
	return rejection
}
