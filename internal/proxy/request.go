package proxy

import (
	"crypto/rand"
	"encoding/base64"
	"net"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/wspawn/wspawn/internal/gateway"
	"github.com/wspawn/wspawn/internal/stream"
)

// classify decides whether the request is one for an upgrade, once.
func (c *call) classify() (err error) {
	c.in, c.asked, err = gateway.Upgrade(c.r, c.p.c.Upgrade)
	c.upgrade = c.asked != nil
	if c.upgrade && stream.Extended(c.r) {
		plain := *c.r
		plain.Body, plain.ContentLength = http.NoBody, 0 // what it carries belongs to the tunnel
		c.in = &plain
	}
	return err
}

// check refuses what has no place at the backends.
func (c *call) check() error {
	path := c.r.URL.Path
	for part := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		// Some backends see two segments in "a\b", and nothing but "a" in "a;b".
		if part, _, _ = strings.Cut(part, ";"); part == "." || part == ".." {
			// No client sends them by itself, and what they mean to a backend is not what the rules
			// before this proxy were asked about.
			return &failure{Status: http.StatusBadRequest, Reason: "dot segments in the path"}
		}
	}
	for name := range c.r.Header {
		if plain := dashed(name); plain != name && c.r.Header[plain] != nil && !c.p.owns(name) {
			return &failure{Status: http.StatusBadRequest, Reason: name + " and " + plain + " would be the same for many programs"}
		}
	}
	rest, ok := strings.CutPrefix(path, c.p.c.StripPrefix)
	if !ok || c.p.c.StripPrefix != "" && rest != "" && rest[0] != '/' {
		return &failure{Status: http.StatusNotFound}
	}
	return nil
}

// rewrite makes the request for the backend. package httputil has removed what belongs to the
// connection of the client.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	in, out := pr.In, pr.Out
	c := callOf(in)
	out.URL.Scheme, out.URL.Host = "http", "backend" // the transport knows which
	out.URL.User = nil
	out.URL.RawQuery = in.URL.RawQuery // as it came: nobody here has parsed it
	p.setPath(out.URL)
	if p.c.Host != "" {
		out.Host = p.c.Host
	} else if out.Host == "" {
		out.Host = "localhost" // HTTP/1.0
	}
	for name := range out.Header {
		if p.owns(name) {
			delete(out.Header, name)
		}
	}
	p.forward(out.Header, in)
	for name, values := range p.set {
		if len(values) > 0 {
			out.Header[name] = values
		} else {
			delete(out.Header, name)
		}
	}
	for name := range out.Trailer {
		if p.owns(name) {
			delete(out.Trailer, name)
		}
	}
	if len(in.Trailer) > 0 && c.body != nil {
		c.body.trailer = out.Trailer
	}
	if c.upgrade {
		out.Header.Set("Connection", "Upgrade")
		out.Header.Set("Upgrade", strings.Join(c.asked, ", "))
		if stream.Extended(c.r) && out.Header.Get("Sec-Websocket-Key") == "" {
			var key [16]byte
			rand.Read(key[:])
			out.Header.Set("Sec-Websocket-Key", base64.StdEncoding.EncodeToString(key[:]))
		}
	}
}

// setPath takes one prefix off and puts the other one before.
func (p *Proxy) setPath(u *url.URL) {
	if p.c.StripPrefix == "" && p.c.AddPrefix == "" || u.Path == "*" {
		return
	}
	escaped := u.EscapedPath()
	for range len(p.c.StripPrefix) {
		if escaped[0] == '%' {
			escaped = escaped[2:]
		}
		escaped = escaped[1:]
	}
	path := u.Path[len(p.c.StripPrefix):]
	if path == "" {
		path, escaped = "/", "/"
	}
	u.Path, u.RawPath = p.c.AddPrefix+path, (&url.URL{Path: p.c.AddPrefix}).EscapedPath()+escaped
}

