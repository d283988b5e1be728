package host

import (
	"net/http"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/internal/proxy"
	"github.com/wspawn/wspawn/internal/tunnel"
)

func (s *service) buildTunnel(c *config.Tunnel) error {
	f, err := c.Options()
	if err != nil {
		return err
	}
	e := &tunnel.Endpoint{Log: s.log, Options: tunnel.Options{
		Framing: f, Protocols: len(s.r.Subprotocols) == 0, Queue: int64(c.Queue), StallTimeout: c.StallTimeout.Value(),
	}}
	header := tunnel.ProxyHeader(c.ProxyProtocol)
	if c.Tokens != "" {
		tokens := &tunnel.Tokens{Path: string(c.Tokens), Proxy: header}
		if err := tokens.Check(); err != nil {
			return err
		}
		e.Dial = tokens.Dial
	} else {
		set, err := s.backends(&c.Target)
		if err != nil {
			return err
		}
		e.Dial = tunnel.Backends(set, header)
	}
	if err := s.terminate(e); err != nil {
		return err
	}
	if e.Protocols && f.Framing == framing.Raw {
		s.websocket.Select = e.Select
	}
	return nil
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
	e := a.Endpoint(tunnel.Options{Framing: &framing.Options{Framing: kind, Binary: c.Binary}})
	e.Log = s.log
	return s.terminate(e)
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
		ReadTimeout: c.ResponseTimeout.OrNever(), IdleTimeout: c.TunnelIdle.Value(), MaxLife: c.TunnelLife.Value(), Log: s.log,
	}
	switch c.Forwarded {
	case "append":
		pc.Forwarding, pc.Trust = proxy.ForwardAppend, func(*http.Request) bool { return true }
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
	return nil
}
