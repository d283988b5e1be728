package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/hashicorp/go-multierror"

	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/clientip"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/internal/hostname"
	"github.com/wspawn/wspawn/internal/origin"
	"github.com/wspawn/wspawn/internal/route"
)

// A Problem is one thing that is wrong with a setting.
type Problem struct {
	// Setting is where: the keys that lead to it, as "route[0].stdio.program".
	Setting string
	Err     error
}

func (p *Problem) Error() string { return p.Setting + ": " + p.Err.Error() }

// Unwrap returns the reason.
func (p *Problem) Unwrap() error { return p.Err }

// problems collects them.
type problems struct{ all *multierror.Error }

func (p *problems) add(setting string, err error) {
	var many *multierror.Error
	switch {
	case errors.As(err, &many):
		for _, e := range many.Errors {
			p.add(setting, e)
		}
	case err != nil:
		p.all = multierror.Append(p.all, &Problem{setting, err})
	}
}

func (p *problems) addf(setting, format string, args ...any) {
	p.add(setting, fmt.Errorf(format, args...))
}

// Check finds everything that is wrong, missing files and programs included, and returns it as one
// *multierror.Error of *[Problem], or nil.
func (c *Config) Check() error {
	var p problems
	checkNumbers(&p, "", reflect.ValueOf(c).Elem())
	c.checkListeners(&p)
	_, err := Headers(c.Headers)
	p.add("headers", err)
	_, err = hostname.New(hostname.Config{Names: c.Hosts})
	p.add("hosts", err)
	_, err = clientip.ParsePeers(c.Client.TrustedProxies)
	p.add("client.trusted_proxies", err)
	for _, name := range c.Client.Headers {
		if !token(name) {
			p.addf("client.headers", "%q is not the name of a header", name)
		}
	}
	if name := c.Client.HostHeader; name != "" && !token(name) {
		p.addf("client.host_header", "%q is not the name of a header", name)
	}
	for _, name := range keys(c.Program) {
		c.Program[name].check(&p, join("program", name))
	}
	for _, name := range keys(c.Pool) {
		c.Pool[name].check(c, &p, join("pool", name))
	}
	for _, name := range keys(c.Backends) {
		c.Backends[name].check(c, &p, join("backends", name))
	}
	c.checkRoutes(&p)
	return p.all.ErrorOrNil()
}

