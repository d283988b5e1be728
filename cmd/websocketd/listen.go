package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/wspawn/wspawn/internal/stale"
)

const (
	// headerTimeout is how long a client may take to send its request.
	headerTimeout = 10 * time.Second
	// idleTimeout is how long a connection may wait for its next request.
	idleTimeout = 2 * time.Minute
	// drainTimeout is how long sessions may take to end when the server does;
	// --closems comes on top.
	drainTimeout = 10 * time.Second
)

// serve listens and answers until a signal comes, or until it turns out that
// listening is impossible. It returns the exit code.
func (s *server) serve() int {
	signals, stopSignals := terminations()
	defer stopSignals()
	s.banner()

	tlsConfig, err := s.tlsConfig()
	if err != nil {
		return s.cannotServe(err)
	}
	main := &http.Server{Handler: s, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, TLSConfig: tlsConfig}
	redirect := &http.Server{
		Handler:           http.HandlerFunc(s.redirect),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: headerTimeout, IdleTimeout: idleTimeout,
	}
	failed := make(chan error, 1)
	var open []net.Listener
	start := func(ln net.Listener, srv *http.Server, secure bool) {
		open = append(open, ln)
		go func() {
			var err error
			if secure {
				err = srv.ServeTLS(ln, "", "")
			} else {
				err = srv.Serve(ln)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				select {
				case failed <- err:
				default: // one is enough
				}
			}
		}()
	}
	giveUp := func(err error) int {
		for _, ln := range open {
			ln.Close()
		}
		return s.cannotServe(err)
	}

	for _, address := range s.c.addresses {
		ln, err := net.Listen("tcp", address+":"+strconv.Itoa(s.c.port))
		if err != nil {
			return giveUp(err)
		}
		start(ln, main, s.c.ssl)
		if s.c.redirPort != 0 {
			if ln, err = net.Listen("tcp", address+":"+strconv.Itoa(s.c.redirPort)); err != nil {
				return giveUp(err)
			}
			start(ln, redirect, false)
		}
	}
	if s.c.unixSocket != "" {
		ln, err := listenUnix(s.c.unixSocket)
		if err != nil {
			return giveUp(err)
		}
		start(ln, main, s.c.ssl)
	}

	select {
	case err := <-failed:
		return giveUp(err)
	case sig := <-signals:
		stopSignals() // a second one ends us at once
		s.shutdown(main, redirect)
		dieOf(sig)
		return exitServe // not reached where signals end processes
	}
}

func (s *server) cannotServe(err error) int {
	s.log.scope().fatal("server", "Can't start server: %v", err)
	return exitServe
}

// shutdown says goodbye to all clients, stops all programs and waits.
func (s *server) shutdown(servers ...*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout+3*s.c.closeWait)
	defer cancel()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for _, srv := range servers {
			if srv.Shutdown(ctx) != nil {
				srv.Close()
			}
		}
	}()
	s.ws.Shutdown(ctx) // what it could not end, the spawner does
	if s.cgi != nil {
		s.cgi.close(ctx)
	}
	s.spawner.Close(ctx)
	<-closed
}

// banner says what is served where.
func (s *server) banner() {
	sc := s.log.scope()
	c := s.c
	if len(c.command) > 0 {
		sc.info("server", "Serving using application   : %s %s", c.command[0], strings.Join(c.command[1:], " "))
	} else if c.dir != "" {
		sc.info("server", "Serving from directory      : %s", c.dir)
	}
	if c.static != "" {
		sc.info("server", "Serving static content from : %s", c.static)
	}
	if c.cgi != "" {
		sc.info("server", "Serving CGI scripts from    : %s", c.cgi)
	}
	if c.ssl {
		for _, entry := range schemeless(c.origins) {
			sc.error("server", "Origin %q has no scheme: pages that came over plain HTTP may connect too. Write https://%s", entry, entry)
		}
	}
	secure := ""
	if c.ssl {
		secure = "s"
	}
	say := func(place string) {
		if c.webSocket() {
			sc.info("server", "Starting WebSocket server   : %s", strings.Replace(place, "SCHEME", "ws"+secure, 1))
		}
		plain := strings.Replace(place, "SCHEME", "http"+secure, 1)
		switch {
		case c.console:
			sc.info("server", "Developer console enabled   : %s", plain)
		case c.static != "" || c.cgi != "":
			sc.info("server", "Serving CGI or static files : %s", plain)
		}
	}
	for _, address := range c.addresses {
		host := address
		if host == "" {
			host, _ = os.Hostname()
		}
		say("SCHEME://" + host + ":" + strconv.Itoa(c.port) + "/")
		if c.redirPort != 0 {
			sc.info("server", "Starting redirect server   : http://%s:%d/", host, c.redirPort)
		}
	}
	if c.unixSocket != "" {
		say("unix socket at " + c.unixSocket)
	}
}

// tlsConfig reads the certificate, its key and the authorities of clients. It
// returns nil without --ssl.
func (s *server) tlsConfig() (*tls.Config, error) {
	if !s.c.ssl {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(s.c.sslCert, s.c.sslKey)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if s.c.sslCA != "" {
		pem, err := os.ReadFile(s.c.sslCA)
		if err != nil {
			return nil, err
		}
		t.ClientCAs = x509.NewCertPool()
		if !t.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", s.c.sslCA)
		}
		t.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return t, nil
}

// listenUnix listens on a Unix socket, in place of one that nobody listens on any more.
func listenUnix(name string) (net.Listener, error) {
	switch err := stale.Remove(name); {
	case err == nil, errors.Is(err, stale.ErrNotSocket): // which cannot be bound
	case errors.Is(err, stale.ErrInUse):
		return nil, fmt.Errorf("unix socket %s is already in use", name)
	default:
		return nil, fmt.Errorf("unix socket %s: %w", name, err)
	}
	return net.Listen("unix", name)
}

// redirect sends plain requests to the same URL of the main port.
func (s *server) redirect(w http.ResponseWriter, r *http.Request) {
	host, _ := hostPort(r.Host, false)
	if host == "" {
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
			host, _ = hostPort(local.String(), false)
		}
	}
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(host, strconv.Itoa(s.c.port)), Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	if s.c.ssl {
		u.Scheme = "https"
	}
	if u.Path == "" || u.Path[0] != '/' {
		u.Path, u.RawPath = "/", ""
	}
	http.Redirect(w, r, u.String(), http.StatusMovedPermanently)
}
