package main

import (
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/wspawn/wspawn/internal/origin"
	"github.com/wspawn/wspawn/wsframe"
)

// originPolicy expresses --sameorigin and --origin. Without either every
// origin may connect, and so may clients that send none.
func originPolicy(c *config) origin.Policy {
	restricted := c.sameOrigin || c.origins != nil
	p := origin.Policy{
		Any:           c.origins == nil,
		Same:          origin.SameIgnored,
		RefuseMissing: restricted,
		SchemeByTLS:   true,
		CaseSensitive: true,
		Settings:      origin.Settings{Allow: "--origin", Same: "--sameorigin", Missing: "--origin and --sameorigin"},
	}
	if c.sameOrigin {
		p.Same = origin.SameRequired
	}
	for _, s := range c.origins {
		// What is no origin cannot match one. The list stays a list.
		if e, ok := origin.ParseLoose(s); ok {
			p.Allow = append(p.Allow, e)
		}
	}
	if c.origins != nil && len(p.Allow) == 0 {
		p.Allow = []origin.Entry{{}} // matches nothing
	}
	return p
}

// schemeless returns the entries of --origin that also let in pages that came
// over plain HTTP.
func schemeless(origins []string) []string {
	return slices.DeleteFunc(slices.Clone(origins), func(s string) bool {
		e, ok := origin.ParseLoose(s)
		return !ok || e.HasScheme()
	})
}

// checkOrigin is the hook of the handshake.
func (s *server) checkOrigin(r *wsframe.Request) error {
	q := sessionOf(r.Request)
	q.scope = q.scope.with("origin", originName(r.Origin, s.c.origins != nil))
	if err := s.origins.Check(r.Request); err != nil {
		return &wsframe.Rejection{Status: http.StatusForbidden, Reason: "origin not allowed", Err: err}
	}
	return nil
}

// originName is how log lines call an origin. Clients without one have that
// of local files.
func originName(o string, listed bool) string {
	if o == "" || o == "null" && !listed {
		return "file:"
	}
	if u, err := url.ParseRequestURI(o); err == nil {
		return u.String()
	}
	return o
}

// upgradeHeader returns the header lines of the answer that opens a WebSocket,
// without those that the handshake makes itself.
func (s *server) upgradeHeader() http.Header {
	h := make(http.Header)
	for _, from := range []http.Header{s.c.headers, s.c.headersWS} {
		for name, values := range from {
			name = textproto.CanonicalMIMEHeaderKey(name)
			switch {
			case name == "Sec-Websocket-Protocol":
				continue // see selectProtocol
			case !isToken(name) || strings.HasPrefix(name, "Sec-Websocket-") || slices.Contains(ownHeaders, name):
				s.log.scope().error("server", "Header %q is not sent with WebSocket answers: the name is not possible there", name)
				continue
			}
			for _, v := range values {
				h.Add(name, oneLine(v))
			}
		}
	}
	return h
}

// ownHeaders belong to the connection.
var ownHeaders = []string{"Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// selectProtocol makes the subprotocol of connections what the option
// --header-ws "Sec-WebSocket-Protocol: x" says, for clients that ask for it. To
// others none may be named (RFC 6455 section 4.1).
func (s *server) selectProtocol() func(*wsframe.Request) string {
	const name = "Sec-Websocket-Protocol"
	values := append(slices.Clone(s.c.headersWS.Values(name)), s.c.headers.Values(name)...)
	for i := range values {
		values[i] = strings.TrimSpace(values[i])
	}
	return func(r *wsframe.Request) string {
		for _, v := range values {
			if _, ok := r.Offers(v); ok {
				return v
			}
		}
		return ""
	}
}

// isToken checks RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// oneLine makes a value fit for a header line.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return ' '
		}
		return r
	}, s))
}
