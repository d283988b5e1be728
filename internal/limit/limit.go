// Package limit bounds what clients can take from a server: how many sessions at once, how many new
// ones per second, and how many wait, of all clients together and of each address; how many one user has; how
// often somebody may fail to log in; and how fast one session may send.
//
// A [Limiter] stands in front of an endpoint and refuses before the handshake, with 429 when the client
// itself is the reason and 503 when others are, and Retry-After. The address is that of
// [http.Request].RemoteAddr, so whoever knows of proxies must come first. An IPv6 client is its /64, of
// which it has all addresses. Peers without an address, behind Unix sockets, are bound by the limits of all alone.
package limit

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// Config has the limits. For each, 0 is the default and a negative value no limit.
type Config struct {
	// Sessions may exist at once. 0 = 10,000.
	Sessions int
	// SessionsPerAddress may exist at once from one address. 0 = 250: many people may share one.
	SessionsPerAddress int
	// Rate is how many new sessions there may be per second, in the long run. 0 = 1000.
	Rate float64
	// Burst is how many may come at once. 0 = twice Rate, and at least 1.
	Burst int
	// RatePerAddress and BurstPerAddress are the same for one address. 0 = 20, and ten times that.
	RatePerAddress  float64
	BurstPerAddress int
	// Wait is how long a client waits for its turn when there are Sessions. 0 or negative = not at all.
	Wait time.Duration
	// Waiting is how many may wait. They count as sessions of their address. 0 = 1000, negative = nobody.
	Waiting int
	// Addresses is how many are remembered that have no sessions, 200 bytes each. The one that was away
	// longest is forgotten first. 0 = 65,536; negative = 0.
	Addresses int
	// Exempt reports whether an address has no limits of its own, as that of a proxy that does not say who its clients
	// are, or of a monitor. Nil: loopback addresses, which are proxies more often than clients.
	Exempt func(netip.Addr) bool
	// Noun is what is counted, as the log calls it. Empty: "sessions".
	Noun string
	// RetryAfter is what clients are told when nobody knows how long it will take. 0 = 5 s.
	RetryAfter time.Duration
}

// Why a session is refused.
const (
	Sessions           = "sessions"             // there are too many
	SessionsPerAddress = "sessions per address" // the client has too many
	Rate               = "rate"                 // too many come
	RatePerAddress     = "rate per address"     // the client comes too often
	Waiting            = "waiting"              // too many wait, or the client waited for nothing
)

// A Limiter counts sessions. All methods may be called at the same time.
type Limiter struct {
	start time.Time

	mu        sync.Mutex // guards the fields below
	c         Config     // without zeros
	all       bucket
	addresses table
	sessions  int
	queue     list.List // of *waiter
	refused   map[string]uint64
}

type waiter struct{ granted chan struct{} }

// New returns a Limiter.
func New(c Config) *Limiter {
	l := &Limiter{start: time.Now(), refused: make(map[string]uint64)}
	l.Set(c)
	l.all = full(float64(l.c.Burst))
	return l
}

