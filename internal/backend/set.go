package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/wspawn/wspawn/spawner"
)

// The defaults of [Config].
const (
	DefaultConnectTimeout = 8 * time.Second
	DefaultDisableTime    = time.Second
	DefaultRetries        = 5
	DefaultMaxQueue       = 100
	DefaultQueueWait      = 10 * time.Second
	DefaultResolve        = 30 * time.Second
)

// maxSlow is how many backends one session waits for in vain.
const maxSlow = 2

// maxDisableTime is what a backend that stays away is disabled for in the end.
const maxDisableTime = 30 * time.Second

// A Server is one backend of a [Config].
type Server struct {
	// Address is "HOST:PORT", "unix:PATH" or an absolute path. A host name stands for all its addresses, each
	// of which is a backend with what is said here. "srv:NAME", as in "srv:_http._tcp.example.org", stands for what the
	// SRV records of NAME lead to (RFC 2782): their weights multiply Weight, and targets that
	// have not the lowest priority number are backups.
	Address string
	// Weight is its share, beside those of the others. 0 = 1.
	Weight int
	// Backup gets sessions only while no other backend can take them, because they are away or full.
	Backup bool
	// MaxSessions is how many it may have at a time. 0 = no limit.
	MaxSessions int
}

// Config describes a [Set]. Either Backends or Pool has to be set; the other zero values work.
type Config struct {
	// Backends are the servers. None may be named twice.
	Backends []Server
	// Pool has its workers be the backends. Their number, their health and the queue in front of them are the
	// business of the pool, which has to be started and closed by its owner: then MaxQueue, QueueWait,
	// DisableTime, Check, Resolve and Resolver mean nothing.
	Pool *spawner.Pool

	// Balance is how sessions are spread, and HashName the header line or cookie that HashHeader and HashCookie look
	// at.
	Balance  Balance
	HashName string

	// ConnectTimeout is how long one backend may take to accept a connection. 0 = 8 s, negative = no limit.
	ConnectTimeout time.Duration
	// DisableTime is how long a backend that could not be reached is left alone. Then one session tries it, while
	// others still go elsewhere. Each time that fails the time doubles, up to 30 s. When all backends are
	// disabled, sessions go to those whose last failure is the longest ago all the same: it would be an
	// error anyway. 0 = 1 s, negative = never.
	DisableTime time.Duration
	// Retries is how many backends one session is offered to, but two that take too long are enough. 0 = 5,
	// negative = 1.
	Retries int
	// MaxQueue is how many sessions may wait while all backends have their MaxSessions, first come, first served; and
	// QueueWait for how long. 0 = 100 and 10 s, negative = none waits.
	MaxQueue  int
	QueueWait time.Duration

	// Check looks after backends that have no sessions. Off unless its Interval is set.
	Check Check

	// Resolve is how often names are looked up. When that fails, what was found before stays valid. 0 = 30 s,
	// negative = never: each Dial looks the name up then. SRV records need it.
	Resolve time.Duration
	// Resolver looks names up. nil = [net.DefaultResolver].
	Resolver Resolver
	// Dial connects instead of package net. Optional.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Log gets a line when a backend cannot be reached any more, and when it can again. nil = no log.
	Log *slog.Logger
}

// A Set is some backends that do the same work. All methods may be called at the same time.
type Set struct {
	c       Config // with the defaults filled in
	sources []*source

	running sync.WaitGroup // what Start begins

	mu      sync.Mutex         // guards the fields below, and those of members
	stop    context.CancelFunc // ends what Start has begun; nil: it has not
	closed  bool
	pending int                // sources that are looked up for the first time
	members []*member          // in the order of the configuration
	leaving []*member          // gone, but with sessions
	workers map[string]*worker // by the name of the place in the pool, the last one of each
	seen    int                // workers
	queue   []*waiter
	scratch []*member // for pick
}

