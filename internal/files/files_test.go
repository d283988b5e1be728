package files

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// tree makes a directory with public and private things in it, and a secret
// beside it.
func tree(t *testing.T) string {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "www")
	for name, content := range map[string]string{
		"../secret.txt":        "secret",
		"a.txt":                "0123456789",
		"page.html":            "<p>page",
		"sp ace%.txt":          "blank",
		"sub/b.txt":            "b",
		"sub/.hidden":          "hidden",
		"sub/a:b":              "colon",
		"sub/<i>&\"'.txt":      "markup",
		"sub/deeper/x":         "x",
		"withindex/index.html": "<p>index",
		".git/config":          "hidden",
		".env":                 "hidden",
	} {
		if runtime.GOOS == "windows" && strings.ContainsAny(name, `<:"`) {
			continue
		}
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"out.txt": "../secret.txt", "outdir": "..", "abs.txt": filepath.Join(top, "secret.txt"), "in.txt": "sub/b.txt", "dangling": "nowhere", "self": "self",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func handler(t *testing.T, dir string, o Options) *Handler {
	t.Helper()
	h, err := New(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func TestAnswers(t *testing.T) {
	open := Options{Listings: true, DotFiles: true}
	tests := []struct {
		name     string
		options  Options
		method   string
		target   string
		header   http.Header
		status   int
		body     string // exact, unless empty
		contains string
		location string
	}{
		{name: "file", target: "/a.txt", status: 200, body: "0123456789"},
		{name: "file in a directory", target: "/sub/b.txt", status: 200, body: "b"},
		{name: "escaped name", target: "/sp%20ace%25.txt", status: 200, body: "blank"},
		{name: "an escaped slash is a slash", target: "/sub%2Fb.txt", status: 200, body: "b"},
		{name: "missing", target: "/none", status: 404, body: "404 page not found\n"},
		{name: "missing below a file", target: "/a.txt/x", status: 404},
		{name: "range", target: "/a.txt", header: http.Header{"Range": {"bytes=2-4"}}, status: 206, body: "234"},
		{name: "last bytes", target: "/a.txt", header: http.Header{"Range": {"bytes=-2"}}, status: 206, body: "89"},
		{name: "range outside", target: "/a.txt", header: http.Header{"Range": {"bytes=20-"}}, status: 416},
		{name: "not modified", target: "/a.txt", header: http.Header{"If-Modified-Since": {"Fri, 01 Jan 2100 00:00:00 GMT"}}, status: 304},
		{name: "POST", method: "POST", target: "/a.txt", status: 405},
		{name: "POST to nothing", method: "POST", target: "/none", status: 405},
		{name: "OPTIONS", method: "OPTIONS", target: "/a.txt", status: 405},
		{name: "dot file", target: "/.env", status: 404},
		{name: "dot directory", target: "/.git/config", status: 404},
		{name: "dot file below", target: "/sub/.hidden", status: 404},
		{name: "directory without index", target: "/sub/", status: 404},
		{name: "directory without index and slash", target: "/sub", status: 404},
		{name: "root without index", target: "/", status: 404},
		{name: "index", target: "/withindex/", status: 200, body: "<p>index"},
		{name: "index without slash", target: "/withindex?q=1", status: 301, location: "withindex/?q=1"},
		{name: "index by name", target: "/withindex/index.html?q=1", status: 301, location: "./?q=1"},
		{name: "file with slash", target: "/a.txt/", status: 301, location: "../a.txt"},
		{name: "other index", options: Options{Index: []string{"none.html", "b.txt"}}, target: "/sub/", status: 200, body: "b"},
		{name: "other index, by name", options: Options{Index: []string{"none.html", "b.txt"}}, target: "/sub/b.txt", status: 301, location: "./"},
		{name: "an index that is not the first one", options: Options{Index: []string{"a.txt", "page.html"}}, target: "/page.html", status: 200, body: "<p>page"},
		{name: "no index", options: Options{Index: []string{}}, target: "/withindex/", status: 404},
		{name: "no index, by name", options: Options{Index: []string{}}, target: "/withindex/index.html", status: 200, body: "<p>index"},
		{name: "link that stays inside", target: "/in.txt", status: 200, body: "b"},
		{name: "link to a file outside", target: "/out.txt", status: 404},
		{name: "absolute link to a file outside", target: "/abs.txt", status: 404},
		{name: "link to a directory outside", target: "/outdir/secret.txt", status: 404},
		{name: "link to nothing", target: "/dangling", status: 404},
		{name: "link to itself", target: "/self", status: 404},
		{name: "dots cannot climb", target: "/../secret.txt", status: 404},
		{name: "escaped dots cannot climb", target: "/%2e%2e/secret.txt", status: 404},
		{name: "backslashes are no way either", target: "/..%5csecret.txt", status: 404},
		{name: "NUL", target: "/a.txt%00", status: 404},
		{name: "the redirect stays on this host", options: open, target: "//sub", status: 301, location: "sub/"},

		{name: "open: listing", options: open, target: "/sub/deeper/", status: 200, body: "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n<a href=\"x\">x</a>\n</pre>\n"},
		{name: "open: dot files are listed", options: open, target: "/sub/", status: 200, contains: `<a href=".hidden">.hidden</a>`},
		{name: "open: directories end with a slash", options: open, target: "/sub/", status: 200, contains: `<a href="deeper/">deeper/</a>`},
		{name: "open: a dot file", options: open, target: "/.env", status: 200, body: "hidden"},
		{name: "open: links are confined all the same", options: open, target: "/out.txt", status: 404},
		{name: "open: an index is shown, not the listing", options: open, target: "/withindex/", status: 200, body: "<p>index"},
		{name: "open: listing without slash", options: open, target: "/sub", status: 301, location: "sub/"},
		{name: "listing without dot files", options: Options{Listings: true}, target: "/", status: 200, contains: `<a href="a.txt">`},
	}
	if runtime.GOOS != "windows" {
		tests = append(tests, []struct {
			name     string
			options  Options
			method   string
			target   string
			header   http.Header
			status   int
			body     string
			contains string
			location string
		}{
			{name: "open: markup in a name is escaped", options: open, target: "/sub/", status: 200, contains: `<a href="%3Ci%3E&amp;%22%27.txt">&lt;i&gt;&amp;&#34;&#39;.txt</a>`},
			{name: "open: a colon is no scheme", options: open, target: "/sub/", status: 200, contains: `<a href="./a:b">a:b</a>`},
		}...)
	}
	dir := tree(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.method == "" {
				tt.method = "GET"
			}
			srv := httptest.NewServer(handler(t, dir, tt.options))
			defer srv.Close()
			req, err := http.NewRequest(tt.method, srv.URL+tt.target, nil)
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range tt.header {
				req.Header[k] = v
			}
			res, err := http.DefaultTransport.RoundTrip(req) // follows no redirects
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			body := string(b)
			if res.StatusCode != tt.status || tt.body != "" && body != tt.body || !strings.Contains(body, tt.contains) || res.Header.Get("Location") != tt.location {
				t.Errorf("%d %q, Location %q", res.StatusCode, body, res.Header.Get("Location"))
			}
			if strings.Contains(body, "secret") && reflect.DeepEqual(tt.options, Options{}) {
				t.Error("the secret is out")
			}
			if reflect.DeepEqual(tt.options, Options{Listings: true}) && strings.Contains(body, ".git") {
				t.Error("a dot file is listed")
			}
			if tt.status == 405 && res.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("Allow: %q", res.Header.Get("Allow"))
			}
		})
	}
}

