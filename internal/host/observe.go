package host

import (
	"errors"
	"io"
	"maps"
	"net/http"

	"github.com/wspawn/wspawn/internal/auth"
	"github.com/wspawn/wspawn/internal/hostname"
	"github.com/wspawn/wspawn/internal/limit"
	"github.com/wspawn/wspawn/internal/metrics"
	"github.com/wspawn/wspawn/internal/stream"
	"github.com/wspawn/wspawn/wsframe"
)

// refusals are the log lines that clients can cause as often as they like: this many of each pass in a second.
var refusals = []string{
	"request refused", "request failed", "websocket handshake broken off", "http: TLS handshake error",
}

const refusalsLogged = 20

// observe counts the requests that are refused, and the sessions that are opened.
func (h *Host) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&observer{ResponseWriter: w, metrics: h.o.metrics, upgrade: r.Header.Get("Upgrade") != ""}, r)
	})
}

// An observer sees how one request is answered.
type observer struct {
	http.ResponseWriter
	metrics *metrics.Metrics
	upgrade bool // it asked for another protocol

	// Of the service that answers, once one is found.
	route       string
	errorHeader http.Header // for an answer that is a refusal or an error
}

// refused notes what is refused before anybody else sees it.
func (h *Host) refused(r *http.Request, status int, reason string) {
	h.o.metrics.Refused("", status, reason)
	h.log.Info("request refused", "remote", r.RemoteAddr, "status", status, "reason", reason, "path", r.URL.Path)
}

// observerOf returns the observer among the writers of an answer, or nil.
func observerOf(w http.ResponseWriter) *observer {
	for {
		switch v := w.(type) {
		case *observer:
			return v
		case interface{ Unwrap() http.ResponseWriter }:
			w = v.Unwrap()
		default:
			return nil
		}
	}
}

// rejectReason is the header line that every refusal of a WebSocket has, as package wsframe spells it.
var rejectReason = "X-WebSocket-Reject-Reason"

// WriteHeader counts a refusal. Answers of programs and backends get its reason if they give none.
func (o *observer) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		maps.Copy(o.Header(), o.errorHeader)
		reason := o.Header().Get(rejectReason)
		if own := o.Header()[rejectReason]; len(own) > 0 {
			reason = own[0]
		} else if reason == "" && o.upgrade {
			reason = http.StatusText(status)
			o.Header()[rejectReason] = []string{reason}
		}
		if reason != "" {
			o.metrics.Refused(o.route, status, reason)
		}
	}
	o.ResponseWriter.WriteHeader(status)
}

// Upgraded counts a session. It is for package stream.
func (o *observer) Upgraded() { o.metrics.Opened(o.route) }

// ReadFrom lets files be sent without a copy.
func (o *observer) ReadFrom(r io.Reader) (int64, error) { return io.Copy(o.ResponseWriter, r) }

// Unwrap is for http.ResponseController.
func (o *observer) Unwrap() http.ResponseWriter { return o.ResponseWriter }

var _ stream.Observer = (*observer)(nil)

// opened counts a session, which goes on after its request, until it has ended.
func (s *service) opened(r *wsframe.Request, c *wsframe.Conn) (onClose func(error)) {
	s.enter()
	s.shared.memory.Changed()
	release, stop := limit.Keep(r.Context()), auth.Bound(r.Request, c)
	return func(error) {
		stop()
		release()
		code := wsframe.CloseAbnormal
		if end, ok := errors.AsType[*wsframe.CloseError](c.Err()); ok {
			code = end.Code
		}
		s.o.metrics.Closed(s.r.Label(), int(code))
		s.leave()
		s.shared.memory.Changed()
	}
}

// now is what there is at the moment.
func (h *Host) now() metrics.Now {
	now := metrics.Now{Sessions: make(map[string]int), Processes: h.programs.Running(), Waiting: h.limiter.Stats().Waiting, Workers: h.shared.workers()}
	h.mu.Lock()
	defer h.mu.Unlock()
	counted := make(map[*bounds]bool)
	for _, s := range h.table.Load().services {
		now.Sessions[s.r.Label()] += s.bounds.sessions.Stats().Sessions
		counted[s.bounds] = true
	}
	for _, s := range h.old { // of routes that are gone, and of those that have changed
		if n := s.bounds.sessions.Stats().Sessions; n > 0 && !counted[s.bounds] {
			now.Sessions[s.r.Label()] += n
			counted[s.bounds] = true
		}
	}
	return now
}

// admin answers on the listener that tells how the server is. Pages of other sites do not get there under a name of their own.
func (h *Host) admin() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", h.o.metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	names, _ := hostname.New(hostname.Config{Setting: h.o.HostsSetting, Log: h.log}) // without names there is no error
	return names.Handler(mux)
}
