package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// site is a directory tree for --dir, --staticdir and --cgidir.
func site(t *testing.T) string {
	t.Helper()
	top := t.TempDir()
	exe := executable()
	for name, text := range map[string]string{
		"ws/env.sh":        "exec " + exe + " child:env",
		"ws/sub/pwd.sh":    "exec " + exe + " child:pwd; exit",
		"ws/sub/deep/a b":  `echo "$SCRIPT_NAME|$PATH_INFO"`,
		"ws/.hidden":       "echo hidden",
		"ws/args":          `echo "$#"`,
		"cgi/env.cgi":      "echo 'Content-Type: text/plain'; echo; env; pwd",
		"cgi/status.cgi":   "echo 'Status: 418 Tea'; echo 'X-Own: 1'; echo; echo pot",
		"cgi/location.cgi": "echo 'Location: http://else.test/'; echo",
		"cgi/broken.cgi":   "echo no header here",
		"cgi/stderr.cgi":   "echo complaint >&2; echo 'Content-Type: text/plain'; echo; echo fine",
		"cgi/body.cgi":     "echo 'Content-Type: text/plain'; echo; cat",
		"cgi/sub/x.cgi":    "echo 'Content-Type: text/plain'; echo; pwd",
		"cgi/both.txt":     "echo 'Content-Type: text/plain'; echo; echo cgi",
		"cgi/.hidden.cgi":  "echo 'Content-Type: text/plain'; echo; echo hidden",
		"www/both.txt":     "",
		"www/.dot":         "",
		"www/a.txt":        "",
		"www/dir/b.txt":    "",
		"www/i/index.html": "",
		"outside.sh":       "echo outside",
	} {
		script(t, top, name, text)
	}
	for name, content := range map[string]string{"www/a.txt": "0123456789", "www/both.txt": "static", "www/.dot": "dot", "www/i/index.html": "index"} {
		if err := os.WriteFile(filepath.Join(top, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, "cgi/noexec.cgi"), []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "ws/noexec"), []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "ws/nointerpreter"), []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "cgi/nointerpreter.cgi"), []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"ws", "cgi", "www"} {
		if err := os.Symlink("../outside.sh", filepath.Join(top, dir, "escape")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("env.sh", filepath.Join(top, "ws", "link")); err != nil {
		t.Fatal(err)
	}
	return top
}

// TestHTTP is about answers other than 101: what is served in which order,
// with which status, body, headers and log line.
func TestHTTP(t *testing.T) {
	t.Parallel()
	top := site(t)
	everything := []string{"--dir=" + top + "/ws", "--staticdir=" + top + "/www", "--cgidir=" + top + "/cgi"}
	headers := []string{"--header=X-All: 1", "--header=X-All: 2", "--header-ws=X-Ws: 3", "--header-http=X-Http: 4"}
	servers := map[string]*daemon{
		"all":     start(t, append(everything, headers...)),
		"static":  start(t, []string{"--staticdir=" + top + "/www"}),
		"cgi":     start(t, []string{"--cgidir=" + top + "/cgi", "--maxforks=1"}),
		"command": start(t, headers, self("cat")...),
		"console": start(t, append([]string{"--devconsole"}, headers...), self("cat")...),
	}
	get := func(target string) string { return "GET " + target + " HTTP/1.1\nHost: HOST\n\n" }
	tests := []struct {
		name   string
		server string
		raw    string
		status int
		body   string // exact unless it ends with "…"; then a part
		header http.Header
		log    string // pattern
	}{
		{"static file", "all", get("/a.txt"), 200, "0123456789", http.Header{"X-All": {"1", "2"}, "X-Http": {"4"}, "X-Ws": nil}, `ACCESS \| http       \| url:'http://127\.0\.0\.1:\d+/a\.txt' \| STATIC$`},
		{"range of a static file", "all", "GET /a.txt HTTP/1.1\nHost: HOST\nRange: bytes=1-2\n\n", 206, "12", nil, ""},
		{"listing", "all", get("/dir/"), 200, `<a href="b.txt">b.txt</a>…`, nil, ""},
		{"index", "all", get("/i/"), 200, "index", nil, ""},
		{"index by name", "all", get("/i/index.html"), 301, "…", http.Header{"Location": {"./"}}, ""},
		{"dot file", "all", get("/.dot"), 200, "dot", nil, ""},
		{"static link outside", "all", get("/escape"), 404, "404 page not found\n", nil, ""},
		{"missing", "all", get("/none"), 404, "404 page not found\n", http.Header{"X-Http": {"4"}}, `/none' \| STATIC$`},
		{"static POST", "all", "POST /a.txt HTTP/1.1\nHost: HOST\nContent-Length: 0\n\n", 405, "405 …", nil, ""},
		{"nothing but a command", "command", get("/"), 404, "404 page not found\n", http.Header{"X-All": {"1", "2"}, "X-Http": {"4"}, "X-Ws": nil}, `ACCESS \| http       \| url:'[^']*' \| NOT FOUND$`},
		{"a program of --dir is no file", "all", get("/env.sh"), 404, "404 page not found\n", nil, ""},

		{"CGI wins over static", "all", get("/both.txt"), 200, "cgi\n", http.Header{"X-All": {"1", "2"}, "X-Http": {"4"}}, `cgiscript:'[^']*/cgi/both\.txt' \| CGI$`},
		{"CGI status", "all", get("/status.cgi"), 418, "pot\n", http.Header{"X-Own": {"1"}}, ""},
		{"CGI location", "all", get("/location.cgi"), 302, "…", http.Header{"Location": {"http://else.test/"}}, ""},
		{"CGI without a header", "all", get("/broken.cgi"), 500, "500 the program did not answer correctly\n", nil, `ERROR .*broken\.cgi status=500`},
		{"CGI that is not executable", "all", get("/noexec.cgi"), 500, "500 Internal Server Error: not executable\n", nil, `noexec\.cgi is not executable`},
		{"CGI body", "all", "POST /body.cgi HTTP/1.1\nHost: HOST\nContent-Length: 3\n\nabc", 200, "abc", nil, ""},
		{"CGI in its directory", "all", get("/sub/x.cgi"), 200, top + "/cgi/sub\n", nil, ""},
		{"CGI body of unknown length", "all", "POST /body.cgi HTTP/1.1\nHost: HOST\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n", 200, "abc", nil, ""},
		{"CGI that is hidden", "all", get("/.hidden.cgi"), 200, "hidden\n", nil, ""},
		{"CGI that cannot be started", "all", get("/nointerpreter.cgi"), 500, "500 the program could not be started\n", nil, ""},
		{"CGI with path info", "cgi", get("/status.cgi/x"), 404, "404 page not found\n", nil, ""},
		{"CGI with a slash", "cgi", get("/status.cgi/"), 404, "404 page not found\n", nil, ""},
		{"CGI directory", "cgi", get("/sub/"), 404, "404 page not found\n", nil, `NOT FOUND`},
		{"CGI link outside", "cgi", get("/escape"), 404, "404 page not found\n", nil, ""},
		{"CGI with escaped dots", "cgi", get("/%2e%2e/outside.sh"), 404, "404 page not found\n", nil, ""},
		{"CGI with a colliding header", "cgi", "GET /env.cgi HTTP/1.1\nHost: HOST\nX-A: 1\nX_A: 2\n\n", 400, "HTTP_X_A…", nil, ""},
		{"CGI again, a place is free", "cgi", get("/status.cgi"), 418, "pot\n", nil, ""},

		{"console on every path", "console", get("/any/path?q=1"), 200, `value="ws://127.0.0.1:…`, http.Header{"Content-Type": {"text/html; charset=utf-8"}, "X-Http": {"4"}, "X-All": {"1", "2"}}, `ACCESS \| http       \| url:'http://127\.0\.0\.1:\d+/any/path\?q=1' \| DEVCONSOLE$`},
		{"console for every method", "console", "POST / HTTP/1.1\nHost: HOST\nContent-Length: 0\n\n", 200, `<title>WebSocket console</title>…`, nil, ""},
		{"console has the query", "console", get("/p?a=b"), 200, `/p?a=b"…`, nil, ""},
		{"console is not for injecting", "console", get(`/?"><script>alert(1)</script>`), 200, `/?&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"…`, nil, ""},

		{"without a program an upgrade is a plain request", "static", handshake("/a.txt"), 200, "0123456789", nil, `STATIC`},
		{"an upgrade to something else is a plain request", "all", "GET /a.txt HTTP/1.1\nHost: HOST\nUpgrade: other\nConnection: Upgrade\n\n", 200, "0123456789", nil, ""},
		{"a list in Upgrade is a plain request", "all", "GET /a.txt HTTP/1.1\nHost: HOST\nUpgrade: websocket, x\nConnection: Upgrade\n\n", 200, "0123456789", nil, ""},
		{"Connection without the word is a plain request", "all", "GET /a.txt HTTP/1.1\nHost: HOST\nUpgrade: websocket\nConnection: keep-alive\n\n", 200, "0123456789", nil, ""},

		{"double slash", "all", get("//a.txt"), 301, "…", http.Header{"Location": {"/a.txt"}, "X-All": nil}, ""},
		{"dot segments", "all", get("/x/../a.txt?q"), 301, "…", http.Header{"Location": {"/a.txt?q"}}, ""},
		{"the slash at the end stays", "all", get("/dir/./"), 301, "…", http.Header{"Location": {"/dir/"}}, ""},
		{"a clean path is kept escaped", "all", get("//a%20b%2Fc"), 301, "…", http.Header{"Location": {"/a%20b%2Fc"}}, ""},
		{"no way to another host", "all", get("//evil.test//x"), 301, "…", http.Header{"Location": {"/evil.test/x"}}, ""},
		{"an upgrade is redirected too", "all", handshake("//env.sh"), 301, "…", http.Header{"Location": {"/env.sh"}}, ""},
		{"CONNECT", "console", "CONNECT h.test:1 HTTP/1.1\nHost: h.test:1\n\n", 404, "404 page not found\n", nil, ""},
		{"star", "all", "OPTIONS * HTTP/1.1\nHost: HOST\n\n", 200, "", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := servers[tt.server]
			res, body := d.get(tt.raw)
			if res.StatusCode != tt.status {
				t.Errorf("status %d, want %d", res.StatusCode, tt.status)
			}
			if part, ok := strings.CutSuffix(tt.body, "…"); ok && !strings.Contains(body, part) || !ok && body != tt.body {
				t.Errorf("body %q", body)
			}
			for name, want := range tt.header {
				if got := res.Header[name]; strings.Join(got, "|") != strings.Join(want, "|") {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if tt.log != "" {
				d.logged(tt.log)
			}
		})
	}
	t.Run("what a CGI program says on stderr is on stderr", func(t *testing.T) {
		d := servers["all"]
		d.get(get("/stderr.cgi"))
		d.find(&d.stderr, "complaint")
	})
	t.Run("nothing but the console's own script may run", func(t *testing.T) {
		res, _ := servers["console"].get(get("/"))
		if p := res.Header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'; script-src 'sha256-") || strings.Contains(p, "unsafe") {
			t.Errorf("policy %q", p)
		}
	})
	t.Run("the page of the console is as old as the server", func(t *testing.T) {
		res, _ := servers["console"].get(get("/"))
		again, _ := servers["console"].get("GET / HTTP/1.1\nHost: HOST\nIf-Modified-Since: " + res.Header.Get("Last-Modified") + "\n\n")
		if again.StatusCode != 304 {
			t.Errorf("%s for Last-Modified %q", again.Status, res.Header.Get("Last-Modified"))
		}
	})
}

func TestCGIEnvironment(t *testing.T) {
	t.Parallel()
	top := site(t)
	d := start(t, []string{"--cgidir=" + top + "/cgi", "--passenv=WSD_PASSED"})
	_, body := d.get("POST /env.cgi?a=b HTTP/1.1\nHost: HOST\nProxy: evil\nX_Under: 1\nX-Good: 2\nContent-Type: text/x\nContent-Length: 2\n\nab")
	env := "\n" + body
	for _, want := range []string{
		"GATEWAY_INTERFACE=CGI/1.1", "REQUEST_METHOD=POST", "HTTP_HOST=" + d.addr, "SCRIPT_FILENAME=" + top + "/cgi/env.cgi", "SCRIPT_NAME=", "PATH_INFO=/env.cgi",
		"QUERY_STRING=a=b", "CONTENT_LENGTH=2", "CONTENT_TYPE=text/x", "SERVER_SOFTWARE=" + softwareString(), "WSD_PASSED=passed", "HTTP_X_GOOD=2", "REMOTE_ADDR=127.0.0.1", "REMOTE_HOST=127.0.0.1", "SERVER_NAME=127.0.0.1", "SERVER_PORT=" + d.addr[len("127.0.0.1:"):], "REQUEST_URI=/env.cgi?a=b", top + "/cgi",
	} {
		if !strings.Contains(env, "\n"+want+"\n") {
			t.Errorf("%q is missing in%s", want, env)
		}
	}
	for _, not := range []string{"evil", "UNIQUE_ID", "X_UNDER", "WSD_SECRET", runAsCommand} {
		if strings.Contains(env, not) {
			t.Errorf("%q is in%s", not, env)
		}
	}
	if !strings.Contains(env, "\nPATH=") {
		t.Errorf("there is no PATH in%s", env)
	}
}
