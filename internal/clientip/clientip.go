// Package clientip finds out who the client of a request is when there are proxies in between.
//
// Everybody can send X-Forwarded-For. It is believed only from peers that are trusted, and only as far
// back as those vouch for one another; from all others such fields are removed, so that nothing behind
// can believe them by mistake. What was found replaces the peer in [http.Request].RemoteAddr, where
// everything that comes after looks: limits, logs, the environment of programs. [Peer] still has the
// other end of the connection, [Scheme] what the client speaks, and [Trusted] whether a proxy said so. Where that is
// asked for, the host that the client wanted replaces that of the proxy's own request in Host.
package clientip

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/wsframe"
)

// Config says whom to believe. The zero value believes nobody, and removes what is not believed.
type Config struct {
	// Trusted are the proxies, in the forms of [ParsePeers]. Empty: none.
	Trusted []string
	// Header are the fields that may name the client, of which the first that is there counts. Empty:
	// X-Forwarded-For alone. A field that the proxy does not write itself comes from the client as
	// it is: list only what your proxy overwrites or, with the two lists, appends to.
	//
	// X-Forwarded-For, everything else that ends so, and Forwarded (RFC 7239) are lists, walked from
	// their end over trusted hops to the first that is not. Any other field, as X-Real-IP or
	// CF-Connecting-IP, is one address.
	Header []string
	// SchemeHeader is the field that says whether the client speaks "http" or "https". Empty:
	// X-Forwarded-Proto. The client of Forwarded has its scheme there too, and this field does not count.
	SchemeHeader string
	// HostHeader is the field that says which host the client asked for, as X-Forwarded-Host; it then counts in place of
	// Host. Empty: Host counts. The client of Forwarded has its host there too, which counts only with a HostHeader, and
	// then in place of that field. Many proxies hand on an X-Forwarded-Host of the client as it is. Hosts decide about
	// routes, so name only a field that your proxy writes itself; and check the host that it sent as well, since a page
	// can send this field to a server that it has bound its own name to (see package hostname).
	HostHeader string
	// Strict refuses requests of trusted peers with 400 when the field is missing or malformed, a scheme or a host is
	// malformed, or the client is named by a word ("unknown", "_hidden"). By default the peer is the client then, which is what the
	// questions of the proxy itself need, and what a client may want that can make the proxy drop or
	// spoil the field: be strict where addresses decide about more than limits.
	Strict bool
	// Remove are fields that are removed when the peer is not trusted, beside those of Header,
	// SchemeHeader and HostHeader; one that ends in "*" stands for all that begin so. Spellings of them with "_" are
	// removed from everybody. Nil: [DefaultRemove], empty: none.
	Remove []string
	// Log gets a line for each refusal of [Resolver.Handler], at level Warn. Nil logs nothing.
	Log *slog.Logger
}

// DefaultRemove is what tells programs about the client, one way or another.
var DefaultRemove = []string{
	"Forwarded", "X-Forwarded*", "X-Original-Forwarded-For", "X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP",
	"True-Client-IP", "CF-Connecting-IP", "Fastly-Client-IP",
}

// A Resolver finds the client. Its methods may be called at the same time.
type Resolver struct {
	trusted Peers
	header  []string // canonical
	scheme  string
	host    string // "": none
	strict  bool
	remove  []string // folded
	log     *slog.Logger
}

// New checks c. Its errors name every entry that is wrong.
func New(c Config) (*Resolver, error) {
	trusted, err := ParsePeers(c.Trusted)
	if err != nil {
		return nil, err
	}
	s := &Resolver{trusted: trusted, scheme: "X-Forwarded-Proto", strict: c.Strict, log: c.Log}
	if c.SchemeHeader != "" {
		s.scheme = textproto.CanonicalMIMEHeaderKey(c.SchemeHeader)
	}
	for _, h := range c.Header {
		s.header = append(s.header, textproto.CanonicalMIMEHeaderKey(h))
	}
	if s.header == nil {
		s.header = []string{forwardedFor}
	}
	if c.HostHeader != "" {
		s.host = textproto.CanonicalMIMEHeaderKey(c.HostHeader)
	}
	remove := c.Remove
	if remove == nil {
		remove = DefaultRemove
	}
	for _, name := range slices.Concat(remove, s.header, []string{s.scheme, s.host}) {
		if name != "" {
			s.remove = append(s.remove, fold(name))
		}
	}
	return s, nil
}

