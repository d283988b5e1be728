// Package hostname decides to which names a server answers.
//
// A page of evil.test can have its name point to 127.0.0.1 a moment after it was loaded (DNS rebinding). To the browser
// a server on this machine is then of the same origin as the page, and the server sees an Origin that equals the
// Host. What gives it away is the name, which is not one that the server has. So servers that only this
// machine can reach, and which count on that, answer to no foreign name by default.
package hostname

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"unicode"

	"github.com/hashicorp/go-multierror"

	"github.com/wspawn/wspawn/internal/glob"
	"github.com/wspawn/wspawn/wsframe"
)

// Config says which names are good. The zero value is "localhost", what is below it, and loopback addresses, for
// connections over a loopback address, and everything for others.
type Config struct {
	// Names are further good names, in any case and with any port: "app.example.com", or "*.example.com" for all below
	// example.com. Those under which a proxy on the same machine is known belong here, unless it sends another Host. A
	// lone "*" admits all, and so does away with the check.
	Names []string
	// Setting is how the user knows Names, for the log. Empty: "hosts".
	Setting string
	// Log gets a line for each refusal, at level Warn. Nil logs nothing.
	Log *slog.Logger
}

// A Policy checks the Host of requests. Its methods may be called at the same time.
type Policy struct {
	c   Config
	any bool
}

// New checks the names. The error has all that are none.
func New(c Config) (*Policy, error) {
	p := &Policy{c: c}
	p.c.Names = nil
	var all *multierror.Error
	for _, name := range c.Names {
		if name == "*" {
			p.any = true
			continue
		}
		folded := fold(name)
		rest, _ := strings.CutPrefix(folded, "*.")
		if _, err := netip.ParseAddr(strings.Trim(rest, "[]")); err == nil {
			folded = strings.Trim(rest, "[]")
		} else if rest == "" || glob.Has(rest) || strings.ContainsAny(rest, ":/[]@ \t") {
			all = multierror.Append(all, fmt.Errorf("host %q: not a name such as app.example.com or *.example.com", name))
		} else if strings.ContainsFunc(rest, func(r rune) bool { return r > unicode.MaxASCII }) {
			all = multierror.Append(all, fmt.Errorf("host %q: clients ask for such names in another form, as xn--bcher-kva.example; write that", name))
		}
		p.c.Names = append(p.c.Names, folded)
	}
	if p.c.Setting == "" {
		p.c.Setting = "hosts"
	}
	return p, all.ErrorOrNil()
}

// Handler lets requests pass to next whose Host is good, and answers 421 to others.
func (p *Policy) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refusal := p.Check(r)
		if refusal == nil {
			next.ServeHTTP(w, r)
			return
		}
		if p.c.Log != nil {
			p.c.Log.Warn("request refused", "remote", r.RemoteAddr, "status", refusal.Status, "reason", refusal.Reason, "err", refusal.Err)
		}
		refusal.Write(w)
	})
}

// Check returns nil when the Host of r is good, else an answer with status 421 (RFC 9110, section 15.5.20). No Host at
// all, as in HTTP/1.0, is good: browsers always send one.
func (p *Policy) Check(r *http.Request) *wsframe.Rejection {
	if p.any || r.Host == "" || !localAddr(r).IsLoopback() {
		return nil
	}
	name := hostOf(r.Host)
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return nil
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		if addr.Unmap().IsLoopback() {
			return nil
		}
	}
	for _, good := range p.c.Names {
		if below, ok := strings.CutPrefix(good, "*"); ok && len(name) > len(below) && strings.HasSuffix(name, below) || name == good {
			return nil
		}
	}
	return &wsframe.Rejection{
		Status: http.StatusMisdirectedRequest,
		Reason: "this server does not answer to this host name",
		Err:    fmt.Errorf("host %q is not a name of this server; add %q to %s to admit it", r.Host, name, p.c.Setting),
	}
}

// localAddr is the address that the connection was accepted on. That of a Unix socket is none.
func localAddr(r *http.Request) netip.Addr {
	tcp, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if tcp == nil {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

// hostOf returns the name in a Host header, without port, brackets and the dot at its end. What is malformed comes
// back as it is, and is nobody's name.
func hostOf(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	return fold(host)
}

func fold(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