// New checks c. It starts nothing: the set can be used at once, but without [Set.Start] it neither looks
// names up in advance nor checks anything.
func New(c Config) (*Set, error) {
	if (len(c.Backends) == 0) == (c.Pool == nil) {
		return nil, errors.New("want either backends or a pool")
	}
	if needs := c.Balance == HashHeader || c.Balance == HashCookie; needs && c.HashName == "" {
		return nil, fmt.Errorf("balance %q: the name is missing", c.Balance)
	}
	if c.Pool != nil {
		c.Check = Check{}
	}
	c.ConnectTimeout = or(c.ConnectTimeout, DefaultConnectTimeout)
	c.DisableTime = max(0, or(c.DisableTime, DefaultDisableTime))
	c.Retries = max(1, or(c.Retries, DefaultRetries))
	c.MaxQueue = or(c.MaxQueue, DefaultMaxQueue)
	c.QueueWait = or(c.QueueWait, DefaultQueueWait)
	c.Resolve = or(c.Resolve, DefaultResolve)
	c.Check.defaults()
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	if c.Dial == nil {
		c.Dial = dialNet
	}
	s := &Set{c: c, workers: make(map[string]*worker)}
	for _, b := range c.Backends {
		src, err := newSource(b, c.Resolve > 0)
		if err != nil {
			return nil, err
		}
		for _, other := range s.sources {
			if other.id == src.id {
				return nil, fmt.Errorf("backend %q: named twice", b.Address)
			}
		}
		s.sources = append(s.sources, src)
	}
	s.gather()
	return s, nil
}

// Fixed is the set of some addresses, all else as it comes.
func Fixed(addrs ...string) (*Set, error) { return New(Config{Backends: Servers(addrs...)}) }

// Servers are those with some addresses.
func Servers(addrs ...string) []Server {
	var list []Server
	for _, a := range addrs {
		list = append(list, Server{Address: a})
	}
	return list
}

// Start begins to look names up and to check backends. Calls after the first one do nothing.
func (s *Set) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil || s.closed {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	for _, src := range s.sources {
		if src.dynamic() {
			s.pending++
			s.running.Go(func() { s.resolve(ctx, src) })
		}
	}
	if s.c.Check.Interval > 0 {
		s.running.Go(func() { s.check(ctx) })
	}
}

// Close ends what Start has begun, and waits for it. Sessions that wait are refused, as are new ones; those
// that have a backend go on.
func (s *Set) Close() error {
	s.mu.Lock()
	s.closed = true
	s.serve()
	if s.stop != nil {
		s.stop()
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// gather makes the members from what is known of the sources. s.mu is held, or s is new.
func (s *Set) gather() {
	old := slices.Concat(s.members, s.leaving)
	before := make(map[string]*member)
	for _, m := range old {
		before[m.id] = m
	}
	seen := make(map[string]bool)
	s.members = nil
	for _, src := range s.sources {
		for _, f := range src.found {
			id := f.addr.String()
			if seen[id] {
				continue // two names for one place
			}
			seen[id] = true
			m := before[id]
			if m == nil {
				m = newMember(id, f.addr)
			}
			m.weight, m.backup, m.max, m.gone = f.weight, f.backup, src.server.MaxSessions, false
			s.members = append(s.members, m)
		}
	}
	s.leaving = nil
	for _, m := range old {
		if m.gone = !seen[m.id]; m.gone && m.active > 0 {
			s.leaving = append(s.leaving, m)
		}
	}
	s.serve()
}

// Knows reports whether sessions may still come to a [Lease.Place], or have come and are not over. Connections to
// other places need not be kept.
func (s *Set) Knows(place string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := func(m *member) bool { return m.id == place }
	if slices.ContainsFunc(s.members, is) || slices.ContainsFunc(s.leaving, is) {
		return true
	}
	for _, w := range s.workers {
		if w.place == place {
			return !w.ended()
		}
	}
	return false
}

func (s *Set) log(level slog.Level, message string, args ...any) {
	if s.c.Log != nil {
		s.c.Log.Log(context.Background(), level, message, args...)
	}
}

func or[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}
