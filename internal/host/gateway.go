package host

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/fastcgi"
	"github.com/wspawn/wspawn/internal/auth"
	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/route"
	"github.com/wspawn/wspawn/internal/scripts"
	"github.com/wspawn/wspawn/internal/tunnel"
	"github.com/wspawn/wspawn/scgi"
)

// options returns the settings that gateways have in common, and sets who may upgrade.
func (s *service) options(c *config.Responder) (cgi.Options, error) {
	o := c.Options()
	o.LocalRedirect, o.Expires = s.o.root, auth.Expires
	var err error
	if c.Upgrade {
		s.policy, err = s.origins()
	}
	return o, err
}

func (s *service) buildCGI(c *config.CGI) error {
	options, err := s.options(&c.Responder)
	if err != nil {
		return err
	}
	program, err := s.c.Settings(c.Program).Pattern()
	if err != nil {
		return err
	}
	cc := cgi.Config{
		ExecutableOnly: c.ExecutableOnly, Software: s.o.Software, Spawner: s.shared.programs, Program: program,
		MaxProcesses: orNone(cmp.Or(c.MaxProcesses, s.c.MaxProcesses)), MaxQueue: orNone(c.MaxQueue), QueueTimeout: c.QueueTimeout.Value(),
		Options: options, Log: s.log, Fallback: s.plain, Amend: amend,
	}
	if c.IsDir() {
		cc.Dir = string(c.Path)
	} else if cc.File, err = filepath.Abs(string(c.Path)); err != nil {
		return err
	}
	for suffix, interpreter := range c.Interpreters {
		cc.Interpreters = append(cc.Interpreters, cgi.Interpreter{Suffix: suffix, Program: interpreter})
	}
	slices.SortFunc(cc.Interpreters, func(a, b cgi.Interpreter) int { // the most specific one first
		return cmp.Or(cmp.Compare(len(b.Suffix), len(a.Suffix)), cmp.Compare(a.Suffix, b.Suffix))
	})
	e, err := cgi.New(cc)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() { e.Close() })
	s.serve(e)
	return nil
}

func (s *service) buildSCGI(c *config.SCGI, uwsgi bool) error {
	e := &scgi.Endpoint{Log: s.log}
	if uwsgi {
		e.Protocol = scgi.UWSGI
	}
	var err error
	if e.Options, err = s.options(&c.Responder); err != nil {
		return err
	}
	if e.Set, err = s.backends(&c.Target); err != nil {
		return err
	}
	if e.Vars, err = s.scriptVars(string(c.Root), c.Docroot, c.Index); err != nil {
		return err
	}
	if c.Framing != "" {
		return s.buildTerminated(&c.Terminated, &c.Responder, tunnel.Application{Open: e.Open, Vars: e.Vars})
	}
	s.serve(e)
	return nil
}

func (s *service) buildFastCGI(c *config.FastCGI) error {
	client, err := s.fastcgi(c, &c.Target)
	if err != nil {
		return err
	}
	e := &fastcgi.Endpoint{Client: client, StripRequestURI: c.StripRequestURI, BrokenScriptFilename: c.BrokenScriptFilename}
	if e.Gateway.Options, err = s.options(&c.Responder); err != nil {
		return err
	}
	e.Gateway.Log = s.log
	if len(c.SplitPath) > 0 {
		e.SplitPath, e.Index, e.Root, e.Docroot = c.SplitPath, c.Index, string(c.Root), c.Docroot
		e.Vars = func(r *http.Request, v *cgi.Vars) error {
			v.Software = s.o.Software
			return amend(r, v)
		}
	} else {
		vars, err := s.scriptVars(string(c.Root), c.Docroot, c.Index)
		if err != nil {
			return err
		}
		e.Vars = func(r *http.Request, v *cgi.Vars) error {
			found, err := vars(r)
			found.RequestURI = v.RequestURI // StripRequestURI
			if c.BrokenScriptFilename {
				found.ScriptFilename += found.PathInfo
			}
			*v = found
			return err
		}
	}
	if c.Framing != "" {
		return s.buildTerminated(&c.Terminated, &c.Responder, tunnel.Application{Open: e.Open, Vars: e.Script, ContentLength: -1})
	}
	s.serve(e)
	if c.Authorizer != nil {
		client, err := s.fastcgi(c, c.Authorizer)
		if err != nil {
			return err
		}
		s.front = &fastcgi.Authorizer{Client: client, Next: s.front}
	}
	return nil
}