const forwardedFor = "X-Forwarded-For"

// found is what is known about the client of a request.
type found struct {
	peer    string
	scheme  string
	trusted bool
}

type key struct{}

// Peer returns the address of the other end of the connection as net/http had it, "" if no [Resolver]
// has seen the request.
func Peer(ctx context.Context) string {
	f, _ := ctx.Value(key{}).(*found)
	if f == nil {
		return ""
	}
	return f.peer
}

// Trusted reports whether the peer is a proxy that is believed.
func Trusted(ctx context.Context) bool {
	f, _ := ctx.Value(key{}).(*found)
	return f != nil && f.trusted
}

// Scheme returns "https" or "http": what the client speaks, as far as is known.
func Scheme(r *http.Request) string {
	if f, _ := r.Context().Value(key{}).(*found); f != nil && f.scheme != "" {
		return f.scheme
	}
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// Handler resolves requests for next. It answers 400 where [Resolver.Resolve] has an error.
func (s *Resolver) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resolved, err := s.Resolve(r)
		if err != nil {
			if s.log != nil {
				s.log.Warn("request refused", "remote", r.RemoteAddr, "status", err.Status, "reason", err.Reason, "err", err.Err)
			}
			err.Write(w)
			return
		}
		next.ServeHTTP(w, resolved)
	})
}

// Resolve returns a copy of r whose RemoteAddr is the client's address and port; port 0 is one that nobody
// told. Its Host is what the client asked for, with HostHeader. The error, with Strict only, is an answer with status 400.
func (s *Resolver) Resolve(r *http.Request) (*http.Request, *wsframe.Rejection) {
	f := &found{peer: r.RemoteAddr, trusted: s.trusted.Contain(r.RemoteAddr)}
	out := r.WithContext(context.WithValue(r.Context(), key{}, f))
	out.Header = s.without(r.Header, f.trusted)
	if !f.trusted {
		return out, nil
	}
	what, err := s.ask(r.Header)
	if err != nil && s.strict {
		return nil, &wsframe.Rejection{
			Status: http.StatusBadRequest, Reason: "the proxy does not say who the client is",
			Err: fmt.Errorf("trusted proxy %s: %w", r.RemoteAddr, err),
		}
	}
	if what.client.IsValid() {
		out.RemoteAddr = what.client.String()
		out = out.WithContext(cgi.WithVars(out.Context(), peerVars(r.RemoteAddr)...))
	}
	if what.host != "" {
		out.Host = what.host
	}
	if f.scheme = what.scheme; what.scheme != "" {
		out = out.WithContext(cgi.WithVars(out.Context(), schemeVars(r, what.scheme)...))
	}
	return out, nil
}

// peerVars names the proxy to programs, beside REMOTE_ADDR and REMOTE_PORT of the client.
func peerVars(peer string) []cgi.Var {
	host, port, err := net.SplitHostPort(peer)
	if err != nil {
		return []cgi.Var{{Name: "PEER_ADDR", Value: "unix:"}} // as REMOTE_ADDR has it
	}
	return []cgi.Var{{Name: "PEER_ADDR", Value: host}, {Name: "PEER_PORT", Value: port}}
}

// schemeVars describes the scheme to programs. Those that only look whether HTTPS is there know "off" as well.
func schemeVars(r *http.Request, scheme string) []cgi.Var {
	vars := []cgi.Var{{Name: "REQUEST_SCHEME", Value: scheme}}
	switch {
	case scheme == "https":
		vars = append(vars, cgi.Var{Name: "HTTPS", Value: "on"})
	case r.TLS != nil:
		vars = append(vars, cgi.Var{Name: "HTTPS", Value: "off"})
	}
	return vars
}

// said is what a proxy says about a client. What is zero it does not say.
type said struct {
	client       netip.AddrPort
	scheme, host string
}

