// Package origin decides which web pages may open a WebSocket.
//
// Browsers let every page connect to every server, and send cookies along.
// All they do for us is to name the page's origin in the Origin header. A
// server that does not look at it is open to each page its users visit, also
// when it listens on loopback only. Programs other than browsers send no
// Origin, or whatever they like: the check protects users of browsers and is
// no authentication.
//
// A [Policy] is the rule. Its zero value lets in pages of the same origin and
// clients that send no Origin at all.
package origin

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Policy says which origins may connect. The zero value admits pages whose
// host and port are those of the request's Host header, over TLS only secure
// ones, and requests without an Origin.
//
// A Policy is read only while in use; all methods may be called concurrently.
type Policy struct {
	// Any admits every origin that is one, unless Same is SameRequired or
	// Allow has entries. Dangerous: any web page can talk to the server in
	// the name of its visitor.
	Any bool
	// Allow lists origins that may connect, made by [Parse] or [ParseLoose].
	Allow []Entry
	// Same says what being of the same origin is worth.
	Same Same
	// RefuseMissing refuses requests that have no Origin, or an empty one:
	// clients that are not browsers, unless they send one.
	RefuseMissing bool
	// SchemeByTLS changes how same origin is found: the Host header's port
	// defaults to 443 on TLS connections and to 80 on others, and schemes
	// are not compared. That is right for a server that is reached directly
	// and wrong behind a proxy that ends TLS. By default the missing port of
	// the Host header is that of the origin's scheme, and a page that came
	// over http is not of the same origin as a server that speaks TLS.
	SchemeByTLS bool
	// Secure reports whether the client speaks TLS, for a server that learnt it
	// from a trusted proxy. Nil: when the connection itself is TLS.
	Secure func(*http.Request) bool
	// CaseSensitive compares host names byte by byte. Browsers send lower
	// case. The default ignores case, as names are compared in DNS.
	CaseSensitive bool
	// Settings names the settings behind this policy, for the error messages.
	Settings Settings
}

// Settings are the names under which the user knows the fields of a [Policy].
type Settings struct {
	// Allow is the name of the list. Empty: "origins".
	Allow string
	// Same is what makes Same required. Empty: "same-origin only".
	Same string
	// Missing is what sets RefuseMissing. Empty: "refuse missing origins".
	Missing string
}

// Same says how much it counts that a page is of the same origin.
type Same uint8

const (
	// SameAllowed admits pages of the same origin, in addition to Allow.
	SameAllowed Same = iota
	// SameRequired refuses all other pages; with entries in Allow a page must
	// satisfy both.
	SameRequired
	// SameIgnored leaves the decision to Allow (and Any).
	SameIgnored
)

// Error reports a refused origin.
type Error struct {
	// Status is the answer: 403 Forbidden (RFC 6455 section 4.2.2, step 4), or
	// 400 Bad Request when it is not clear what the origin is, because the
	// request has none or several.
	Status int
	// Origin is what the client sent; empty if it sent none.
	Origin string
	// Reason says why it was refused.
	Reason string
	// Hint says which setting would admit it; empty when none would.
	Hint string
}