// Set changes the limits. Sessions that exist stay, even if they are more than may be.
func (l *Limiter) Set(c Config) {
	def(&c.Sessions, 10_000)
	def(&c.SessionsPerAddress, 250)
	def(&c.Rate, 1000)
	def(&c.Burst, max(1, int(2*min(c.Rate, 1e9))))
	def(&c.RatePerAddress, 20)
	def(&c.BurstPerAddress, max(1, int(10*min(c.RatePerAddress, 1e8))))
	def(&c.Waiting, 1000)
	def(&c.Addresses, 65_536)
	def(&c.RetryAfter, 5*time.Second)
	c.Noun = cmp.Or(c.Noun, Sessions)
	if c.Exempt == nil {
		c.Exempt = netip.Addr.IsLoopback
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.c = c
	l.addresses.limit(max(c.Addresses, 0), c.RatePerAddress, float64(c.BurstPerAddress))
	for l.queue.Len() > 0 && (l.c.Sessions < 0 || l.sessions < l.c.Sessions) {
		l.sessions++
		l.grant()
	}
}

func def[T int | float64 | time.Duration](v *T, otherwise T) {
	if *v == 0 {
		*v = otherwise
	}
}

// Acquire counts a new session of a client, given by its [http.Request].RemoteAddr, until release is called;
// further calls do nothing. With Config.Wait it may block, until ctx ends at the latest. When the session may
// not be, release is nil and the answer says why.
func (l *Limiter) Acquire(ctx context.Context, remoteAddr string) (release func(), refusal *wsframe.Rejection) {
	addr, hasAddress := parse(remoteAddr)
	l.mu.Lock()
	now := time.Since(l.start)
	var of *entry
	if hasAddress && !l.c.Exempt(addr) {
		of = l.addresses.get(keyOf(addr))
	}
	refuse := func(status int, reason string, d time.Duration, text string) (func(), *wsframe.Rejection) {
		l.refused[reason]++
		l.addresses.put(of, now)
		rej := &wsframe.Rejection{Status: status, Reason: text, Err: fmt.Errorf("limit of %s", strings.Replace(reason, Sessions, l.c.Noun, 1))}
		rej = rej.RetryAfter(d)
		l.mu.Unlock()
		return nil, rej
	}
	// What the client itself is to blame for comes first, so that it takes nothing from others.
	if of != nil {
		if wait := of.take(now, l.c.RatePerAddress, float64(l.c.BurstPerAddress)); wait > 0 {
			return refuse(http.StatusTooManyRequests, RatePerAddress, wait, "too many connections in a short time")
		}
		if l.c.SessionsPerAddress >= 0 && of.sessions >= l.c.SessionsPerAddress {
			return refuse(http.StatusTooManyRequests, SessionsPerAddress, l.c.RetryAfter, "too many connections at once")
		}
	}
	if wait := l.all.take(now, l.c.Rate, float64(l.c.Burst)); wait > 0 {
		return refuse(http.StatusServiceUnavailable, Rate, wait, "server is busy")
	}
	if l.c.Sessions >= 0 && l.sessions >= l.c.Sessions {
		switch {
		case l.c.Wait <= 0:
			return refuse(http.StatusServiceUnavailable, Sessions, l.c.RetryAfter, "server is full")
		case l.queue.Len() >= l.c.Waiting:
			return refuse(http.StatusServiceUnavailable, Waiting, l.c.RetryAfter, "server is full and so is its queue")
		}
		if of != nil {
			of.sessions++
		}
		if !l.wait(ctx) {
			now = time.Since(l.start)
			if of != nil {
				of.sessions--
			}
			return refuse(http.StatusServiceUnavailable, Waiting, l.c.RetryAfter, "server is full")
		}
	} else {
		l.sessions++
		if of != nil {
			of.sessions++
		}
	}
	l.mu.Unlock()
	return sync.OnceFunc(func() { l.release(of) }), nil
}

// wait waits for a session to end and takes its place. The caller holds l.mu, before and after.
func (l *Limiter) wait(ctx context.Context) bool {
	w := &waiter{make(chan struct{})}
	place := l.queue.PushBack(w)
	timer := time.NewTimer(l.c.Wait)
	defer timer.Stop()
	l.mu.Unlock()
	select {
	case <-w.granted:
	case <-timer.C:
	case <-ctx.Done():
	}
	l.mu.Lock()
	select {
	case <-w.granted: // perhaps at the last moment
		return true
	default:
		l.queue.Remove(place)
		return false
	}
}

// grant gives a place that was counted already to whoever waits longest.
func (l *Limiter) grant() {
	w := l.queue.Remove(l.queue.Front()).(*waiter)
	close(w.granted)
}

func (l *Limiter) release(of *entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if of != nil {
		of.sessions--
		l.addresses.put(of, time.Since(l.start))
	}
	if l.queue.Len() > 0 && (l.c.Sessions < 0 || l.sessions <= l.c.Sessions) {
		l.grant()
	} else {
		l.sessions--
	}
}

// Stats is what a Limiter has counted.
type Stats struct {
	Sessions  int // that exist
	Waiting   int // for their turn
	Addresses int // that are remembered
	// Refused has the number of refusals by reason, such as [Rate].
	Refused map[string]uint64
}

// Stats returns the counters.
func (l *Limiter) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{Sessions: l.sessions, Waiting: l.queue.Len(), Addresses: len(l.addresses.entries), Refused: make(map[string]uint64)}
	for reason, n := range l.refused {
		s.Refused[reason] = n
	}
	return s
}

// Refused returns how many sessions were refused for a reason such as [Rate].
func (l *Limiter) Refused(reason string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused[reason]
}

// parse returns the address of a client, with or without a port. There is none for Unix sockets.
func parse(remoteAddr string) (netip.Addr, bool) {
	ap, err := netip.ParseAddrPort(remoteAddr)
	addr := ap.Addr()
	if err != nil {
		addr, err = netip.ParseAddr(remoteAddr)
	}
	return addr.Unmap().WithZone(""), err == nil
}

// keyOf returns what stands for a client: its IPv4 address or the /64 of its IPv6 address.
func keyOf(addr netip.Addr) netip.Addr {
	if addr.Is4() {
		return addr
	}
	prefix, _ := addr.Prefix(64) // cannot fail
	return prefix.Addr()
}
