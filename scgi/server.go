package scgi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Server is the application side: it answers requests that a web server hands on. The zero value
// works. Fields must not change after the first call of Serve; all methods may be called at the
// same time.
//
// It serves one request per connection, as the protocols want it. The context of a request ends when
// its handler returns, and before that when the gateway closes the connection, as soon as the whole
// body has been read. It does not end that way for a request that asks for an upgrade (HTTP_UPGRADE),
// because there the end of the input is something for the application to see.
//
// A session (see [cgi.FramingVariable]) is a request whose body are the messages of the client. The handler
// reads them while it writes its own, each of which goes out with a Flush; ContentLength is -1.
//
// The ResponseWriter of a request is an [http.Flusher] and an [http.Hijacker]. What Hijack returns is
// the connection to the gateway itself, a *net.TCPConn or *net.UnixConn. What is written there is
// CGI output, and may begin with a status line as well as with "Status:", so that everything that
// upgrades requests of net/http (wsframe.Accept, for one) does so here, if the gateway plays along.
// Interim responses (1xx, except 101) are not sent: many gateways would take them for the answer.
type Server struct {
	// Handler answers the requests. nil = [http.DefaultServeMux].
	Handler http.Handler
	// Protocol is what the gateway speaks: [SCGI] or [UWSGI].
	Protocol Protocol
	// MaxHead bounds the meta-variables of a request, in bytes. Over it the answer is 431. 0 =
	// [DefaultMaxHead].
	MaxHead int
	// HeadTimeout bounds the time from the start of a connection until its meta-variables are there.
	// 0 = 10 s, negative = no limit.
	HeadTimeout time.Duration
	// WriteTimeout is how long one write to a gateway that does not read may take. It has no
	// influence on hijacked connections. 0 = 5 min, negative = no limit.
	WriteTimeout time.Duration
	// Log receives what goes wrong: malformed heads, and panics of the handler. nil = no log.
	Log *slog.Logger

	mu        sync.Mutex // guards the fields below
	down      bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{} // hijacked ones are not in it
	idle      chan struct{}      // closed when down and conns is empty; nil before Shutdown
}

// Serve answers the SCGI requests that come in on l with h, and returns an error that is never nil.
// A nil l is the listening socket that the process got as descriptor 0, which is how gateways and
// spawn-fcgi start applications. A nil h is [http.DefaultServeMux].
func Serve(l net.Listener, h http.Handler) error {
	return (&Server{Handler: h}).Serve(l)
}

// Serve accepts connections on l, nil being descriptor 0 (see the function [Serve]), until l fails or
// the server is shut down; then it returns [http.ErrServerClosed]. It closes l.
func (s *Server) Serve(l net.Listener) error {
	if l == nil {
		var err error
		if l, err = net.FileListener(os.Stdin); err != nil {
			return fmt.Errorf("scgi: descriptor 0 is not a listening socket: %w", err)
		}
	}
	defer l.Close()
	if !s.track(l) {
		return http.ErrServerClosed
	}
	defer s.untrack(l)

	var pause time.Duration
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.start(nc)
		case s.isDown():
			return http.ErrServerClosed
		case temporary(err):
			// No descriptors left, most likely: others have to end first.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log().Warn("accept", "err", err)
			time.Sleep(pause)
		default:
			return fmt.Errorf("scgi: %w", err)
		}
	}
}

// temporary reports whether an error of Accept is about one connection or a lack of resources.
func temporary(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && t.Temporary()
}

func (s *Server) start(nc net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &conn{s: s, nc: nc, br: bufio.NewReader(nc), ctx: ctx, cancel: cancel}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		cancel()
		nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	go c.serve()
}

// Shutdown stops accepting and waits for the requests that are being answered, until ctx ends; it
// returns the error of ctx then. A connection that has not brought a whole request has a second left
// for it. Hijacked connections are not its business.
func (s *Server) Shutdown(ctx context.Context) error {
	select {
	case <-s.stop(func(c *conn) { c.hurry() }):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close stops accepting and cuts all connections that are not hijacked. It does not wait for
// handlers.
func (s *Server) Close() error {
	s.stop(func(c *conn) {
		c.cancel()
		c.nc.Close()
	})
	return nil
}

// stop closes the listeners and calls f for every connection.
func (s *Server) stop(f func(*conn)) (idle <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
	for l := range s.listeners {
		l.Close()
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
		if len(s.conns) == 0 {
			close(s.idle)
		}
	}
	for c := range s.conns {
		f(c)
	}
	return s.idle
}

// forget takes c out of what Shutdown waits for. More than one call does no harm.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.conns[c]; !ok {
		return
	}
	delete(s.conns, c)
	if s.idle != nil && len(s.conns) == 0 {
		close(s.idle)
	}
}

func (s *Server) track(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return false
	}
	if s.listeners == nil {
		s.listeners = make(map[net.Listener]struct{})
		s.conns = make(map[*conn]struct{})
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) untrack(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

func (s *Server) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

func (s *Server) handler() http.Handler {
	if s.Handler == nil {
		return http.DefaultServeMux
	}
	return s.Handler
}

// limit is d, or standard where d is 0, or 0 for no limit.
func limit(d, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return max(d, 0)
}
