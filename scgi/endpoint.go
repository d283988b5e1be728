package scgi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/cgi"
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
	// Backends are where requests can go: "HOST:PORT" or "unix:PATH". They take turns. A request
	// goes to the next one when a backend cannot be reached, as long as it has not been sent; those that failed
	// in the last second are tried last. With none reachable the answer is 503, or 504 if the last one did
	// not even refuse.
	Backends []string
	// Protocol is what they speak: [SCGI] or [UWSGI].
	Protocol Protocol
	// ConnectTimeout is how long one backend may take to accept the connection, and then to take the
	// meta-variables. 0 = [DefaultConnectTimeout], negative = no limit.
	ConnectTimeout time.Duration
	// Vars says what the meta-variables need to know beyond the request. Errors as in [cgi.Gateway]. nil: SCRIPT_NAME is
	// empty and PATH_INFO is the whole path.
	Vars func(*http.Request) (cgi.Vars, error)

	cgi.Options

	// Log gets what [cgi.Gateway] logs, and backends that cannot be reached. nil = no log.
	Log *slog.Logger

	once    sync.Once
	gateway cgi.Gateway
	turn    atomic.Uint32
	failed  []atomic.Int64 // for each backend, when it could not be reached last: Unix nanoseconds
}

// ParseBackend splits an address as [Endpoint] wants it into what [net.Dial] wants.
func ParseBackend(s string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path == "" {
			return "", "", fmt.Errorf("backend %q: the path is missing", s)
		}
		return "unix", path, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || port == "" {
		return "", "", fmt.Errorf("backend %q: want HOST:PORT or unix:PATH", s)
	}
	return "tcp", s, nil
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
		e.failed = make([]atomic.Int64, len(e.Backends))
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
	err = errors.New("no backends")
	for _, i := range e.order() {
		var x *exchange
		if x, err = e.connect(ctx, i, head); err == nil {
			x.upgrade = r.Upgrade
			return x, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if e.Log != nil {
			e.Log.Warn("backend cannot be reached", "backend", e.Backends[i], "err", err)
		}
		if !errors.Is(err, errUnsent) {
			return nil, err // it may have begun to work on the request
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, &cgi.GatewayError{Status: http.StatusGatewayTimeout, Reason: "no backend answers", Err: err}
	}
	return nil, &cgi.GatewayError{Status: http.StatusServiceUnavailable, Reason: "no backend can be reached", RetryAfter: time.Second, Err: err}
}

// order is in which order backends are tried: in turns, those that failed just now at the end.
func (e *Endpoint) order() []int {
	n := len(e.Backends)
	good, bad := make([]int, 0, n), []int(nil)
	first := int(e.turn.Add(1) - 1)
	for k := range n {
		i := (first%n + k) % n
		if t := e.failed[i].Load(); t != 0 && time.Since(time.Unix(0, t)) < time.Second {
			bad = append(bad, i)
		} else {
			good = append(good, i)
		}
	}
	return append(good, bad...)
}

// errUnsent: another backend may be asked.
var errUnsent = errors.New("nothing was sent")

// connect reaches backend i and sends it the head.
func (e *Endpoint) connect(ctx context.Context, i int, head []byte) (x *exchange, err error) {
	sent := 0
	defer func() {
		switch {
		case err == nil:
			e.failed[i].Store(0)
		case sent == 0 && ctx.Err() == nil:
			e.failed[i].Store(time.Now().UnixNano())
			err = fmt.Errorf("%w: %w", errUnsent, err)
		}
	}()
	network, address, err := ParseBackend(e.Backends[i])
	if err != nil {
		return nil, err
	}
	timeout := limit(e.ConnectTimeout, DefaultConnectTimeout)
	nc, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if timeout > 0 {
		nc.SetWriteDeadline(time.Now().Add(timeout))
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	if sent, err = nc.Write(head); err != nil {
		nc.Close()
		return nil, err
	}
	nc.SetWriteDeadline(time.Time{})
	return &exchange{Conn: nc}, nil
}

// exchange is one request on its connection.
type exchange struct {
	net.Conn
	upgrade bool
}

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
