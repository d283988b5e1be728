package fastcgi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/backend"
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
// Either Backends or Set is required; the exported fields must not change after the first
// request. All methods may be called at the same time. A Client must not be
// copied.
type Client struct {
	// Backends are the addresses: "HOST:PORT", or "unix:PATH" (or just an absolute
	// path) for a Unix socket. The one with the fewest requests gets the next; equal
	// ones take turns. One that cannot be connected to is passed over, and left
	// alone for a second and more.
	Backends []string
	// Set is used instead of Backends where there is more to be said about them.
	// Its owner starts and closes it.
	Set *backend.Set

	// Dial connects to Backends instead of package net. network is "tcp" or
	// "unix". Optional.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// ConnectTimeout is for connecting to one backend, and also for waiting for one
	// of MaxConns. That of Set applies as well. 0 = 5 s.
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

	// Log gets STDERR line by line, application statuses other than 0, and which
	// of Backends cannot be reached. Nil logs nothing.
	Log *slog.Logger

	once    sync.Once
	set     *backend.Set
	bad     error          // of Backends
	running sync.WaitGroup // goroutines that read shared connections

	mu     sync.Mutex       // guards the fields below
	sites  map[string]*site // by backend.Lease.Place
	closed bool
}

func (c *Client) init() error {
	c.once.Do(func() {
		c.sites = make(map[string]*site)
		if c.set = c.Set; c.set == nil {
			c.set, c.bad = backend.New(backend.Config{
				Backends: backend.Servers(c.Backends...), ConnectTimeout: c.connectTimeout(), Dial: c.Dial, Log: c.Log,
			})
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
	return c.open(ctx, nil, role, vars, input)
}

// open is Open for a request that the choice of the backend may depend on.
func (c *Client) open(ctx context.Context, r *http.Request, role Role, vars cgi.List, input bool) (*Exchange, error) {
	if err := c.init(); err != nil {
		return nil, err
	}
	x := &Exchange{client: c, role: role, vars: vars, empty: !input, stderr: newLines(c.Log, vars)}
	x.safe = idempotent(vars)
	err := c.set.Try(ctx, r, func(ctx context.Context, l *backend.Lease) (err error) {
		x.lease = l
		if x.on, err = c.site(l).open(ctx, x); err != nil {
			return backend.Unreachable(err)
		}
		return nil
	})
	if none, ok := errors.AsType[*backend.Error](err); ok {
		return nil, (*cgi.GatewayError)(none)
	} else if err != nil {
		return nil, err
	}
	return x, nil
}

// site returns the connections to a place. With a new one, those that the set
// does not know any more are forgotten; and those to a worker that is to end are closed.
func (c *Client) site(l *backend.Lease) *site {
	c.mu.Lock()
	defer c.mu.Unlock()
	place := l.Place()
	at := c.sites[place]
	if at == nil {
		for other, old := range c.sites {
			if !c.set.Knows(other) && old.retire() {
				delete(c.sites, other)
			}
		}
		at = newSite(c)
		at.closed = c.closed
		c.sites[place] = at
		at.forget = l.OnStop(func() {
			c.mu.Lock()
			delete(c.sites, place)
			c.mu.Unlock()
			at.close(io.ErrUnexpectedEOF) // which a connection to it says, too, as soon as it is read
		})
	}
	return at
}

// fresh opens x again on a new connection to the backend it was at.
func (c *Client) fresh(x *Exchange, old carrier) (carrier, error) {
	var at *site
	switch old := old.(type) {
	case *single:
		at = old.at
	case *stream:
		at = old.m.at
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.connectTimeout())
	defer cancel()
	s, err := at.dialSingle(ctx, x.lease)
	if err != nil {
		return nil, err
	}
	if err := s.start(x); err != nil {
		at.drop(s)
		return nil, err
	}
	at.starve(s)
	return s, nil
}

// Close closes idle connections, and cuts those that are shared. Requests on
// connections of their own go on; their connections are not kept. Open fails
// from now on.
func (c *Client) Close() error {
	if c.init() != nil {
		return nil
	}
	if c.Set == nil {
		c.set.Close()
	}
	c.mu.Lock()
	c.closed = true
	sites := slices.Collect(maps.Values(c.sites))
	c.mu.Unlock()
	for _, at := range sites {
		at.close(net.ErrClosed)
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
