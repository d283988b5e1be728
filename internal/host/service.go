package host

import (
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/console"
	"github.com/wspawn/wspawn/internal/files"
	"github.com/wspawn/wspawn/internal/origin"
	"github.com/wspawn/wspawn/internal/scripts"
	"github.com/wspawn/wspawn/internal/stdio"
	"github.com/wspawn/wspawn/internal/trim"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// ConsolePath is where the console is when the root is taken by files. Names that begin with a dot
// are never served as files unless that is set.
const ConsolePath = "/.wspawn/"

// A service is what answers requests: WebSockets by a program, all others by files or the console.
type service struct {
	websocket *wsframe.Handler // nil: there are only files
	plain     http.Handler
	header    http.Header
	console   string // its path, or ""
	watched   string // the file of the program, with Watch

	gateway gateway        // answers all requests instead; nil: there is none
	policy  *origin.Policy // who may upgrade there; nil: nobody can
	log     *slog.Logger

	closers []func() error
}

func newService(c *config.Config, software string, local bool, programs *spawner.Spawner, log *slog.Logger) (_ *service, err error) {
	s := &service{log: log}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.header, err = c.Headers(); err != nil {
		return nil, err
	}
	var resolve func(*wsframe.Request) (*stdio.Target, error)
	switch {
	case len(c.Command) > 0:
		resolve, err = s.command(c, software)
	case c.Dir != "":
		resolve, err = s.directory(c, software)
	}
	if err != nil {
		return nil, err
	}
	if resolve != nil {
		policy, err := originPolicy(c)
		if err != nil {
			return nil, err
		}
		s.websocket = &wsframe.Handler{
			Endpoint: &stdio.Endpoint{Spawner: programs, Resolve: resolve, Options: c.Stdio, Log: log},
			Options: wsframe.AcceptOptions{
				Options: c.Conn, Header: s.header,
				AllowOrigin: func(r *wsframe.Request) error {
					if err := policy.Check(r.Request); err != nil {
						return &wsframe.Rejection{Status: http.StatusForbidden, Reason: "origin not allowed", Err: err}
					}
					return nil
				},
			},
			Log: log,
		}
		memory := trim.New()
		s.websocket.OnOpen = func(*wsframe.Request, *wsframe.Conn) { memory.Opened() }
		s.closers = append(s.closers, func() error { memory.Stop(); return nil })
		if len(c.Subprotocols) > 0 {
			s.websocket.Select = wsframe.Prefer(c.Subprotocols...)
		}
	}
	if err := s.buildPlain(c, local); err != nil {
		return nil, err
	}
	if c.Gateway.Enabled() {
		err = s.buildGateway(c, software, programs, log)
	}
	return s, err
}

func (s *service) buildPlain(c *config.Config, local bool) error {
	mux := http.NewServeMux()
	s.plain = mux
	if c.Static != "" {
		h, err := files.New(c.Static, files.Options{Listings: c.Listings, DotFiles: c.Dotted})
		if err != nil {
			return err
		}
		s.closers = append(s.closers, h.Close)
		mux.Handle("/", h)
	}
	if s.websocket != nil && (c.Console == "on" || c.Console == "auto" && local) {
		name := strings.Join(c.Command, " ")
		if name == "" {
			name = "programs in " + c.Dir
		}
		s.console = "/" // and any other path, so that its WebSocket can be tried
		if c.Static != "" {
			s.console = ConsolePath
		}
		mux.Handle(s.console, console.Handler(name))
	}
	if c.Gateway.Upgrade && (c.Console == "on" || c.Console == "auto" && local && answersAll(&c.Gateway)) {
		s.console = ConsolePath
		mux.Handle(s.console, console.Handler(gatewayName(&c.Gateway)))
	}
	return nil
}

// command runs one program for all paths.
func (s *service) command(c *config.Config, software string) (func(*wsframe.Request) (*stdio.Target, error), error) {
	path, err := spawner.Look(c.Command[0], "")
	if err != nil {
		return nil, err
	}
	program := pattern(c, path, c.Command[1:])
	if c.Watch {
		s.watched = path
	}
	return func(r *wsframe.Request) (*stdio.Target, error) {
		return target(program, r, cgi.Vars{PathInfo: r.URL.Path, ScriptFilename: path, Software: software})
	}, nil
}

// directory runs the program that the path names.
func (s *service) directory(c *config.Config, software string) (func(*wsframe.Request) (*stdio.Target, error), error) {
	dir, err := scripts.Open(c.Dir, scripts.Options{})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, dir.Close)
	return func(r *wsframe.Request) (*stdio.Target, error) {
		script, err := dir.Find(r.URL.Path)
		if errors.Is(err, scripts.ErrNotFound) {
			return nil, wsframe.Reject(http.StatusNotFound, "no such program")
		} else if err != nil {
			return nil, err
		}
		return target(pattern(c, script.File, nil), r, cgi.Vars{
			ScriptName: script.Name, PathInfo: script.PathInfo, ScriptFilename: script.File,
			DocumentRoot: dir.Path(), Software: software,
		})
	}, nil
}

// pattern makes the program for a file.
func pattern(c *config.Config, path string, args []string) *spawner.Program {
	p := c.Program
	p.Path, p.Args, p.Env = path, args, c.Environ()
	if p.Dir != "" {
		p.Dir, _ = filepath.Abs(p.Dir)
	}
	if c.Unbuffer {
		p.Path, p.Args = "stdbuf", slices.Concat([]string{"-oL", path}, args)
	}
	if c.Stdio.PassStderr {
		p.Stderr = spawner.StderrPipe
	}
	return &p
}

// target gives a program the variables of a request (RFC 3875), with the subprotocol as one more.
func target(p *spawner.Program, r *wsframe.Request, v cgi.Vars) (*stdio.Target, error) {
	if r.Protocol != "" {
		v.Extra = append(v.Extra, cgi.Var{Name: "WEBSOCKET_PROTOCOL", Value: r.Protocol})
	}
	env, err := cgi.Environ(r.Request, v)
	var bad *cgi.RequestError
	if errors.As(err, &bad) {
		return nil, wsframe.Reject(http.StatusBadRequest, bad.Error())
	} else if err != nil {
		return nil, err
	}
	return &stdio.Target{Program: p, Env: env, Attrs: []slog.Attr{slog.String("path", r.URL.Path)}}, nil
}

func originPolicy(c *config.Config) (*origin.Policy, error) {
	p := &origin.Policy{
		RefuseMissing: c.RequireOrigin,
		Settings:      origin.Settings{Allow: "--origin", Missing: "--require-origin"},
	}
	for _, o := range c.Origins {
		if o == "any" {
			p.Any = true
			continue
		}
		e, err := origin.Parse(o)
		if err != nil {
			return nil, err
		}
		p.Allow = append(p.Allow, e)
	}
	return p, nil
}

// ServeHTTP sends WebSocket requests one way and all others the other way.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.websocket != nil && wsframe.IsUpgrade(r) {
		s.websocket.ServeHTTP(w, r)
		return
	}
	for name, values := range s.header {
		w.Header()[name] = values
	}
	if s.gateway != nil {
		s.serveGateway(w, r)
		return
	}
	s.plain.ServeHTTP(w, r)
}

func (s *service) close() {
	for _, f := range s.closers {
		f()
	}
}
