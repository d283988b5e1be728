package fastcgi

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/wspawn/wspawn/cgi"
)

// DefaultUpgradeWait is that of [Endpoint].
const DefaultUpgradeWait = 10 * time.Second

// An Endpoint is the http.Handler that hands requests to FastCGI backends in the
// responder role, WebSocket upgrades included where Options.Upgrade allows them.
//
// Client is required; the exported fields must not change after the first
// request. All methods may be called at the same time. An Endpoint must not be
// copied.
type Endpoint struct {
	// Client reaches the backends. Several endpoints may share one.
	Client *Client

	// Prefix is the part of the URL path that stands for the application, for
	// backends that are one program and no directory of scripts: SCRIPT_NAME. What
	// follows it is PATH_INFO. Paths that do not begin with it are answered with
	// 404. "" is the whole site.
	Prefix string

	// SplitPath are suffixes of scripts, such as ".php": SCRIPT_NAME ends behind the
	// first path segment that ends with one of them, and PATH_INFO follows.
	// Paths without such a segment are answered with 404. Empty: see Prefix.
	SplitPath []string
	// Index is the name of the script of a path that ends with "/", such as
	// "index.php". "" = none.
	Index string

	// Root is the directory that the URL "/" stands for: DOCUMENT_ROOT, and the
	// beginning of SCRIPT_FILENAME. "" = both are absent.
	Root string
	// Docroot is Root as the backend sees it, on another machine or in a chroot.
	// "" = the same.
	Docroot string
	// SkipCheck asks the backend for scripts that are not there as well. Otherwise, with
	// SplitPath and Root, a script that is no regular file is answered with 404, and with
	// Docroot and without Root nothing is checked. PHP takes the nearest file that
	// it finds for a script that does not exist, so leave this off where users
	// can upload files.
	SkipCheck bool

	// StripRequestURI is taken away from the front of REQUEST_URI, such as "/app".
	StripRequestURI string
	// BrokenScriptFilename appends PATH_INFO to SCRIPT_FILENAME, for PHP with
	// cgi.fix_pathinfo.
	BrokenScriptFilename bool

	// UpgradeWait is for backends that wait for the end of the input of an upgrade
	// request before they answer anything (fcgiwrap, also PHP with some frameworks), which
	// is held back because the answer may be a 101. When nothing has come for so
	// long, it is sent, and the answer can only be an ordinary one. 0 = 10 s,
	// negative = never.
	UpgradeWait time.Duration

	// Vars edits what else goes into the meta-variables. Its errors are those of
	// cgi.Gateway.Vars. Optional.
	Vars func(r *http.Request, v *cgi.Vars) error

	// Options are those of all gateways. Log is that of Gateway; STDERR of the
	// backends goes to the log of Client.
	Gateway cgi.Gateway

	once sync.Once
}

// ServeHTTP answers one request.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.once.Do(e.init)
	e.Gateway.ServeHTTP(w, r)
}

// Shutdown refuses new requests with 503 and waits for those that run. When ctx
// ends first, they are cut off. It does not close Client.
func (e *Endpoint) Shutdown(ctx context.Context) error { return e.Gateway.Shutdown(ctx) }

func (e *Endpoint) init() {
	e.Gateway.Open = e.Open
	e.Gateway.Vars = e.vars
}

// Open begins a request on a backend. It is what ServeHTTP does first, for those who have another use for
// the exchange than to answer with it. Its errors are those of [cgi.Gateway].
func (e *Endpoint) Open(ctx context.Context, r *cgi.Request) (cgi.Exchange, error) {
	x, err := e.Client.open(ctx, r.Request, RoleResponder, r.Vars, r.HasBody() || r.Upgrade)
	if err != nil {
		return nil, err
	}
	if wait := or(e.UpgradeWait, DefaultUpgradeWait); r.Upgrade && wait > 0 {
		x.endInputAfter(wait)
	}
	return x, nil
}

// vars says which script r means.
func (e *Endpoint) vars(r *http.Request) (cgi.Vars, error) {
	var v cgi.Vars
	p := r.URL.Path
	if p == "" && len(e.SplitPath) > 0 || p != "" && p[0] != '/' || strings.IndexByte(p, 0) >= 0 {
		return v, &cgi.GatewayError{Status: http.StatusBadRequest, Reason: "not a path"}
	}
	docroot := e.Docroot
	if docroot == "" {
		docroot = e.Root
	}
	v.DocumentRoot = docroot
	if len(e.SplitPath) > 0 {
		if err := e.script(p, &v); err != nil {
			return v, err
		}
	} else {
		rest, ok := strings.CutPrefix(p, strings.TrimSuffix(e.Prefix, "/"))
		if !ok || rest != "" && rest[0] != '/' {
			return v, notFound(nil)
		}
		v.ScriptName, v.PathInfo = p[:len(p)-len(rest)], rest
	}
	if docroot != "" {
		v.ScriptFilename = strings.TrimSuffix(docroot, "/") + v.ScriptName
		if e.BrokenScriptFilename {
			v.ScriptFilename += v.PathInfo
		}
	}
	if e.StripRequestURI != "" {
		v.RequestURI = stripped(r.RequestURI, e.StripRequestURI)
	}
	if e.Vars != nil {
		return v, e.Vars(r, &v)
	}
	return v, nil
}

// script splits a path behind a script.
func (e *Endpoint) script(p string, v *cgi.Vars) error {
	// What a file system would make of it is decided here, not there.
	if clean := path.Clean(p); clean != strings.TrimSuffix(p, "/") && clean != p {
		for segment := range strings.SplitSeq(p, "/") {
			if segment == ".." || segment == "." {
				return notFound(nil)
			}
		}
	}
	end := splitAt(p, e.SplitPath)
	if end < 0 && e.Index != "" && strings.HasSuffix(p, "/") {
		p += e.Index
		end = len(p)
	}
	if end < 0 {
		return notFound(nil)
	}
	v.ScriptName, v.PathInfo = p[:end], p[end:]
	if e.SkipCheck || e.Root == "" {
		return nil
	}
	root, err := os.OpenRoot(e.Root)
	if err != nil {
		return &cgi.GatewayError{Status: http.StatusInternalServerError, Err: err}
	}
	defer root.Close()
	info, err := root.Stat(strings.TrimLeft(path.Clean(v.ScriptName), "/"))
	switch {
	case errors.Is(err, fs.ErrPermission):
		return &cgi.GatewayError{Status: http.StatusForbidden, Err: err}
	case err != nil:
		return notFound(err)
	case !info.Mode().IsRegular():
		return notFound(nil)
	}
	return nil
}

// splitAt returns where the first path segment with one of the suffixes ends, or -1.
func splitAt(p string, suffixes []string) int {
	for start := 0; start < len(p); {
		end := strings.IndexByte(p[start:], '/')
		if end < 0 {
			end = len(p)
		} else {
			end += start
		}
		for _, s := range suffixes {
			if segment := p[start:end]; len(segment) > len(s) && strings.EqualFold(segment[len(segment)-len(s):], s) {
				return end
			}
		}
		start = end + 1
	}
	return -1
}

// stripped takes a prefix of whole segments from a request target.
func stripped(target, prefix string) string {
	rest, ok := strings.CutPrefix(target, strings.TrimSuffix(prefix, "/"))
	switch {
	case !ok:
		return target
	case rest == "" || rest[0] == '?':
		return "/" + rest
	case rest[0] != '/':
		return target
	}
	return rest
}

func notFound(err error) error {
	return &cgi.GatewayError{Status: http.StatusNotFound, Reason: "not found", Err: err}
}
