package scgi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/rawio"
)

// DefaultConnectTimeout is how long an [Endpoint] tries to reach one backend.
const DefaultConnectTimeout = 5 * time.Second

// Endpoint is the gateway side: an http.Handler that hands requests on to backends and their responses
// back, as [cgi.Gateway] describes it. With Upgrade the two sides are joined when the backend
// answers 101. It uses one connection per request, as the protocols want it.
//
// Fields must not change while it is in use; all methods may be called at the same time.
//
// Both protocols announce the length of the body in front of it. A body of unknown length (chunked,
// HTTP/2) is answered with 411, unless CollectBody allows to keep it in memory until it is complete;
// nothing is ever spooled to disk. With [UWSGI], requests whose meta-variables need more than 65535
// bytes are answered with 431.
type Endpoint struct {
	// Backends are where requests can go: "HOST:PORT", "unix:PATH" or an absolute path. The one
	// with the fewest requests gets the next; equal ones take turns. A request goes to another one when a backend cannot be reached, as long as it has not been sent; with none
	// reachable the answer is 503, or 504 if none did as much as refuse.
	Backends []string
	// Set is used instead of Backends, where there is more to be said about them. Its owner starts and closes it.
	Set *backend.Set
	// Protocol is what they speak: [SCGI] or [UWSGI].
	Protocol Protocol
	// ConnectTimeout is how long one backend may take to accept the connection, unless Set says that, and then to
	// take the meta-variables. 0 = [DefaultConnectTimeout], negative = no limit.
	ConnectTimeout time.Duration
	// Vars says what the meta-variables need to know beyond the request. Errors as in [cgi.Gateway]. nil: SCRIPT_NAME is
	// empty and PATH_INFO is the whole path.
	Vars func(*http.Request) (cgi.Vars, error)

	cgi.Options

	// Log gets what [cgi.Gateway] logs, and backends that cannot be reached. nil = no log.
	Log *slog.Logger

	once    sync.Once
	gateway cgi.Gateway
	set     *backend.Set
	bad     error // of Backends
}

// ParseBackend splits an address as [Endpoint] wants it into what [net.Dial] wants.
func ParseBackend(s string) (network, address string, err error) {
	a, err := backend.ParseAddress(s)
	return a.Network, a.Addr, err
}

// ServeHTTP answers one request.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.start().ServeHTTP(w, r) }

// Shutdown refuses new requests, tells tunnels to end, and waits for what is under way until ctx ends. See
// [cgi.Gateway.Shutdown].
func (e *Endpoint) Shutdown(ctx context.Context) error { return e.start().Shutdown(ctx) }

// Active returns the number of requests, tunnels among them, that are under way.
func (e *Endpoint) Active() int { return e.start().Active() }

func (e *Endpoint) start() *cgi.Gateway {
	e.once.Do(func() {
		if e.set = e.Set; e.set == nil {
			timeout := e.ConnectTimeout
			if timeout == 0 {
				timeout = DefaultConnectTimeout
			}
			e.set, e.bad = backend.New(backend.Config{Backends: backend.Servers(e.Backends...), ConnectTimeout: timeout, Log: e.Log})
		}
		e.gateway.Open, e.gateway.Vars, e.gateway.NeedLength = e.Open, e.Vars, true
		e.gateway.Options, e.gateway.Log = e.Options, e.Log
	})
	return &e.gateway
}

// Open sends the head of a request to the first backend that takes it. It is what ServeHTTP does first, for
// those who have another use for the exchange than to answer with it. Its errors are those of [cgi.Gateway].
func (e *Endpoint) Open(ctx context.Context, r *cgi.Request) (cgi.Exchange, error) {
	e.start()
	head, err := e.Protocol.Append(nil, r.Vars)
	if errors.Is(err, ErrTooLarge) {
		return nil, &cgi.GatewayError{Status: http.StatusRequestHeaderFieldsTooLarge, Err: err}
	} else if err != nil {
		return nil, &cgi.GatewayError{Status: http.StatusInternalServerError, Err: err}
	}
	if e.bad != nil {
		return nil, &cgi.GatewayError{Status: http.StatusServiceUnavailable, Reason: "no backend can be reached", Err: e.bad}
	}
	x := &exchange{upgrade: r.Upgrade}
	err = e.set.Try(ctx, r.Request, func(ctx context.Context, l *backend.Lease) error {
		x.lease = l
		return e.connect(ctx, x, head)
	})
	if none, ok := errors.AsType[*backend.Error](err); ok {
		return nil, (*cgi.GatewayError)(none)
	} else if err != nil {
		return nil, err
	}
	return x, nil
}

// connect reaches the backend of x and sends it the head.
func (e *Endpoint) connect(ctx context.Context, x *exchange, head []byte) error {
	nc, err := x.lease.Dial(ctx)
	if err != nil {
		return err
	}
	if timeout := limit(e.ConnectTimeout, DefaultConnectTimeout); timeout > 0 {
		nc.SetWriteDeadline(time.Now().Add(timeout))
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	if sent, err := nc.Write(head); err != nil {
		nc.Close()
		if sent == 0 && ctx.Err() == nil {
			return x.lease.Failed(err)
		}
		return err // it may have begun to work on the request
	}
	nc.SetWriteDeadline(time.Time{})
	x.Conn = nc
	return nil
}

// exchange is one request on its connection.
type exchange struct {
	net.Conn
	lease   *backend.Lease
	upgrade bool
}

// Close also gives the place at the backend back.
func (x *exchange) Close() error {
	x.lease.Release()
	return x.Conn.Close()
}

// Crashed says why the backend ended the connection, if that is a process of ours that has died.
func (x *exchange) Crashed() error { return x.lease.Crashed() }

// CloseWrite is the end of the input. Where CONTENT_LENGTH has said where that is, nothing is to be done,
// and nothing must be done: many backends take the end of the stream for a gateway that has gone away.
func (x *exchange) CloseWrite() error {
	if h, ok := x.Conn.(interface{ CloseWrite() error }); ok && x.upgrade {
		return h.CloseWrite()
	}
	return nil
}

// Unwrap lets tunnels use the connection itself.
func (x *exchange) Unwrap() (io.Reader, rawio.WriteStream) { return x.Conn, x.Conn }
