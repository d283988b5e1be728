package config

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-multierror"
)

// tree makes files, those that end with .sh executable, and changes into their directory.
func tree(t *testing.T, files ...string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, f := range files {
		mode := os.FileMode(0o666)
		if strings.HasSuffix(f, ".sh") {
			mode = 0o777
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(f), 0o777), os.WriteFile(f, []byte("#!/bin/sh\n"), mode)); err != nil {
			t.Fatal(err)
		}
	}
}

// allRight is a configuration in which everything is right.
func allRight() *Config {
	c := New[Config]()
	r := New[Route]()
	r.Stdio = New[Stdio]()
	r.Stdio.Command = []string{"cat"}
	c.Route = []*Route{r}
	c.Program = map[string]*Program{"p": New[Program]()}
	c.Program["p"].Command = []string{"cat"}
	c.Pool = map[string]*Pool{"l": New[Pool]()}
	c.Pool["l"].Program = "p"
	c.Backends = map[string]*Backends{"b": New[Backends]()}
	c.Backends["b"].Servers = []string{"127.0.0.1:1", "unix:/x"}
	return c
}

// with makes the route have one other endpoint.
func with(c *Config, change func(*Route)) {
	c.Route[0].Stdio = nil
	change(c.Route[0])
}

func add(c *Config, change func(*Route)) {
	r := New[Route]()
	r.Stdio = New[Stdio]()
	r.Stdio.Program = "p"
	change(r)
	c.Route = append(c.Route, r)
}

