package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-multierror"
	"github.com/spf13/pflag"

	"github.com/wspawn/wspawn/internal/config"
)

// serveFlags is the command line of serve. It fills the structure that a configuration file fills as
// well, with one route. Values that cannot be read are kept as problems, so that all are reported together.
type serveFlags struct {
	file string // --config

	c       *config.Config
	r       *config.Route
	program *config.Program
	problem *multierror.Error

	port                 int
	portOnly             bool // and no address
	log                  config.Log
	static               config.Files
	stdio                *config.Stdio
	cgi                  *config.CGI
	scgi                 *config.SCGI
	fastcgi              *config.FastCGI
	tunnel               *config.Tunnel
	proxy                *config.Proxy
	gateway              *config.Responder // what the gateways have in common
	servers              map[string]*[]string
	sendfile, authorizer []string
	compress             bool
	services             map[string][]string // of each flag that is not for all: for which services it is
}

// programName is what the settings of the program are called where names are needed.
const programName = "program"

func newServeFlags() *serveFlags {
	f := &serveFlags{
		c: config.New[config.Config](), r: config.New[config.Route](), program: config.New[config.Program](),
		stdio: config.New[config.Stdio](), cgi: config.New[config.CGI](), scgi: config.New[config.SCGI](),
		fastcgi: config.New[config.FastCGI](), tunnel: config.New[config.Tunnel](), proxy: config.New[config.Proxy](),
		gateway: config.New[config.Responder](), servers: map[string]*[]string{}, services: map[string][]string{},
	}
	f.r.Console = "auto"
	return f
}

// The services, by the flag that chooses them.
var (
	ownPrograms  = []string{"command", "dir"}
	gateways     = []string{"cgi", "scgi", "uwsgi", "fastcgi"}
	backendKinds = []string{"scgi", "uwsgi", "fastcgi"}
	terminating  = []string{"command", "dir", "tunnel"}
	started      = []string{"command", "dir", "cgi"}
	takenOver    = []string{"cgi", "scgi", "uwsgi", "fastcgi", "proxy"}
)

func (f *serveFlags) register(fs *pflag.FlagSet) {
	fs.StringVarP(&f.file, "config", "c", "", "serve what the configuration `FILE` says (of a directory: its wspawn.toml); all other settings are in it")
	f.registerServer(fs)
	f.registerStdio(fs)
	f.registerGateways(fs)
	f.registerProgram(fs)
	f.registerWebSocket(fs)
	fs.StringVar(&f.log.Level, "log-level", "info", "debug, info, warn, error")
	fs.StringVar(&f.log.Format, "log-format", "auto", "auto, text, json")
}

func (f *serveFlags) registerServer(fs *pflag.FlagSet) {
	c, r := f.c, f.r
	c.Listener = []*config.Listener{config.New[config.Listener]()}
	fs.StringArrayVarP(&c.Listen, "listen", "l", []string{config.DefaultListen}, "`ADDRESS` to listen on: HOST:PORT or unix:PATH (repeatable)")
	fs.IntVarP(&f.port, "port", "p", 0, "listen on 127.0.0.1:`PORT`; 0 is any free port")
	fs.StringVar((*string)(&c.Listener[0].Certificate), "tls-cert", "", "`FILE` with the certificate: speak TLS (wss)")
	fs.StringVar((*string)(&c.Listener[0].Key), "tls-key", "", "`FILE` with the key of the certificate")
	fs.BoolVar(&c.Listener[0].SelfSigned, "tls-self-signed", false, "speak TLS with a certificate made on the spot, for development")
	fs.StringVar((*string)(&c.Listener[0].ClientCA), "tls-client-ca", "", "`FILE` with the authorities of client certificates: clients need one")
	fs.BoolVar(&c.Listener[0].HTTP2, "http2", true, "speak HTTP/2 beside HTTP/1.1, also for WebSockets")
	fs.StringVar((*string)(&f.stdio.Programs), "dir", "", "serve the programs in `DIR`: the path of the URL names one")
	fs.StringVar((*string)(&f.static.Root), "static", "", "serve the files in `DIR` to ordinary requests")
	fs.BoolVar(&f.static.Listings, "static-listings", false, "show what is in directories that have no index.html")
	fs.BoolVar(&f.static.DotFiles, "static-dot-files", false, "serve files whose names begin with a dot as well")
	f.choice(fs, "console", &r.Console, "page for trying the service: auto (when listening on this machine only), on, off", "auto", "on", "off")
	fs.StringArrayVar(&c.Headers, "header", nil, "`\"Name: value\"` for every answer (repeatable)")
	fs.StringArrayVar(&c.Hosts, "host", nil, "`NAME` that the server may be asked for on this machine, as by a proxy in front; * is any (repeatable)")
	fs.StringArrayVar(&r.Origins, "origin", nil, "let pages of `ORIGIN` connect, as https://example.com or https://*.example.com; any lets all (repeatable)")
	fs.BoolVar(&r.RequireOrigin, "require-origin", false, "refuse clients that send no origin, which browsers always do")
	fs.StringArrayVar(&r.Subprotocols, "subprotocol", nil, "`NAME` of a subprotocol that the program speaks (repeatable); * is any, for development")
	fs.StringVar(&c.Admin, "admin", "", "`ADDRESS` that tells how the server is: /metrics for Prometheus, /healthz, and wspawn status")
	f.value(fs, "drain", &c.Drain, "how long a stopping server waits for clients and programs")
}

