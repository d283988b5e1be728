// Package route finds the handler of a request: by host, path, method and the ends of path parts.
//
// The rules of a path are those of [http.ServeMux], which does that part of the work: the most specific
// pattern wins, in whatever order they are given, and two patterns of which neither is more specific are
// refused. Around it come hosts with a leading `*.` and suffixes.
package route

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/wspawn/wspawn/wsframe"
)

// A Route is a set of requests, and who answers them.
type Route struct {
	// Name is what errors call it.
	Name string

	// Hosts are names without a port: "example.com", or "*.example.com" for all names below. None = all.
	Hosts []string

	// Path is a pattern: "/chat" is that path alone, "/chat/" is it and everything below. "{name}" is any one part,
	// and "{name...}" any number of them at the end.
	Path string

	// Suffixes restrict it to paths with a part that ends with one of them. None = all.
	Suffixes []string

	// Methods restrict it to requests with one of them. None = all.
	Methods []string

	// Match restricts named parts, and must match all of one. Parts without an entry match [DefaultMatch].
	// Requests that do not match get 404.
	Match map[string]*regexp.Regexp

	// Handler gets the parts by [http.Request.PathValue].
	Handler http.Handler
}

// DefaultMatch is for parts of a path that nothing is said about. They may become arguments of programs, so
// that there is no "-" in front, and parts of file names, so that there is no ".".
var DefaultMatch = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// A ConflictError says that two routes are for the same requests. They are indices of what New got.
type ConflictError struct {
	A, B int
	Err  error
}

func (e *ConflictError) Error() string { return e.Err.Error() }

// A Table is a set of routes. It does not change, and all its methods may be called at the same time.
type Table struct {
	exact    map[string]*http.ServeMux
	wildcard []host // the longest first
	any      *http.ServeMux
}

type host struct {
	suffix string // ".example.com"
	mux    *http.ServeMux
}

// New makes a table. Errors are those of single routes, and [*ConflictError], joined.
func New(routes []Route) (*Table, error) {
	b := builder{hosts: map[string]map[string]*group{}}
	var errs []error
	for i := range routes {
		if err := b.add(i, &routes[i]); err != nil {
			errs = append(errs, err)
		}
	}
	t := &Table{exact: map[string]*http.ServeMux{}, any: http.NewServeMux()}
	names := make([]string, 0, len(b.hosts))
	for name := range b.hosts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		mux, err := build(b.hosts[name], routes)
		errs = append(errs, err...)
		switch suffix, wild := strings.CutPrefix(name, "*"); {
		case name == "":
			t.any = mux
		case wild:
			t.wildcard = append(t.wildcard, host{suffix, mux})
		default:
			t.exact[name] = mux
		}
	}
	slices.SortFunc(t.wildcard, func(a, b host) int { return cmp.Compare(len(b.suffix), len(a.suffix)) })
	return t, errors.Join(errs...)
}

// A group has the routes of one pattern, which differ by their suffixes.
type group struct {
	pattern string
	index   int // of the first route
	entries []entry
}

type entry struct {
	suffix string
	route  *Route
	index  int
}

type builder struct {
	hosts map[string]map[string]*group // by host and pattern
}

func (b *builder) add(i int, r *Route) error {
	if err := CheckPath(r.Path); err != nil {
		return &RouteError{i, err}
	}
	hosts, methods, suffixes := r.Hosts, r.Methods, r.Suffixes
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	if len(methods) == 0 {
		methods = []string{""}
	}
	if len(suffixes) == 0 {
		suffixes = []string{""}
	}
	for _, h := range hosts {
		h = strings.ToLower(h)
		if b.hosts[h] == nil {
			b.hosts[h] = map[string]*group{}
		}
		for _, method := range methods {
			pattern := strings.TrimSpace(method + " " + r.Path)
			g := b.hosts[h][pattern]
			if g == nil {
				g = &group{pattern: pattern, index: i}
				b.hosts[h][pattern] = g
			}
			for _, s := range suffixes {
				if j := slices.IndexFunc(g.entries, func(e entry) bool { return e.suffix == s }); j >= 0 {
					return &ConflictError{g.entries[j].index, i, fmt.Errorf("%s and %s are for the same requests", name(g.entries[j].route), name(r))}
				}
				g.entries = append(g.entries, entry{s, r, i})
			}
		}
	}
	return nil
}

// A RouteError says what is wrong with one route. Index is that of what New got.
type RouteError struct {
	Index int
	Err   error
}

func (e *RouteError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *RouteError) Unwrap() error { return e.Err }

func name(r *Route) string {
	if r.Name != "" {
		return fmt.Sprintf("%q", r.Name)
	}
	return fmt.Sprintf("%q", strings.Join(r.Hosts, ",")+r.Path)
}

// build makes the mux of one host.
func build(groups map[string]*group, routes []Route) (*http.ServeMux, []error) {
	ordered := make([]*group, 0, len(groups))
	for _, g := range groups {
		slices.SortStableFunc(g.entries, func(a, b entry) int { return cmp.Compare(len(b.suffix), len(a.suffix)) })
		ordered = append(ordered, g)
	}
	slices.SortFunc(ordered, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.pattern, b.pattern))
	})
	mux := http.NewServeMux()
	var errs []error
	var done []*group
	for _, g := range ordered {
		if err := register(mux, g.pattern, g); err != nil {
			errs = append(errs, conflict(done, g, routes, err))
			continue
		}
		done = append(done, g)
	}
	// "/chat/" is for "/chat" as well, unless that has a route of its own. A redirect, which the mux
	// would answer with, is the end for a WebSocket.
	for _, g := range ordered {
		short, slash := strings.CutSuffix(g.pattern, "/")
		if slash && short != "" && !strings.HasSuffix(short, " ") && groups[short] == nil {
			register(mux, short, g)
		}
	}
	return mux, errs
}