func TestHeadHasTheHeadersAndNoBody(t *testing.T) {
	h := handler(t, tree(t), Options{Listings: true})
	for _, target := range []string{"/a.txt", "/sub/"} {
		get, head := httptest.NewRecorder(), httptest.NewRecorder()
		h.ServeHTTP(get, httptest.NewRequest("GET", target, nil))
		h.ServeHTTP(head, httptest.NewRequest("HEAD", target, nil))
		if head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("Content-Length") != get.Header().Get("Content-Length") {
			t.Errorf("%s: %d, %d bytes, %v", target, head.Code, head.Body.Len(), head.Header())
		}
	}
}

func TestExists(t *testing.T) {
	dir := tree(t)
	closed, open := handler(t, dir, Options{}), handler(t, dir, Options{Listings: true, DotFiles: true})
	for _, tt := range []struct {
		path         string
		closed, open bool
	}{
		{"/a.txt", true, true}, {"/none", false, false}, {"/.env", false, true}, {"/sub/", false, true}, {"/withindex/", true, true},
		{"/out.txt", false, false}, {"/", false, true}, {"/a\x00", false, false},
	} {
		if got := closed.Exists(tt.path); got != tt.closed {
			t.Errorf("closed: %q: %v", tt.path, got)
		}
		if got := open.Exists(tt.path); got != tt.open {
			t.Errorf("open: %q: %v", tt.path, got)
		}
	}
}

func TestNewNeedsADirectory(t *testing.T) {
	dir := tree(t)
	for _, name := range []string{"none", "a.txt"} {
		if h, err := New(filepath.Join(dir, name), Options{}); err == nil {
			h.Close()
			t.Errorf("%s was accepted", name)
		}
	}
}