func (f *serveFlags) registerStdio(fs *pflag.FlagSet) {
	s := f.stdio
	f.choice(fs, "framing", &s.Framing.Framing, "how messages lie in the program's streams: lines, null, length, json, raw, frames", "lines", "null", "length", "json", "raw", "frames")
	fs.BoolVar(&s.Binary, "binary", false, "send binary messages instead of text")
	f.choice(fs, "other-type", &s.OtherType, "messages of the other type than --binary says: pass, refuse; default refuses binary ones only", "default", "pass", "refuse")
	f.choice(fs, "newlines", &s.Newlines, "newlines (NULs with --framing null) inside of client messages: pass, escape, strip (CRs too), refuse", "pass", "escape", "strip", "refuse")
	f.choice(fs, "invalid-utf8", &s.InvalidUTF8, "output that is not UTF-8, in text: replace, binary, refuse", "replace", "binary", "refuse")
	f.value(fs, "max-line", &s.MaxLine, "largest message of the program that is collected, `SIZE` in bytes")
	f.choice(fs, "long-line", &s.LongLine, "larger ones: split (into fragments of one message), refuse", "split", "refuse")
	f.choice(fs, "stderr", &f.program.Stderr, "standard error of the program: log, client (JSON with both streams), inherit, discard", "log", "client", "inherit", "discard")
	fs.BoolVar(&s.Events, "events", false, "tell the program of the start and end of the session (with --framing json)")
	f.pairs(fs, "close-code", "`STATUS=CODE`: close code for an exit status of the program, or signal (repeatable)", "STATUS=CODE like 3=4003 or signal=1011", func(status, code string) error {
		n, err := strconv.Atoi(code)
		if s.CloseCodes == nil {
			s.CloseCodes = map[string]int{}
		}
		s.CloseCodes[status] = n
		return err
	})
	f.value(fs, "queue", &s.Queue, "`SIZE` of what may wait for a program that does not read")
	f.value(fs, "stall-timeout", &s.StallTimeout, "how long it may then read nothing")
	fs.IntVar(&s.Spare, "spare", 0, "`NUMBER` of programs that are started before anybody connects")
	fs.BoolVar(&s.RequestMessage, "request-message", false, "tell the program of the request in a first message, in JSON")
	fs.BoolVar(&s.Watch, "watch", false, "close connections with 1012 when the file of the program changes, for development")
	f.only(ownPrograms, "other-type", "max-line", "long-line", "events", "close-code", "request-message", "watch")
	f.only([]string{"command"}, "spare")
	f.only([]string{"command", "dir", "tunnel", "scgi", "uwsgi", "fastcgi"}, "framing", "binary")
	f.only(terminating, "queue", "stall-timeout", "newlines", "invalid-utf8")
}

