package backend

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// The defaults of [Config].
const (
	DefaultConnectTimeout = 8 * time.Second
	DefaultDisableTime    = time.Second
	DefaultRetries        = 5
	DefaultMaxQueue       = 1024
	DefaultQueueWait      = 10 * time.Second
	DefaultResolve        = 30 * time.Second
)

// A Server is one backend of a [Config].
type Server struct {
	// Address is "HOST:PORT", "unix:PATH" or an absolute path. A host name stands for all its addresses. "srv:NAME", as
	// in "srv:_http._tcp.example.org", is what the SRV records of NAME say (RFC 2782).
	Address string
	// Weight is its share, beside the others. 0 = 1.
	Weight int
	// Backup gets sessions only while no other can take them.
	Backup bool
	// MaxSessions is how many it may have at a time. 0 = no limit.
	MaxSessions int
}

// Config describes a [Set].
type Config struct {
	// Backends are the servers.
	Backends []Server

	// ConnectTimeout is how long one backend may take to accept a connection. 0 = 8 s, negative = no limit.
	ConnectTimeout time.Duration

	// Log gets a line when a backend cannot be reached any more, and when it can again. nil = none.
	Log *slog.Logger
}

// A Set is some backends that do the same work. All methods may be called at the same time.
type Set struct {
	c Config
	a []Address
}

// New checks c. It starts nothing.
func New(c Config) (*Set, error) {
	s := &Set{c: c}
	for _, b := range c.Backends {
		a, err := ParseAddress(b.Address)
		if err != nil {
			return nil, err
		}
		s.a = append(s.a, a)
	}
	return s, nil
}

// Fixed is the set of some addresses, see [ParseAddress].
func Fixed(addrs ...string) (*Set, error) {
	var c Config
	for _, a := range addrs {
		c.Backends = append(c.Backends, Server{Address: a})
	}
	return New(c)
}

// Start begins what goes on in the background.
func (s *Set) Start() {}

// Close ends it and waits for it.
func (s *Set) Close() error { return nil }

// Status describes one backend of a [Set].
type Status struct{ ID string }

// Status lists the backends.
func (s *Set) Status() []Status { return nil }

// An Error is a session that no backend takes. It has the fields of cgi.GatewayError, so that one can be
// converted into the other.
type Error struct {
	Status     int           // of the answer: 503, or 504 when all that was tried took too long
	Reason     string        // for the client
	RetryAfter time.Duration // for a Retry-After line
	Err        error         // for the log
}

func (e *Error) Error() string { return e.Reason }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

type unreachable struct{ error }

func (e unreachable) Unwrap() error { return e.error }

// Unreachable marks an error of the function given to [Set.Try]: nothing was sent, the next backend may be asked.
func Unreachable(err error) error { return unreachable{err} }

// Try calls use with one backend after another, best first, until use returns nil, or an error that is not
// [Unreachable]. When it returned nil the lease stays taken until Release.
func (s *Set) Try(ctx context.Context, r *http.Request, use func(ctx context.Context, l *Lease) error) error {
	var err error
	for _, a := range s.a {
		if err = use(ctx, &Lease{s, a}); err == nil || !errors.As(err, new(unreachable)) {
			return err
		}
	}
	return &Error{Status: 503, Reason: "no backend can be reached", RetryAfter: time.Second, Err: err}
}

// A Lease is one session on one backend. All methods may be called at the same time.
type Lease struct {
	s *Set
	a Address
}

// ID returns the stable name of the backend.
func (l *Lease) ID() string { return l.a.String() }

// Address returns where it listens.
func (l *Lease) Address() Address { return l.a }

// Dial connects to the backend. The connection is the plain *net.TCPConn or *net.UnixConn. Errors are [Unreachable].
func (l *Lease) Dial(ctx context.Context) (net.Conn, error) {
	nc, err := (&net.Dialer{Timeout: DefaultConnectTimeout}).DialContext(ctx, l.a.Network, l.a.Addr)
	if err != nil {
		return nil, Unreachable(err)
	}
	return nc, nil
}

// Failed says that the backend broke off before it took anything. It returns [Unreachable] of err.
func (l *Lease) Failed(err error) error { return Unreachable(err) }

// Crashed says, after the far side has ended, whether the process behind it died: nil when it did not, or is not ours.
func (l *Lease) Crashed() error { return nil }

// Release ends the session. Calls after the first one do nothing.
func (l *Lease) Release() {}
