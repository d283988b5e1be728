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

	"github.com/wspawn/wspawn/internal/auth"
	"github.com/wspawn/wspawn/internal/clientip"
	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/console"
	"github.com/wspawn/wspawn/internal/files"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/internal/limit"
	"github.com/wspawn/wspawn/internal/origin"
	"github.com/wspawn/wspawn/wsframe"
)

// ConsolePath is where the console is when the root is taken. Names that begin with a dot
// are never served as files unless that is set.
const ConsolePath = ".wspawn/"

// A service answers the requests of one route: WebSockets by an endpoint, all others by files or the
// console, or everything by a gateway.
type service struct {
	c           *config.Config
	r           *config.Route
	o           *Options
	shared      *shared
	log         *slog.Logger
	local       bool        // only this machine can connect
	key         string      // what it was made of
	header      http.Header // of all answers
	errorHeader http.Header // of refusals and errors
	console     string      // its path, or ""
	watched     string      // the file of the program, with Watch

	answer    http.Handler     // answers everything
	websocket *wsframe.Handler // nil: the route speaks no WebSocket itself
	plain     http.Handler     // nil: there is nothing but WebSockets
	gateway   gateway          // answers all requests instead; nil: there is none
	front     http.Handler     // what is in front of gateway
	policy    *origin.Policy   // who may upgrade; nil: nobody can

	bounds *bounds // of this route

	active  atomic.Int64 // requests and sessions; -1: closed
	retired atomic.Bool
	once    sync.Once
	closers []func()
}

// A gateway is an endpoint that answers all requests, WebSockets and others.
type gateway interface {
	http.Handler
	Shutdown(context.Context) error
}

// newService makes the service of a route. The caller closes it, also after an error.
func newService(c *config.Config, r *config.Route, key string, local bool, o *Options, shared *shared) (*service, error) {
	s := &service{c: c, r: r, o: o, shared: shared, key: key, local: local, log: o.Log.With("route", r.Label())}
	err := s.build()
	return s, err
}

func (s *service) build() error {
	all, err := config.Headers(s.c.Headers)
	if err != nil {
		return err
	}
	ownHeaders, err := config.Headers(s.r.Headers)
	if err != nil {
		return err
	}
	s.header = all
	for name, values := range ownHeaders {
		s.header[name] = values
	}
	if err := s.buildFiles(); err != nil {
		return err
	}
	if err := s.buildEndpoint(); err != nil {
		return err
	}
	s.buildConsole()
	if err := s.holdBounds(); err != nil {
		return err
	}
	s.answer = http.HandlerFunc(s.dispatch)
	if s.r.Auth != nil {
		if s.websocket != nil {
			s.websocket.Select = auth.Select(s.websocket.Select)
		}
		s.answer = &limit.Handler{Users: &s.bounds.users, Next: s.answer, Log: s.log}
		if s.answer, err = s.guard(s.r.Auth, s.answer); err != nil {
			return err
		}
	}
	s.answer = &limit.Handler{Limiter: s.bounds.sessions, Next: s.answer, Log: s.log}
	s.errorHeader, err = config.Headers(s.r.ErrorHeaders)
	return err
}

func (s *service) buildEndpoint() error {
	switch r := s.r; {
	case r.Stdio != nil:
		return s.buildStdio(r.Stdio)
	case r.CGI != nil:
		return s.buildCGI(r.CGI)
	case r.SCGI != nil:
		return s.buildSCGI(r.SCGI, false)
	case r.UWSGI != nil:
		return s.buildSCGI(r.UWSGI, true)
	case r.FastCGI != nil:
		return s.buildFastCGI(r.FastCGI)
	case r.Tunnel != nil:
		return s.buildTunnel(r.Tunnel)
	case r.Proxy != nil:
		return s.buildProxy(r.Proxy)
	}
	return nil
}

// terminate makes the handler of an endpoint for which wspawn speaks WebSocket. make returns the endpoint for a
// framing: f, or what a subprotocol makes of it.
func (s *service) terminate(f framing.Options, make endpointMaker) error {
	var err error
	if s.policy, err = s.origins(); err != nil {
		return err
	}
	handshake, err := config.Headers(s.r.HandshakeHeaders)
	if err != nil {
		return err
	}
	for name, values := range s.header {
		handshake[name] = append(slices.Clone(values), handshake[name]...)
	}
	protocols, err := newProtocols(s.r, f, make)
	if err != nil {
		return err
	}
	options := s.r.WebSocket.Options()
	if w := &s.r.WebSocket; w.MessageRate > 0 || w.ByteRate > 0 {
		flow := limit.Flow{Messages: w.MessageRate, Bytes: float64(w.ByteRate), ByteBurst: 2 * max(int64(w.MaxMessage), int64(w.ByteRate))}
		options.NewMeter = func() wsframe.Meter { return flow.Meter() }
	}
	s.websocket = &wsframe.Handler{
		Endpoint: protocols,
		Options: wsframe.AcceptOptions{
			Options: options, Header: handshake,
			AllowOrigin: protocols.check, // the origin itself comes before everything else, see ServeHTTP
		},
		Log:    s.log,
		OnOpen: s.opened,
	}
	switch {
	case slices.Contains(s.r.Subprotocols, "*"):
		s.websocket.Select = anyProtocol
	case len(s.r.Subprotocols) > 0:
		s.websocket.Select = wsframe.Prefer(s.r.Subprotocols...)
	case protocols.table != nil:
		s.websocket.Select = protocols.table.Select
	}
	return nil
}

