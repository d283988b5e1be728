package backend

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
)

// Balance is how a [Set] spreads sessions. All ways respect the weights.
type Balance uint8

// The ways to spread sessions. Those that look at the request give equal requests to the same backend as long as it
// can take them, and otherwise to the next best one, which is the same for all of them as well; adding
// or removing a backend moves no more requests than it has to. Where the request lacks what they look
// at, the backend with the fewest sessions is taken.
const (
	// LeastConnections takes the backend with the fewest sessions; of equal ones each in its turn.
	LeastConnections Balance = iota
	// RoundRobin takes one after the other, heavy ones more often and evenly between.
	RoundRobin
	// HashPath looks at the path and the authority of the URL, not at the query.
	HashPath
	// HashClient looks at the address of the client.
	HashClient
	// HashHeader looks at the header line Config.HashName.
	HashHeader
	// HashCookie looks at the cookie Config.HashName.
	HashCookie
	// RandomTwo takes two at random, and of these the one with fewer sessions.
	RandomTwo
)

// Their names. Several have older ones, too.
var balanceNames = [...][]string{
	LeastConnections: {"least-connections", "least-connection", "fair"},
	RoundRobin:       {"round-robin"},
	HashPath:         {"hash"},
	HashClient:       {"sticky"},
	HashHeader:       {"header"},
	HashCookie:       {"cookie"},
	RandomTwo:        {"random"},
}

// ParseBalance reads the name of a way to spread sessions: "least-connections" (also "fair" and
// "least-connection"), "round-robin", "hash", "sticky", "header", "cookie" or "random".
func ParseBalance(name string) (Balance, error) {
	for b, names := range balanceNames {
		if slices.Contains(names, name) {
			return Balance(b), nil
		}
	}
	return 0, fmt.Errorf("balance %q: want least-connections, round-robin, hash, sticky, header, cookie or random", name)
}

func (b Balance) String() string {
	if int(b) < len(balanceNames) {
		return balanceNames[b][0]
	}
	return fmt.Sprintf("Balance(%d)", uint8(b))
}

// hashes reports whether b looks at the request.
func (b Balance) hashes() bool { return b >= HashPath && b <= HashCookie }

// key returns what b looks at, as a number, if r has it.
func (c *Config) key(r *http.Request) (key uint64, ok bool) {
	if r == nil {
		return 0, false
	}
	var s string
	switch c.Balance {
	case HashPath:
		return mix(hash(hash(hash(offset, r.URL.Path), "\x00"), strings.ToLower(r.Host))), true
	case HashClient:
		s = r.RemoteAddr
		if host, _, err := net.SplitHostPort(s); err == nil {
			s = host
		}
	case HashHeader:
		s = r.Header.Get(c.HashName)
	case HashCookie:
		if cookie, err := r.Cookie(c.HashName); err == nil {
			s = cookie.Value
		}
	}
	return mix(hash(offset, s)), s != ""
}

// choose picks one of c, which is not empty. It may reorder c. s.mu is held.
func (s *Set) choose(c []*member, t *try) *member {
	switch {
	case t.keyed:
		return highest(c, t.key)
	case s.c.Balance == RandomTwo:
		return randomTwo(c)
	case s.c.Balance == RoundRobin:
		return inTurn(c)
	}
	return fewest(c)
}

// busier reports whether a has more sessions than b, as their weights go.
func busier(a, b *member) bool { return a.active*b.weight > b.active*a.weight }

// fewest takes turns among those with the fewest sessions. So idle backends get work in the proportion of
// their weights, too, and the first one not everything.
func fewest(c []*member) *member {
	best := c[:1]
	for _, m := range c[1:] {
		switch {
		case busier(best[0], m):
			c[0], best = m, c[:1]
		case !busier(m, best[0]):
			best = append(best, m) // in c, at or in front of where m was
		}
	}
	return inTurn(best)
}

// inTurn is smooth weighted round robin: everybody gains credit by weight, and who has most pays for all.
func inTurn(c []*member) *member {
	best, total := c[0], 0
	for _, m := range c {
		m.credit += m.weight
		total += m.weight
		if m.credit > best.credit {
			best = m
		}
	}
	best.credit -= total
	return best
}

func randomTwo(c []*member) *member {
	i := random(c)
	if len(c) == 1 {
		return c[i]
	}
	a := c[i]
	c[i] = c[len(c)-1]
	if b := c[random(c[:len(c)-1])]; busier(a, b) {
		return b
	}
	return a
}

// random returns the index of one of c.
func random(c []*member) int {
	total := 0
	for _, m := range c {
		total += m.weight
	}
	n := rand.IntN(total)
	for i, m := range c {
		if n -= m.weight; n < 0 {
			return i
		}
	}
	return 0
}

// highest is weighted rendezvous hashing: each backend draws a number from the key, and the highest wins. What the
// others draw does not change when one comes or goes.
func highest(c []*member, key uint64) *member {
	var best *member
	most := math.Inf(-1)
	for _, m := range c {
		// A number in (0, 1), from 53 bits. -ln is distributed exponentially; the smallest quotient of it and
		// the weight belongs to a backend with the probability of its share.
		u := (float64(mix(key^m.hash)>>11) + 0.5) / (1 << 53)
		if score := float64(m.weight) / -math.Log(u); score > most {
			best, most = m, score
		}
	}
	return best
}

// offset is what hash begins with.
const offset = 14695981039346656037

// hash is FNV-1a, 64 bits. It must be the same everywhere and at all times, or a restart would move all sessions.
func hash(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// mix makes every bit depend on all others, which FNV does not: similar addresses have similar hashes. It is the
// finalizer of SplitMix64.
func mix(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
