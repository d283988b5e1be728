// Package host makes a running server of a configuration: it listens, finds the route of a request, and
// stops in the right order. It is the one package below the commands that knows all endpoints.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/limit"
	"github.com/wspawn/wspawn/internal/loglimit"
	"github.com/wspawn/wspawn/internal/metrics"
	"github.com/wspawn/wspawn/internal/origin"
	"github.com/wspawn/wspawn/internal/trim"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// Options are what a Host needs beside its configuration.
type Options struct {
	Log *slog.Logger

	// Software is SERVER_SOFTWARE for the programs.
	Software string

	// Guard is the command line of the process that outlives a crash, see [spawner.Config].
	Guard []string

	// OriginSettings are the names of the settings that a refused origin is told about in the log.
	OriginSettings origin.Settings

	// HostsSetting is the same for a refused Host. "" = "hosts".
	HostsSetting string

	root     http.Handler    // what answers local redirects
	failures *limit.Failures // of everybody who wants to be known
	metrics  *metrics.Metrics
}

// A Host is a server: New, Run. Reload may be called while it runs, and everything else at any time.
type Host struct {
	o        Options
	log      *slog.Logger
	programs *spawner.Spawner
	shared   shared
	limiter  *limit.Limiter        // of sessions
	requests *limit.Limiter        // of all other requests
	table    atomic.Pointer[table] // what answers new requests

	mu        sync.Mutex // guards the fields below
	c         *config.Config
	listeners []*listener
	old       []*service // of tables before this one, with sessions that go on
	serving   sync.WaitGroup
	failed    chan error
	stopWatch func()
	running   bool
	stopping  bool
}

// New checks the configuration and opens the listeners. Nothing is answered before Run.
func New(c *config.Config, o Options) (_ *Host, err error) {
	if err := check(c); err != nil {
		return nil, err
	}
	o.Log = slog.New(loglimit.New(o.Log.Handler(), refusalsLogged, refusals...))
	h := &Host{c: c, o: o, log: o.Log, failed: make(chan error, 1)}
	h.o.metrics = metrics.New(h.now)
	h.o.root = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.table.Load().routes.ServeHTTP(w, r) })
	h.o.failures = new(limit.Failures)
	h.limiter, h.requests = limit.New(limits(&c.Limits)), limit.New(requestLimits(&c.Limits))
	h.programs = spawner.New(spawner.Config{
		MaxProcesses: c.MaxProcesses, StartRate: c.StartRate, Guard: o.Guard, Log: o.Log,
	})
	h.shared = shared{programs: h.programs, memory: trim.New(), log: o.Log}
	defer func() {
		if err != nil {
			h.shared.memory.Stop()
			h.closeListeners()
			h.shared.closing.Wait()
			h.programs.Close(context.Background())
		}
	}()
	if h.listeners, err = h.listen(c, nil); err != nil {
		return nil, err
	}
	for _, l := range h.listeners {
		l.waiting.bound(maxWaiting(&c.Limits))
	}
	t, err := h.newTable(c, h.listeners, nil)
	if err != nil {
		return nil, err
	}
	h.table.Store(t)
	return h, nil
}

// check finds everything that is wrong with a configuration for this process.
func check(c *config.Config) error {
	if err := c.Check(); err != nil {
		return err
	}
	return c.Rights()
}

// ServeHTTP answers a request.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.table.Load().ServeHTTP(w, withTLS(r))
}

// URLs returns where the server listens, as URLs of the given scheme ("ws" or "http"), with an s
// when it speaks TLS. Unix sockets are ws+unix:PATH.
func (h *Host) URLs(scheme string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var urls []string
	for _, l := range h.listeners {
		if !l.admin {
			urls = append(urls, l.url(scheme))
		}
	}
	return urls
}

// AdminURL returns where the server tells how it is, or "".
func (h *Host) AdminURL() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.listeners {
		if l.admin {
			return l.url("http")
		}
	}
	return ""
}

// ConsoleURL returns where the console of the first route that has one is, or "" when there is none, or none that browsers get to.
func (h *Host) ConsoleURL() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.table.Load().services {
		if s.console == "" {
			continue
		}
		for _, l := range h.listeners {
			if base, ok := strings.CutSuffix(l.url("http"), "/"); ok && l.has(s.r) {
				return base + s.console
			}
		}
	}
	return ""
}