func TestCheckNamesTheSettingAndTheReason(t *testing.T) {
	tree(t, "file", "dir/x", "run.sh")
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   []string // "setting: part of the reason"
	}{
		{"an example is right", func(c *Config) {}, nil},
		{"only files", func(c *Config) { with(c, func(r *Route) { r.Files = &Files{Root: "dir"} }) }, nil},
		{"a directory of programs and files", func(c *Config) {
			c.Route[0].Stdio.Command, c.Route[0].Stdio.Programs, c.Route[0].Files = nil, "dir", &Files{Root: "."}
		}, nil},
		{"a pool", func(c *Config) {
			with(c, func(r *Route) { r.FastCGI = New[FastCGI](); r.FastCGI.Pool = "l" })
		}, nil},
		{"named parts", func(c *Config) {
			c.Route[0].Path = "/{room}"
			c.Route[0].Match = map[string]string{"room": "[a-z]+"}
			c.Route[0].Stdio.Command = []string{"cat", "{room}", "{other}"}
		}, nil},

		{"nothing to serve", func(c *Config) { c.Route = nil }, []string{"route: nothing to serve"}},
		{"nothing answers", func(c *Config) { c.Route[0].Stdio = nil }, []string{"route[0]: nothing answers"}},
		{"two endpoints", func(c *Config) { c.Route[0].CGI = New[CGI](); c.Route[0].CGI.Path = "run.sh" }, []string{"route[0].cgi: excludes stdio"}},
		{"files beside a backend", func(c *Config) {
			with(c, func(r *Route) { r.SCGI = New[SCGI](); r.SCGI.Backends = "b"; r.Files = &Files{Root: "dir"} })
		}, []string{"route[0].files: scgi answers all requests"}},
		{"a program and a directory", func(c *Config) { c.Route[0].Stdio.Programs = "dir" }, []string{"route[0].stdio.programs: a program (cat) and a directory"}},
		{"a missing program", func(c *Config) { c.Route[0].Stdio.Command = []string{"no such program"} }, []string{`route[0].stdio.command: program "no such program": not found in PATH`}},
		{"no program", func(c *Config) { c.Route[0].Stdio.Command = nil }, []string{"route[0].stdio.command: nothing to run"}},
		{"a program that is not named", func(c *Config) { c.Route[0].Stdio.Command, c.Route[0].Stdio.Program = nil, "q" }, []string{"route[0].stdio.program: there is no [program.q]: there is p"}},
		{"a name that needs quotes", func(c *Config) { c.Program["x y"] = New[Program](); c.Program["x y"].Stop = "now" }, []string{`program."x y".stop: `}},
		{"a part chooses the program", func(c *Config) { c.Route[0].Path = "/{p}"; c.Route[0].Stdio.Command = []string{"./{p}"} },
			[]string{"route[0].stdio.command: program \"./{p}\"", "route[0].stdio.command: {p} chooses the program itself"}},
		{"a match for a part that is not there", func(c *Config) { c.Route[0].Match = map[string]string{"x": "["} }, []string{"route[0].match.x: the path / has no part {x}", "route[0].match.x: error parsing"}},
		{"a file as directory", func(c *Config) { with(c, func(r *Route) { r.Files = &Files{Root: "file"} }) }, []string{"route[0].files.root: file: not a directory"}},
		{"programs served as files", func(c *Config) {
			c.Route[0].Stdio.Command, c.Route[0].Stdio.Programs, c.Route[0].Files = nil, "dir", &Files{Root: "dir/"}
		}, []string{"route[0].files.root: it is the directory of programs as well"}},
		{"hosts", func(c *Config) { c.Route[0].Host = []string{"example.com:80", "*", "a.*.b", "bücher.example"} }, []string{"route[0].host[0]: \"example.com:80\"", "route[0].host[1]: \"*\"", "route[0].host[2]: \"a.*.b\"", "route[0].host[3]: clients ask for \"bücher.example\" in another form, as xn--"}},
		{"suffixes and methods", func(c *Config) { c.Route[0].Suffix, c.Route[0].Methods = []string{"a/b"}, []string{"get"} }, []string{"route[0].suffix[0]: ", "route[0].methods[0]: "}},
		{"a bad path", func(c *Config) { c.Route[0].Path = "x" }, []string{`route[0].path: path "x" does not begin with a slash`}},
		{"the same path twice", func(c *Config) { add(c, func(r *Route) {}) }, []string{"route[1].path: \"/\" and \"/\" are for the same requests: change one of them (the other one is route[0])"}},
		{"the same path on other listeners", func(c *Config) {
			c.Listen, c.Route[0].Listeners = []string{"127.0.0.1:1", "unix:/y"}, []string{"unix:/y"}
			add(c, func(r *Route) { r.Listeners = []string{"127.0.0.1:1"} })
		}, nil},
		{"the same path on a listener of both", func(c *Config) {
			c.Listen, c.Route[0].Listeners = []string{"127.0.0.1:1", "unix:/y", "unix:/z"}, []string{"unix:/y", "unix:/z"}
			add(c, func(r *Route) { r.Path = "/x" })
			add(c, func(r *Route) { r.Listeners = []string{"127.0.0.1:1", "unix:/y", "unix:/z"} })
			add(c, func(r *Route) { r.Path = "x" })
		}, []string{"route[3].path: path \"x\" does not begin with a slash", "route[2].path: \"/\" and \"/\" are for the same requests: change one of them (the other one is route[0])"}},
		{"a listener that is not there", func(c *Config) {
			c.Listen, c.Route[0].Listeners = []string{"127.0.0.1:1", "unix:/y"}, []string{"unix:/y", "127.0.0.1"}
		}, []string{`route[0].listeners: there is no listener "127.0.0.1": there is "127.0.0.1:1", "unix:/y" (without this key, the route is on all)`}},
		{"the listener that is there without another", func(c *Config) { c.Route[0].Listeners = []string{DefaultListen} }, nil},
		{"blanks in addresses", func(c *Config) {
			c.Listen, c.Admin = []string{" 127.0.0.1:1", "localhost :1", "unix: /x", "unix:/a b", "unix:/x "}, "127.0.0.1:2 "
		}, []string{`admin: "127.0.0.1:2 " has a blank in it: leave that out`, `listen[0]: " 127.0.0.1:1" has a blank`, `listen[1]: "localhost :1" has`, `listen[2]: "unix: /x" has`, `listen[4]: "unix:/x " has`}},
		{"a listener that redirects", func(c *Config) {
			l := New[Listener]()
			l.Address, l.Redirect, c.Route[0].Listeners = "127.0.0.1:1", "https", []string{"127.0.0.1:1"}
			c.Listener = []*Listener{l}
		}, []string{`route[0].listeners: the listener "127.0.0.1:1" sends all requests elsewhere (redirect)`}},
		{"paths that cross", func(c *Config) {
			c.Route[0].Path = "/a/{x}"
			add(c, func(r *Route) { r.Path = "/{y}/b" })
		}, []string{"route[1].path: \"/a/{x}\" and \"/{y}/b\" have requests in common"}},
		{"origins", func(c *Config) { c.Route[0].Origins = []string{"any", "https://x.example"} }, []string{`route[0].origins: "any" makes the other origins meaningless`}},
		{"an origin with a path", func(c *Config) { c.Route[0].Origins = []string{"https://x.example/y"} }, []string{"route[0].origins[0]: "}},
		{"subprotocols", func(c *Config) { c.Route[0].Subprotocols = []string{"a b"} }, []string{`route[0].subprotocols[0]: "a b" is not a token`}},
		{"headers", func(c *Config) { c.Headers, c.Route[0].Headers = []string{"X y"}, []string{"a: b\r\nc: d"} }, []string{`headers: "X y" is not Name: value`, "route[0].headers: "}},

		{"bad addresses", func(c *Config) { c.Listen = []string{"8080", "h:x", "h:70000", "unix:", "::1:80"} },
			[]string{`listen[0]: "8080" is not`, `listen[1]: "h:x" has no port`, `listen[2]: "h:70000" has no port`, `listen[3]: "unix:" needs a path`, `listen[4]: "::1:80" is not`}},
		{"the same address twice", func(c *Config) { c.Listen, c.Listener = []string{"[::1]:80"}, []*Listener{{Address: "[::1]:80"}} }, []string{"listener[0].address: \"[::1]:80\" is given twice"}},
		{"any free port twice", func(c *Config) { c.Listen = []string{"[::1]:0", "[::1]:0"} }, nil},
		{"a certificate without key", func(c *Config) { c.Listener = []*Listener{{Address: "x:1", Certificate: "file"}} }, []string{"listener[0].certificate: a certificate needs its key"}},
		{"a missing key", func(c *Config) { c.Listener = []*Listener{{Address: "x:1", Certificate: "file", Key: "no"}} }, []string{"listener[0].key: no: no such file"}},
		{"not a certificate", func(c *Config) { c.Listener = []*Listener{{Address: "x:1", Certificate: "file", Key: "file"}} }, []string{"listener[0].certificate: file has no certificate in PEM"}},
		{"permissions of TCP", func(c *Config) { c.Listener = []*Listener{{Address: "x:1", Mode: "0600"}} }, []string{"listener[0].mode: is for Unix sockets"}},
		{"a limit of users whom nobody knows", func(c *Config) { c.Route[0].Limits.SessionsPerUser = 1 }, []string{"route[0].limits.sessions_per_user: nobody has a name"}},
		{"a header with the host that is none", func(c *Config) { c.Client.HostHeader = "X Host" }, []string{`client.host_header: "X Host" is not`}},
		{"negative limits of users", func(c *Config) { c.Route[0].Limits.SessionsPerUser = -1 }, []string{"route[0].limits.sessions_per_user: -1 is less than 0"}},
		{"numbers that are too small", func(c *Config) {
			c.MaxProcesses, c.StartRate = -1, math.NaN()
			c.Program["p"].Nice = -20
			c.Pool["l"].MaxQueue, c.Backends["b"].Retries = -2, -3
			c.Backends["b"].Server = []*Server{{Address: "a:1", Weight: 1, MaxSessions: -4}}
			c.Route[0].WebSocket.MaxFragments = -5
			c.Route[0].WebSocket.Compression = New[Compression]()
			c.Route[0].WebSocket.Compression.Level = 0
		}, []string{
			"max_processes: -1 is less than 0", "start_rate: NaN is less than 0", "pool.l.max_queue: -2 is less than 0",
			"backends.b.server[0].max_sessions: -4 is less than 0", "backends.b.retries: -3 is less than 0",
			"route[0].websocket.max_fragments: -5 is less than 0", "route[0].websocket.compression.level: 0 is less than 1",
		}},

		{"limits of a program", func(c *Config) { c.Program["p"].Limits = map[string]string{"x": "1"} }, []string{`program.p.limits: unknown limit "x"`}},
		{"a limit that is no number", func(c *Config) { c.Program["p"].Limits = map[string]string{"as": "big"} }, []string{`program.p.limits: as = "big" is not SOFT`}},
		{"a command in one word", func(c *Config) { c.Route[0].Stdio.Command = []string{"cat -u"} }, []string{`route[0].stdio.command: program "cat -u": not found in PATH; write the program and each of its arguments apart`}},
		{"a console of files", func(c *Config) { r := c.Route[0]; r.Stdio, r.Console, r.Files = nil, "on", &Files{Root: "dir"} }, []string{"route[0].console: there is no WebSocket to try"}},
		{"frames and types", func(c *Config) { s := c.Route[0].Stdio; s.Framing.Framing, s.Binary = "frames", true }, []string{"route[0].stdio: with the framing frames each frame has its type"}},
		{"frames and the other type", func(c *Config) { s := c.Route[0].Stdio; s.Framing.Framing, s.OtherType = "frames", "refuse" }, []string{"route[0].stdio: with the framing frames each frame has its type"}},
		{"frames and newlines", func(c *Config) { s := c.Route[0].Stdio; s.Framing.Framing, s.Newlines = "frames", "escape" }, []string{"route[0].stdio: delimiters are for the framings lines and null, not for frames"}},
		{"frames and UTF-8", func(c *Config) { s := c.Route[0].Stdio; s.Framing.Framing, s.InvalidUTF8 = "frames", "binary" }, []string{"route[0].stdio: a frame of the framing frames can be neither split nor changed"}},
		{"frames and what cannot be otherwise", func(c *Config) {
			s := c.Route[0].Stdio
			s.Framing.Framing, s.InvalidUTF8, s.LongLine = "frames", "refuse", "refuse"
		}, nil},
		{"frames and events", func(c *Config) { s := c.Route[0].Stdio; s.Framing.Framing, s.Events = "frames", true }, []string{"route[0].stdio: events need the framing json, not frames"}},
		{"frames and a request message", func(c *Config) { s := c.Route[0].Stdio; s.Framing.Framing, s.RequestMessage = "frames", true }, []string{"route[0].stdio: a request message needs the framing json or lines, not frames"}},
		{"frames and standard error", func(c *Config) { s := c.Route[0].Stdio; s.Framing.Framing, s.StderrToClient = "frames", true }, []string{"route[0].stdio: passing stderr on works with the framing lines only, not with frames"}},
		{"frames and fragments", func(c *Config) { r := c.Route[0]; r.Stdio.Framing.Framing, r.WebSocket.FragmentSize = "frames", 100 }, []string{"route[0].websocket.fragment_size: excludes the framing frames"}},
		{"frames of a subprotocol, and fragments", func(c *Config) {
			r := c.Route[0]
			r.Protocols, r.WebSocket.FragmentSize = []*Protocol{{Name: "x", Framing: "frames"}}, 100
		}, []string{"route[0].websocket.fragment_size: excludes the framing frames"}},
		{"frames of subprotocols, and types", func(c *Config) {
			r := c.Route[0]
			r.Stdio.Framing.Framing, r.Protocols = "frames", []*Protocol{{Name: "x", Binary: true}, {Name: "y", Binary: true, Framing: "lines"}, {Name: "z", Binary: true, Framing: "frames"}}
		}, []string{"route[0].protocols[0].binary: with the framing frames", "route[0].protocols[2].binary: with the framing frames"}},
		{"frames of a backend, and types", func(c *Config) {
			with(c, func(r *Route) {
				r.SCGI = New[SCGI]()
				r.SCGI.Backends, r.SCGI.Framing, r.SCGI.Binary = "b", "frames", true
			})
		}, []string{"route[0].scgi.binary: with the framing frames"}},
		{"frames of a tunnel, and types", func(c *Config) {
			with(c, func(r *Route) {
				r.Tunnel = New[Tunnel]()
				r.Tunnel.Backends, r.Tunnel.Framing, r.Tunnel.Binary = "b", "frames", true
			})
		}, []string{"route[0].tunnel: with the framing frames"}},
		{"a cgroup that does not exist", func(c *Config) { c.Program["p"].Cgroup = "/no/such" }, []string{"program.p.cgroup: /no/such: no such file or directory"}},
		{"a hook that does not exist", func(c *Config) {
			c.Route[0].Auth = New[Auth]()
			c.Route[0].Auth.Hook = New[AuthHook]()
			c.Route[0].Auth.Hook.Command = []string{"no-such-program"}
		}, []string{`route[0].auth.hook.command: program "no-such-program": not found in PATH`}},
		{"a user that does not exist", func(c *Config) { c.Program["p"].User = "no-such" }, []string{`program.p.user: there is no user "no-such"`}},
		{"a group that does not exist", func(c *Config) { c.Program["p"].Group = "no-such" }, []string{`program.p.group: there is no group "no-such"`}},
		{"a user by number", func(c *Config) { c.Program["p"].User, c.Program["p"].Group = "4000000000", "4000000000" }, nil},
		{"a value among names", func(c *Config) { c.Program["p"].PassEnv = []string{"A=1"} }, []string{`program.p.pass_env[0]: "A=1" is not the name of a variable`}},
		{"a ladder", func(c *Config) { c.Program["p"].Stop = "now" }, []string{`program.p.stop: "now" is no step`}},
		{"environment", func(c *Config) { c.Program["p"].Env = map[string]string{"A=": "1"} }, []string{`program.p.env."A=": not the name`}},
		{"a directory to work in", func(c *Config) { c.Program["p"].Directory = "no" }, []string{"program.p.directory: no: no such file or directory"}},
		{"contradictory streams", func(c *Config) { s := c.Route[0].Stdio; s.StderrToClient, s.Framing.Framing = true, "raw" }, []string{"route[0].stdio: passing stderr on"}},
		{"a close code nobody may send", func(c *Config) { c.Route[0].Stdio.CloseCodes = map[string]int{"3": 1006} }, []string{"route[0].stdio.close_codes.3: close code 1006"}},
		{"an exit status that does not exist", func(c *Config) { c.Route[0].Stdio.CloseCodes = map[string]int{"300": 4000} }, []string{`route[0].stdio.close_codes.300: "300" is neither an exit status from 0 to 255 nor signal`}},
		{"watching a directory", func(c *Config) { s := c.Route[0].Stdio; s.Command, s.Programs, s.Watch = nil, "dir", true }, []string{"route[0].stdio.watch: needs a program"}},
		{"spares of a directory", func(c *Config) { s := c.Route[0].Stdio; s.Command, s.Programs, s.Spare = nil, "dir", 1 }, []string{"route[0].stdio.spare: needs one program"}},

		{"a pool of nothing", func(c *Config) { c.Pool["l"].Program = "" }, []string{"pool.l.command: nothing to run"}},
		{"a pool of an unknown program", func(c *Config) { c.Pool["l"].Program = "x" }, []string{"pool.l.program: there is no [program.x]"}},
		{"a pool without room", func(c *Config) { c.Pool["l"].Max = 0 }, []string{"pool.l.max: 0 is less than 1"}},
		{"a dynamic pool", func(c *Config) { l := c.Pool["l"]; l.Scaling, l.Min, l.MinSpare, l.MaxSpare = "dynamic", 5, 1, 0 }, []string{"pool.l.min: 5 is more than max = 4"}},
		{"spare workers", func(c *Config) { l := c.Pool["l"]; l.Scaling, l.MinSpare = "dynamic", 3 }, []string{"pool.l.min_spare: 3 is more than max_spare = 2"}},
		{"a shared socket", func(c *Config) { c.Pool["l"].Shared, c.Pool["l"].Scaling = true, "ondemand" }, []string{"pool.l.shared: "}},
		{"an address of a pool", func(c *Config) { c.Pool["l"].Address = "x" }, []string{`pool.l.address: "x" is not HOST:PORT`}},

		{"no addresses", func(c *Config) { c.Backends["b"].Servers = nil }, []string{"backends.b: there are no addresses"}},
		{"addresses and a pool", func(c *Config) { c.Backends["b"].Pool = "l" }, []string{"backends.b.pool: excludes servers"}},
		{"an unknown pool", func(c *Config) { c.Backends["b"].Servers, c.Backends["b"].Pool = nil, "z" }, []string{"backends.b.pool: there is no [pool.z]: there is l"}},
		{"an address that is none", func(c *Config) { c.Backends["b"].Servers = []string{"x"} }, []string{"backends.b.servers[0]: "}},
		{"a weight", func(c *Config) { c.Backends["b"].Server = []*Server{{Address: "a:1", Weight: 0}} }, []string{"backends.b.server[0].weight: 0 is less than 1"}},
		{"a hash of nothing", func(c *Config) { c.Backends["b"].Balance = "cookie" }, []string{"backends.b.hash_name: "}},
		{"two targets", func(c *Config) {
			with(c, func(r *Route) { r.Tunnel = New[Tunnel](); r.Tunnel.Pool, r.Tunnel.Backends = "l", "b" })
		}, []string{"route[0].tunnel: give one of backends, servers and pool"}},
		{"any subprotocol and others", func(c *Config) { c.Route[0].Subprotocols = []string{"chat", "*"} }, []string{`route[0].subprotocols: "*" makes the others meaningless`}},
		{"any subprotocol", func(c *Config) { c.Route[0].Subprotocols = []string{"*"} }, nil},
		{"headers of another server that are not its own", func(c *Config) {
			a := New[Auth]()
			a.Forward = New[AuthForward]()
			a.Forward.URL, a.Forward.AnswerHeaders = "http://auth.test/", []string{"Set-Cookie", "upgrade", "Sec-WebSocket-Protocol", "A: b"}
			c.Route[0].Auth = a
		}, []string{
			`route[0].auth.forward.answer_headers: "upgrade" is no header that`, `route[0].auth.forward.answer_headers: "Sec-WebSocket-Protocol" is no`,
			`route[0].auth.forward.answer_headers: "A: b" is no`,
		}},
		{"newlines of a raw tunnel", func(c *Config) {
			with(c, func(r *Route) { r.Tunnel = New[Tunnel](); r.Tunnel.Pool, r.Tunnel.Newlines = "l", "refuse" })
		}, []string{"route[0].tunnel: delimiters are for the framings lines and null, not for raw"}},
		{"newlines of a tunnel with lines", func(c *Config) {
			with(c, func(r *Route) {
				r.Tunnel = New[Tunnel]()
				r.Tunnel.Pool, r.Tunnel.Framing, r.Tunnel.Newlines = "l", "lines", "refuse"
			})
		}, nil},
		{"tokens and a target", func(c *Config) {
			with(c, func(r *Route) { r.Tunnel = New[Tunnel](); r.Tunnel.Pool, r.Tunnel.Tokens = "l", "none" })
		}, []string{"route[0].tunnel.tokens: excludes", "route[0].tunnel.tokens: none: no such file"}},

		{"CGI", func(c *Config) {
			with(c, func(r *Route) {
				r.CGI = New[CGI]()
				r.CGI.Path, r.CGI.Program, r.CGI.Interpreters, r.CGI.Sendfile = "no", "p", map[string]string{".x": "no such"}, []Path{"no"}
			})
		}, []string{"route[0].cgi.path: no: no such file", `route[0].cgi.program: "p" has a command of its own`, `route[0].cgi.interpreters.".x": program "no such"`, "route[0].cgi.sendfile[0]: no: no such"}},
		{"a script that nobody may run", func(c *Config) { with(c, func(r *Route) { r.CGI = New[CGI](); r.CGI.Path = "file" }) }, []string{"route[0].cgi.path: "}},
		{"FastCGI", func(c *Config) {
			with(c, func(r *Route) {
				f := New[FastCGI]()
				f.Backends, f.Index, f.SplitPath, f.Authorizer = "b", "a/b", []string{""}, New[Target]()
				f.Framing, f.Upgrade, r.FastCGI = "lines", true, f
			})
		}, []string{`route[0].fastcgi.index: "a/b" is not the name`, "route[0].fastcgi.index: needs root", "route[0].fastcgi.split_path[0]: ", "route[0].fastcgi.authorizer: give one of", "route[0].fastcgi.framing: excludes upgrade"}},
		{"another root where there is none", func(c *Config) {
			with(c, func(r *Route) { r.SCGI = New[SCGI](); r.SCGI.Pool, r.SCGI.Docroot = "l", "/srv" })
			for i, split := range [][]string{nil, {".php"}} {
				add(c, func(r *Route) {
					r.Path, r.Stdio, r.FastCGI = []string{"/a", "/b"}[i], nil, New[FastCGI]()
					r.FastCGI.Pool, r.FastCGI.Docroot, r.FastCGI.SplitPath = "l", "/srv", split
				})
			}
		}, []string{"route[0].scgi.docroot: needs root", "route[1].fastcgi.docroot: needs root"}},
		{"proxy", func(c *Config) {
			with(c, func(r *Route) {
				r.Proxy = New[Proxy]()
				r.Proxy.Servers, r.Proxy.StripPrefix, r.Proxy.RequestHeaders = []string{"x"}, "app/", []string{"x"}
			})
		}, []string{"route[0].proxy.servers[0]: ", "route[0].proxy.strip_prefix: ", "route[0].proxy.request_headers: "}},
		{"a header for users whom nobody knows", func(c *Config) {
			add(c, func(r *Route) {
				r.Path, r.Stdio, r.Proxy = "/a", nil, &Proxy{Target: Target{Servers: []string{"h:1"}}, UserHeader: "X-User"}
			})
			add(c, func(r *Route) {
				r.Path, r.Stdio, r.Proxy = "/b", nil, &Proxy{Target: Target{Servers: []string{"h:1"}}, UserHeader: "Upgrade"}
			})
		}, []string{"route[1].proxy.user_header: nobody has a name", `route[2].proxy.user_header: "Upgrade" is no header`}},
		{"three at once", func(c *Config) {
			c.MaxProcesses = -1
			c.Program["p"].Nice = 99
			c.Route[0].Path = ""
		}, []string{"max_processes: ", "program.p.nice: ", "route[0].path: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := allRight()
			test.change(c)
			err := c.Check()
			var many *multierror.Error
			var got []error
			if errors.As(err, &many) {
				got = many.Errors
			} else if err != nil {
				t.Fatalf("%T: %v", err, err)
			}
			for i, e := range got {
				if strings.Contains(e.Error(), "\n") {
					t.Errorf("more than a line: %v", e)
				}
				if i >= len(test.want) || !strings.HasPrefix(e.Error(), test.want[i]) {
					t.Errorf("problem %d: %v", i, e)
				}
			}
			if len(got) < len(test.want) {
				t.Errorf("missing: %q", test.want[len(got):])
			}
		})
	}
}

