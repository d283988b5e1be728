package main

import (
	"net/http"
	httpcgi "net/http/cgi"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/wspawn/wspawn/cgi"
)

// cgiDir is a directory of CGI programs.
type cgiDir struct {
	name string // as given
	abs  string
	root *os.Root
}

func openCGIDir(name string) (*cgiDir, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, err
	}
	return &cgiDir{name: name, abs: abs, root: root}, nil
}

// has reports whether the URL path is exactly that of a file. Links that lead
// outside do not count, and nothing may follow the file.
func (d *cgiDir) has(urlPath string) bool {
	if strings.ContainsAny(urlPath, "\x00\\") || strings.HasSuffix(urlPath, "/") {
		return false
	}
	info, err := d.root.Stat(path.Clean("/" + urlPath)[1:])
	return err == nil && info.Mode().IsRegular()
}

// serveCGI runs a CGI program for a plain request. It counts as a fork.
func (s *server) serveCGI(w http.ResponseWriter, r *http.Request, sc scope) {
	name := path.Clean("/" + r.URL.Path)[1:]
	release, ok := s.acquire()
	if !ok {
		sc.error("http", "Fork not allowed since maxforks amount has been reached. CGI was not run.")
		http.Error(w, "429 Too Many Requests", http.StatusTooManyRequests)
		return
	}
	defer release()
	r, err := cgiRequest(r)
	if err != nil {
		sc.access("http", "Bad request: %v", err)
		http.Error(w, "400 Bad Request: "+err.Error(), http.StatusBadRequest)
		return
	}
	sc.with("cgiscript", filepath.Join(s.cgi.name, filepath.FromSlash(name))).access("http", "CGI")
	h := httpcgi.Handler{
		Path: filepath.Join(s.cgi.abs, filepath.FromSlash(name)),
		Env:  append(s.c.env[:len(s.c.env):len(s.c.env)], "SERVER_SOFTWARE="+softwareString()),
	}
	h.ServeHTTP(w, r)
}

// cgiRequest returns the request without the header fields that our rules do
// not let through: net/http/cgi maps X_A and X-A to one variable.
func cgiRequest(r *http.Request) (*http.Request, error) {
	if _, err := cgi.Headers(r); err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	for name := range r.Header {
		for i := 0; i < len(name); i++ {
			if c := name[i]; c != '-' && !('0' <= c && c <= '9') && !('A' <= c && c <= 'Z') && !('a' <= c && c <= 'z') {
				delete(r.Header, name)
				break
			}
		}
	}
	return r, nil
}
