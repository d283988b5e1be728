package main

import (
	"context"
	"net/http"
	"path/filepath"
	"slices"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/scripts"
	"github.com/wspawn/wspawn/spawner"
)

// cgiDir is a directory of CGI programs.
type cgiDir struct {
	*cgi.Endpoint
	name string // as given
	dir  *scripts.Dir
}

func (s *server) openCGIDir(name string) (*cgiDir, error) {
	dir, err := scripts.Open(name, scripts.Options{Hidden: true})
	if err != nil {
		return nil, err
	}
	program := *s.newProgram("", nil)
	program.Stderr, program.Env = spawner.StderrInherit, s.c.env
	e, err := cgi.New(cgi.Config{
		Dir: name, Hidden: true, Strict: true, ExecutableOnly: true,
		Fallback:     http.HandlerFunc(s.notExecutable),
		Software:     softwareString(),
		Spawner:      s.spawner,
		Program:      program,
		Starting:     s.startCGI,
		MaxProcesses: -1,                                             // startCGI counts
		Options:      cgi.Options{ReadTimeout: -1, WriteTimeout: -1}, // programs may take their time
		Log:          s.log.slog(),
	})
	if err != nil {
		dir.Close()
		return nil, err
	}
	return &cgiDir{e, name, dir}, nil
}

// has reports whether the URL path is exactly that of a file. Links that lead
// outside do not count, and nothing may follow the file.
func (d *cgiDir) has(urlPath string) bool {
	script, err := d.dir.Find(urlPath)
	return err == nil && script.PathInfo == ""
}

// close waits for the programs.
func (d *cgiDir) close(ctx context.Context) {
	d.Shutdown(ctx)
	d.Endpoint.Close()
	d.dir.Close()
}

type cgiKey struct{}

// serveCGI runs a CGI program for a plain request.
func (s *server) serveCGI(w http.ResponseWriter, r *http.Request, sc scope) {
	if _, err := cgi.Headers(r); err != nil {
		sc.access("http", "Bad request: %v", err)
		http.Error(w, "400 Bad Request: "+err.Error(), http.StatusBadRequest)
		return
	}
	s.cgi.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), cgiKey{}, sc)))
}

// startCGI comes before each start. A CGI program counts as a fork until it has
// ended, and finds the variables that it finds with websocketd.
func (s *server) startCGI(r *cgi.Request) (ended func(), err error) {
	sc := r.Context().Value(cgiKey{}).(scope)
	release, ok := s.acquire()
	if !ok {
		sc.error("http", "Fork not allowed since maxforks amount has been reached. CGI was not run.")
		return nil, &cgi.GatewayError{Status: http.StatusTooManyRequests}
	}
	sc.with("cgiscript", filepath.Join(s.cgi.name, filepath.FromSlash(r.URL.Path))).access("http", "CGI")
	peer := peerOf(r.Request, false)
	name, port := hostPort(r.Host, s.c.ssl)
	for _, v := range []cgi.Var{
		{Name: "REMOTE_ADDR", Value: peer.addr},
		{Name: "REMOTE_HOST", Value: peer.host},
		{Name: "SERVER_NAME", Value: name},
		{Name: "SERVER_PORT", Value: port},
		{Name: "SCRIPT_NAME"},
		{Name: "PATH_INFO", Value: r.URL.Path},
	} {
		r.Vars.Set(v.Name, v.Value)
	}
	r.Vars = slices.DeleteFunc(r.Vars, func(v cgi.Var) bool { return v.Name == "UNIQUE_ID" })
	return release, nil
}

// notExecutable answers for files that are no programs.
func (s *server) notExecutable(w http.ResponseWriter, r *http.Request) {
	sc := r.Context().Value(cgiKey{}).(scope)
	sc.error("process", "%s is not executable", filepath.Join(s.cgi.name, filepath.FromSlash(r.URL.Path)))
	http.Error(w, "500 Internal Server Error: not executable", http.StatusInternalServerError)
}