// checkNumbers finds those that are less than their least value, which is 0 where the tag "min" says nothing else.
func checkNumbers(p *problems, path string, table reflect.Value) {
	for _, f := range fields(table.Type()) {
		setting := strings.TrimPrefix(path+"."+f.key, ".")
		switch v := table.FieldByIndex(f.index); v.Kind() {
		case reflect.Int:
			if v.Int() < int64(f.min) {
				p.addf(setting, "%d is less than %d", v.Int(), f.min)
			}
		case reflect.Float64:
			if !(v.Float() >= float64(f.min)) { // it may be no number at all
				p.addf(setting, "%v is less than %d", v.Float(), f.min)
			}
		case reflect.Struct:
			checkNumbers(p, setting, v)
		case reflect.Pointer:
			if !v.IsNil() {
				checkNumbers(p, setting, v.Elem())
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Pointer {
				for i := range v.Len() {
					checkNumbers(p, item(setting, i), v.Index(i).Elem())
				}
			}
		case reflect.Map:
			if v.Type().Elem().Kind() == reflect.Pointer {
				for _, name := range sorted(v) {
					checkNumbers(p, join(setting, name), v.MapIndex(reflect.ValueOf(name)).Elem())
				}
			}
		}
	}
}

// item is what a [Problem] calls an element of a list.
func item(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

// keys returns the names in a table, in order.
func keys[T any](m map[string]T) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// known says where a name is defined, or that it is not.
func known[T any](p *problems, setting, table, name string, m map[string]T) {
	if _, ok := m[name]; ok || name == "" {
		return
	}
	if len(m) == 0 {
		p.addf(setting, "there is no [%s.%s]", table, join("", name))
		return
	}
	p.addf(setting, "there is no [%s.%s]: there is %s", table, join("", name), strings.Join(keys(m), ", "))
}

// Title is what people call the route.
func (r *Route) Title() string {
	if r.Name != "" {
		return r.Name
	}
	// What follows tells it from others of the same path.
	title := strings.Join(r.Host, ",") + r.Path
	if len(r.Suffix) > 0 {
		title += "*" + strings.Join(r.Suffix, ",*")
	}
	if len(r.Methods) > 0 {
		title = strings.Join(r.Methods, ",") + " " + title
	}
	return title
}

// Label is what the log and the counters call the route: no other one, on whatever listener, unless both have one name.
func (r *Route) Label() string {
	if r.Name != "" || len(r.Listeners) == 0 {
		return r.Title()
	}
	return r.Title() + " on " + strings.Join(r.Listeners, ",")
}

// endpoints returns the keys of those that are there, files excepted.
func (r *Route) endpoints() []string {
	var keys []string
	for _, e := range []struct {
		key string
		set bool
	}{
		{"stdio", r.Stdio != nil}, {"cgi", r.CGI != nil}, {"scgi", r.SCGI != nil}, {"uwsgi", r.UWSGI != nil},
		{"fastcgi", r.FastCGI != nil}, {"tunnel", r.Tunnel != nil}, {"proxy", r.Proxy != nil},
	} {
		if e.set {
			keys = append(keys, e.key)
		}
	}
	return keys
}

func (r *Route) check(c *Config, p *problems, at string) {
	endpoints := r.endpoints()
	switch {
	case len(endpoints) == 0 && r.Files == nil:
		p.addf(at, "nothing answers: add stdio, cgi, scgi, uwsgi, fastcgi, tunnel, proxy or files")
	case len(endpoints) > 1:
		p.addf(at+"."+endpoints[1], "excludes %s: one route has one service", endpoints[0])
	case r.Files != nil && len(endpoints) == 1 && !slices.Contains([]string{"stdio", "cgi", "tunnel"}, endpoints[0]):
		p.addf(at+".files", "%s answers all requests: give the files a route of their own", endpoints[0])
	}
	for i, h := range r.Host {
		if name := strings.TrimPrefix(h, "*."); name == "" || strings.ContainsAny(name, "*/: ") {
			p.addf(item(at+".host", i), "%q is not a name like example.com or *.example.com (without a port)", h)
		} else if strings.ContainsFunc(h, func(c rune) bool { return c > unicode.MaxASCII }) {
			p.addf(item(at+".host", i), "clients ask for %q in another form, as xn--bcher-kva.example; write that", h)
		}
	}
	c.checkNamed(p, at+".listeners", r.Listeners)
	for i, s := range r.Suffix {
		if s == "" || strings.Contains(s, "/") {
			p.addf(item(at+".suffix", i), "%q is not the end of a name, like .php", s)
		}
	}
	for i, m := range r.Methods {
		if !token(m) || strings.ToUpper(m) != m {
			p.addf(item(at+".methods", i), "%q is not a method like GET", m)
		}
	}
	parts := route.Parts(r.Path)
	for _, name := range keys(r.Match) {
		setting := join(at+".match", name)
		if !slices.Contains(parts, name) {
			p.addf(setting, "the path %s has no part {%s}", r.Path, name)
		}
		_, err := regexp.Compile(r.Match[name])
		p.add(setting, err)
	}
	checkOrigins(p, at, r.Origins)
	for i, name := range r.Subprotocols {
		if name == "*" && len(r.Subprotocols) > 1 {
			p.addf(at+".subprotocols", `"*" makes the others meaningless: give one or the other`)
		}
		if !token(name) {
			p.addf(item(at+".subprotocols", i), "%q is not a token (letters, digits and !#$%%&'*+-.^_`|~)", name)
		}
	}
	_, err := Headers(r.Headers)
	p.add(at+".headers", err)
	_, err = Headers(r.HandshakeHeaders)
	p.add(at+".handshake_headers", err)
	_, err = Headers(r.ErrorHeaders)
	p.add(at+".error_headers", err)
	if r.Console == "on" && !r.speaks() {
		p.addf(at+".console", "there is no WebSocket to try: the service needs upgrade or a framing")
	}
	if r.Limits.SessionsPerUser > 0 && r.Auth == nil {
		p.addf(at+".limits.sessions_per_user", "nobody has a name without [route.auth]")
	}
	own, framings := r.framings()
	if r.WebSocket.FragmentSize > 0 && slices.Contains(framings, framing.Frames.String()) {
		p.addf(at+".websocket.fragment_size", "excludes the framing frames, where each frame is sent as it is")
	}
	if r.Auth != nil {
		r.Auth.check(c, p, at+".auth")
	}
	if len(r.Protocols) > 0 {
		if len(r.Subprotocols) > 0 {
			p.addf(at+".protocols", "excludes subprotocols: all of them belong into one of the two")
		}
		if r.Stdio == nil && r.Tunnel == nil {
			p.addf(at+".protocols", "is for stdio and tunnel, where messages are made here")
		}
		for i, x := range r.Protocols {
			if !token(x.Name) {
				p.addf(fmt.Sprintf("%s.protocols[%d].name", at, i), "%q is not a token", x.Name)
			}
			x.check(c, r, p, fmt.Sprintf("%s.protocols[%d].program", at, i))
			checkBinary(p, fmt.Sprintf("%s.protocols[%d]", at, i), cmp.Or(x.Framing, own), x.Binary)
		}
	}
	if z := r.WebSocket.Compression; z != nil {
		if z.Level > 9 {
			p.addf(at+".websocket.compression.level", "%d is more than 9", z.Level)
		}
		if z.Window > 32<<10 {
			p.addf(at+".websocket.compression.window", "%s is more than 32K", z.Window)
		}
		if z.PeerWindow > 32<<10 || z.PeerWindow > 0 && z.PeerWindow < 512 {
			p.addf(at+".websocket.compression.peer_window", "%s is neither 0 nor from 512 to 32K", z.PeerWindow)
		}
	}
	r.checkEndpoint(c, p, at)
}

func checkOrigins(p *problems, at string, origins []string) {
	for i, o := range origins {
		if o == "any" {
			if len(origins) > 1 {
				p.addf(at+".origins", `"any" makes the other origins meaningless: give one or the other`)
			}
			continue
		}
		if _, err := origin.Parse(o); err != nil {
			p.add(item(at+".origins", i), err)
		}
	}
}

// check finds what is wrong with a set of backends.
func (b *Backends) check(c *Config, p *problems, at string) {
	given := 0
	for _, set := range []bool{len(b.Servers)+len(b.Server) > 0, b.Pool != ""} {
		if set {
			given++
		}
	}
	switch given {
	case 0:
		p.addf(at, "there are no addresses: give servers or a pool")
	case 2:
		p.addf(at+".pool", "excludes servers: a set has addresses or a pool")
	}
	known(p, at+".pool", "pool", b.Pool, c.Pool)
	for i, s := range b.Servers {
		p.add(item(at+".servers", i), backend.CheckServer(s))
	}
	for i, s := range b.Server {
		p.add(fmt.Sprintf("%s.server[%d].address", at, i), backend.CheckServer(s.Address))
	}
	if named := b.Balance == "header" || b.Balance == "cookie"; named != (b.HashName != "") {
		p.addf(at+".hash_name", "the balance header or cookie needs it, and no other")
	}
}

// check finds what is wrong with where requests go.
func (t *Target) check(c *Config, p *problems, at string) {
	given := 0
	for _, set := range []bool{t.Backends != "", len(t.Servers) > 0, t.Pool != ""} {
		if set {
			given++
		}
	}
	if given != 1 {
		p.addf(at, "give one of backends, servers and pool")
	}
	known(p, at+".backends", "backends", t.Backends, c.Backends)
	known(p, at+".pool", "pool", t.Pool, c.Pool)
	for i, s := range t.Servers {
		p.add(item(at+".servers", i), backend.CheckServer(s))
	}
}

// Headers returns the lines of headers.
func Headers(lines []string) (http.Header, error) {
	h := make(http.Header)
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) || strings.ContainsAny(value, "\r\n\x00") {
			return nil, fmt.Errorf("%q is not Name: value", line)
		}
		h.Add(name, strings.TrimSpace(value))
	}
	return h, nil
}