func (f *serveFlags) registerProgram(fs *pflag.FlagSet) {
	p := f.program
	f.pairs(fs, "env,e", "`NAME=VALUE` for the program (repeatable)", "NAME=VALUE", func(name, value string) error {
		if p.Env == nil {
			p.Env = map[string]string{}
		}
		p.Env[name] = value
		return nil
	})
	fs.StringSliceVar(&p.PassEnv, "pass-env", config.DefaultPassEnv(), "`NAMES` of variables that the program gets from here")
	fs.BoolVar(&p.Unbuffer, "unbuffer", false, "make the program write line by line (stdbuf, Python)")
	fs.StringVar((*string)(&p.Directory), "chdir", "", "working `DIR` of the program")
	fs.StringVar(&p.User, "user", "", "`USER` to run the program as")
	fs.StringVar(&p.Group, "group", "", "`GROUP` to run the program as")
	fs.BoolVar(&p.NoNewPrivileges, "no-new-privileges", false, "keep it from gaining rights by set-uid programs and file capabilities (Linux)")
	f.value(fs, "umask", &p.Umask, "`MASK` of permissions that its files do not get, octal")
	fs.IntVar(&p.Nice, "nice", 0, "its priority, -20 to 19")
	f.pairs(fs, "limit", "`NAME=SOFT[:HARD]`: resource limit, as nofile=64 or as=512M (repeatable)", "NAME=SOFT[:HARD] like nofile=64 or as=512M:unlimited", func(name, value string) error {
		if p.Limits == nil {
			p.Limits = map[string]string{}
		}
		p.Limits[name] = value
		return nil
	})
	fs.StringVar((*string)(&p.Cgroup), "cgroup", "", "cgroup v2 `DIR` below which each process gets a cgroup of its own")
	f.value(fs, "pipe-size", &p.PipeSize, "`SIZE` of its pipes; 0 is the system's")
	fs.StringVar(&p.Stop, "stop", p.Stop, "how it is stopped: steps and the times between them")
	fs.IntVar(&f.c.MaxProcesses, "max-processes", f.c.MaxProcesses, "programs that may run at once; 0 is no limit")
	fs.Float64Var(&f.c.StartRate, "start-rate", 0, "programs that may be started in a second; 0 is no limit")
	f.only(started, "env", "pass-env", "unbuffer", "chdir", "user", "group", "no-new-privileges", "umask", "nice", "limit", "cgroup", "pipe-size", "stop", "stderr")
}

func (f *serveFlags) registerWebSocket(fs *pflag.FlagSet) {
	w := &f.r.WebSocket
	f.value(fs, "max-message", &w.MaxMessage, "largest message of a client, `SIZE` in bytes; 0 is no limit")
	f.value(fs, "max-frame", &w.MaxFrame, "largest frame of a client, `SIZE` in bytes; 0 is as --max-message")
	fs.IntVar(&w.MaxFragments, "max-fragments", w.MaxFragments, "frames that a message of a client may have; 0 is no limit")
	f.value(fs, "fragment-size", &w.FragmentSize, "send messages in fragments of `SIZE`; 0 is whole")
	fs.BoolVar(&f.compress, "compress", false, "compress messages for clients that can do it (permessage-deflate)")
	f.value(fs, "ping", &w.Ping, "silence after which the client is pinged; 0 is never")
	f.value(fs, "ping-grace", &w.PingGrace, "silence after the ping that ends the connection")
	f.value(fs, "close-timeout", &w.CloseTimeout, "how long the client may take to answer a Close frame")
	f.value(fs, "write-timeout", &w.WriteTimeout, "how long a client may take no data; 0 is no limit")
}

// only says which services flags are for.
func (f *serveFlags) only(services []string, flags ...string) {
	for _, flag := range flags {
		f.services[flag] = services
	}
}

func (f *serveFlags) bad(flag string, err error) {
	if err != nil {
		f.problem = multierror.Append(f.problem, fmt.Errorf("--%s: %w", flag, err))
	}
}

// A lenient value takes everything, and notes what it cannot read.
type lenient struct {
	pflag.Value
	f    *serveFlags
	flag string
}

func (v lenient) Set(s string) error {
	v.f.bad(v.flag, v.Value.Set(s))
	return nil
}

// value adds a flag. Its name may have a comma and a short one behind it.
func (f *serveFlags) value(fs *pflag.FlagSet, name string, v pflag.Value, usage string) {
	name, short, _ := strings.Cut(name, ",")
	fs.VarP(lenient{v, f, name}, name, short, usage)
}

// A choice is one of some words.
type choice struct {
	value   *string
	allowed []string
}

func (c choice) String() string { return *c.value }
func (c choice) Type() string   { return "string" }
func (c choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("%q is none of %s", s, strings.Join(c.allowed, ", "))
	}
	*c.value = s
	return nil
}

func (f *serveFlags) choice(fs *pflag.FlagSet, name string, value *string, usage string, allowed ...string) {
	f.value(fs, name, choice{value, allowed}, usage)
}

