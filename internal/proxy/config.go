package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/wspawn/wspawn/internal/backend"
)

// The defaults of [Config].
const (
	DefaultMaxHeader = 64 << 10
	DefaultTimeout   = 60 * time.Second
	DefaultKeepAlive = 4 * time.Second
	DefaultMaxIdle   = 64
)

// Forwarding says what backends are told about the way of a request.
type Forwarding uint8

// The ways to tell it. In all of them nothing is passed on that a peer said who is not trusted.
const (
	// ForwardAppend adds this hop to what a trusted peer said, and says it alone for others.
	ForwardAppend Forwarding = iota
	// ForwardReplace names this hop alone, whatever came.
	ForwardReplace
	// ForwardDrop says nothing.
	ForwardDrop
)

// Config says where requests go and what is done to them. Only Backends is needed.
type Config struct {
	// Backends are whom requests go to. Starting and closing the set is left to its owner.
	Backends *backend.Set

	// Upgrade lets backends take over the connection with a 101 answer. Off, they never see an Upgrade
	// line, and a 101 is an error.
	Upgrade bool

	// Host is the host that backends are asked for. "" = that of the client.
	Host string

	// StripPrefix is taken off the path, as "/app"; paths that do not begin with it, as a whole segment, get 404.
	// Backends are told of it in X-Forwarded-Prefix. AddPrefix is put before what is left. "" = none. The other
	// way round for where an answer sends the client, as long as that is the same host and AddPrefix.
	StripPrefix, AddPrefix string

	// Header is set in each request, in place of what the client sent, also of names that differ only in "_" and
	// "-". A name without values is removed.
	Header http.Header

	// Forwarding is what becomes of X-Forwarded-For, -Proto, -Host, -Prefix and Forwarded. The zero value is
	// ForwardAppend.
	Forwarding Forwarding

	// Trust reports whether the peer that sent r may say who the client is. nil = nobody may.
	Trust func(r *http.Request) bool

	// Peer returns the address of the other end of the connection, and Scheme what the client speaks, "http" or "https", for
	// requests whose RemoteAddr is that of the client behind a trusted peer. nil = RemoteAddr, and whether there is TLS.
	Peer, Scheme func(r *http.Request) string

	// ReadTimeout is how long a backend may say nothing, counted from the end of the request body, and
	// WriteTimeout how long it may take nothing of that body. Then the answer is 504, or, where an answer is
	// under way already, the connection is cut. 0 = 60 s, negative = no limit. Tunnels have neither.
	ReadTimeout, WriteTimeout time.Duration

	// ClientTimeout is how long the client may send nothing of a request body (408), or take nothing of
	// the answer (the connection is cut). 0 = 60 s, negative = no limit. Tunnels have none.
	ClientTimeout time.Duration

	// IdleTimeout ends tunnels that were silent in both directions for so long (and at most twice
	// so long). MaxLife ends them in any case. 0 = no limit.
	IdleTimeout, MaxLife time.Duration

	// Expires returns when what allowed a request ends, as the login of its client: a tunnel ends then. Nil, and
	// the zero time: never.
	Expires func(r *http.Request) time.Time

	// HalfTimeout is how long a tunnel may be silent when one of its directions has ended. 0 = 10 s,
	// negative = no limit.
	HalfTimeout time.Duration

	// MaxHeader bounds the head of a response, in bytes. Over it the answer is 502. 0 = 64 KiB.
	MaxHeader int

	// MaxBody bounds request bodies, in bytes; over it the answer is 413. Bodies are never stored,
	// whatever their size. 0 = no limit.
	MaxBody int64

	// KeepAlive is how long an unused connection to a backend is kept. 0 = 4 s, since many servers close
	// theirs after 5 s, and a POST that meets that moment could not be repeated. Negative = none is kept.
	KeepAlive time.Duration
	// MaxIdle bounds the unused connections to one backend. 0 = 64.
	MaxIdle int

	// Log gets a line for each tunnel at its start and end, and one for each request that failed. nil = none.
	Log *slog.Logger
}

func (c *Config) check() error {
	switch {
	case c.Backends == nil:
		return errors.New("proxy: no backends")
	case c.Forwarding > ForwardDrop:
		return fmt.Errorf("proxy: unknown forwarding %d", c.Forwarding)
	}
	for _, prefix := range []string{c.StripPrefix, c.AddPrefix} {
		if prefix != "" && (prefix[0] != '/' || strings.HasSuffix(prefix, "/")) {
			return fmt.Errorf("proxy: prefix %q: want a slash before it and none behind", prefix)
		}
	}
	return nil
}