// ask reads the fields that count. Each part of the answer is good also when others are not.
func (s *Resolver) ask(h http.Header) (what said, err error) {
	for _, name := range s.header {
		hops := items(h[name])
		if len(hops) == 0 {
			continue
		}
		if name == "Forwarded" {
			return s.fromForwarded(h[name])
		}
		at := 0
		if strings.HasSuffix(name, "Forwarded-For") {
			what.client, at, err = s.walk(len(hops), func(i int) (netip.AddrPort, error) { return parseNode(hops[i]) })
		} else if len(hops) != 1 {
			err = fmt.Errorf("%d addresses", len(hops))
		} else {
			what.client, err = parseNode(hops[0])
		}
		if err != nil {
			err = fmt.Errorf("header %s: %w", name, err)
		}
		return what, cmp.Or(err, s.beside(&what, h, at, len(hops)))
	}
	err = s.beside(&what, h, 0, 0)
	return what, cmp.Or(err, fmt.Errorf("no %s", strings.Join(s.header, ", no ")))
}

// beside reads what has fields of its own.
func (s *Resolver) beside(what *said, h http.Header, at, hops int) (err error) {
	var hostErr error
	what.scheme, err = s.schemeAt(h, at, hops)
	what.host, hostErr = s.hostAt(h, at, hops)
	return cmp.Or(err, hostErr)
}

// walk goes from the last of n hops to the first that is not trusted: what is before it is hearsay. When all
// are trusted, the first is the client.
func (s *Resolver) walk(n int, hop func(int) (netip.AddrPort, error)) (client netip.AddrPort, at int, err error) {
	for at = n - 1; at >= 0; at-- {
		if client, err = hop(at); err != nil {
			return netip.AddrPort{}, at, err
		}
		if s.trusted.ContainAddr(client.Addr()) {
			continue
		}
		return client, at, nil
	}
	return client, 0, nil
}

// schemeAt takes the scheme of the hop that named the client when there are as many as hops, and else the last,
// which is what the nearest proxy wrote.
func (s *Resolver) schemeAt(h http.Header, at, hops int) (string, error) {
	scheme := pick(items(h[s.scheme]), at, hops)
	if scheme == "" {
		return "", nil
	}
	return parseScheme(scheme)
}

// pick returns the element of a hop, or the last if there are not as many as hops; "" of an empty list.
func pick(list []string, at, hops int) string {
	if len(list) == 0 {
		return ""
	}
	if len(list) != hops {
		at = len(list) - 1
	}
	return list[max(at, 0)]
}

func parseScheme(s string) (string, error) {
	switch strings.ToLower(s) {
	case "http", "ws":
		return "http", nil
	case "https", "wss":
		return "https", nil
	}
	return "", fmt.Errorf("unknown scheme %q", s)
}

// without returns h less what is to be removed. Programs cannot tell X_Real_IP from X-Real-IP, so neither do we: of a
// trusted proxy, which would write the latter, the former came from its client.
func (s *Resolver) without(h http.Header, trusted bool) http.Header {
	var gone []string
	for name := range h {
		if trusted && !strings.Contains(name, "_") {
			continue
		}
		folded := fold(name)
		for _, r := range s.remove {
			if prefix, ok := strings.CutSuffix(r, "*"); folded == r || ok && strings.HasPrefix(folded, prefix) {
				gone = append(gone, name)
				break
			}
		}
	}
	if gone == nil {
		return h
	}
	left := h.Clone()
	for _, name := range gone {
		delete(left, name)
	}
	return left
}

func fold(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

// items splits lists that may be spread over several lines (RFC 9110, section 5.6.1.2).
func items(lines []string) []string {
	var all []string
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			if item = strings.Trim(item, " \t"); item != "" {
				all = append(all, item)
			}
		}
	}
	return all
}

// parseNode reads an address with or without a port: "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80".
func parseNode(s string) (netip.AddrPort, error) {
	host, port := s, uint16(0)
	if strings.HasPrefix(s, "[") || strings.Count(s, ":") == 1 {
		if strings.HasSuffix(s, "]") {
			s += ":0"
		}
		h, p, err := net.SplitHostPort(s)
		if err != nil || strings.HasPrefix(s, "[") != strings.Contains(h, ":") {
			return netip.AddrPort{}, fmt.Errorf("%q is no address", s)
		}
		// RFC 7239, section 6: a port may be hidden, which makes the address no worse.
		if !strings.HasPrefix(p, "_") {
			ap, err := netip.ParseAddrPort("0.0.0.0:" + p)
			if err != nil {
				return netip.AddrPort{}, fmt.Errorf("%q has no good port", s)
			}
			port = ap.Port()
		}
		host = h
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", s)
	}
	return netip.AddrPortFrom(addr.Unmap(), port), nil
}
