package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/internal/route"
	"github.com/wspawn/wspawn/internal/stdio"
	"github.com/wspawn/wspawn/internal/stream"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

func (r *Route) checkEndpoint(c *Config, p *problems, at string) {
	switch {
	case r.Stdio != nil:
		r.Stdio.check(c, r, p, at+".stdio")
	case r.CGI != nil:
		r.CGI.check(c, r, p, at+".cgi")
	case r.SCGI != nil:
		r.SCGI.check(c, p, at+".scgi")
	case r.UWSGI != nil:
		r.UWSGI.check(c, p, at+".uwsgi")
	case r.FastCGI != nil:
		r.FastCGI.check(c, p, at+".fastcgi")
	case r.Tunnel != nil:
		r.Tunnel.check(c, p, at+".tunnel")
	case r.Proxy != nil:
		r.Proxy.Target.check(c, p, at+".proxy")
		for _, prefix := range []struct{ key, value string }{{"strip_prefix", r.Proxy.StripPrefix}, {"add_prefix", r.Proxy.AddPrefix}} {
			if prefix.value != "" && (prefix.value[0] != '/' || strings.HasSuffix(prefix.value, "/")) {
				p.addf(at+".proxy."+prefix.key, "%q is not a path like /app, without a slash at its end", prefix.value)
			}
		}
		_, err := Headers(r.Proxy.RequestHeaders)
		p.add(at+".proxy.request_headers", err)
		switch name := r.Proxy.UserHeader; {
		case name == "":
		case !token(name) || stream.Reserved(name):
			p.addf(at+".proxy.user_header", "%q is no header for a name, as X-Remote-User", name)
		case r.Auth == nil:
			p.addf(at+".proxy.user_header", "nobody has a name without [route.auth]")
		}
	}
	if f := r.Files; f != nil {
		err := directory(f.Root)
		if err == nil {
			err = readable(f.Root)
		}
		p.add(at+".files.root", err)
		for i, name := range f.Index {
			p.add(item(at+".files.index", i), checkIndex(name))
		}
		switch {
		case r.Stdio != nil && r.Stdio.Programs != "" && same(string(r.Stdio.Programs), string(f.Root)):
			p.addf(at+".files.root", "it is the directory of programs as well: their source would be served")
		case r.CGI != nil && same(string(r.CGI.Path), string(f.Root)) && !r.CGI.ExecutableOnly:
			p.addf(at+".files.root", "it is the directory of programs as well: their source would be served (executable_only makes the difference clear)")
		}
	}
}

// speaks reports whether the route may open WebSockets.
func (r *Route) speaks() bool {
	opens := func(upgrade bool, framing string) bool { return upgrade || framing != "" }
	return r.Stdio != nil || r.Tunnel != nil || r.CGI != nil && r.CGI.Upgrade || r.Proxy != nil && r.Proxy.Upgrade ||
		r.SCGI != nil && opens(r.SCGI.Upgrade, r.SCGI.Framing) || r.UWSGI != nil && opens(r.UWSGI.Upgrade, r.UWSGI.Framing) ||
		r.FastCGI != nil && opens(r.FastCGI.Upgrade, r.FastCGI.Framing)
}

func checkIndex(name string) error {
	if name != "" && (strings.ContainsAny(name, "/\\\x00") || name[0] == '.') {
		return fmt.Errorf("%q is not the name of a file", name)
	}
	return nil
}

func (s *Stdio) check(c *Config, r *Route, p *problems, at string) {
	known(p, at+".program", "program", s.Program, c.Program)
	command := s.Argv(c)
	switch {
	case s.Programs != "" && len(s.Command) > 0:
		p.addf(at+".programs", "a program (%s) and a directory of programs exclude each other", s.Command[0])
	case s.Programs != "":
		p.add(at+".programs", directory(s.Programs))
	case len(command) == 0 && (s.Program == "" || c.Program[s.Program] != nil):
		p.addf(at+".command", "nothing to run: give a command, a program that has one, or a directory of programs")
	case len(s.Command) > 0:
		p.add(at+".command", look(s.Command))
	}
	if len(command) > 0 {
		for _, name := range usedParts(r, command[:1], nil) {
			p.addf(at+".command", "{%s} chooses the program itself: use programs for that, a directory", name)
		}
	}
	if s.Spare > 0 && len(usedParts(r, command, c.Settings(s.Program).Env)) > 0 {
		p.addf(at+".spare", "the path has parts that the program is started with: it cannot be started before they are known")
	}
	if s.Watch && s.Programs != "" {
		p.addf(at+".watch", "needs a program to watch; with a directory of programs each connection starts the newest anyway")
	}
	if s.Spare > 0 && s.Programs != "" {
		p.addf(at+".spare", "needs one program: which one of a directory will be asked for is not known")
	}
	for _, status := range keys(s.CloseCodes) {
		_, _, err := closeCode(status, s.CloseCodes[status])
		p.add(join(at+".close_codes", status), err)
	}
	o, err := s.Options(c)
	if err == nil {
		err = o.Check()
	}
	p.add(at, err)
}