func (s *service) fastcgi(c *config.FastCGI, t *config.Target) (*fastcgi.Client, error) {
	set, err := s.backends(t)
	if err != nil {
		return nil, err
	}
	client := &fastcgi.Client{Set: set, Log: s.log, MaxConns: c.MaxConns, NoMultiplex: c.NoMultiplex}
	s.closers = append(s.closers, func() { client.Close() })
	return client, nil
}

// scriptVars says which script of a backend a request means, with the names that it has below docroot: root as the backend
// knows it, "" = the same.
func (s *service) scriptVars(root, docroot, index string) (func(*http.Request) (cgi.Vars, error), error) {
	if root == "" {
		return func(r *http.Request) (cgi.Vars, error) {
			v := cgi.Vars{PathInfo: r.URL.Path, Software: s.o.Software}
			err := amend(r, &v) // before v is read
			return v, err
		}, nil
	}
	dir, err := scripts.Open(root, scripts.Options{})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() { dir.Close() })
	return func(r *http.Request) (cgi.Vars, error) {
		path := r.URL.Path
		if index != "" && strings.HasSuffix(path, "/") {
			// A slash at the end is a directory, or path info behind a script.
			if script, err := dir.Find(path + index); err == nil && script.PathInfo == "" {
				path += index
			}
		}
		script, err := dir.Find(path)
		if errors.Is(err, scripts.ErrNotFound) || strings.Contains(script.PathInfo+"/", "/../") {
			return cgi.Vars{}, &cgi.GatewayError{Status: http.StatusNotFound, Reason: "no such program"}
		} else if err != nil {
			return cgi.Vars{}, &cgi.GatewayError{Status: http.StatusForbidden, Err: err}
		}
		v := cgi.Vars{
			ScriptName: script.Name, PathInfo: script.PathInfo, ScriptFilename: script.File, DocumentRoot: dir.Path(), Software: s.o.Software,
		}
		if docroot != "" {
			v.ScriptFilename = strings.TrimSuffix(docroot, "/") + strings.TrimPrefix(script.File, dir.Path())
			v.DocumentRoot = docroot
		}
		err = amend(r, &v) // before v is read
		return v, err
	}, nil
}

// prefixKey is where below finds what was taken off a path.
type prefixKey struct{}

// below takes the part of the path off that the route stands for: what answers sees the rest.
func below(pattern string, next http.Handler) http.Handler {
	if pattern == "/" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(w, cut(pattern, r)) })
}

// cut is below for one request.
func cut(pattern string, r *http.Request) *http.Request {
	prefix, rest := route.Prefix(pattern, r.URL.Path)
	u := *r.URL
	u.Path, u.RawPath = rest, ""
	r = r.WithContext(context.WithValue(r.Context(), prefixKey{}, prefix))
	r.URL = &u
	return r
}

// amend puts what below has taken off in front of SCRIPT_NAME.
func amend(r *http.Request, v *cgi.Vars) error {
	if prefix, ok := r.Context().Value(prefixKey{}).(string); ok {
		v.ScriptName = prefix + v.ScriptName
	}
	return nil
}

// serve makes g what answers the requests.
func (s *service) serve(g gateway) {
	s.gateway = g
	s.front = below(s.r.Path, g)
}

// backends holds a set of backends as long as the service lives.
func (s *service) backends(t *config.Target) (*backend.Set, error) {
	set, release, err := s.shared.backends(s.c, t)
	if err == nil {
		s.closers = append(s.closers, release)
	}
	return set, err
}

// answersAll reports whether all paths mean the same program.
func (s *service) answersAll() bool {
	switch r := s.r; {
	case r.CGI != nil:
		return !r.CGI.IsDir()
	case r.SCGI != nil:
		return r.SCGI.Root == ""
	case r.UWSGI != nil:
		return r.UWSGI.Root == ""
	case r.FastCGI != nil:
		return r.FastCGI.Root == ""
	}
	return false
}

// title is what the console calls the service.
func (s *service) title() string {
	key, what := s.r.Serves(s.c)
	if key == "stdio" || key == "cgi" {
		return what
	}
	return key + " " + what
}
