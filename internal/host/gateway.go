package host

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/fastcgi"
	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/scripts"
	"github.com/wspawn/wspawn/scgi"
	"github.com/wspawn/wspawn/spawner"
)

// A gateway is an endpoint that answers all requests, WebSockets and others.
type gateway interface {
	http.Handler
	Shutdown(context.Context) error
}

// buildGateway makes the endpoint of a configuration that has one.
func (s *service) buildGateway(c *config.Config, software string, programs *spawner.Spawner, log *slog.Logger) error {
	g := &c.Gateway
	var err error
	if g.Upgrade {
		if s.policy, err = originPolicy(c); err != nil {
			return err
		}
	}
	options := g.Options
	options.LocalRedirect = s
	protocol, backends := g.Backends()
	if protocol == "" {
		return s.buildCGI(c, options, software, programs, log)
	}
	vars, err := s.scriptVars(g, software)
	if err != nil {
		return err
	}
	switch protocol {
	case "FastCGI":
		client := &fastcgi.Client{Backends: backends, Log: log}
		e := &fastcgi.Endpoint{Client: client, Vars: func(r *http.Request, v *cgi.Vars) (err error) {
			*v, err = vars(r)
			return err
		}}
		e.Gateway.Options, e.Gateway.Log = options, log
		s.gateway = e
		s.closers = append(s.closers, client.Close)
	case "uwsgi":
		s.gateway = &scgi.Endpoint{Backends: backends, Protocol: scgi.UWSGI, Vars: vars, Options: options, Log: log}
	default:
		s.gateway = &scgi.Endpoint{Backends: backends, Protocol: scgi.SCGI, Vars: vars, Options: options, Log: log}
	}
	return nil
}

func (s *service) buildCGI(c *config.Config, options cgi.Options, software string, programs *spawner.Spawner, log *slog.Logger) error {
	g := &c.Gateway
	cc := cgi.Config{
		ExecutableOnly: g.ExecutableOnly, Software: software, Spawner: programs, Program: c.Program,
		MaxProcesses: c.MaxProcesses, MaxQueue: g.Queue, Options: options, Log: log,
	}
	if c.MaxProcesses == 0 {
		cc.MaxProcesses = -1
	}
	if g.Queue == 0 {
		cc.MaxQueue = -1
	}
	if info, err := os.Stat(g.CGI); err == nil && info.IsDir() {
		cc.Dir = g.CGI
	} else {
		cc.File = g.CGI
	}
	cc.Program.Env = c.Environ()
	if cc.Program.Dir != "" {
		cc.Program.Dir, _ = filepath.Abs(cc.Program.Dir)
	}
	for _, text := range g.Interpreters {
		in, err := config.ParseInterpreter(text)
		if err != nil {
			return err
		}
		cc.Interpreters = append(cc.Interpreters, in)
	}
	if c.Static != "" {
		cc.Fallback = s.plain
	}
	e, err := cgi.New(cc)
	if err != nil {
		return err
	}
	s.gateway = e
	s.closers = append(s.closers, e.Close)
	return nil
}

// scriptVars says which script of a backend a request means.
func (s *service) scriptVars(g *config.Gateway, software string) (func(*http.Request) (cgi.Vars, error), error) {
	if g.Root == "" {
		return func(r *http.Request) (cgi.Vars, error) {
			return cgi.Vars{PathInfo: r.URL.Path, Software: software}, nil
		}, nil
	}
	dir, err := scripts.Open(g.Root, scripts.Options{})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, dir.Close)
	return func(r *http.Request) (cgi.Vars, error) {
		path := r.URL.Path
		if g.Index != "" && strings.HasSuffix(path, "/") {
			// A slash at the end is a directory, or path info behind a script.
			if script, err := dir.Find(path + g.Index); err == nil && script.PathInfo == "" {
				path += g.Index
			}
		}
		script, err := dir.Find(path)
		if errors.Is(err, scripts.ErrNotFound) || strings.Contains(script.PathInfo+"/", "/../") {
			return cgi.Vars{}, &cgi.GatewayError{Status: http.StatusNotFound, Reason: "no such program"}
		} else if err != nil {
			return cgi.Vars{}, &cgi.GatewayError{Status: http.StatusForbidden, Err: err}
		}
		return cgi.Vars{
			ScriptName: script.Name, PathInfo: script.PathInfo, ScriptFilename: script.File, DocumentRoot: dir.Path(), Software: software,
		}, nil
	}, nil
}

// serveGateway answers a request when there is a gateway.
func (s *service) serveGateway(w http.ResponseWriter, r *http.Request) {
	upgrade := r.Header.Get("Upgrade") != ""
	if s.console != "" && !upgrade && strings.HasPrefix(r.URL.Path, s.console) {
		s.plain.ServeHTTP(w, r)
		return
	}
	// Ordinary requests of other sites are guarded by the browser: it does not let them read the answer. It
	// lets them read a WebSocket.
	if upgrade && s.policy != nil {
		if err := s.policy.Check(r); err != nil {
			s.log.Warn("upgrade refused", "remote", r.RemoteAddr, "path", r.URL.Path, "err", err)
			http.Error(w, "403 origin not allowed", http.StatusForbidden)
			return
		}
	}
	s.gateway.ServeHTTP(w, r)
}

// answersAll reports whether all paths mean the same program.
func answersAll(g *config.Gateway) bool {
	if g.CGI == "" {
		return g.Root == ""
	}
	info, err := os.Stat(g.CGI)
	return err == nil && !info.IsDir()
}

// gatewayName is what the console calls the service.
func gatewayName(g *config.Gateway) string {
	if protocol, backends := g.Backends(); protocol != "" {
		return protocol + " " + strings.Join(backends, " ")
	}
	return g.CGI
}
