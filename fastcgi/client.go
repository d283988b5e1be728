package fastcgi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/cgi"
)

// The defaults of [Client].
const (
	DefaultConnectTimeout = 5 * time.Second
	DefaultMaxIdle        = 32
	DefaultIdleTimeout    = 10 * time.Second
	DefaultMaxRequests    = 1024
	DefaultProbeTimeout   = 500 * time.Millisecond
	DefaultStallTimeout   = 2 * time.Second
	DefaultWriteTimeout   = 60 * time.Second
)

// A Client sends requests to one or more FastCGI backends that do the same work.
// It keeps connections and uses them again, and it lets requests share one where
// the backend can do that; see the package comment.
//
// Backends is required; the exported fields must not change after the first
// request. All methods may be called at the same time. A Client must not be
// copied.
type Client struct {
	// Backends are the addresses: "HOST:PORT", or "unix:PATH" (or just an absolute
	// path) for a Unix socket. Requests go to them in turn; one that cannot be
	// connected to is passed over, and asked last for the next second.
	Backends []string

	// Dial connects instead of package net. network is "tcp" or "unix". Optional.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// ConnectTimeout is for connecting to one backend, and also for waiting for one
	// of MaxConns. 0 = 5 s.
	ConnectTimeout time.Duration

	// MaxConns is how many connections that carry one request at a time there may
	// be to a backend. Requests over it wait for one, and after ConnectTimeout go
	// elsewhere, or fail with 503. 0 = no limit.
	//
	// Backends with one process per connection (php-fpm, fcgiwrap) let connections
	// wait that they have no process for, and a kept connection holds its process
	// even while it is idle. So idle ones are closed as soon as others have to
	// wait; a MaxConns that is not above the number of processes avoids that.
	MaxConns int

	// MaxIdle is how many connections are kept idle for each backend, and
	// IdleTimeout for how long. 0 = 32 and 10 s, negative = none is kept.
	MaxIdle     int
	IdleTimeout time.Duration

	// NoMultiplex never lets requests share a connection, and so backends are not
	// asked whether they could.
	NoMultiplex bool
	// ProbeTimeout bounds that question. A backend that leaves it open is
	// treated as one that cannot, and asked again after a minute. 0 = 500 ms.
	ProbeTimeout time.Duration
	// MaxRequests is how many requests may share a connection; a backend that says
	// less (FCGI_MAX_REQS) gets less. 0 = 1024.
	MaxRequests int
	// StallTimeout is how long one request may hold up the others of its
	// connection because nobody reads its response. Then it alone is aborted.
	// It does not apply to backends that count with WINDOW records, where no
	// request can hold up another. 0 = 2 s.
	StallTimeout time.Duration
	// WriteTimeout is how long a shared connection may take no byte at all; then
	// it is cut. 0 = 60 s, negative = no limit.
	WriteTimeout time.Duration

	// Log gets STDERR line by line, and application statuses other than 0. Nil
	// logs nothing.
	Log *slog.Logger

	once     sync.Once
	backends []*backend
	bad      error // of Backends
	next     atomic.Uint32
	closed   atomic.Bool
	running  sync.WaitGroup // goroutines that read shared connections
}

// splitAddress is what Backends describes.
func splitAddress(s string) (network, address string, err error) {
	if path := strings.TrimPrefix(s, "unix:"); path != s || strings.HasPrefix(s, "/") {
		if path == "" {
			return "", "", fmt.Errorf("fastcgi backend %q: the path is missing", s)
		}
		return "unix", path, nil
	}
	if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
		return "", "", fmt.Errorf("fastcgi backend %q: want HOST:PORT or unix:PATH", s)
	}
	return "tcp", s, nil
}

func (c *Client) init() error {
	c.once.Do(func() {
		if len(c.Backends) == 0 {
			c.bad = errors.New("fastcgi: no backends")
		}
		for _, s := range c.Backends {
			network, address, err := splitAddress(s)
			if err != nil {
				c.bad = err
			}
			c.backends = append(c.backends, newBackend(c, network, address))
		}
	})
	return c.bad
}

// Open begins a request: it connects where that is needed and sends the
// parameters. input is false for a request without input; the end of the input
// is sent at once then.
//
// Backends that cannot be reached are passed over. When all of them are, the
// error is a [*cgi.GatewayError]: 504 if each took too long, else 503.
func (c *Client) Open(ctx context.Context, role Role, vars cgi.List, input bool) (*Exchange, error) {
	if err := c.init(); err != nil {
		return nil, err
	}
	x := &Exchange{client: c, role: role, vars: vars, empty: !input, stderr: newLines(c.Log, vars)}
	x.safe = idempotent(vars)
	var failed []error
	for _, b := range c.inTurn() {
		on, err := b.open(ctx, x)
		switch {
		case err == nil:
			x.on = on
			return x, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		failed = append(failed, fmt.Errorf("%s: %w", b.address, err))
	}
	e := &cgi.GatewayError{Status: http.StatusServiceUnavailable, Reason: "no backend can be reached", RetryAfter: time.Second, Err: errors.Join(failed...)}
	slow := 0
	for _, err := range failed {
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
			slow++
		}
	}
	if slow == len(failed) {
		e.Status, e.Reason, e.RetryAfter = http.StatusGatewayTimeout, "no backend can be reached in time", 0
	}
	return nil, e
}

// inTurn returns the backends in the order to try them.
func (c *Client) inTurn() []*backend {
	if len(c.backends) == 1 {
		return c.backends
	}
	first := int(c.next.Add(1) % uint32(len(c.backends)))
	var up, down []*backend
	for i := range c.backends {
		b := c.backends[(first+i)%len(c.backends)]
		if b.isDown() {
			down = append(down, b)
		} else {
			up = append(up, b)
		}
	}
	return append(up, down...)
}

// fresh opens x again on a new connection to the backend it was at.
func (c *Client) fresh(x *Exchange, old carrier) (carrier, error) {
	var b *backend
	switch old := old.(type) {
	case *single:
		b = old.b
	case *stream:
		b = old.m.b
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.connectTimeout())
	defer cancel()
	s, err := b.dialSingle(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.start(x); err != nil {
		b.drop(s)
		return nil, err
	}
	b.starve(s)
	return s, nil
}

// Close closes idle connections, and cuts those that are shared. Requests on
// connections of their own go on; their connections are not kept. Open fails
// from now on.
func (c *Client) Close() error {
	if c.init() != nil {
		return nil
	}
	c.closed.Store(true)
	for _, b := range c.backends {
		b.close()
	}
	c.running.Wait()
	return nil
}

// idempotent reports whether the method of a request allows it to be asked twice
// (RFC 9110, section 9.2.2).
func idempotent(vars cgi.List) bool {
	switch method, _ := vars.Lookup("REQUEST_METHOD"); method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

func or[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

func (c *Client) connectTimeout() time.Duration { return or(c.ConnectTimeout, DefaultConnectTimeout) }