// Run serves until ctx ends, then stops: no more connections, Close 1001 to the clients, the ladder
// to the programs, all within the drain time of the configuration. The end of now cuts that short.
func (h *Host) Run(ctx, now context.Context) error {
	h.mu.Lock()
	h.running = true
	for _, l := range h.listeners {
		h.serve(l)
	}
	h.watch()
	h.mu.Unlock()
	var err error
	select {
	case <-ctx.Done():
	case err = <-h.failed:
	}
	h.mu.Lock()
	h.stopping = true
	h.stopWatch()
	drainTime := h.c.Drain
	h.mu.Unlock()
	drain, cancel := context.WithTimeout(now, time.Duration(drainTime))
	defer cancel()
	stopErr := h.stop(drain)
	h.o.metrics.LogRefused(h.log)
	h.serving.Wait()
	return errors.Join(err, stopErr)
}

// programChanged ends the sessions of the old program; those that come get the new one.
func (h *Host) programChanged(files []string) {
	n := 0
	for _, s := range h.table.Load().services {
		if !slices.Contains(files, s.watched) {
			continue
		}
		for c := range s.websocket.Conns() {
			c.WriteClose(wsframe.CloseServiceRestart, "the program has changed")
			n++
		}
	}
	h.log.Info("program changed", "file", files[0], "closed", n)
}

// watch watches the programs of the table that shall be watched, and no others any more.
func (h *Host) watch() {
	w := h.table.Load().watcher()
	if h.stopWatch != nil {
		h.stopWatch() // after the new watch has begun, so that no change comes in between
	}
	ctx, stop := context.WithCancel(context.Background())
	h.stopWatch = stop
	if w != nil {
		h.serving.Go(func() { w.Run(ctx, h.programChanged) })
	}
}

// Reload replaces the configuration by another one. It is checked as a whole first: with an error, nothing has
// changed. Sessions keep what they have; so do routes, pools and sets of backends that both configurations have.
func (h *Host) Reload(c *config.Config) error {
	if err := check(c); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping {
		return errors.New("the server is stopping")
	}
	listeners, err := h.listen(c, h.listeners)
	if err != nil {
		return err
	}
	old := h.table.Load()
	h.programs.SetLimits(c.MaxProcesses, c.StartRate) // before new pools start their processes
	t, err := h.newTable(c, listeners, old)
	if err != nil {
		h.programs.SetLimits(h.c.MaxProcesses, h.c.StartRate)
		h.dropListeners(listeners, h.listeners)
		return err
	}
	h.table.Store(t)
	h.limiter.Set(limits(&c.Limits))
	h.requests.Set(requestLimits(&c.Limits))
	for _, s := range t.services {
		s.setBounds()
	}
	for _, l := range listeners {
		if l.waiting.bound(maxWaiting(&c.Limits)); h.running {
			h.serve(l)
		}
	}
	if h.running {
		h.watch()
	}
	before := h.listeners
	h.listeners, h.c = listeners, c
	h.dropListeners(before, listeners)
	h.retire(old, t)
	return nil
}

// retire lets go of the services that the new table does not have.
func (h *Host) retire(old, t *table) {
	kept := make(map[*service]bool)
	for _, s := range t.services {
		kept[s] = true
	}
	for _, s := range old.services {
		if !kept[s] {
			h.old = append(h.old, s)
			s.retire()
		}
	}
	// Those that ended since.
	alive := h.old[:0]
	for _, s := range h.old {
		if s.active.Load() > 0 {
			alive = append(alive, s)
		}
	}
	clear(h.old[len(alive):])
	h.old = alive
}

func (h *Host) stop(ctx context.Context) error {
	h.mu.Lock()
	listeners := h.listeners
	services := append(h.old, h.table.Load().services...)
	h.mu.Unlock()
	for _, l := range listeners {
		l.Close()
		l.waiting.close()
	}
	var stopping sync.WaitGroup
	errs := make([]error, len(services))
	for _, l := range listeners {
		stopping.Go(func() { l.server.Shutdown(ctx) })
	}
	for i, s := range services {
		stopping.Go(func() { errs[i] = s.shutdown(ctx) })
	}
	stopping.Wait()
	for _, s := range services {
		s.close()
	}
	h.shared.wait(ctx)
	err := errors.Join(errors.Join(errs...), h.programs.Close(ctx))
	for _, l := range listeners {
		l.server.Close()
		l.closeCerts()
	}
	h.shared.memory.Stop()
	return err
}

func (h *Host) closeListeners() {
	for _, l := range h.listeners {
		l.Close()
		l.closeCerts()
	}
}

// serve accepts connections of a listener, unless it does already.
func (h *Host) serve(l *listener) {
	if l.serving {
		return
	}
	l.serving = true
	h.serving.Go(func() {
		if err := l.serve(); !errors.Is(err, http.ErrServerClosed) && !l.closed.Load() {
			select {
			case h.failed <- fmt.Errorf("listener %s: %w", l.Addr(), err):
			default:
			}
		}
	})
}
