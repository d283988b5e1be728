package host

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/stream"
	"github.com/wspawn/wspawn/internal/xconnect"
)

// Times and sizes that protect the HTTP side.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// http2Config is how many streams a connection has, and what waits in memory for those who read them. A stream that is
// not read must not hold up the others of its connection, so that there is room for all of them.
var http2Config = http.HTTP2Config{
	MaxConcurrentStreams:          256,
	MaxReceiveBufferPerStream:     64 << 10,
	MaxReceiveBufferPerConnection: 256 * 64 << 10,
	MaxReadFrameSize:              64 << 10,
	WriteByteTimeout:              time.Minute, // a deadline of a stream cannot end a write that TCP holds up
}

// net/http has read it.
func init() { xconnect.Restore() }

// A listener is an address with its HTTP server.
type listener struct {
	net.Listener
	address string // as it was written
	mode    config.Mode
	server  *http.Server
	fresh   fresh
	secure  bool
	http2   bool
	cert    atomic.Pointer[tls.Certificate]
	serving bool // belongs to Host.mu
	closed  atomic.Bool
}

// listen opens the listeners of a configuration, and takes over those of before that it still has. Certificates are
// read again: they are used for new connections.
func (h *Host) listen(c *config.Config, before []*listener) (all []*listener, err error) {
	defer func() {
		if err != nil {
			h.dropListeners(all, before)
		}
	}()
	certs := make(map[*listener]*tls.Certificate)
	for _, lc := range c.Listeners() {
		i := slices.IndexFunc(before, func(l *listener) bool {
			return l.address == lc.Address && l.secure == (lc.Certificate != "") && l.http2 == lc.HTTP2 && l.mode == lc.Mode && !slices.Contains(all, l)
		})
		var l *listener
		if i >= 0 {
			l = before[i]
		} else if l, err = h.newListener(lc); err != nil {
			return all, err
		}
		all = append(all, l)
		if l.secure {
			cert, err := tls.LoadX509KeyPair(string(lc.Certificate), string(lc.Key))
			if err != nil {
				return all, fmt.Errorf("certificate %s: %w", lc.Certificate, err)
			}
			certs[l] = &cert
		}
	}
	for l, cert := range certs {
		l.cert.Store(cert)
	}
	return all, nil
}

func (h *Host) newListener(lc *config.Listener) (*listener, error) {
	ln, err := Listen(lc.Address)
	if err != nil {
		return nil, err
	}
	l := &listener{Listener: ln, address: lc.Address, mode: lc.Mode, secure: lc.Certificate != "", http2: lc.HTTP2}
	if mode, set := lc.Mode.Bits(); set {
		if err := os.Chmod(strings.TrimPrefix(lc.Address, "unix:"), fs.FileMode(mode)); err != nil {
			ln.Close()
			return nil, fmt.Errorf("listen on %s: %w", lc.Address, err)
		}
	}
	l.server = &http.Server{
		Handler:           stream.Normalize(h),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnState:         l.fresh.track,
		ErrorLog:          slog.NewLogLogger(h.log.Handler(), slog.LevelWarn),
		Protocols:         new(http.Protocols),
		HTTP2:             &http2Config,
	}
	l.server.Protocols.SetHTTP1(true)
	l.server.Protocols.SetHTTP2(l.secure && l.http2)
	l.server.Protocols.SetUnencryptedHTTP2(!l.secure && l.http2)
	if l.secure {
		l.server.TLSConfig = &tls.Config{
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return l.cert.Load(), nil },
			MinVersion:     tls.VersionTLS12, // NextProtos is added by net/http
		}
	}
	return l, nil
}

func (l *listener) serve() error {
	if l.secure {
		return l.server.ServeTLS(l.Listener, "", "")
	}
	return l.server.Serve(l.Listener)
}

// Close stops listening. Connections go on.
func (l *listener) Close() error {
	l.closed.Store(true)
	return l.Listener.Close()
}

func (l *listener) url(scheme string) string {
	if l.secure {
		scheme += "s"
	}
	if a, ok := l.Addr().(*net.UnixAddr); ok {
		return scheme + "+unix:" + a.Name
	}
	return scheme + "://" + l.Addr().String() + "/"
}

// dropListeners closes those that are not kept. Requests on their connections are answered, and then the
// connections end.
func (h *Host) dropListeners(listeners, kept []*listener) {
	for _, l := range listeners {
		if slices.Contains(kept, l) {
			continue
		}
		l.Close()
		if l.serving {
			l.fresh.close()
			h.serving.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), idleTimeout)
				defer cancel()
				l.server.Shutdown(ctx)
			})
		}
	}
}

// Listen opens an address: HOST:PORT, or unix:PATH. A socket file that nobody listens on any more
// is replaced; one that is in use, and any other file, is left alone.
func Listen(addr string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return listenUnix(path)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %s", addr, listenProblem(err))
	}
	return ln, nil
}

func listenProblem(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "the port is in use: stop the other program or choose another port (--port 0 finds a free one)"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied: ports below 1024 need privileges"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine does not have that address"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}

func listenUnix(path string) (net.Listener, error) {
	if fi, err := os.Lstat(path); err == nil {
		if fi.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("listen on unix:%s: a file of that name exists and is not a socket", path)
		}
		c, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			c.Close()
			return nil, fmt.Errorf("listen on unix:%s: the socket is in use by another program", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen on unix:%s: cannot remove the stale socket: %w", path, errors.Unwrap(err))
		}
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on unix:%s: %s", path, listenProblem(err))
	}
	return ln, nil
}

// Loopback reports whether only this machine can connect to the listener.
func Loopback(ln net.Listener) bool {
	switch a := ln.Addr().(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}
