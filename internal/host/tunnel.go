package host

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/auth"
	"github.com/wspawn/wspawn/internal/clientip"
	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/internal/proxy"
	"github.com/wspawn/wspawn/internal/tunnel"
	"github.com/wspawn/wspawn/wsframe"
)

func (s *service) buildTunnel(c *config.Tunnel) error {
	f, err := c.Options()
	if err != nil {
		return err
	}
	o := tunnel.Options{
		Protocols: len(s.r.Subprotocols)+len(s.r.Protocols) == 0, Queue: int64(c.Queue), StallTimeout: c.StallTimeout.Value(),
	}
	header := tunnel.ProxyHeader(c.ProxyProtocol)
	var dial func(context.Context, *wsframe.Request) (tunnel.Stream, error)
	if c.Tokens != "" {
		tokens := &tunnel.Tokens{Path: string(c.Tokens), Proxy: header}
		if err := tokens.Check(); err != nil {
			return err
		}
		dial = tokens.Dial
	} else {
		set, err := s.backends(&c.Target)
		if err != nil {
			return err
		}
		dial = tunnel.Backends(set, header)
	}
	var last *tunnel.Endpoint
	err = s.terminate(*f, func(f framing.Options, _ *config.Protocol) (wsframe.Endpoint, error) {
		last = &tunnel.Endpoint{Dial: dial, Options: o, Log: s.log, Attrs: who}
		last.Framing = &f
		return last, nil
	})
	if err == nil && o.Protocols && f.Framing == framing.Raw {
		s.websocket.Select = last.Select
	}
	return err
}

// buildTerminated speaks WebSocket for the applications behind a gateway.
func (s *service) buildTerminated(c *config.Terminated, r *config.Responder, a tunnel.Application) error {
	kind, err := framing.Parse(c.Framing)
	if err != nil {
		return err
	}
	if c.ContentLength > 0 {
		a.ContentLength = int64(c.ContentLength)
	}
	vars := a.Vars
	a.Vars = func(r *http.Request) (cgi.Vars, error) { return vars(cut(s.r.Path, r)) }
	a.MaxHeader, a.ReadTimeout = int(r.MaxResponseHeader), r.ResponseTimeout.Value()
	return s.terminate(framing.Options{Framing: kind, Binary: c.Binary}, func(f framing.Options, _ *config.Protocol) (wsframe.Endpoint, error) {
		e := a.Endpoint(tunnel.Options{Framing: &f})
		e.Log, e.Attrs = s.log, who
		return e, nil
	})
}

func (s *service) buildProxy(c *config.Proxy) error {
	set, err := s.backends(&c.Target)
	if err != nil {
		return err
	}
	header, err := config.Headers(c.RequestHeaders)
	if err != nil {
		return err
	}
	pc := proxy.Config{
		Backends: set, Upgrade: c.Upgrade, Host: c.Host, StripPrefix: c.StripPrefix, AddPrefix: c.AddPrefix, Header: header,
		Peer: func(r *http.Request) string { return clientip.Peer(r.Context()) }, Scheme: clientip.Scheme,
		ReadTimeout: c.ResponseTimeout.OrNever(), IdleTimeout: c.TunnelIdle.Value(), MaxLife: c.TunnelLife.Value(), Expires: auth.Expires, Log: s.log,
	}
	switch c.Forwarded {
	case "append":
		pc.Forwarding, pc.Trust = proxy.ForwardAppend, func(r *http.Request) bool { return clientip.Trusted(r.Context()) }
	case "off":
		pc.Forwarding = proxy.ForwardDrop
	default:
		pc.Forwarding = proxy.ForwardReplace
	}
	if c.Upgrade {
		if s.policy, err = s.origins(); err != nil {
			return err
		}
	}
	p, err := proxy.New(pc)
	if err != nil {
		return err
	}
	s.gateway, s.front = p, p
	if c.UserHeader != "" {
		s.front = withUser(c.UserHeader, p)
	}
	return nil
}

// withUser tells the user of a request in a header field, which clients cannot send, however they spell it.
func withUser(field string, next http.Handler) http.Handler {
	fold := func(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "-")) }
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		own := *r
		own.Header = r.Header.Clone()
		maps.DeleteFunc(own.Header, func(name string, _ []string) bool { return fold(name) == fold(field) })
		for i, line := range own.Header["Connection"] { // which could have it taken away as a field of the connection
			own.Header["Connection"][i] = strings.Join(slices.DeleteFunc(strings.Split(line, ","), func(name string) bool {
				return strings.EqualFold(strings.TrimSpace(name), field)
			}), ",")
		}
		if name := user(r); name != "" {
			own.Header.Set(field, name)
		}
		next.ServeHTTP(w, &own)
	})
}
