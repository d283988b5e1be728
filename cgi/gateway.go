package cgi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/wspawn/wspawn/internal/gateway"
	"github.com/wspawn/wspawn/internal/relay"
)

// The defaults of [Options].
const (
	DefaultMaxHeader     = 64 << 10
	DefaultReadTimeout   = 60 * time.Second
	DefaultWriteTimeout  = 60 * time.Second
	DefaultClientTimeout = 60 * time.Second
)

// MaxRedirects is how many local redirects one request may cause.
const MaxRedirects = 5

// An Exchange is one request on its way to a program or backend, and its response on the way back.
//
// One goroutine reads and one writes, at the same time. The other methods may be used by anybody at any
// time.
type Exchange interface {
	// Read returns the response in CGI form: header block, body, and io.EOF at its end.
	io.Reader
	// Write takes the request body and, in a tunnel, the bytes of the client. An error means that
	// nobody reads them; the response may go on all the same.
	io.Writer
	// CloseWrite ends the request body, or the client's direction of a tunnel. Calls after the first one
	// do nothing.
	CloseWrite() error
	// Close releases everything and unblocks Read and Write. After Read returned io.EOF it is the end in
	// good order, a connection may be used again then; before that, what goes on is
	// aborted: a program is stopped, a backend told or disconnected. Close does not wait for that.
	// Calls after the first one do nothing.
	Close() error
	// SetReadDeadline and SetWriteDeadline work as those of [net.Conn]; a Read or Write that they end
	// returns an error that is [os.ErrDeadlineExceeded], and can be repeated with a later deadline.
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// A Request is what a [Gateway] opens an [Exchange] for.
type Request struct {
	*http.Request

	// Vars are the meta-variables, CONTENT_LENGTH first. It is missing when the length of the body is not
	// known.
	Vars List

	// Script is what the Vars function of the gateway returned.
	Script Vars

	// Upgrade says that the client asks for an upgrade and may have it: the input of the program has
	// to stay open behind a body of length 0, until CloseWrite.
	Upgrade bool
}

// HasBody reports whether there may be a request body.
func (r *Request) HasBody() bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// A GatewayError is a request that a gateway answers itself. Functions of a [Gateway] return it where they
// know the answer.
type GatewayError struct {
	Status int    // of the answer
	Reason string // for the client, one line; "" is the text of Status
	// RetryAfter is sent in a Retry-After line, in whole seconds, at least 1. 0: no such line.
	RetryAfter time.Duration
	Err        error // for the log; nil: nothing to log
}

func (e *GatewayError) Error() string { return (*gateway.Error)(e).Error() }

// Unwrap returns Err.
func (e *GatewayError) Unwrap() error { return e.Err }

// Options are the settings that all gateways have in common. The zero value works.
type Options struct {
	// Upgrade lets programs take over the connection with a 101 answer. Off, they never see an Upgrade
	// line, and a 101 is an error.
	Upgrade bool

	// MaxHeader bounds the header block of a response, in bytes. Over it the answer is 502. 0 = 64 KiB.
	MaxHeader int

	// ReadTimeout is how long a program may write nothing, counted from the end of the request body,
	// and WriteTimeout how long it may take nothing of that body. Then the answer is 504, or, where an answer is
	// under way already, the connection is cut. 0 = 60 s, negative = no limit. Tunnels have neither.
	ReadTimeout, WriteTimeout time.Duration

	// ClientTimeout is how long the client may send nothing of a request body (408), or take nothing of
	// the answer (the connection is cut). 0 = 60 s, negative = no limit. Tunnels have none.
	ClientTimeout time.Duration

	// MaxBody bounds request bodies, in bytes; over it the answer is 413. Bodies are never stored,
	// whatever their size. 0 = no limit.
	MaxBody int64

	// CollectBody is for programs that need to know CONTENT_LENGTH: a body of unknown length is read into
	// memory, up to so many bytes (413 over it), before the program is asked. 0 = never: such a body is
	// streamed without a CONTENT_LENGTH, up to its end; where the protocol cannot do that, the answer is
	// 411.
	CollectBody int64

	// IdleTimeout ends tunnels that were silent in both directions for so long (and at most twice
	// so long). MaxLife ends them in any case. 0 = no limit.
	IdleTimeout, MaxLife time.Duration

	// Expires returns when what allowed a request ends, as the login of its client: a tunnel ends then. Nil, and
	// the zero time: never.
	Expires func(r *http.Request) time.Time

	// HalfTimeout is how long a tunnel may be silent when one of its directions has ended. 0 = 10 s,
	// negative = no limit.
	HalfTimeout time.Duration

	// SendfileRoots are directories whose files a program may name in X-Sendfile (also
	// X-LIGHTTPD-send-file and X-Sendfile2) to have them sent. What is elsewhere, also by way of symbolic links, is
	// refused with 403. Empty: such a line is left out of the answer and means nothing.
	SendfileRoots []string

	// LocalRedirect answers local redirects (RFC 3875, section 6.2.2): a response of nothing but
	// "Location: /path" makes the request go there, as a GET without a body and without Upgrade, at
	// most MaxRedirects times. nil: the client is redirected, with 302.
	LocalRedirect http.Handler
}

// A Gateway is the http.Handler that CGI, SCGI and FastCGI have in common. It makes the meta-variables, opens an
// [Exchange], streams the request body into it and the response out of it as they come, with
// back-pressure both ways; after a 101 it joins client and program. Its fields must not change
// while it is in use.
type Gateway struct {
	// Open reaches the program or backend. Its errors: [*GatewayError] is answered as it says,
	// [context.DeadlineExceeded] and [os.ErrDeadlineExceeded] with 504, others with 502. ctx ends when the
	// client is gone; the Exchange is closed by the gateway then.
	Open func(ctx context.Context, r *Request) (Exchange, error)

	// Vars says which script a request means, and what else its meta-variables need. Errors as of Open,
	// but others are answered with 500. nil: PATH_INFO is the path, all else empty.
	Vars func(r *http.Request) (Vars, error)

	Options

	// NeedLength refuses bodies of unknown length with 411, unless they are collected.
	NeedLength bool

	// Bare takes output that does not begin with a header line, and output that ends before the header
	// block does, as a body with status 200, as CGI servers do. Off, it is answered with 502.
	Bare   bool
	strict bool // answer with 500 instead of 502

	// Log gets a line for each tunnel at its start and end, and one for each request that failed. nil = none.
	Log *slog.Logger

	calls relay.Calls
}

// call is one request that is being answered.
type call struct {
	g    *Gateway
	w    http.ResponseWriter
	rc   *http.ResponseController
	r    *http.Request // as it came
	in   *Request
	ex   Exchange // nil until opened
	body *body

	asked  []string // the protocols that the client offers
	here   *relay.Call
	cancel context.CancelFunc // ends the exchange
}

// errTunnel: the answer was a tunnel.
var errTunnel = errors.New("tunnel is over")

func shuttingDown() error { return busy("the server is shutting down", 5*time.Second) }

// ServeHTTP answers one request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{g: g, w: w, rc: http.NewResponseController(w), r: r, here: g.calls.Enter()}
	if c.here == nil {
		g.refuse(w, r, shuttingDown())
		return
	}
	defer c.here.Leave()
	if err := c.prepare(); err != nil {
		g.refuse(w, r, err)
		return
	}
	redirect, err := c.run()
	switch {
	case redirect != nil:
		g.LocalRedirect.ServeHTTP(w, redirect)
	case err == errTunnel:
	case errors.Is(err, http.ErrAbortHandler), errors.Is(err, gateway.ErrGone):
		panic(http.ErrAbortHandler) // the answer is cut off, and the client, if any, must notice
	case err != nil:
		g.refuse(w, r, err)
	}
}

