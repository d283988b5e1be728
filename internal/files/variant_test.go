package files

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// variants makes a directory with files that were compressed before.
func variants(t *testing.T) string {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "www")
	old, recent := time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	for name, content := range map[string]string{
		"../secret.gz": "secret",
		"all.js":       "plain", "all.js.br": "brotli", "all.js.zst": "zstandard", "all.js.gz": "0123456789",
		"one.mjs": "plain", "one.mjs.gz": "gzip",
		"stale.css": "plain", "stale.css.gz": "gzip",
		"out.txt":     "plain",
		"data.x-none": "plain", "data.x-none.gz": "gzip",
		"dir.txt": "plain", "dir.txt.gz/x": "",
		"only.txt.gz":   "gzip",
		"in/index.html": "plain", "in/index.html.gz": "gzip",
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		when := recent
		if name == "stale.css.gz" {
			when = old
		}
		if err := os.Chtimes(file, when, when); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret.gz", filepath.Join(dir, "out.txt.gz")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestVariants(t *testing.T) {
	const js = "text/javascript; charset=utf-8"
	tests := []struct {
		name, target, accept string
		header               string // "Name: value"
		status               int
		body, coding, media  string
	}{
		{name: "the best one", target: "/all.js", accept: "gzip, deflate, br, zstd", body: "brotli", coding: "br", media: js},
		{name: "the one it likes best", target: "/all.js", accept: "br;q=0.5, gzip;q=0.8, zstd; q=0.1", body: "0123456789", coding: "gzip", media: js},
		{name: "the only one it knows", target: "/all.js", accept: "zstd", body: "zstandard", coding: "zstd", media: js},
		{name: "the old name", target: "/all.js", accept: "X-GZIP", body: "0123456789", coding: "gzip", media: js},
		{name: "whatever there is", target: "/one.mjs", accept: "*", body: "gzip", coding: "gzip", media: js},
		{name: "whatever there is but one", target: "/one.mjs", accept: "gzip;q=0, *", body: "plain", media: js},
		{name: "none is known", target: "/all.js", accept: "deflate, compress", body: "plain", media: js},
		{name: "none is accepted", target: "/all.js", accept: "br;q=0, gzip;q=0, zstd;q=x", body: "plain", media: js},
		{name: "nothing is said", target: "/all.js", body: "plain", media: js},
		{name: "nothing is wanted", target: "/all.js", accept: "identity", body: "plain", media: js},
		{name: "the one that is there", target: "/one.mjs", accept: "br, gzip", body: "gzip", coding: "gzip", media: js},
		{name: "older than the file", target: "/stale.css", accept: "gzip", body: "plain", media: "text/css; charset=utf-8"},
		{name: "a link that leads outside", target: "/out.txt", accept: "gzip", body: "plain", media: "text/plain; charset=utf-8"},
		{name: "a directory", target: "/dir.txt", accept: "gzip", body: "plain", media: "text/plain; charset=utf-8"},
		{name: "of an unknown kind", target: "/data.x-none", accept: "gzip", body: "gzip", coding: "gzip", media: "application/octet-stream"},
		{name: "of an index", target: "/in/", accept: "gzip", body: "gzip", coding: "gzip", media: "text/html; charset=utf-8"},
		{name: "by its own name", target: "/all.js.gz", accept: "gzip", body: "0123456789", media: "application/gzip"},
		{name: "without its file", target: "/only.txt", accept: "gzip", status: 404, body: "404 page not found\n", media: "text/plain; charset=utf-8"},
		{name: "a range", target: "/all.js", accept: "gzip", header: "Range: bytes=2-4", status: 206, body: "234", coding: "gzip", media: js},
		{name: "a range too far", target: "/all.js", accept: "gzip", header: "Range: bytes=20-", status: 416, body: "invalid range: failed to overlap\n", media: "text/plain; charset=utf-8"},
		{name: "not modified", target: "/all.js", accept: "gzip", header: "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", status: 304},
		{name: "modified", target: "/all.js", accept: "gzip", header: "If-Modified-Since: Fri, 01 Jan 2010 00:00:00 GMT", body: "0123456789", coding: "gzip", media: js},
		{name: "another one than the client has", target: "/all.js", accept: "gzip", header: `If-Match: "x"`, status: 412, coding: "gzip", media: js},
	}
	srv := httptest.NewServer(handler(t, variants(t), Options{Precompressed: true, CacheControl: "max-age=60"}))
	defer srv.Close()
	for _, tt := range tests {
		for _, method := range []string{"GET", "HEAD"} {
			t.Run(method+" "+tt.name, func(t *testing.T) {
				res, body := ask(t, method, srv.URL+tt.target, "Accept-Encoding", tt.accept, tt.header)
				if tt.status == 0 {
					tt.status = 200
				}
				if method == "HEAD" {
					if tt.status == 200 && res.ContentLength != int64(len(tt.body)) && res.Header.Get("Content-Encoding") == "" {
						t.Errorf("length %d", res.ContentLength)
					}
					tt.body = ""
				}
				if res.StatusCode != tt.status || body != tt.body || res.Header.Get("Content-Encoding") != tt.coding || res.Header.Get("Content-Type") != tt.media {
					t.Errorf("%d %q %v", res.StatusCode, body, res.Header)
				}
				if tt.status < 400 && (res.Header.Get("Vary") != "Accept-Encoding" || res.Header.Get("Cache-Control") != "max-age=60") {
					t.Errorf("%v", res.Header)
				}
				if strings.Contains(tt.media, "plain") && tt.status >= 400 && res.Header.Get("Cache-Control") != "" {
					t.Errorf("an error that is kept: %v", res.Header)
				}
				if tt.status == 200 && tt.header == "" && res.ContentLength < 0 {
					t.Errorf("no length: %v", res.Header)
				}
			})
		}
	}
}

