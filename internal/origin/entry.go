package origin

import (
	"fmt"
	"strings"
)

// Entry is one line of a list of origins.
type Entry struct {
	null    bool
	scheme  string // lower case; empty: any (Parse: http or https)
	loose   bool   // an empty scheme means any scheme; other schemes have port 80
	host    string // without brackets and without the "*." of a pattern
	below   bool   // pattern: any host below host, not host itself
	anyPort bool
	port    string // empty without anyPort: the default port of the scheme
}

// Parse reads an entry of a list:
//
//	https://app.example.com       that origin, so port 443
//	https://app.example.com:8443  that origin
//	app.example.com               http or https, default port
//	app.example.com:8080          http or https, that port
//	app.example.com:*             http or https, any port
//	*.example.com                 every host below example.com, not itself
//	https://*.example.com:*       the same with scheme and port
//	null                          sandboxed frames and local files; any page
//	                              can become one of these
//
// Letter case does not matter. A path, a query, a user and stars elsewhere are
// errors, and so is a lone "*": [Policy.Any] says that.
func Parse(s string) (Entry, error) {
	if strings.EqualFold(s, "null") {
		return Entry{null: true}, nil
	}
	fail := func(why string) (Entry, error) {
		return Entry{}, fmt.Errorf("origin %q: %s", s, why)
	}
	var e Entry
	rest := s
	if scheme, after, ok := strings.Cut(s, "://"); ok {
		if !isScheme(scheme) {
			return fail("the part before :// is not a scheme")
		}
		e.scheme, rest = strings.ToLower(scheme), after
	}
	if host, ok := strings.CutSuffix(rest, ":*"); ok {
		e.anyPort, rest = true, host
	}
	if host, ok := strings.CutPrefix(rest, "*."); ok {
		e.below, rest = true, host
	}
	if strings.ContainsAny(rest, "/?#") {
		return fail("an origin ends after host and port")
	}
	if strings.ContainsAny(rest, "@ \t\\") {
		return fail("not a host")
	}
	if strings.IndexByte(rest, '*') >= 0 {
		return fail("a star may stand for the first labels of the host (*.example.com) or for the port (:*)")
	}
	host, port, ok := splitHostPort(rest)
	if !ok || host == "" || (e.anyPort && port != "") {
		return fail("not a host with an optional port")
	}
	if e.below && strings.IndexByte(host, ':') >= 0 {
		return fail("nothing is below an address")
	}
	e.host, e.port = host, port
	if e.scheme != "" && e.port == "" && !e.anyPort && defaultPort(e.scheme) == "" {
		e.anyPort = true // chrome-extension://id and the like have no ports
	}
	return e, nil
}

// ParseLoose reads an entry as websocketd does: without a port any port will
// do, also with a scheme; without a scheme any scheme will do; nothing is a
// pattern. ok is false for what can never match.
func ParseLoose(s string) (e Entry, ok bool) {
	if scheme, after, found := strings.Cut(s, "://"); found && scheme != "" {
		e.scheme, s = strings.ToLower(scheme), after
	}
	host, port, ok := splitHostPort(s)
	if !ok || host == "" {
		return Entry{}, false
	}
	e.loose, e.host, e.port, e.anyPort = true, host, port, port == ""
	return e, true
}

// HasScheme reports whether the entry names a scheme. One that does not lets
// pages in that came over plain http.
func (e Entry) HasScheme() bool { return e.scheme != "" || e.null }

func (e Entry) match(o origin, exact bool) bool {
	if e.null || e.host == "" {
		return false
	}
	if e.scheme != "" {
		if e.scheme != o.scheme {
			return false
		}
	} else if !e.loose && o.scheme != "http" && o.scheme != "https" {
		return false
	}
	if !e.anyPort && e.effectivePort(e.port, o.scheme) != e.effectivePort(o.port, o.scheme) {
		return false
	}
	if !e.below {
		return sameHost(e.host, o.host, exact)
	}
	cut := len(o.host) - len(e.host)
	return cut > 1 && o.host[cut-1] == '.' && sameHost(e.host, o.host[cut:], exact)
}

func (e Entry) effectivePort(port, scheme string) string {
	if port == "" {
		port = defaultPort(scheme)
	}
	if port == "" && e.loose {
		port = "80"
	}
	return port
}

// isScheme checks RFC 3986 section 3.1.
func isScheme(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		switch {
		case 'a' <= c && c <= 'z':
		case i > 0 && ('0' <= s[i] && s[i] <= '9' || s[i] == '+' || s[i] == '-' || s[i] == '.'):
		default:
			return false
		}
	}
	return s != ""
}