// register is Handle with an error instead of a panic.
func register(mux *http.ServeMux, pattern string, h http.Handler) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	mux.Handle(pattern, h)
	return nil
}

// conflict finds out with which other pattern one does not get along.
func conflict(done []*group, g *group, routes []Route, err error) error {
	for _, other := range done {
		mux := http.NewServeMux()
		register(mux, other.pattern, other)
		if register(mux, g.pattern, g) != nil {
			return &ConflictError{other.index, g.index, fmt.Errorf(
				"%s and %s have requests in common, and neither is more specific", name(&routes[other.index]), name(&routes[g.index]))}
		}
	}
	return &RouteError{g.index, fmt.Errorf("path %q: %w", routes[g.index].Path, err)}
}

// ServeHTTP hands the request to its route.
func (t *Table) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p := clean(r.URL.Path); p != r.URL.Path {
		// What was asked for has no other meaning, and whoever looks at the path behind this must not find one.
		u := *r.URL
		u.Path, u.RawPath = p, ""
		r2 := *r
		r2.URL = &u
		r = &r2
	}
	for _, mux := range t.muxes(r) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
	}
	if _, pattern := t.any.Handler(r); pattern == "" && wsframe.IsUpgrade(r) {
		notFound(w, r) // also where ordinary requests get 405
		return
	}
	t.any.ServeHTTP(w, r) // 404 or 405
}

// notFound answers 404. Who asks for a WebSocket is told so as in all other refusals.
func notFound(w http.ResponseWriter, r *http.Request) {
	if wsframe.IsUpgrade(r) {
		wsframe.Reject(http.StatusNotFound, "there is nothing at this path").Write(w)
		return
	}
	http.NotFound(w, r)
}

// muxes returns those of the host, the most specific first.
func (t *Table) muxes(r *http.Request) []*http.ServeMux {
	if len(t.exact) == 0 && len(t.wildcard) == 0 {
		return nil
	}
	name := strings.ToLower(r.Host)
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	name = strings.TrimSuffix(name, ".")
	var found []*http.ServeMux
	if mux := t.exact[name]; mux != nil {
		found = append(found, mux)
	}
	for _, h := range t.wildcard {
		if strings.HasSuffix(name, h.suffix) {
			found = append(found, h.mux)
		}
	}
	return found
}

// clean resolves ".." and "." and doubled slashes in a path.
func clean(p string) string {
	if p == "" {
		return "/"
	}
	if p[0] != '/' { // "*"
		return p
	}
	c := path.Clean(p)
	if p[len(p)-1] == '/' && c != "/" {
		c += "/"
	}
	return c
}

// ServeHTTP picks the route by suffix and checks the named parts.
func (g *group) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, e := range g.entries {
		if e.suffix != "" && !hasSuffix(r.URL.Path, e.suffix) {
			continue
		}
		if !e.route.matches(r) {
			break
		}
		e.route.Handler.ServeHTTP(w, r)
		return
	}
	notFound(w, r)
}

func hasSuffix(p, suffix string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if strings.HasSuffix(part, suffix) {
			return true
		}
	}
	return false
}

func (r *Route) matches(req *http.Request) bool {
	for _, name := range Parts(r.Path) {
		value := req.PathValue(name)
		if rest := strings.HasSuffix(r.Path, "{"+name+"...}"); rest && r.Match[name] == nil {
			continue
		}
		if re := r.Match[name]; re != nil {
			if loc := re.FindStringIndex(value); loc == nil || loc[0] != 0 || loc[1] != len(value) {
				return false
			}
		} else if !DefaultMatch.MatchString(value) {
			return false
		}
	}
	return true
}

var part = regexp.MustCompile(`\{([^{}$.]+)(\.\.\.)?\}`)

// Parts returns the names of the named parts of a pattern.
func Parts(pattern string) []string {
	var names []string
	for _, m := range part.FindAllStringSubmatch(pattern, -1) {
		names = append(names, m[1])
	}
	return names
}

// CheckPath says what is wrong with a pattern by itself.
func CheckPath(p string) error {
	switch {
	case !strings.HasPrefix(p, "/"):
		return fmt.Errorf("path %q does not begin with a slash", p)
	case clean(p) != p:
		return fmt.Errorf("path %q is the same as %q: write that", p, clean(p))
	}
	for _, c := range p {
		switch {
		case c == '?', c == '#':
			return fmt.Errorf("path %q: a path ends in front of the %c: leave that and what follows it away", p, c)
		case c == '*':
			return fmt.Errorf("path %q: a * is no pattern here: /a/ is for everything below it, and /a/{name} for one part", p)
		case !unicode.IsGraphic(c) || unicode.IsSpace(c):
			return fmt.Errorf("path %q: write %s instead of %q", p, url.PathEscape(string(c)), c)
		}
	}
	if register(http.NewServeMux(), p, http.NotFoundHandler()) != nil {
		return fmt.Errorf("path %q: a named part is written /{name}, or /{name...} at the end; a name has letters, digits and _, and is there once", p)
	}
	return nil
}

// Prefix returns the part of a request's path that a pattern stands for by itself, without a slash at its
// end: SCRIPT_NAME. What is below it is the rest.
func Prefix(pattern, p string) (prefix, rest string) {
	n := strings.Count(pattern, "/")
	switch {
	case strings.HasSuffix(pattern, "/"), strings.HasSuffix(pattern, "...}"):
		n--
	}
	i := 0
	for ; n > 0; n-- {
		next := strings.IndexByte(p[min(i+1, len(p)):], '/')
		if next < 0 {
			return p, ""
		}
		i += 1 + next
	}
	return p[:i], p[i:]
}
