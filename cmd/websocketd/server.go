package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/internal/files"
	"github.com/wspawn/wspawn/internal/origin"
	"github.com/wspawn/wspawn/internal/scripts"
	"github.com/wspawn/wspawn/internal/stdio"
	"github.com/wspawn/wspawn/internal/trim"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// server answers requests: WebSockets, the console, CGI programs and files, in
// this order.
type server struct {
	c       *config
	log     *logger
	started time.Time

	spawner  *spawner.Spawner
	ws       *wsframe.Handler
	programs *scripts.Dir     // nil without --dir
	program  *spawner.Program // nil with --dir
	origins  origin.Policy
	files    *files.Handler // nil without --staticdir
	cgi      *cgiDir        // nil without --cgidir

	forks atomic.Int64 // programs that run, WebSocket and CGI together
}

// newServer opens what requests need. Nothing is started yet.
func newServer(c *config, log *logger) (*server, error) {
	s := &server{c: c, log: log, started: time.Now()}
	var err error
	if c.dir != "" {
		if s.programs, err = scripts.Open(c.dir, scripts.Options{Hidden: true}); err != nil {
			return nil, err
		}
	}
	if len(c.command) > 0 {
		s.program = s.newProgram(c.command[0], c.command[1:])
	}
	if c.static != "" {
		if s.files, err = files.New(c.static, files.Options{Listings: true, DotFiles: true}); err != nil {
			return nil, err
		}
	}
	s.origins = originPolicy(c)

	var guard []string
	if exe, err := os.Executable(); err == nil {
		guard = []string{exe, guardArg}
	}
	memory := trim.New()
	slogger := log.slog()
	s.spawner = spawner.New(spawner.Config{Guard: guard, Log: slogger, StderrLevel: stderrLevel})
	if c.cgi != "" {
		if s.cgi, err = s.openCGIDir(c.cgi); err != nil {
			return nil, err
		}
	}
	s.ws = &wsframe.Handler{
		Endpoint: endpoint{&stdio.Endpoint{
			Spawner: s.spawner,
			Resolve: s.resolve,
			Options: stdioOptions(c),
			Refuse:  refusal,
		}},
		Options: wsframe.AcceptOptions{
			Options:     wireOptions(c),
			Header:      s.upgradeHeader(),
			AllowOrigin: s.checkOrigin,
		},
		Select:   s.selectProtocol(),
		Log:      slog.New(errorsOnly{slogger.Handler()}), // what it refuses we log ourselves
		OnRefuse: s.refused,
		OnOpen: func(*wsframe.Request, *wsframe.Conn) func(error) {
			memory.Changed()
			return func(error) { memory.Changed() }
		},
	}
	return s, nil
}

// ServeHTTP sorts requests.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.RequestURI == "*" {
		http.Error(w, "400 Bad Request", http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodConnect {
		http.NotFound(w, r) // we are no proxy
		return
	}
	if clean := cleanPath(r.URL.EscapedPath()); clean != r.URL.EscapedPath() {
		redirectPath(w, r, clean)
		return
	}
	if s.c.webSocket() && isUpgrade(r) {
		s.serveWebSocket(w, r)
		return
	}
	sc := s.log.scope().with("url", s.url(r))
	add(w.Header(), s.c.headers)
	add(w.Header(), s.c.headersHTTP)
	switch {
	case s.c.console:
		sc.access("http", "DEVCONSOLE")
		s.serveConsole(w, r)
	case s.cgi != nil && s.cgi.has(r.URL.Path):
		s.serveCGI(w, r, sc)
	case s.files != nil:
		sc.access("http", "STATIC")
		s.files.ServeHTTP(w, r)
	default:
		sc.access("http", "NOT FOUND")
		http.NotFound(w, r)
	}
}

// isUpgrade recognises handshakes as websocketd does: Upgrade is exactly the
// word websocket, Connection is a list with the word upgrade in it.
func isUpgrade(r *http.Request) bool {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return false
	}
	for _, line := range r.Header.Values("Connection") {
		for token := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(token, " \t"), "upgrade") {
				return true
			}
		}
	}
	return false
}

// url is how log lines call the target of a request.
func (s *server) url(r *http.Request) string {
	scheme := "http"
	if s.c.ssl {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s%s", scheme, r.Host, r.URL.RequestURI())
}

// acquire takes one of the places for programs. release gives it back; calling
// it again does nothing.
func (s *server) acquire() (release func(), ok bool) {
	if n := s.forks.Add(1); s.c.maxForks > 0 && n > int64(s.c.maxForks) {
		s.forks.Add(-1)
		return nil, false
	}
	var released atomic.Bool
	return func() {
		if released.CompareAndSwap(false, true) {
			s.forks.Add(-1)
		}
	}, true
}

// cleanPath removes empty and dot segments. It keeps a slash at the end.
func cleanPath(p string) string {
	if p == "" {
		return "/"
	}
	if p[0] != '/' {
		p = "/" + p
	}
	clean := path.Clean(p)
	if clean != "/" && p[len(p)-1] == '/' {
		clean += "/"
	}
	return clean
}

// redirectPath sends the client to another path of this server.
func redirectPath(w http.ResponseWriter, r *http.Request, escaped string) {
	if r.URL.RawQuery != "" {
		escaped += "?" + r.URL.RawQuery
	}
	http.Redirect(w, r, escaped, http.StatusMovedPermanently)
}

func add(dst, src http.Header) {
	for name, values := range src {
		for _, v := range values {
			dst.Add(name, v)
		}
	}
}
