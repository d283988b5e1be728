// Package host makes a running server of a configuration: it listens, serves, and stops in the right
// order. It is the one package below the commands that knows all endpoints.
package host

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/watch"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// Times and sizes that protect the HTTP side.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// Options are what a Host needs beside its configuration.
type Options struct {
	Log *slog.Logger

	// Software is SERVER_SOFTWARE for the programs.
	Software string

	// Guard is the command line of the process that outlives a crash, see [spawner.Config].
	Guard []string
}

// A Host is a server: New, Run.
type Host struct {
	c         *config.Config
	log       *slog.Logger
	listeners []net.Listener
	server    *http.Server
	fresh     fresh
	service   *service
	programs  *spawner.Spawner
	watcher   *watch.Watcher // nil: nothing is watched
}

// New checks the configuration and opens the listeners. Nothing is answered before Run.
func New(c *config.Config, o Options) (_ *Host, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	h := &Host{c: c, log: o.Log}
	defer func() {
		if err != nil {
			h.closeListeners()
		}
	}()
	var certificates []tls.Certificate
	if c.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, &config.Problem{Setting: "tls-cert, tls-key", Err: err}
		}
		certificates = append(certificates, cert)
	}
	local := true
	for _, addr := range c.Listen {
		ln, err := Listen(addr)
		if err != nil {
			return nil, err
		}
		h.listeners = append(h.listeners, ln)
		local = local && Loopback(ln)
	}
	h.programs = spawner.New(spawner.Config{
		MaxProcesses: c.MaxProcesses, StartRate: c.StartRate, Guard: o.Guard, Log: o.Log,
	})
	if h.service, err = newService(c, o.Software, local, h.programs, o.Log); err != nil {
		return nil, err
	}
	if h.service.watched != "" {
		if h.watcher, err = watch.New(h.service.watched); err != nil {
			h.service.close()
			return nil, err
		}
	}
	h.server = &http.Server{
		Handler:           h.service,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnState:         h.fresh.track,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	if certificates != nil {
		// HTTP/1.1 alone, until WebSockets can be served over HTTP/2 as well.
		h.server.TLSConfig = &tls.Config{Certificates: certificates, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
		h.server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	return h, nil
}

// URLs returns where the server listens, as URLs of the given scheme ("ws" or "http"), with an s
// when it speaks TLS. Unix sockets are ws+unix:PATH.
func (h *Host) URLs(scheme string) []string {
	var urls []string
	if h.c.TLSCert != "" {
		scheme += "s"
	}
	for _, ln := range h.listeners {
		if a, ok := ln.Addr().(*net.UnixAddr); ok {
			urls = append(urls, scheme+"+unix:"+a.Name)
			continue
		}
		urls = append(urls, scheme+"://"+ln.Addr().String()+"/")
	}
	return urls
}

// ConsolePath returns where the console is, or "" when there is none.
func (h *Host) ConsolePath() string { return h.service.console }

// Run serves until ctx ends, then stops: no more connections, Close 1001 to the clients, the ladder
// to the programs, all within the drain time of the configuration. The end of now cuts that short.
func (h *Host) Run(ctx, now context.Context) error {
	failed := make(chan error, len(h.listeners))
	secure := h.server.TLSConfig != nil // Serve sets it for purposes of its own
	var serving sync.WaitGroup
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	for _, ln := range h.listeners {
		serving.Go(func() {
			var err error
			if secure {
				err = h.server.ServeTLS(ln, "", "")
			} else {
				err = h.server.Serve(ln)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("listener %s: %w", ln.Addr(), err)
			}
		})
	}
	if h.watcher != nil {
		serving.Go(func() { h.watcher.Run(watching, h.programChanged) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	drain, cancel := context.WithTimeout(now, h.c.Drain)
	defer cancel()
	stopWatching()
	stopErr := h.stop(drain)
	serving.Wait()
	return errors.Join(err, stopErr)
}

// programChanged ends the sessions of the old program; those that come get the new one.
func (h *Host) programChanged(files []string) {
	n := 0
	for c := range h.service.websocket.Conns() {
		c.WriteClose(wsframe.CloseServiceRestart, "the program has changed")
		n++
	}
	h.log.Info("program changed", "file", files[0], "closed", n)
}

func (h *Host) stop(ctx context.Context) error {
	h.closeListeners()
	h.fresh.close()
	var stopping sync.WaitGroup
	var sessions error
	stopping.Go(func() { h.server.Shutdown(ctx) })
	if h.service.websocket != nil {
		stopping.Go(func() { sessions = h.service.websocket.Shutdown(ctx) })
	}
	if h.service.gateway != nil {
		stopping.Go(func() { h.service.gateway.Shutdown(ctx) })
	}
	stopping.Wait()
	err := errors.Join(sessions, h.programs.Close(ctx))
	h.server.Close()
	h.service.close()
	return err
}

func (h *Host) closeListeners() {
	for _, ln := range h.listeners {
		ln.Close()
	}
}
