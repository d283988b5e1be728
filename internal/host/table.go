package host

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/wspawn/wspawn/internal/clientip"
	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/hostname"
	"github.com/wspawn/wspawn/internal/limit"
	"github.com/wspawn/wspawn/internal/listen"
	"github.com/wspawn/wspawn/internal/route"
	"github.com/wspawn/wspawn/internal/watch"
)

// A table is what answers requests under one configuration. It does not change.
type table struct {
	front    http.Handler // the checks that are for all routes
	routes   http.Handler // what is behind them
	services []*service
}

func (t *table) ServeHTTP(w http.ResponseWriter, r *http.Request) { t.front.ServeHTTP(w, r) }

// newTable builds the services of a configuration with its listeners. Those that are made of the same things as one of old are
// taken over with all they have.
func (h *Host) newTable(c *config.Config, listeners []*listener, old *table) (_ *table, err error) {
	t := &table{}
	var built []*service
	defer func() {
		if err != nil {
			for _, s := range built {
				s.close()
			}
		}
	}()
	before := make(map[string]*service)
	if old != nil {
		for _, s := range old.services {
			before[s.key] = s
		}
	}
	routes := make([]route.Route, len(c.Route))
	for i, r := range c.Route {
		local := !slices.ContainsFunc(listeners, func(l *listener) bool { return l.has(r) && !listen.Loopback(l.Listener) })
		key, err := ingredients(c, r, local)
		if err != nil {
			return nil, err
		}
		s := before[key]
		if s == nil {
			s, err = newService(c, r, key, local, &h.o, &h.shared)
			built = append(built, s)
			if err != nil {
				return nil, &config.Problem{Setting: config.RouteSetting(i), Err: err}
			}
		}
		t.services = append(t.services, s)
		routes[i] = r.Pattern(s)
	}
	tables, errs := c.Tables(routes)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if t.routes = tables[""]; len(tables) > 1 {
		t.routes = byListener(tables)
	}
	t.front, err = h.front(c, t.routes)
	return t, err
}

// byListener has the tables of listeners by their addresses, and that of all others.
type byListener map[string]*route.Table

func (b byListener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := b[""]
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && b[server.Addr] != nil {
		t = b[server.Addr]
	}
	t.ServeHTTP(w, r)
}

// has reports whether the listener leads to a route.
func (l *listener) has(r *config.Route) bool {
	return !l.admin && l.c.Redirect == "" && (len(r.Listeners) == 0 || slices.Contains(r.Listeners, l.c.Address))
}

// front returns the checks in front of all routes: whether the client means this server, who it is, and whether there
// is room for it.
func (h *Host) front(c *config.Config, next http.Handler) (http.Handler, error) {
	clients, err := clientip.New(clientip.Config{
		Trusted: c.Client.TrustedProxies, Header: c.Client.Headers, HostHeader: c.Client.HostHeader, Strict: c.Client.Strict, Log: h.log,
	})
	if err != nil {
		return nil, err
	}
	names, err := hostname.New(hostname.Config{Names: c.Hosts, Setting: h.o.HostsSetting, Log: h.log})
	if err != nil {
		return nil, err
	}
	next = &limit.Handler{Limiter: h.limiter, Next: next, Log: h.log}
	if c.Client.HostHeader != "" {
		next = names.Handler(next) // what the client of a proxy asked for has to be one of the names, too
	}
	return h.observe(names.Handler(clients.Handler(next))), nil
}

// limits returns them in the terms of package limit.
func limits(l *config.Limits) limit.Config {
	rate := func(n float64) float64 {
		if n == 0 {
			return -1
		}
		return n
	}
	return limit.Config{
		Sessions: orNone(l.Sessions), SessionsPerAddress: orNone(l.SessionsPerAddress), Rate: rate(l.Rate), RatePerAddress: rate(l.RatePerAddress),
		Wait: l.Wait.Value(), Waiting: orNone(l.Waiting),
	}
}

// ingredients names all that a service is made of.
func ingredients(c *config.Config, r *config.Route, local bool) (string, error) {
	programs, pools, backends := r.Uses(c)
	max := 0
	if r.CGI != nil {
		max = c.MaxProcesses
	}
	b, err := json.Marshal(struct {
		Route    *config.Route
		Headers  []string
		Programs map[string]*config.Program
		Pools    map[string]*config.Pool
		Backends map[string]*config.Backends
		Max      int
		Local    bool
	}{r, c.Headers, programs, pools, backends, max, local})
	return string(b), err
}

// watcher watches the programs that shall be watched, or is nil.
func (t *table) watcher() *watch.Watcher {
	var names []string
	for _, s := range t.services {
		if s.watched != "" {
			names = append(names, s.watched)
		}
	}
	if len(names) == 0 {
		return nil
	}
	w, err := watch.New(names...)
	if err != nil {
		t.services[0].log.Warn("programs cannot be watched", "err", err)
		return nil
	}
	return w
}