func TestEnvironHasWhatIsListedAndNothingElse(t *testing.T) {
	t.Setenv("LISTED", "yes")
	t.Setenv("SECRET", "no")
	p := New[Program]()
	p.PassEnv, p.Env = []string{"LISTED", "NOT_SET"}, map[string]string{"MORE": "1", "ALSO": "2"}
	if got := p.Environ(); !slices.Equal(got, []string{"LISTED=yes", "ALSO=2", "MORE=1"}) {
		t.Errorf("%q", got)
	}
}

func TestValuesReadWhatTheyWrite(t *testing.T) {
	for _, text := range []string{"0s", "1ms", "1m", "1m30s", "1h", "2h30m", "100h"} {
		var d Duration
		if err := d.Set(text); err != nil || d.String() != text {
			t.Errorf("%s: %s, %v", text, d, err)
		}
	}
	for _, text := range []string{"0", "1", "1000", "1K", "64K", "1M", "1025K", "3G"} {
		var s Size
		if err := s.Set(text); err != nil || s.String() != text {
			t.Errorf("%s: %s, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1.5M", "1T", "99999999999G"} {
		if err := new(Size).Set(text); err == nil {
			t.Errorf("size %q is taken", text)
		}
	}
	for _, text := range []string{"", "1", "-1s", "s"} {
		if err := new(Duration).Set(text); err == nil {
			t.Errorf("duration %q is taken", text)
		}
	}
}

func TestCommandsAreNotRelativeToTheDirectoryOfTheProgram(t *testing.T) {
	tree(t, "run.sh", "dir/x")
	c := allRight()
	c.Program["p"].Command, c.Program["p"].Directory = []string{"./run.sh", "arg"}, "dir"
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	want, err := filepath.Abs("run.sh")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := c.Program["p"].Run(c.Program["p"].Command); err != nil || p.Path != want || !slices.Equal(p.Args, []string{"arg"}) || p.Dir != filepath.Join(filepath.Dir(want), "dir") {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := c.Program["p"].Run([]string{"cat"}); err != nil || p.Path != "cat" {
		t.Errorf("%+v, %v", p, err)
	}
}

// Routes that differ are different in the log and in the counters.
func TestLabelsOfRoutes(t *testing.T) {
	for want, r := range map[string]Route{
		"/":             {Path: "/"},
		"a.test,b/x":    {Path: "/x", Host: []string{"a.test", "b"}},
		"/*.php,*.inc":  {Path: "/", Suffix: []string{".php", ".inc"}},
		"GET,HEAD /x":   {Path: "/x", Methods: []string{"GET", "HEAD"}},
		"/x on unix:/y": {Path: "/x", Listeners: []string{"unix:/y"}},
		"name":          {Path: "/x", Name: "name", Listeners: []string{"unix:/y"}},
	} {
		if got := r.Label(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
