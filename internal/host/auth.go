package host

import (
	"log/slog"
	"net/http"

	"github.com/wspawn/wspawn/internal/auth"
	"github.com/wspawn/wspawn/internal/clientip"
	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/wsframe"
)

// user returns the name that a guard has found out.
func user(r *http.Request) string {
	if id := auth.From(r.Context()); id != nil {
		return id.User
	}
	return ""
}

// who says in the log who a session is for, beside the address of the client.
func who(r *wsframe.Request) []slog.Attr {
	var attrs []slog.Attr
	if peer := clientip.Peer(r.Context()); peer != "" && peer != r.RemoteAddr {
		attrs = append(attrs, slog.String("peer", peer))
	}
	if name := user(r.Request); name != "" {
		attrs = append(attrs, slog.String("user", name))
	}
	return attrs
}

// guard puts the question who the client is in front of a handler.
func (s *service) guard(c *config.Auth, next http.Handler) (http.Handler, error) {
	g := &auth.Guard{Next: next, Failures: s.o.failures, Outlive: !c.EndSessions, Log: s.log}
	if c.Htpasswd != "" {
		m, err := auth.NewBasic(auth.BasicConfig{File: string(c.Htpasswd), Realm: c.Realm, Failures: g.Failures, Log: s.log})
		if err != nil {
			return nil, err
		}
		g.Methods = append(g.Methods, m)
	}
	if j := c.JWT; j != nil {
		m, err := auth.NewJWT(auth.JWTConfig{
			KeyFile: string(j.KeyFile), SecretFile: string(j.SecretFile), KeyURL: j.KeyURL, Algorithms: j.Algorithms, Audience: j.Audience,
			Issuer: j.Issuer, Leeway: j.Leeway.OrNever(), Forever: j.Forever, Protocol: j.Subprotocol, Query: j.Query, Cookie: j.Cookie, User: j.User, Vars: j.Variables,
		})
		if err != nil {
			return nil, err
		}
		g.Methods = append(g.Methods, m)
	}
	if x := c.Certificate; x != nil {
		g.Methods = append(g.Methods, &auth.Certificate{User: auth.CertificateName(x.User), Allow: x.Allow})
	}
	if f := c.Forward; f != nil {
		m, err := auth.NewForward(auth.ForwardConfig{
			URL: f.URL, Vars: f.Variables, AnswerHeaders: f.AnswerHeaders, Timeout: f.Timeout.Value(), Scheme: clientip.Scheme,
		})
		if err != nil {
			return nil, err
		}
		g.Methods = append(g.Methods, m)
	}
	if h := c.Hook; h != nil {
		program, err := s.c.Settings(h.Program).Run(s.c.Argv(h.Program, h.Command))
		if err != nil {
			return nil, err
		}
		m, err := auth.NewHook(auth.Hook{Spawner: s.shared.programs, Program: &program, Timeout: h.Timeout.Value()})
		if err != nil {
			return nil, err
		}
		g.Methods = append(g.Methods, m)
	}
	return g, nil
}