// A pair is NAME=VALUE, any number of times.
type pair struct {
	form string
	add  func(name, value string) error
}

func (p pair) String() string { return "" }
func (p pair) Type() string   { return "stringArray" }
func (p pair) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" || p.add(name, value) != nil {
		return fmt.Errorf("%q is not %s", s, p.form)
	}
	return nil
}

func (f *serveFlags) pairs(fs *pflag.FlagSet, name, usage, form string, add func(name, value string) error) {
	f.value(fs, name, pair{form, add}, usage)
}

// config makes a configuration of what was written, and returns everything that is wrong with it.
func (f *serveFlags) config(fs *pflag.FlagSet, args []string) (*config.Config, error) {
	c, r := f.c, f.r
	f.listeners(fs)
	f.service(fs, args)
	c.Program = map[string]*config.Program{programName: f.program}
	if f.program.Stderr == "client" {
		f.program.Stderr, f.stdio.StderrToClient = "log", true
	}
	if f.static.Root != "" {
		r.Files = &f.static
	}
	if f.compress {
		r.WebSocket.Compression = config.New[config.Compression]()
	}
	c.Route = []*config.Route{r}
	if err := c.Check(); err != nil {
		f.problem = multierror.Append(f.problem, each(f.place(err))...)
	}
	return c, f.problem.ErrorOrNil()
}

// listeners puts the addresses and the certificate together.
func (f *serveFlags) listeners(fs *pflag.FlagSet) {
	c, l := f.c, *f.c.Listener[0]
	if fs.Changed("port") {
		if f.port < 0 || f.port > 65535 {
			f.bad("port", fmt.Errorf("%d is not from 0 to 65535", f.port))
			f.port = 0 // which is all that is said about it
		}
		addr := "127.0.0.1:" + strconv.Itoa(f.port)
		if f.portOnly = !fs.Changed("listen"); !f.portOnly {
			c.Listen = append(c.Listen, addr)
		} else {
			c.Listen = []string{addr}
		}
	}
	c.Listener = nil
	if reflect.DeepEqual(&l, config.New[config.Listener]()) {
		return // an address is enough
	}
	for _, addr := range c.Listen {
		l.Address = addr
		c.Listener = append(c.Listener, new(l))
	}
	c.Listen = nil
}

// service finds the one that was chosen.
func (f *serveFlags) service(fs *pflag.FlagSet, args []string) {
	r := f.r
	for _, dir := range f.sendfile {
		f.gateway.Sendfile = append(f.gateway.Sendfile, config.Path(dir))
	}
	if len(f.authorizer) > 0 {
		f.fastcgi.Authorizer = &config.Target{Servers: f.authorizer}
	}
	var chosen []string
	for _, name := range []string{"cgi", "scgi", "uwsgi", "fastcgi", "tunnel", "proxy", "dir"} {
		if fs.Changed(name) || name == "tunnel" && fs.Changed("tokens") {
			chosen = append(chosen, name)
		}
	}
	if len(args) > 0 {
		chosen = append(chosen, "command")
	}
	if len(chosen) > 1 {
		names := slices.Clone(chosen[1:])
		for i, name := range names {
			if names[i] = "--" + name; name == "command" {
				names[i] = "a program (" + strings.Join(args, " ") + ")"
			}
		}
		f.bad(chosen[0], fmt.Errorf("excludes %s: one server has one service (a file, --config, may have many)", strings.Join(names, " and ")))
		chosen = chosen[:1]
	}
	fs.Visit(func(flag *pflag.Flag) {
		if services, some := f.services[flag.Name]; some && !slices.ContainsFunc(chosen, func(s string) bool { return slices.Contains(services, s) }) {
			f.bad(flag.Name, fmt.Errorf("is for %s", forServices(services)))
		}
	})
	f.stdio.Program, f.cgi.Program = programName, programName
	for _, name := range chosen {
		switch name {
		case "command":
			f.stdio.Command, r.Stdio = args, f.stdio
		case "dir":
			r.Stdio = f.stdio
		case "cgi":
			f.cgi.Responder, r.CGI = *f.gateway, f.cgi
		case "scgi", "uwsgi":
			f.scgi.Responder, f.scgi.Servers = *f.gateway, *f.servers[name]
			f.scgi.Root, f.scgi.Docroot, f.scgi.Index = f.fastcgi.Root, f.fastcgi.Docroot, f.fastcgi.Index
			f.terminated(fs, &f.scgi.Terminated)
			if name == "scgi" {
				r.SCGI = f.scgi
			} else {
				r.UWSGI = f.scgi
			}
		case "fastcgi":
			f.fastcgi.Responder, f.fastcgi.Servers, r.FastCGI = *f.gateway, *f.servers[name], f.fastcgi
			f.terminated(fs, &f.fastcgi.Terminated)
		case "tunnel":
			t := f.tunnel
			t.Servers, t.StallTimeout, r.Tunnel = *f.servers[name], f.stdio.StallTimeout, t
			t.Binary, t.Newlines, t.InvalidUTF8 = f.stdio.Binary, f.stdio.Newlines, f.stdio.InvalidUTF8
			if fs.Changed("framing") {
				t.Framing = f.stdio.Framing.Framing
			}
			if fs.Changed("queue") {
				t.Queue = f.stdio.Queue
			}
		case "proxy":
			f.proxy.Servers, f.proxy.Upgrade, r.Proxy = *f.servers[name], f.gateway.Upgrade, f.proxy
			f.proxy.TunnelIdle, f.proxy.TunnelLife, f.proxy.ResponseTimeout = f.gateway.TunnelIdle, f.gateway.TunnelLife, f.gateway.ResponseTimeout
		}
	}
	if len(chosen) == 0 && f.static.Root == "" {
		f.problem = multierror.Append(f.problem, errors.New("nothing to serve: give a program, for example: wspawn cat"))
		f.static.Root = "." // so that nothing else is said about it
	}
}