// prepare finds the script and makes the meta-variables.
func (c *call) prepare() error {
	g := c.g
	r, asked, err := gateway.Upgrade(c.r, g.Upgrade)
	if err != nil {
		return ours(err)
	}
	c.asked = asked
	if g.MaxBody > 0 && r.ContentLength > g.MaxBody {
		return &GatewayError{Status: http.StatusRequestEntityTooLarge}
	}
	if r.ContentLength < 0 {
		if r, err = c.unknownLength(r); err != nil {
			return err
		}
	}
	v := Vars{PathInfo: r.URL.Path}
	if g.Vars != nil {
		if v, err = g.Vars(r); err != nil {
			if _, ok := errors.AsType[*GatewayError](err); !ok {
				err = &GatewayError{Status: http.StatusInternalServerError, Err: err}
			}
			return err
		}
	}
	redirected(r, &v)
	list, err := Variables(r, v)
	if bad, ok := errors.AsType[*RequestError](err); ok {
		return &GatewayError{Status: http.StatusBadRequest, Reason: bad.Error(), Err: err}
	} else if err != nil {
		return &GatewayError{Status: http.StatusInternalServerError, Err: err}
	}
	c.in = &Request{Request: r, Vars: list, Script: v, Upgrade: asked != nil}
	return nil
}

// run has the request answered by the program. It returns a request that has to be answered instead,
// or an error to be answered: gateway.ErrGone or
// http.ErrAbortHandler when it is too late for an answer, errTunnel when there was more than one.
func (c *call) run() (redirect *http.Request, err error) {
	ctx := c.r.Context()
	if c.in.Upgrade {
		// For net/http a client that has ended its direction is gone; here it is not.
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.cancel = cancel
	ex, err := c.g.Open(ctx, c.in)
	if err != nil {
		if ctx.Err() != nil {
			return nil, gateway.ErrGone
		}
		return nil, err
	}
	defer ex.Close()
	if c.ex = ex; !c.here.Cut(c.cut) {
		return nil, shuttingDown()
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		ex.Close()
		close(closed)
	})
	defer func() {
		if !stop() {
			<-closed
		}
	}()
	c.body = startBody(c)
	redirect, err = c.respond()
	if err != errTunnel {
		c.patience() // for what net/http still has to send: the last deadline may be long over
	}
	ex.Close()
	c.body.end(err == nil && redirect == nil)
	if err != nil && err != errTunnel && !errors.Is(err, http.ErrAbortHandler) {
		// A body that could not be read came first: it ended the response, and for net/http the client is gone
		// then, whatever the reason.
		if bodyErr := c.body.failure(); bodyErr != nil {
			err = bodyErr
		} else if ctx.Err() != nil {
			err = gateway.ErrGone
		}
	}
	return redirect, err
}

// refuse answers with an error.
func (g *Gateway) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*GatewayError](err)
	switch {
	case ok:
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		e = &GatewayError{Status: http.StatusGatewayTimeout, Reason: "the program did not answer in time", Err: err}
	default:
		e = &GatewayError{Status: http.StatusBadGateway, Reason: "the program did not answer correctly", Err: err}
		if g.strict {
			e.Status = http.StatusInternalServerError
		}
	}
	if g.Log != nil && (e.Err != nil || e.Status >= 500) {
		g.Log.Warn("request failed", "remote", r.RemoteAddr, "path", r.URL.Path, "status", e.Status, "err", e)
	}
	(*gateway.Error)(e).Answer(w, r)
}

func (o *Options) maxHeader() int {
	if o.MaxHeader > 0 {
		return o.MaxHeader
	}
	return DefaultMaxHeader
}
