package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/spawner"
)

// Gateway is a service that speaks for itself: programs and backends that get whole requests and give whole
// responses, by CGI, SCGI, uwsgi or FastCGI. At most one of CGI, SCGI, UWSGI and FastCGI is set.
type Gateway struct {
	// CGI is a program for all paths, or a directory of programs: the path names one.
	CGI string
	// Interpreters run files by the ends of their names, as ".py=python3". ExecutableOnly declines files without
	// execute bits.
	Interpreters   []string
	ExecutableOnly bool

	// SCGI, UWSGI and FastCGI are addresses of backends that do the same work: HOST:PORT or unix:PATH.
	SCGI, UWSGI, FastCGI []string

	// Root is the directory of the scripts of backends: the path names one. "" = the backend is the script.
	Root string
	// Index is the name of the script of a directory.
	Index string

	// Queue is how many requests may wait for one of MaxProcesses.
	Queue int

	cgi.Options
}

// Backends returns the addresses and their protocol: "SCGI", "uwsgi", "FastCGI", or "".
func (g *Gateway) Backends() (protocol string, addresses []string) {
	switch {
	case len(g.SCGI) > 0:
		return "SCGI", g.SCGI
	case len(g.UWSGI) > 0:
		return "uwsgi", g.UWSGI
	case len(g.FastCGI) > 0:
		return "FastCGI", g.FastCGI
	}
	return "", nil
}

// Enabled reports whether there is such a service.
func (g *Gateway) Enabled() bool {
	_, backends := g.Backends()
	return g.CGI != "" || len(backends) > 0
}

// ParseInterpreter reads ".SUFFIX=PROGRAM". Without a PROGRAM such files are executed themselves.
func ParseInterpreter(s string) (cgi.Interpreter, error) {
	suffix, program, ok := strings.Cut(s, "=")
	if !ok || suffix == "" {
		return cgi.Interpreter{}, fmt.Errorf("%q is not .SUFFIX=PROGRAM like .py=python3", s)
	}
	return cgi.Interpreter{Suffix: suffix, Program: program}, nil
}

func (c *Config) checkGateway(p *problems) {
	g := &c.Gateway
	var given []string
	for _, s := range []struct {
		name string
		set  bool
	}{
		{"cgi", g.CGI != ""}, {"scgi", len(g.SCGI) > 0}, {"uwsgi", len(g.UWSGI) > 0}, {"fastcgi", len(g.FastCGI) > 0},
		{"dir", c.Dir != ""}, {"a program (" + strings.Join(c.Command, " ") + ")", len(c.Command) > 0},
	} {
		if s.set {
			given = append(given, s.name)
		}
	}
	if !g.Enabled() {
		for _, s := range []struct {
			name string
			set  bool
		}{
			{"interpreter", len(g.Interpreters) > 0}, {"executable-only", g.ExecutableOnly}, {"root", g.Root != ""},
			{"index", g.Index != ""}, {"upgrade", g.Upgrade}, {"sendfile", len(g.SendfileRoots) > 0},
		} {
			if s.set {
				p.addf(s.name, "is for cgi, scgi, uwsgi and fastcgi")
			}
		}
		return
	}
	if len(given) > 1 {
		p.addf(given[0], "excludes %s: one server has one service", strings.Join(given[1:], " and "))
	}
	protocol, backends := g.Backends()
	if protocol != "" {
		setting := strings.ToLower(protocol)
		for _, addr := range backends {
			p.add(setting, checkAddress(addr))
		}
		if len(g.Interpreters) > 0 {
			p.addf("interpreter", "is for cgi: a backend runs its scripts itself")
		}
		if g.ExecutableOnly {
			p.addf("executable-only", "is for cgi: a backend runs its scripts itself")
		}
		if c.Static != "" {
			p.addf("static", "a backend answers all paths; files beside it work with cgi")
		}
		p.add("root", directory(g.Root))
		if g.Index != "" && g.Root == "" {
			p.addf("index", "needs root, the directory of the scripts")
		}
	} else {
		p.add("cgi", program(g.CGI, g.Interpreters))
		if g.Root != "" {
			p.addf("root", "is for scgi, uwsgi and fastcgi: cgi takes a directory of programs itself")
		}
		if g.Index != "" {
			p.addf("index", "is for scgi, uwsgi and fastcgi with root")
		}
		if c.Static != "" && same(g.CGI, c.Static) && !g.ExecutableOnly {
			p.addf("static", "it is the directory of programs as well: their source would be served (executable-only makes the difference clear)")
		}
	}
	for _, s := range g.Interpreters {
		in, err := ParseInterpreter(s)
		if err == nil && in.Program != "" {
			_, err = spawner.Look(in.Program, "")
		}
		p.add("interpreter", err)
	}
	for _, dir := range g.SendfileRoots {
		p.add("sendfile", directory(dir))
	}
	if g.Index != "" && (strings.ContainsAny(g.Index, "/\\\x00") || g.Index[0] == '.') {
		p.addf("index", "%q is not the name of a file", g.Index)
	}
	if g.MaxBody < 0 || g.CollectBody < 0 || g.MaxHeader < 0 || g.IdleTimeout < 0 || g.MaxLife < 0 {
		p.addf("limits", "negative limit")
	}
	if c.Watch {
		p.addf("watch", "is for a program that speaks by its standard streams; a CGI program is started anew for each request anyway")
	}
}

// program says what is wrong with a CGI program or directory.
func program(path string, interpreters []string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: no such file or directory", path)
	case err != nil:
		return fmt.Errorf("%s: %w", path, errors.Unwrap(err))
	case info.IsDir():
		return nil
	}
	for _, s := range interpreters {
		if in, err := ParseInterpreter(s); err == nil && strings.HasSuffix(path, in.Suffix) && in.Program != "" {
			return nil
		}
	}
	abs, err := filepath.Abs(path) // a name without a slash is a file here, too
	if err == nil {
		_, err = spawner.Look(abs, "")
	}
	return err
}