func (f *serveFlags) terminated(fs *pflag.FlagSet, t *config.Terminated) {
	if fs.Changed("framing") {
		t.Framing = f.stdio.Framing.Framing
	}
	t.Binary = f.stdio.Binary
}

// forServices names services by their flags.
func forServices(names []string) string {
	var flags []string
	for _, name := range names {
		if name == "command" {
			flags = append(flags, "a program")
		} else {
			flags = append(flags, "--"+name)
		}
	}
	if n := len(flags); n > 1 {
		return strings.Join(flags[:n-1], ", ") + " and " + flags[n-1]
	}
	return flags[0]
}

// flagOf names the flags of keys that are called otherwise in a file.
var flagOf = map[string]string{
	"address": "listen", "certificate": "tls-cert, --tls-key", "key": "tls-key", "headers": "header", "origins": "origin",
	"subprotocols": "subprotocol", "client_ca": "tls-client-ca", "hosts": "host", "directory": "chdir", "limits": "limit", "interpreters": "interpreter", "programs": "dir",
	"close_codes": "close-code", "ping": "ping", "stdio": "framing", "files": "static", programName: "user, --group",
}

// place says which flags the problems are about.
func (f *serveFlags) place(err error) error {
	var all *multierror.Error
	for _, e := range each(err) {
		all = multierror.Append(all, f.translate(e))
	}
	return all
}

// translate names a setting as the command line has it.
func (f *serveFlags) translate(err error) error {
	var p *config.Problem
	if !errors.As(err, &p) {
		return err
	}
	keys := strings.FieldsFunc(p.Setting, func(r rune) bool { return r == '.' })
	last := keys[len(keys)-1]
	for _, table := range []string{"env", "interpreters", "close_codes"} {
		if strings.Contains(p.Setting, "."+table+".") {
			last = table // with a name of its own behind it
		}
	}
	last, _, _ = strings.Cut(last, "[")
	switch {
	case strings.HasSuffix(p.Setting, "files.root"):
		last = "static"
	case strings.HasSuffix(p.Setting, "cgi.path"):
		last = "cgi"
	case last == "route":
		return p.Err // there is one
	case (last == "listen" || last == "address") && f.portOnly:
		last = "port"
	case last == "servers":
		last = keys[len(keys)-2]
	case last == "command":
		if argv := f.stdio.Command; len(argv) > 0 {
			if fi, err := os.Stat(argv[0]); err == nil && fi.IsDir() {
				return fmt.Errorf("command: %s is a directory: to serve the programs in it, use --dir %[1]s", argv[0])
			}
		}
		return fmt.Errorf("command: %w%s", p.Err, otherCommand(f.stdio.Command))
	}
	name, other := flagOf[last]
	if !other {
		name = strings.ReplaceAll(last, "_", "-")
	}
	return fmt.Errorf("--%s: %w", name, p.Err)
}