// usedParts returns the named parts of the path that a program is started with.
func usedParts(r *Route, command []string, env map[string]string) []string {
	var used []string
	for _, name := range route.Parts(r.Path) {
		in := func(text string) bool { return strings.Contains(text, "{"+name+"}") }
		if slices.ContainsFunc(command, in) || slices.ContainsFunc(slices.Collect(maps.Values(env)), in) {
			used = append(used, name)
		}
	}
	return used
}

// Argv is the command of the program, from one place or the other.
func (s *Stdio) Argv(c *Config) []string { return c.Argv(s.Program, s.Command) }

// Argv returns the command, or that of the program if there is none.
func (c *Config) Argv(program string, command []string) []string {
	if g := c.Program[program]; len(command) == 0 && g != nil {
		return g.Command
	}
	return command
}

// Settings returns the program of that name, or one that says nothing.
func (c *Config) Settings(name string) *Program {
	if g := c.Program[name]; g != nil {
		return g
	}
	return New[Program]()
}

// Options returns them in the terms of package stdio.
func (s *Stdio) Options(c *Config) (stdio.Options, error) {
	f, err := s.Framing.Options()
	o := stdio.Options{
		Options: f, PassStderr: s.StderrToClient, Events: s.Events, RequestMessage: s.RequestMessage,
		Queue: int64(s.Queue), StallTimeout: s.StallTimeout.Value(),
	}
	for status, code := range s.CloseCodes {
		if n, code, e := closeCode(status, code); e == nil { // the others are told by check, each with its place
			if o.CloseCodes == nil {
				o.CloseCodes = make(map[int]wsframe.CloseCode)
			}
			o.CloseCodes[n] = code
		}
	}
	return o, err
}

// Options returns them in the terms of package framing.
func (f *Framing) Options() (framing.Options, error) {
	kind, err := framing.Parse(f.Framing)
	choice := func(value, otherwise string) framing.Choice {
		if value == otherwise || value == "" {
			return framing.Default
		}
		c, e := framing.ParseChoice("value", value, framing.Default, framing.Pass, framing.Refuse, framing.Escape, framing.Replace, framing.AsBinary, framing.Split, framing.Strip)
		err = errors.Join(err, e)
		return c
	}
	return framing.Options{
		Framing: kind, Binary: f.Binary, OtherType: choice(f.OtherType, "default"), Delimiters: choice(f.Newlines, "pass"),
		InvalidUTF8: choice(f.InvalidUTF8, "replace"), MaxLine: int64(f.MaxLine), LongLine: choice(f.LongLine, "split"),
	}, err
}

// Options returns them in the terms of package wsframe.
func (w *WebSocket) Options() wsframe.Options {
	unlimited := func(n int64) int64 {
		if n == 0 {
			return -1
		}
		return n
	}
	o := wsframe.Options{
		MaxMessage: unlimited(int64(w.MaxMessage)), MaxFragments: int(unlimited(int64(w.MaxFragments))),
		FragmentSize: int(w.FragmentSize), PingInterval: w.Ping.OrNever(), PingGrace: w.PingGrace.Value(),
		CloseTimeout: w.CloseTimeout.Value(), WriteTimeout: w.WriteTimeout.OrNever(),
	}
	if z := w.Compression; z != nil {
		o.Compression = &wsframe.Compression{Level: z.Level, Window: int(z.Window), PeerWindow: int(z.PeerWindow), MinSize: int(z.MinSize)}
		if z.MinSize == 0 {
			o.Compression.MinSize = -1
		}
	}
	o.MaxFrame = o.MaxMessage
	if w.MaxFrame != 0 {
		o.MaxFrame = int64(w.MaxFrame)
	}
	return o
}

// Options returns them in the terms of package cgi.
func (r *Responder) Options() cgi.Options {
	o := cgi.Options{
		Upgrade: r.Upgrade, MaxHeader: int(r.MaxResponseHeader), ReadTimeout: r.ResponseTimeout.OrNever(),
		WriteTimeout: r.RequestTimeout.OrNever(), ClientTimeout: r.ClientTimeout.OrNever(), MaxBody: int64(r.MaxBody),
		CollectBody: int64(r.CollectBody), IdleTimeout: r.TunnelIdle.Value(), MaxLife: r.TunnelLife.Value(),
	}
	for _, dir := range r.Sendfile {
		o.SendfileRoots = append(o.SendfileRoots, string(dir))
	}
	return o
}

func (r *Responder) check(p *problems, at string) {
	for i, dir := range r.Sendfile {
		p.add(item(at+".sendfile", i), directory(dir))
	}
}