// token reports whether s is one (RFC 9110, section 5.6.2).
func token(s string) bool {
	return s != "" && strings.Trim(strings.ToLower(s), "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

// readable and directory take "" for what is not set.
func readable(file Path) error {
	if file == "" {
		return nil
	}
	if fi, err := os.Stat(string(file)); err == nil && fi.Mode()&fs.ModeNamedPipe != 0 {
		return fmt.Errorf("%s: a pipe, which cannot be read more than once; name a file", file)
	}
	f, err := os.Open(string(file))
	if err != nil {
		return fmt.Errorf("%s: %w", file, errors.Unwrap(err))
	}
	return f.Close()
}

func directory(dir Path) error {
	if dir == "" {
		return nil
	}
	switch fi, err := os.Stat(string(dir)); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: no such file or directory", dir)
	case err != nil:
		return fmt.Errorf("%s: %w", dir, errors.Unwrap(err))
	case !fi.IsDir():
		return fmt.Errorf("%s: not a directory", dir)
	}
	return nil
}

func same(a, b string) bool {
	x, errX := os.Stat(filepath.Clean(a))
	y, errY := os.Stat(filepath.Clean(b))
	return errX == nil && errY == nil && os.SameFile(x, y)
}

func (x *Protocol) check(c *Config, r *Route, p *problems, at string) {
	known(p, at, "program", x.Program, c.Program)
	switch g := c.Program[x.Program]; {
	case x.Program == "":
	case r.Stdio == nil || r.Stdio.Programs != "":
		p.addf(at, "is for stdio with one program")
	case g != nil && len(g.Command) == 0:
		p.addf(at, "%q has no command", x.Program)
	}
}

// Serves says what answers the route, in a few words.
func (r *Route) Serves(c *Config) (key, what string) {
	target := func(t *Target) string {
		switch {
		case t.Backends != "":
			return t.Backends
		case t.Pool != "":
			return "pool " + t.Pool
		}
		return strings.Join(t.Servers, " ")
	}
	switch {
	case r.Stdio != nil && r.Stdio.Programs != "":
		return "stdio", "programs in " + string(r.Stdio.Programs)
	case r.Stdio != nil:
		return "stdio", strings.Join(r.Stdio.Argv(c), " ")
	case r.CGI != nil:
		return "cgi", string(r.CGI.Path)
	case r.SCGI != nil:
		return "scgi", target(&r.SCGI.Target)
	case r.UWSGI != nil:
		return "uwsgi", target(&r.UWSGI.Target)
	case r.FastCGI != nil:
		return "fastcgi", target(&r.FastCGI.Target)
	case r.Tunnel != nil && r.Tunnel.Tokens != "":
		return "tunnel", "tokens in " + string(r.Tunnel.Tokens)
	case r.Tunnel != nil:
		return "tunnel", target(&r.Tunnel.Target)
	case r.Proxy != nil:
		return "proxy", target(&r.Proxy.Target)
	}
	return "files", string(r.Files.Root)
}

// RouteSetting is what a [Problem] of a route calls it.
func RouteSetting(i int) string { return fmt.Sprintf("route[%d]", i) }

// target returns where requests of the route go, or nil.
func (r *Route) targets() []*Target {
	switch {
	case r.SCGI != nil:
		return []*Target{&r.SCGI.Target}
	case r.UWSGI != nil:
		return []*Target{&r.UWSGI.Target}
	case r.FastCGI != nil && r.FastCGI.Authorizer != nil:
		return []*Target{&r.FastCGI.Target, r.FastCGI.Authorizer}
	case r.FastCGI != nil:
		return []*Target{&r.FastCGI.Target}
	case r.Tunnel != nil:
		return []*Target{&r.Tunnel.Target}
	case r.Proxy != nil:
		return []*Target{&r.Proxy.Target}
	}
	return nil
}

// Uses returns the programs, pools and sets of backends that the route names, and those that they name.
func (r *Route) Uses(c *Config) (programs map[string]*Program, pools map[string]*Pool, backends map[string]*Backends) {
	programs, pools, backends = map[string]*Program{}, map[string]*Pool{}, map[string]*Backends{}
	add := func(pool string) {
		if p := c.Pool[pool]; p != nil {
			pools[pool] = p
			programs[p.Program] = c.Program[p.Program]
		}
	}
	for _, t := range r.targets() {
		if b := c.Backends[t.Backends]; b != nil {
			backends[t.Backends] = b
			add(b.Pool)
		}
		add(t.Pool)
	}
	if r.Auth != nil && r.Auth.Hook != nil {
		programs[r.Auth.Hook.Program] = c.Program[r.Auth.Hook.Program]
	}
	for _, x := range r.Protocols {
		programs[x.Program] = c.Program[x.Program]
	}
	switch {
	case r.Stdio != nil:
		programs[r.Stdio.Program] = c.Program[r.Stdio.Program]
	case r.CGI != nil:
		programs[r.CGI.Program] = c.Program[r.CGI.Program]
	}
	return programs, pools, backends
}