// Error gives the origin, the reason and the hint in one line.
func (e *Error) Error() string {
	s := "request without an origin"
	if e.Origin != "" {
		s = fmt.Sprintf("origin %q", e.Origin)
	}
	s += " refused: " + e.Reason
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Check returns nil when r may connect, else an [*Error]. It looks at the
// headers Origin and Host and at whether the connection is TLS.
//
// Several Origin headers are one too many: they are refused.
func (p *Policy) Check(r *http.Request) error {
	values := r.Header.Values("Origin")
	if len(values) > 1 {
		return &Error{Status: http.StatusBadRequest, Origin: strings.Join(values, ", "), Reason: "more than one Origin header"}
	}
	if len(values) == 0 || values[0] == "" {
		return p.checkMissing()
	}
	raw := values[0]
	if raw == "null" {
		return p.checkNull()
	}
	o, err := parseOrigin(raw)
	if err != nil {
		return &Error{Status: http.StatusForbidden, Origin: raw, Reason: err.Error()}
	}

	same := p.isSame(o, r)
	if p.Same == SameRequired && !same {
		return &Error{Status: http.StatusForbidden, Origin: raw, Reason: "not the origin of " + quoteHost(r), Hint: "switch off " + or(p.Settings.Same, "same-origin only") + " to admit it"}
	}
	if p.listed(o) {
		return nil
	}
	switch {
	case len(p.Allow) == 0 && p.Same == SameRequired:
		return nil // it is the same, see above
	case p.Same == SameAllowed && same:
		return nil
	case len(p.Allow) == 0 && p.Any:
		return nil
	}
	reason := "not in the list"
	if p.Same == SameAllowed {
		reason = "neither the origin of " + quoteHost(r) + " nor in the list"
	}
	return &Error{Status: http.StatusForbidden, Origin: raw, Reason: reason, Hint: p.hint(o.String())}
}

// checkMissing decides about clients that are no browsers.
func (p *Policy) checkMissing() error {
	if !p.RefuseMissing {
		return nil
	}
	return &Error{Status: http.StatusBadRequest, Reason: "clients must send one", Hint: "switch off " + or(p.Settings.Missing, "refuse missing origins") + " to admit it"}
}

// checkNull decides about sandboxed frames, local files and redirected
// requests. Any page can make itself such an origin, so it must be listed in
// so many words, or everybody must be welcome.
func (p *Policy) checkNull() error {
	for _, e := range p.Allow {
		if e.null && p.Same != SameRequired {
			return nil
		}
	}
	if p.Any && len(p.Allow) == 0 && p.Same != SameRequired {
		return nil
	}
	err := &Error{Status: http.StatusForbidden, Origin: "null", Reason: "any page can have this origin", Hint: p.hint("null")}
	if p.Same == SameRequired {
		err.Hint = "switch off " + or(p.Settings.Same, "same-origin only") + " to admit it"
	}
	return err
}

func (p *Policy) listed(o origin) bool {
	for _, e := range p.Allow {
		if e.match(o, p.CaseSensitive) {
			return true
		}
	}
	return false
}

// isSame compares the origin with the Host header.
func (p *Policy) isSame(o origin, r *http.Request) bool {
	host, port, ok := splitHostPort(r.Host)
	if !ok || host == "" {
		return false
	}
	if port == "" {
		switch {
		case !p.SchemeByTLS:
			port = defaultPort(o.scheme)
		case p.secure(r):
			port = "443"
		default:
			port = "80"
		}
	}
	originPort := o.port
	if originPort == "" {
		originPort = defaultPort(o.scheme)
		if originPort == "" && p.SchemeByTLS {
			originPort = "80"
		}
	}
	if !p.SchemeByTLS {
		if o.scheme != "http" && o.scheme != "https" {
			return false // no page of ours has another scheme
		}
		if p.secure(r) && o.scheme != "https" {
			return false
		}
	}
	return sameHost(o.host, host, p.CaseSensitive) && originPort == port
}

func (p *Policy) secure(r *http.Request) bool {
	if p.Secure != nil {
		return p.Secure(r)
	}
	return r.TLS != nil
}

func (p *Policy) hint(entry string) string {
	return fmt.Sprintf("add %q to %s to admit it", entry, or(p.Settings.Allow, "origins"))
}

func or(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

func quoteHost(r *http.Request) string {
	if r.Host == "" {
		return "this server"
	}
	return fmt.Sprintf("%q", r.Host)
}

// origin is a parsed Origin header (RFC 6454 section 7).
type origin struct {
	scheme string // lower case
	host   string // as sent, without brackets
	port   string // empty if not given
}

func (o origin) String() string {
	s := o.host
	if strings.IndexByte(s, ':') >= 0 {
		s = "[" + s + "]"
	}
	if o.port != "" {
		s += ":" + o.port
	}
	return o.scheme + "://" + s
}

// parseOrigin accepts scheme://host[:port] and what else has a scheme
// ("file:", "chrome-extension://id"); a path is tolerated and ignored. A user
// is not: no browser sends one, and it may look like a host.
func parseOrigin(s string) (origin, error) {
	u, err := url.ParseRequestURI(s)
	if err != nil || u.User != nil {
		return origin{}, fmt.Errorf("not an origin")
	}
	host, port, ok := splitHostPort(u.Host)
	if !ok {
		return origin{}, fmt.Errorf("not an origin")
	}
	return origin{scheme: strings.ToLower(u.Scheme), host: host, port: port}, nil
}

func defaultPort(scheme string) string {
	switch scheme {
	case "http", "ws":
		return "80"
	case "https", "wss":
		return "443"
	}
	return ""
}

func sameHost(a, b string, exact bool) bool {
	if exact {
		return a == b
	}
	return strings.EqualFold(a, b)
}

// splitHostPort splits host[:port] and [v6][:port]. The host comes without
// brackets; an absent or empty port is "".
func splitHostPort(s string) (host, port string, ok bool) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", "", false
		}
		host, s = s[1:end], s[end+1:]
		if strings.IndexByte(host, ':') < 0 {
			return "", "", false
		}
	} else {
		end := strings.IndexByte(s, ':')
		if end < 0 {
			return s, "", true
		}
		host, s = s[:end], s[end:]
	}
	if s == "" {
		return host, "", true
	}
	if s[0] != ':' {
		return "", "", false
	}
	port = s[1:]
	if len(port) > 5 || strings.Trim(port, "0123456789") != "" {
		return "", "", false
	}
	return host, port, true
}
