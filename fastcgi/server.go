package fastcgi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// The defaults of [Server].
const (
	DefaultMaxParams = 1 << 20
)

// ErrServerClosed is what [Server.Serve] returns after Shutdown or Close.
var ErrServerClosed = errors.New("fastcgi: server closed")

// A Server lets a web server reach an http.Handler by FastCGI.
//
// Requests may share a connection; each has its own flow control with gateways
// of this package. Their contexts end with an ABORT_REQUEST and with the
// connection. The ResponseWriters implement http.Flusher and http.Hijacker, and
// the deadlines of http.ResponseController: an upgrade is a Hijack as with
// net/http, so that wsframe.Accept and wsframe.Handler run unchanged. A hijacked
// connection is no TCP connection but a stream of records; it ends for the
// client when it is closed.
//
// Handler is required; the exported fields must not change after Serve was
// called. All methods may be called at the same time. A Server must not be
// copied.
type Server struct {
	// Handler answers requests in the responder role.
	Handler http.Handler
	// Authorizer answers requests in the authorizer role: status 200 allows the
	// request, and Variable-NAME header fields set the variable NAME for
	// what follows; everything else is the answer to the client. Nil: such requests
	// are refused with UNKNOWN_ROLE.
	Authorizer http.Handler

	// MaxConns is how many connections there may be; more wait in the backlog of
	// the listener. 0 = no limit.
	MaxConns int
	// MaxRequests is how many requests may share a connection; more are refused as
	// OVERLOADED. 0 = 1024.
	MaxRequests int
	// MaxParams is how many bytes the parameters of a request may have; over it the
	// answer is 431. 0 = 1 MiB.
	MaxParams int
	// WriteTimeout is how long a gateway may take no byte of a connection; then it
	// is cut. 0 = 60 s, negative = no limit.
	WriteTimeout time.Duration

	// Log gets panics of handlers and violations of the protocol. Nil logs nothing.
	Log *slog.Logger

	mu        sync.Mutex // guards the fields below
	listeners map[net.Listener]struct{}
	conns     map[*serverConn]struct{}
	requests  int // that have not ended, on all connections
	down      bool
	quiet     chan struct{} // closed by the last request when down
	slots     chan struct{}
	running   sync.WaitGroup // connections
}

// Serve runs a [Server] with the default settings.
func Serve(l net.Listener, h http.Handler) error {
	return (&Server{Handler: h}).Serve(l)
}

// ListenFD0 returns the listener that a web server or a spawner has put into file
// descriptor 0 (section 2.2 of the specification).
func ListenFD0() (net.Listener, error) {
	l, err := net.FileListener(os.Stdin)
	if err != nil {
		return nil, errors.New("file descriptor 0 is no listening socket: start this from a FastCGI spawner, or listen on an address")
	}
	os.Stdin.Close() // FileListener has its own copy
	return l, nil
}

// Serve accepts connections until Shutdown or Close, and closes l. Errors of
// Accept that may pass are waited out; others are returned.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.listen(l) {
		return ErrServerClosed
	}
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	var pause time.Duration
	for {
		if s.slots != nil {
			s.slots <- struct{}{}
		}
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			s.start(nc)
			continue
		}
		s.leave()
		s.mu.Lock()
		down := s.down
		s.mu.Unlock()
		if down {
			return ErrServerClosed
		}
		if te, ok := err.(interface{ Temporary() bool }); !ok || !te.Temporary() {
			return err
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second) // as net/http: out of descriptors
		time.Sleep(pause)
	}
}

func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return false
	}
	if s.listeners == nil {
		s.listeners = make(map[net.Listener]struct{})
		s.conns = make(map[*serverConn]struct{})
		if s.MaxConns > 0 {
			s.slots = make(chan struct{}, s.MaxConns)
		}
	}
	s.listeners[l] = struct{}{}
	return true
}

// start serves a connection.
func (s *Server) start(nc net.Conn) {
	c := &serverConn{s: s, link: newLink(nc, max(0, or(s.WriteTimeout, DefaultWriteTimeout))), requests: make(map[uint16]*request)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		nc.Close()
		s.leave()
		return
	}
	s.conns[c] = struct{}{}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		defer s.leave()
		c.run()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
}

// leave gives the slot of a connection back.
func (s *Server) leave() {
	if s.slots != nil {
		<-s.slots
	}
}

// enter counts a request; false: no more of them.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return false
	}
	s.requests++
	return true
}

// exit counts a request that has ended.
func (s *Server) exit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests--; s.requests == 0 && s.down && s.quiet != nil {
		close(s.quiet)
		s.quiet = nil
	}
}

// Shutdown closes the listeners, refuses new requests as OVERLOADED, and waits
// until those that run have ended, hijacked ones too: shut down what runs them at
// the same time. Then it closes the connections. When ctx ends first, it returns the
// error of ctx, and requests go on; see Close.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.down = true
	for l := range s.listeners {
		l.Close()
	}
	var quiet chan struct{}
	if s.requests > 0 {
		if s.quiet == nil {
			s.quiet = make(chan struct{})
		}
		quiet = s.quiet
	}
	s.mu.Unlock()
	if quiet != nil {
		select {
		case <-quiet:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	for c := range s.conns {
		c.link.finish()
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		s.Close()
		return ctx.Err()
	}
}

// Close closes the listeners and cuts all connections. It waits for the handlers,
// whose contexts end.
func (s *Server) Close() error {
	s.mu.Lock()
	s.down = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.cut()
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// values answers GET_VALUES.
func (s *Server) value(name string) (string, bool) {
	switch name {
	case valueMaxConns:
		if s.MaxConns > 0 { // without a limit there is nothing to say
			return strconv.Itoa(s.MaxConns), true
		}
	case valueMaxReqs:
		return strconv.Itoa(s.maxRequests()), true
	case valueMpxs:
		return "1", true
	case valueWindow:
		return strconv.Itoa(window), true
	}
	return "", false
}

func (s *Server) maxRequests() int {
	return min(max(or(s.MaxRequests, DefaultMaxRequests), 1), 1<<16-1)
}

func (s *Server) maxParams() int { return or(s.MaxParams, DefaultMaxParams) }
