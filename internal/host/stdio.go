package host

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/internal/route"
	"github.com/wspawn/wspawn/internal/scripts"
	"github.com/wspawn/wspawn/internal/stdio"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

func (s *service) buildStdio(c *config.Stdio) error {
	options, err := c.Options(s.c)
	if err != nil {
		return err
	}
	resolve := s.command
	if c.Programs != "" {
		resolve = s.directory
	}
	find, err := resolve(c)
	if err != nil {
		return err
	}
	return s.terminate(options.Options, func(f framing.Options, x *config.Protocol) (wsframe.Endpoint, error) {
		o, find := options, find
		o.Options = f
		if x != nil && x.Program != "" {
			own := *c
			own.Program, own.Command, own.Spare = x.Program, nil, 0
			var err error
			if find, err = s.command(&own); err != nil {
				return nil, err
			}
		}
		return &stdio.Endpoint{Spawner: s.shared.programs, Resolve: find, Options: o, Log: s.log}, nil
	})
}

// program returns what a route runs, with its command.
func (s *service) program(c *config.Stdio, command []string) (*spawner.Program, error) {
	p, err := s.c.Settings(c.Program).Run(command)
	if c.StderrToClient {
		p.Stderr = spawner.StderrPipe
	}
	return &p, err
}

// command runs one program for all paths.
func (s *service) command(c *config.Stdio) (func(*wsframe.Request) (*stdio.Target, error), error) {
	argv := c.Argv(s.c)
	path, err := spawner.Look(argv[0], "")
	if err != nil {
		return nil, err
	}
	program, err := s.program(c, slices.Concat([]string{path}, argv[1:]))
	if err != nil {
		return nil, err
	}
	if c.Watch {
		s.watched = path
	}
	fill := s.parts(program)
	spares := s.spares(program, c.Spare)
	return func(r *wsframe.Request) (*stdio.Target, error) {
		name, rest := route.Prefix(s.r.Path, r.URL.Path)
		t, err := s.target(fill(r.Request), r, cgi.Vars{ScriptName: name, PathInfo: rest, ScriptFilename: path})
		if err == nil {
			t.Spares = spares
		}
		return t, err
	}, nil
}

// spares starts n processes of a program ahead.
func (s *service) spares(p *spawner.Program, n int) *spawner.Spares {
	if n == 0 {
		return nil
	}
	spares := spawner.NewSpares(s.shared.programs, p, n)
	spares.Log = s.log
	spares.Start()
	s.closers = append(s.closers, func() { s.shared.closing.Go(func() { spares.Close(context.Background()) }) })
	return spares
}

// directory runs the program that the path names.
func (s *service) directory(c *config.Stdio) (func(*wsframe.Request) (*stdio.Target, error), error) {
	dir, err := scripts.Open(string(c.Programs), scripts.Options{})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() { dir.Close() })
	return func(r *wsframe.Request) (*stdio.Target, error) {
		prefix, rest := route.Prefix(s.r.Path, r.URL.Path)
		script, err := dir.Find(rest)
		if errors.Is(err, scripts.ErrNotFound) {
			return nil, wsframe.Reject(http.StatusNotFound, "no such program")
		} else if err != nil {
			return nil, err
		}
		program, err := s.program(c, []string{script.File})
		if err != nil {
			return nil, err
		}
		return s.target(s.parts(program)(r.Request), r, cgi.Vars{
			ScriptName: prefix + script.Name, PathInfo: script.PathInfo, ScriptFilename: script.File, DocumentRoot: dir.Path(),
		})
	}, nil
}

// parts returns a function that puts the named parts of a path into the arguments and the environment of
// a program. They have been matched by the route, and never get near a shell.
func (s *service) parts(p *spawner.Program) func(*http.Request) *spawner.Program {
	names := slices.DeleteFunc(route.Parts(s.r.Path), func(name string) bool {
		in := func(text string) bool { return strings.Contains(text, "{"+name+"}") }
		return !slices.ContainsFunc(p.Args, in) && !slices.ContainsFunc(p.Env, in)
	})
	if len(names) == 0 {
		return func(*http.Request) *spawner.Program { return p }
	}
	return func(r *http.Request) *spawner.Program {
		var pairs []string
		for _, name := range names {
			pairs = append(pairs, "{"+name+"}", r.PathValue(name))
		}
		filled, values := *p, strings.NewReplacer(pairs...)
		filled.Args, filled.Env = slices.Clone(p.Args), slices.Clone(p.Env)
		for _, texts := range [][]string{filled.Args, filled.Env} {
			for i := range texts {
				texts[i] = values.Replace(texts[i])
			}
		}
		return &filled
	}
}

// target gives a program the variables of a request (RFC 3875), with the subprotocol as one more.
func (s *service) target(p *spawner.Program, r *wsframe.Request, v cgi.Vars) (*stdio.Target, error) {
	v.Software = s.o.Software
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
	return &stdio.Target{Program: p, Env: env, Attrs: append(who(r), slog.String("path", r.URL.Path))}, nil
}
