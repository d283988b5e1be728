// Package files serves the files of one directory over HTTP.
//
// It differs from [http.FileServer] in what it keeps to itself: symbolic
// links cannot lead out of the directory, names that start with a dot do not
// exist, directories are not listed, and devices, sockets and pipes are not
// opened. Listings and dot files can be switched on. What the Web is made of has
// the same media type on all machines. Everything that is not
// served is 404 Not Found, so that nobody learns what is there.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Options are the rules of a [Handler]. The zero value is the safe choice.
type Options struct {
	// Listings shows the names in a directory that has no index file.
	Listings bool
	// DotFiles serves and lists names that start with a dot (.htpasswd,
	// .git, …). Dangerous: editors, tools and deployments leave secrets in
	// such files.
	DotFiles bool
	// Index are the files that may stand for their directory; the first one that
	// is there does. nil: "index.html". Empty: none.
	Index []string
	// Precompressed sends FILE.br, FILE.zst or FILE.gz instead of FILE to clients
	// that decode it, if it is there and not older. Whoever makes those files
	// answers for what is in them.
	Precompressed bool
	// CacheControl is the Cache-Control line of answers with files, as
	// "max-age=3600". Empty: none.
	CacheControl string
}

// Handler is an [http.Handler] that maps URL paths to the files of a
// directory. It may be used concurrently. It answers GET and HEAD, with byte
// ranges and conditional requests (RFC 9110 sections 13 and 14), and refuses
// other methods with 405.
type Handler struct {
	root    *os.Root
	options Options
}

// New returns a handler for the files below dir. The directory is opened now,
// so it may be renamed later. Close the handler to release it.
func New(dir string, o Options) (*Handler, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if o.Index == nil {
		o.Index = []string{"index.html"}
	}
	return &Handler{root: root, options: o}, nil
}

// Close releases the directory. Requests fail afterwards.
func (h *Handler) Close() error { return h.root.Close() }

// Exists reports whether a GET for the URL path would find something: a file,
// or a directory that has an index file or may be listed.
func (h *Handler) Exists(urlPath string) bool {
	name, ok := h.name(urlPath)
	if !ok {
		return false
	}
	info, err := h.root.Stat(name)
	if err != nil {
		return false
	}
	if info.IsDir() {
		return h.options.Listings || h.index(name) != ""
	}
	return info.Mode().IsRegular()
}

// ServeHTTP answers with the file r.URL.Path stands for.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "405 method not allowed: files can be read with GET and HEAD only", http.StatusMethodNotAllowed)
		return
	}
	name, ok := h.name(r.URL.Path)
	if !ok {
		notFound(w)
		return
	}
	info, err := h.root.Stat(name)
	switch {
	case err != nil:
		h.fail(w, err)
	case info.IsDir():
		h.serveDir(w, r, name)
	case !info.Mode().IsRegular():
		notFound(w)
	case strings.HasSuffix(r.URL.Path, "/"):
		// A file is no directory: relative links in it would be wrong.
		redirect(w, r, "../"+path.Base(r.URL.Path))
	case slices.Contains(h.options.Index, path.Base(name)) && h.index(path.Dir(name)) == name:
		redirect(w, r, "./") // one page, one address
	default:
		h.serveFile(w, r, name)
	}
}

// name turns a URL path into a name below the root, or says that no file
// can have it.
func (h *Handler) name(urlPath string) (name string, ok bool) {
	if strings.ContainsAny(urlPath, "\x00\\") {
		return "", false // a backslash separates on Windows, and nowhere else is it missed
	}
	name = path.Clean("/" + urlPath)[1:]
	if name == "" {
		return ".", true
	}
	if !h.options.DotFiles {
		for part := range strings.SplitSeq(name, "/") {
			if part[0] == '.' {
				return "", false
			}
		}
	}
	return name, true
}

// index returns the name of the index file of a directory, "" if there is none.
func (h *Handler) index(dir string) string {
	for _, index := range h.options.Index {
		name := path.Join(dir, index)
		if info, err := h.root.Stat(name); err == nil && info.Mode().IsRegular() {
			return name
		}
	}
	return ""
}

func (h *Handler) serveDir(w http.ResponseWriter, r *http.Request, dir string) {
	index := h.index(dir)
	if index == "" && !h.options.Listings {
		notFound(w)
		return
	}
	if !strings.HasSuffix(r.URL.Path, "/") {
		redirect(w, r, path.Base(r.URL.Path)+"/")
		return
	}
	if index != "" {
		h.serveFile(w, r, index)
		return
	}
	h.list(w, r, dir)
}

func (h *Handler) serveFile(w http.ResponseWriter, r *http.Request, name string) {
	f, info, err := h.open(name)
	if err != nil {
		h.fail(w, err)
		return
	}
	defer f.Close()
	header := w.Header()
	encoding := ""
	if h.options.Precompressed {
		header.Add("Vary", "Accept-Encoding")
		if v, vinfo, c := h.variant(r, name, info); v != nil {
			defer v.Close()
			f, info, encoding = v, vinfo, c
			header.Set("Content-Encoding", encoding)
		}
	}
	if t, ok := types[strings.ToLower(path.Ext(name))]; ok {
		header.Set("Content-Type", t)
	} else if encoding != "" {
		header.Set("Content-Type", "application/octet-stream") // what is in it cannot be guessed
	}
	// With it a range of one variant never goes together with one of another.
	header.Set("Etag", fmt.Sprintf(`"%x-%x%s"`, info.ModTime().UnixNano(), info.Size(), encoding))
	if h.options.CacheControl != "" {
		header.Set("Cache-Control", h.options.CacheControl)
	}
	if encoding != "" && !conditional(r) {
		header.Set("Content-Length", strconv.FormatInt(info.Size(), 10)) // net/http does not, beside an encoding
	}
	http.ServeContent(w, r, name, info.ModTime(), f)
}

// open opens a file.
func (h *Handler) open(name string) (*os.File, fs.FileInfo, error) {
	f, err := h.root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, nil, fs.ErrNotExist // it was one a moment ago
	}
	return f, info, nil
}

// fail answers for a file that cannot be opened. Links that lead outside look
// like missing files; a file that may not be read is there, and says so, as
// the owner of the server wants to know.
func (h *Handler) fail(w http.ResponseWriter, err error) {
	if errors.Is(err, fs.ErrPermission) {
		http.Error(w, "403 Forbidden", http.StatusForbidden)
		return
	}
	notFound(w)
}

func notFound(w http.ResponseWriter) {
	http.Error(w, "404 page not found", http.StatusNotFound)
}

// redirect sends the client to a relative reference, which cannot lead to
// another host, and keeps the query.
func redirect(w http.ResponseWriter, r *http.Request, ref string) {
	u := url.URL{Path: ref, RawQuery: r.URL.RawQuery}
	// String escapes the path, and puts "./" before a first segment with a
	// colon, which would be taken for a scheme.
	w.Header().Set("Location", u.String())
	w.WriteHeader(http.StatusMovedPermanently)
}

// visible returns the entries of a directory that may be seen, by name.
func (h *Handler) visible(dir string) ([]fs.DirEntry, error) {
	f, err := h.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	if !h.options.DotFiles {
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") })
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}