func TestVariantsHaveTagsOfTheirOwn(t *testing.T) {
	dir := variants(t)
	for _, name := range []string{"all.js", "all.js.gz", "all.js.br"} { // same time, same size
		file := filepath.Join(dir, name)
		when := time.Unix(1e9, 0)
		if err := os.WriteFile(file, []byte(strings.Repeat(name[len(name)-1:], 10)), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, when, when); err != nil {
			t.Fatal(err)
		}
	}
	srv := httptest.NewServer(handler(t, dir, Options{Precompressed: true}))
	defer srv.Close()
	tags := map[string]bool{}
	for _, accept := range []string{"", "gzip", "br"} {
		res, _ := ask(t, "GET", srv.URL+"/all.js", "Accept-Encoding", accept, "")
		tags[res.Header.Get("Etag")] = true
	}
	if len(tags) != 3 {
		t.Errorf("%v", tags)
	}
	res, _ := ask(t, "GET", srv.URL+"/all.js", "Accept-Encoding", "gzip", "")
	tag := res.Header.Get("Etag")
	if res, _ := ask(t, "GET", srv.URL+"/all.js", "Accept-Encoding", "gzip", "If-None-Match: "+tag); res.StatusCode != 304 || res.Header.Get("Vary") == "" || res.Header.Get("Etag") != tag {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	// The rest of one variant is no rest of the other one.
	rest := func(accept string) int {
		r := httptest.NewRequest("GET", "/all.js", nil)
		r.Header.Set("Accept-Encoding", accept)
		r.Header.Set("Range", "bytes=5-")
		r.Header.Set("If-Range", tag)
		w := httptest.NewRecorder()
		handler(t, dir, Options{Precompressed: true}).ServeHTTP(w, r)
		return w.Code
	}
	if a, b := rest("gzip"), rest("br"); a != 206 || b != 200 {
		t.Errorf("%d and %d, want 206 and 200", a, b)
	}
}

func TestVariantsAreOffByDefault(t *testing.T) {
	srv := httptest.NewServer(handler(t, variants(t), Options{}))
	defer srv.Close()
	res, body := ask(t, "GET", srv.URL+"/all.js", "Accept-Encoding", "gzip, br", "")
	if body != "plain" || res.Header.Get("Vary") != "" || res.Header.Get("Cache-Control") != "" || res.Header.Get("Etag") == "" {
		t.Errorf("%q %v", body, res.Header)
	}
}

func TestMediaTypesDoNotDependOnTheMachine(t *testing.T) {
	dir := t.TempDir()
	want := map[string]string{
		"a.wasm": "application/wasm", "a.mjs": "text/javascript; charset=utf-8", "a.JS": "text/javascript; charset=utf-8",
		"a.svg": "image/svg+xml", "a.woff2": "font/woff2", "a.webmanifest": "application/manifest+json", "a.json": "application/json",
		"none": "text/html; charset=utf-8",
	}
	if runtime.GOOS == "windows" {
		delete(want, "a.JS")
	}
	for name := range want {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("<!doctype html>"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h := handler(t, dir, Options{})
	for name, media := range want {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/"+name, nil))
		if got := w.Header().Get("Content-Type"); got != media {
			t.Errorf("%s is %q, want %q", name, got, media)
		}
	}
}

// ask sends a request with an Accept-Encoding line and perhaps another one.
func ask(t *testing.T, method, url, name, value, line string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if value != "" {
		r.Header.Set(name, value)
	}
	if name, value, ok := strings.Cut(line, ": "); ok {
		r.Header.Set(name, value)
	}
	tr := &http.Transport{DisableCompression: true}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}