func (g *CGI) check(c *Config, r *Route, p *problems, at string) {
	p.add(at+".path", checkCGI(g.Path, g.Interpreters))
	known(p, at+".program", "program", g.Program, c.Program)
	if s := c.Program[g.Program]; s != nil && len(s.Command) > 0 {
		p.addf(at+".program", "%q has a command of its own; cgi runs what path names", g.Program)
	}
	for _, suffix := range keys(g.Interpreters) {
		setting := join(at+".interpreters", suffix)
		if suffix == "" {
			p.addf(setting, "needs the end of a name, like .py")
		}
		if program := g.Interpreters[suffix]; program != "" {
			_, err := spawner.Look(program, "")
			p.add(setting, err)
		}
	}
	g.Responder.check(p, at)
}

// IsDir reports whether the paths of requests name the programs.
func (g *CGI) IsDir() bool {
	info, err := os.Stat(string(g.Path))
	return err == nil && info.IsDir()
}

func (s *SCGI) check(c *Config, p *problems, at string) {
	s.Target.check(c, p, at)
	s.Responder.check(p, at)
	checkRoot(p, at, s.Root, s.Docroot, s.Index)
	checkTerminated(p, at, &s.Terminated, &s.Responder)
}

func (f *FastCGI) check(c *Config, p *problems, at string) {
	f.Target.check(c, p, at)
	f.Responder.check(p, at)
	if f.Docroot == "" || f.Root != "" || len(f.SplitPath) == 0 { // otherwise nobody looks at the files
		checkRoot(p, at, f.Root, f.Docroot, f.Index)
	}
	for i, s := range f.SplitPath {
		if s == "" || strings.Contains(s, "/") {
			p.addf(item(at+".split_path", i), "%q is not the end of a name, like .php", s)
		}
	}
	if f.Authorizer != nil {
		f.Authorizer.check(c, p, at+".authorizer")
	}
	checkTerminated(p, at, &f.Terminated, &f.Responder)
}

func checkRoot(p *problems, at string, root Path, docroot, index string) {
	p.add(at+".root", directory(root))
	p.add(at+".index", checkIndex(index))
	if index != "" && root == "" {
		p.addf(at+".index", "needs root, the directory of the scripts")
	}
	if docroot != "" && root == "" {
		p.addf(at+".docroot", "needs root, the same directory as it is here")
	}
}

func checkTerminated(p *problems, at string, t *Terminated, r *Responder) {
	if t.Framing != "" && r.Upgrade {
		p.addf(at+".framing", "excludes upgrade: either wspawn speaks WebSocket or the backend does")
	}
	if t.Binary && t.Framing == "" {
		p.addf(at+".binary", "needs a framing")
	}
	checkBinary(p, at, t.Framing, t.Binary)
}

// checkBinary is for what has no settings of a framing but these.
func checkBinary(p *problems, at, name string, binary bool) {
	if kind, err := framing.Parse(name); err == nil {
		o := framing.Options{Framing: kind, Binary: binary}
		p.add(at+".binary", o.Check())
	}
}

// framings returns those of the route: its own, or "", and those of its subprotocols.
func (r *Route) framings() (own string, all []string) {
	switch {
	case r.Stdio != nil:
		own = r.Stdio.Framing.Framing
	case r.Tunnel != nil:
		own = r.Tunnel.Framing
	case r.SCGI != nil:
		own = r.SCGI.Framing
	case r.UWSGI != nil:
		own = r.UWSGI.Framing
	case r.FastCGI != nil:
		own = r.FastCGI.Framing
	}
	all = []string{own}
	for _, x := range r.Protocols {
		all = append(all, x.Framing)
	}
	return own, all
}

// Options returns them in the terms of package framing.
func (t *Tunnel) Options() (*framing.Options, error) {
	f := Framing{Framing: t.Framing, Binary: t.Binary, Newlines: t.Newlines, InvalidUTF8: t.InvalidUTF8}
	o, err := f.Options()
	return &o, err
}

func (t *Tunnel) check(c *Config, p *problems, at string) {
	if t.ProxyProtocol > 2 {
		p.addf(at+".proxy_protocol", "there is no version %d: use 1 or 2, or 0 for none", t.ProxyProtocol)
	}
	o, err := t.Options()
	if err == nil {
		err = o.Check()
	}
	p.add(at, err)
	if t.Tokens == "" {
		t.Target.check(c, p, at)
		return
	}
	if t.Backends != "" || t.Pool != "" || len(t.Servers) > 0 {
		p.addf(at+".tokens", "excludes backends, servers and pool: a token names the address")
	}
	if _, err := os.Stat(string(t.Tokens)); err != nil {
		p.addf(at+".tokens", "%s: no such file or directory", t.Tokens)
	}
}
