package origin

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/wspawn/wspawn/internal/glob"
)

// Entry is one line of a list of origins.
type Entry struct {
	null    bool
	scheme  string // lower case; empty: any (Parse: http or https)
	loose   bool   // an empty scheme means any scheme; other schemes have port 80
	host    string // without brackets and without the "*." of a pattern
	below   bool   // any host below host, not host itself
	pattern bool   // scheme, host and port are patterns
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
//	https://app-?.*.com:80*       a pattern: "*" any characters, also none, "?" one
//	null                          sandboxed frames and local files; any page
//	                              can become one of these
//
// Scheme, host and port are compared each for itself, so no pattern ever
// matches across them, or a path. Letter case does not matter. A path, a query,
// a user and a host in other letters than those of ASCII are errors, and so is a lone "*": [Policy.Any] says that.
// [Entry.Warning] knows of patterns that admit more than they seem to.
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
		if !isScheme(strings.NewReplacer("*", "x", "?", "x").Replace(scheme)) {
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
	if strings.ContainsAny(rest, "/#=&") {
		return fail("an origin ends after host and port")
	}
	if strings.ContainsAny(rest, "@ \t\\") {
		return fail("not a host")
	}
	if strings.ContainsFunc(rest, func(r rune) bool { return r > unicode.MaxASCII }) {
		return fail("browsers send such names in another form, as xn--bcher-kva.example; write that")
	}
	e.pattern = glob.Has(e.scheme) || glob.Has(rest)
	if e.pattern && e.below {
		e.below, rest = false, "*."+rest
	}
	// With digits in place of "*" and "?", a pattern is as good a host and port as any.
	host, port, ok := splitHostPort(strings.NewReplacer("*", "0", "?", "0").Replace(rest))
	if !ok || host == "" || (e.anyPort && port != "") {
		return fail("not a host with an optional port")
	}
	host, port = strings.TrimPrefix(rest, "[")[:len(host)], rest[len(rest)-len(port):]
	if host == "*" && e.scheme == "" {
		return fail("this would be every page; to admit all of them has a setting of its own")
	}
	if e.below && strings.IndexByte(host, ':') >= 0 {
		return fail("nothing is below an address")
	}
	e.host, e.port = host, port
	if e.pattern {
		e.host = strings.ToLower(host)
	} else if e.scheme != "" && e.port == "" && !e.anyPort && defaultPort(e.scheme) == "" {
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

// Warning says, for people, why an entry admits more pages than its author may
// have had in mind; "" for most.
func (e Entry) Warning() string {
	host := e.host
	if e.below {
		host = "*." + host
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	switch {
	case e.null:
		return "any page can make itself an origin that is null"
	case !glob.Has(host):
		return ""
	case strings.Trim(host, "*?.") == "":
		return "admits pages of every site"
	case e.below && !strings.Contains(e.host, ".") && e.host != "localhost", glob.Has(last):
		return "admits pages of everybody who can have a name there"
	case strings.HasPrefix(host, "*") && host[1] != '.' && host[1] != '*' && host[1] != '?':
		return fmt.Sprintf("admits pages of evil%s as well; %q does not", host[1:], "*."+strings.TrimLeft(host, "*-"))
	}
	return ""
}

// HasScheme reports whether the entry names a scheme. One that does not lets
// pages in that came over plain http.
func (e Entry) HasScheme() bool { return e.scheme != "" && !glob.Has(e.scheme) || e.null }

func (e Entry) match(o origin, exact bool) bool {
	if e.null || e.host == "" {
		return false
	}
	if e.pattern {
		return e.matchPattern(o, exact)
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

func (e Entry) matchPattern(o origin, exact bool) bool {
	if e.scheme == "" {
		if o.scheme != "http" && o.scheme != "https" {
			return false
		}
	} else if !glob.Match(e.scheme, o.scheme) {
		return false
	}
	if !e.anyPort && !glob.Match(e.effectivePort(e.port, o.scheme), e.effectivePort(o.port, o.scheme)) {
		return false
	}
	host := o.host
	if !exact {
		host = strings.ToLower(host)
	}
	// "file:" has no host, and no name begins with a dot.
	return host != "" && host[0] != '.' && glob.Match(e.host, host)
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
