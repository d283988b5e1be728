package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"os"
	"sync"
	"time"

	"github.com/wspawn/wspawn/internal/gateway"
	"github.com/wspawn/wspawn/internal/relay"
)

// A Proxy is an http.Handler that has backends answer; make it with New.
type Proxy struct {
	c         Config
	set       http.Header // Config.Header with canonical names
	reverse   *httputil.ReverseProxy
	transport *http.Transport

	calls relay.Calls
}

// New checks c. Nobody is connected to before there are requests.
func New(c Config) (*Proxy, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	p := &Proxy{c: c, set: make(http.Header)}
	for name, values := range c.Header {
		p.set[textproto.CanonicalMIMEHeaderKey(name)] = values
	}
	p.transport = p.newTransport()
	p.reverse = &httputil.ReverseProxy{
		Rewrite:       p.rewrite,
		Transport:     roundTripper{},
		FlushInterval: -1, // what is there is sent
		BufferPool:    pieces{},
		ErrorHandler:  func(_ http.ResponseWriter, out *http.Request, err error) { callOf(out).err = err },
		ErrorLog:      log.New(io.Discard, "", 0), // it blames backends for clients that are gone
	}
	return p, nil
}

// pieces are the buffers of bodies.
type pieces struct{}

var pool = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func (pieces) Get() []byte  { return pool.Get().(*[32 << 10]byte)[:] }
func (pieces) Put(b []byte) { pool.Put((*[32 << 10]byte)(b)) }

// call is one request that is being answered.
type call struct {
	p      *Proxy
	rc     *http.ResponseController
	w      http.ResponseWriter
	r      *http.Request // as it came
	in     *http.Request // without an Upgrade that is none
	body   *body         // nil: there is none
	answer answer

	upgrade bool     // the client asks for one and may have it
	asked   []string // the protocols it offers

	cancel context.CancelCauseFunc // ends what the backend does
	err    error                   // why there is no answer; *switched: it is a tunnel
	here   *relay.Call
}

type callKey struct{}

// callOf returns the call that a request belongs to.
func callOf(r *http.Request) *call { return r.Context().Value(callKey{}).(*call) }

// A failure is a request that the proxy answers itself.
type failure = gateway.Error

var (
	errDown = errors.New("the server is shutting down")
	// errSilent: the backend has stopped in the middle of its answer.
	errSilent = fmt.Errorf("the backend says nothing: %w", os.ErrDeadlineExceeded)
)

func unavailable() error {
	return &failure{Status: http.StatusServiceUnavailable, Reason: errDown.Error(), RetryAfter: 5 * time.Second}
}

// ServeHTTP answers one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{p: p, w: w, r: r, rc: http.NewResponseController(w)}
	c.answer.c = c
	err := c.classify()
	if err == nil {
		err = c.check()
	}
	ctx := r.Context()
	if c.upgrade {
		// For net/http a client that has ended its direction is gone; here it is not.
		ctx = context.WithoutCancel(ctx)
	}
	ctx, c.cancel = context.WithCancelCause(ctx)
	defer c.cancel(nil)
	if c.here = p.calls.Enter(); c.here == nil {
		c.refuse(ctx, unavailable())
		return
	}
	defer c.here.Leave()
	c.here.Cut(c.cut)
	if err == nil {
		err = c.ask(context.WithValue(ctx, callKey{}, c))
	}
	if s, ok := err.(*switched); ok {
		err = c.join(s)
	}
	if err != nil {
		c.refuse(ctx, err)
	}
}

// ask has a backend answer. It returns an error that is to be answered, or *switched.
func (c *call) ask(ctx context.Context) error {
	if limit := c.p.c.MaxBody; limit > 0 && c.in.ContentLength > limit {
		return &failure{Status: http.StatusRequestEntityTooLarge}
	}
	in := c.in.WithContext(ctx)
	if in.Body != nil && in.Body != http.NoBody && in.ContentLength != 0 {
		c.body = newBody(c)
		in.Body = c.body
		defer func() { c.body.end(c.answer.wrote) }()
	}
	c.p.reverse.ServeHTTP(&c.answer, in)
	if c.answer.wrote {
		c.patience() // for what net/http still has to send
		return nil
	}
	if c.body != nil {
		// A body that could not be read came first: it made the request fail.
		if err := c.body.Err(); err != nil {
			return err
		}
	}
	return c.err
}

// refuse answers with an error.
func (c *call) refuse(ctx context.Context, err error) {
	e, ok := errors.AsType[*failure](err)
	switch over := ctx.Err() != nil && (!ok || errors.Is(err, context.Canceled)); {
	case over && context.Cause(ctx) == errDown:
		e, ok = errors.AsType[*failure](unavailable())
	case over, err == gateway.ErrGone:
		panic(http.ErrAbortHandler)
	}
	switch timeout, _ := errors.AsType[interface {
		error
		Timeout() bool
	}](err); {
	case ok:
	case timeout != nil && timeout.Timeout():
		e = &failure{Status: http.StatusGatewayTimeout, Reason: "the backend did not answer in time", Err: err}
	default:
		e = &failure{Status: http.StatusBadGateway, Reason: "the backend did not answer correctly", Err: err}
	}
	if log := c.p.c.Log; log != nil && e.Status >= 500 {
		log.Warn("request failed", "remote", c.r.RemoteAddr, "path", c.r.URL.Path, "status", e.Status, "reason", e.Text(), "err", e.Err)
	}
	c.patience()
	e.Answer(c.w, c.r)
}