// base is the longest path that all requests of the route have in common, with a slash at its end.
func (s *service) base() string {
	base, _, _ := strings.Cut(s.r.Path, "{")
	return base[:strings.LastIndexByte(base, '/')+1]
}

// buildFiles makes what answers ordinary requests beside the endpoint.
func (s *service) buildFiles() error {
	f := s.r.Files
	if f == nil {
		return nil
	}
	h, err := files.New(string(f.Root), filesOptions(f))
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() { h.Close() })
	s.plain = http.StripPrefix(strings.TrimSuffix(s.base(), "/"), h)
	return nil
}

// buildConsole puts the console where there is room for it.
func (s *service) buildConsole() {
	on := s.r.Console == "on" || s.r.Console == "auto" && s.local
	switch {
	case !on:
		return
	case s.websocket != nil && s.plain == nil:
		s.console = s.base() // and any other path, so that its WebSocket can be tried
	case s.websocket != nil, s.gateway != nil && s.policy != nil && (s.r.Console == "on" || s.answersAll()):
		s.console = s.base() + ConsolePath
	default:
		return
	}
	mux := http.NewServeMux()
	if s.plain != nil {
		mux.Handle("/", s.plain)
	}
	mux.Handle(s.console, console.Handler(s.title()))
	s.plain = mux
}

func filesOptions(f *config.Files) files.Options {
	return files.Options{
		Listings: f.Listings, DotFiles: f.DotFiles, Index: f.Index, Precompressed: f.Precompressed, CacheControl: f.CacheControl,
	}
}

// origins is who may connect from where.
func (s *service) origins() (*origin.Policy, error) {
	p := &origin.Policy{
		RefuseMissing: s.r.RequireOrigin, Settings: s.o.OriginSettings,
		Secure: func(r *http.Request) bool { return clientip.Scheme(r) == "https" },
	}
	for _, o := range s.r.Origins {
		if o == "any" {
			p.Any = true
			continue
		}
		e, err := origin.Parse(o)
		if err != nil {
			return nil, err
		}
		p.Allow = append(p.Allow, e)
	}
	return p, nil
}

// ServeHTTP answers a request.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() { // the table has changed since it was asked
		s.o.root.ServeHTTP(w, r)
		return
	}
	defer s.leave()
	if o := observerOf(w); o != nil {
		o.route, o.errorHeader = s.r.Label(), s.errorHeader
	}
	// Ordinary requests of other sites are guarded by the browser: it does not let them read the answer. It
	// lets them read a WebSocket.
	if s.policy != nil && r.Header.Get("Upgrade") != "" {
		if err := s.policy.Check(r); err != nil {
			s.refuse(w, r, err)
			return
		}
	}
	s.answer.ServeHTTP(w, r)
}

// refuse answers a request of a foreign origin.
func (s *service) refuse(w http.ResponseWriter, r *http.Request, err error) {
	rej := &wsframe.Rejection{Status: http.StatusForbidden, Reason: "origin not allowed", Err: err}
	var o *origin.Error
	if errors.As(err, &o) && o.Status != 0 {
		rej.Status = o.Status
	}
	switch {
	case rej.Status != http.StatusBadRequest:
	case o.Origin == "":
		rej.Reason = "origin missing"
	default:
		rej.Reason = "several Origin headers"
	}
	attrs := []any{"remote", r.RemoteAddr, "path", r.URL.Path, "status", rej.Status, "reason", rej.Reason, "err", err}
	if host := r.Header.Get("X-Forwarded-Host"); host != "" && host != r.Host && clientip.Trusted(r.Context()) {
		attrs = append(attrs, "hint", fmt.Sprintf("the proxy says that the client asked for %q: see host_header of [client]", host))
	}
	s.log.Info("request refused", attrs...)
	rej.Write(w)
}

// dispatch sends WebSocket requests one way and all others the other way.
func (s *service) dispatch(w http.ResponseWriter, r *http.Request) {
	if s.websocket != nil && (s.plain == nil || wsframe.IsUpgrade(r)) {
		s.websocket.ServeHTTP(w, r)
		return
	}
	for name, values := range s.header {
		w.Header()[name] = values
	}
	switch {
	case s.gateway != nil:
		s.serveGateway(w, r)
	case s.plain != nil:
		s.plain.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

// serveGateway answers a request when there is a gateway.
func (s *service) serveGateway(w http.ResponseWriter, r *http.Request) {
	upgrade := r.Header.Get("Upgrade") != ""
	if s.console != "" && !upgrade && strings.HasPrefix(r.URL.Path, s.console) {
		s.plain.ServeHTTP(w, r)
		return
	}
	s.front.ServeHTTP(w, r)
}

// enter counts a request or session, unless the service is closed.
func (s *service) enter() bool {
	for {
		n := s.active.Load()
		if n < 0 {
			return false
		}
		if s.active.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (s *service) leave() {
	if s.active.Add(-1) == 0 && s.retired.Load() && s.active.CompareAndSwap(0, -1) {
		s.close()
	}
}

// retire closes the service as soon as it has nothing to do.
func (s *service) retire() {
	s.retired.Store(true)
	if s.active.CompareAndSwap(0, -1) {
		s.close()
	}
}

// shutdown tells the sessions to end, and waits for them.
func (s *service) shutdown(ctx context.Context) error {
	var err1, err2 error
	if s.websocket != nil {
		err1 = s.websocket.Shutdown(ctx)
	}
	if s.gateway != nil {
		err2 = s.gateway.Shutdown(ctx)
	}
	return errors.Join(err1, err2)
}

// close gives back what the service holds.
func (s *service) close() {
	s.once.Do(func() {
		for _, f := range s.closers {
			f()
		}
	})
}
