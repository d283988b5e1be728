package config

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/wspawn/wspawn/internal/route"
)

// checkRoutes checks each, and that they get along.
func (c *Config) checkRoutes(p *problems) {
	if len(c.Route) == 0 {
		p.addf("route", "nothing to serve: add a [[route]]")
	}
	routes := make([]route.Route, len(c.Route))
	for i, r := range c.Route {
		r.check(c, p, RouteSetting(i))
		routes[i] = r.Pattern(http.NotFoundHandler())
	}
	_, conflicts := c.Tables(routes)
	p.all = multierror.Append(p.all, conflicts...)
}

// Tables makes the tables of all listeners: that of each address that a route names, and that of the others under "". routes are
// those of Route, in the same order. Each error is a *[Problem].
func (c *Config) Tables(routes []route.Route) (map[string]*route.Table, []error) {
	tables := map[string]*route.Table{"": nil}
	for _, r := range c.Route {
		for _, address := range r.Listeners {
			tables[address] = nil
		}
	}
	var problems []error
	said := make(map[string]bool)
	add := func(i int, format string, args ...any) {
		q := &Problem{RouteSetting(i) + ".path", fmt.Errorf(format, args...)}
		if !said[q.Error()] {
			said[q.Error()] = true
			problems = append(problems, q)
		}
	}
	for _, address := range keys(tables) {
		var here []route.Route
		var index []int // of them in routes
		for i, r := range c.Route {
			if len(r.Listeners) == 0 || slices.Contains(r.Listeners, address) {
				here, index = append(here, routes[i]), append(index, i)
			}
		}
		table, err := route.New(here)
		tables[address] = table
		for _, e := range all(err) {
			var conflict *route.ConflictError
			var one *route.RouteError
			switch {
			case errors.As(e, &conflict):
				add(index[conflict.B], "%v: change one of them (the other one is %s)", conflict, RouteSetting(index[conflict.A]))
			case errors.As(e, &one):
				add(index[one.Index], "%w", one)
			}
		}
	}
	return tables, problems
}

// all returns what was joined.
func all(err error) []error {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	return []error{err}
}

// Pattern returns the route for a table.
func (r *Route) Pattern(h http.Handler) route.Route {
	out := route.Route{
		Name: r.Name, Hosts: r.Host, Path: r.Path, Suffixes: r.Suffix, Methods: r.Methods, Handler: h,
		Match: make(map[string]*regexp.Regexp),
	}
	for name, expr := range r.Match {
		if re, err := regexp.Compile(`^(?:` + expr + `)$`); err == nil {
			out.Match[name] = re
		}
	}
	return out
}

// checkNamed finds out whether there are the listeners that a route is on.
func (c *Config) checkNamed(p *problems, at string, addresses []string) {
	var names []string
	redirects := make(map[string]bool)
	for _, l := range c.Listeners() {
		names = append(names, strconv.Quote(l.Address))
		redirects[l.Address] = l.Redirect != ""
	}
	for _, a := range addresses {
		switch redirects, known := redirects[a]; {
		case !known:
			p.addf(at, "there is no listener %q: there is %s (without this key, the route is on all)", a, strings.Join(names, ", "))
		case redirects:
			p.addf(at, "the listener %q sends all requests elsewhere (redirect)", a)
		}
	}
}