// setLocation turns the path of a redirect into what it is for the client.
func (p *Proxy) setLocation(h http.Header, r *http.Request) {
	if p.c.StripPrefix == "" && p.c.AddPrefix == "" || len(h["Location"]) != 1 {
		return
	}
	u, err := url.Parse(h["Location"][0])
	if err != nil || u.Host != "" && u.Host != r.Host && u.Host != p.c.Host || u.Path == "" || u.Path[0] != '/' {
		return // elsewhere, or from where the client is
	}
	rest, ok := strings.CutPrefix(u.EscapedPath(), (&url.URL{Path: p.c.AddPrefix}).EscapedPath())
	if !ok || rest != "" && rest[0] != '/' {
		return
	}
	path := p.c.StripPrefix + strings.TrimPrefix(u.Path, p.c.AddPrefix)
	if strings.HasPrefix(path, "//") {
		return // it would be a host
	}
	u.Path, u.RawPath = path, (&url.URL{Path: p.c.StripPrefix}).EscapedPath()+rest
	if path == "" {
		u.Path, u.RawPath = "/", ""
	}
	if u.Host != "" {
		u.Host = r.Host
	}
	h["Location"] = []string{u.String()}
}

// dashed is a name as backends read it that take "_" for "-".
func dashed(name string) string {
	if !strings.Contains(name, "_") {
		return name
	}
	return textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

// owns reports whether a field is not the client's to set.
func (p *Proxy) owns(name string) bool {
	plain := dashed(name)
	switch plain {
	case "Forwarded", "X-Real-Ip", "Proxy", "Http2-Settings":
		return true
	case "Host", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade":
		if plain != name { // they would speak of our connection to the backend
			return true
		}
	}
	_, set := p.set[plain]
	return set || strings.HasPrefix(plain, "X-Forwarded-")
}

// forward tells the backend about the way of the request.
func (p *Proxy) forward(h http.Header, in *http.Request) {
	if p.c.Forwarding == ForwardDrop {
		return
	}
	var before, forwarded []string
	hop := in.RemoteAddr
	if p.c.Forwarding == ForwardAppend && p.c.Trust != nil && p.c.Trust(in) {
		for name, values := range in.Header {
			if name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") {
				h[name] = values
			}
		}
		before, forwarded = in.Header["X-Forwarded-For"], in.Header["Forwarded"]
		if p.c.Peer != nil {
			hop = p.c.Peer(in) // the client is named by what came
		}
	}
	peer, _, err := net.SplitHostPort(hop)
	if err != nil {
		peer = "" // a Unix socket
	}
	proto := "http"
	switch {
	case p.c.Scheme != nil:
		proto = p.c.Scheme(in)
	case in.TLS != nil:
		proto = "https"
	}
	// Where one of the two ways to say it came alone, the other one would begin in the middle.
	xOnly, standardOnly := len(before) > 0 && len(forwarded) == 0, len(forwarded) > 0 && len(before) == 0
	if !standardOnly {
		if peer != "" {
			before = append(slices.Clone(before), peer)
		}
		if len(before) > 0 {
			h["X-Forwarded-For"] = []string{strings.Join(before, ", ")}
		}
		for name, value := range map[string]string{"X-Forwarded-Proto": proto, "X-Forwarded-Host": in.Host, "X-Forwarded-Prefix": p.c.StripPrefix} {
			if _, ok := h[name]; !ok && value != "" {
				h[name] = []string{value}
			}
		}
	}
	if !xOnly {
		forwarded = append(slices.Clone(forwarded), element(peer, in.Host, proto))
		h["Forwarded"] = []string{strings.Join(forwarded, ", ")}
	}
}

// element is one hop in the form of RFC 7239, section 4.
func element(peer, host, proto string) string {
	switch {
	case peer == "":
		peer = "unknown"
	case strings.Contains(peer, ":"):
		peer = "[" + peer + "]"
	}
	s := "for=" + quoted(peer)
	if host != "" {
		s += ";host=" + quoted(host)
	}
	return s + ";proto=" + proto
}

// quoted quotes what is not a token.
func quoted(s string) string {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_') {
			return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
		}
	}
	return s
}
