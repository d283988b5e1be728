//go:build unix

package cgi_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/gatewaytest"
	"github.com/wspawn/wspawn/spawner"
)

// write makes files; those whose text begins with "#!" can be executed.
func write(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// get asks h, without a network.
func get(h http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const show = `#!/bin/sh
echo
echo "$SCRIPT_NAME|$PATH_INFO|$SCRIPT_FILENAME|$PWD|$PATH"
`

func TestADirectoryOfPrograms(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{
		"show": show, "sub/show.sh": show, "data.txt": "secret", ".hidden": show,
		"p.py": "import os\nprint()\nprint('python', os.environ['PATH_INFO'])\n", "p.pl": "print \"\\nperl $ENV{PATH_INFO}\\n\";\n",
		"args.x": "", "bad.bin": "#!/no/such/interpreter\n",
	})
	e := newEndpoint(t, cgi.Config{Dir: dir, Prefix: "/run", Interpreters: []cgi.Interpreter{
		{Suffix: ".py", Program: "python3"}, {Suffix: ".pl", Program: "/usr/bin/perl"},
		{Suffix: ".x", Program: "sh", Args: []string{"-c", `echo; echo "$0"`}},
	}})
	path := func(name string) string { return filepath.Join(dir, name) }
	tests := []struct {
		name, target string
		status       int
		body         string
	}{
		{"a program", "/run/show", 200, "/run/show||" + path("show") + "|" + dir + "|" + cgi.DefaultPath + "\n"},
		{"path info", "/run/show/a%20b", 200, "/run/show|/a b|" + path("show") + "|" + dir + "|" + cgi.DefaultPath + "\n"},
		{"its directory is the working directory", "/run/sub/show.sh", 200, "/run/sub/show.sh||" + path("sub/show.sh") + "|" + path("sub") + "|" + cgi.DefaultPath + "\n"},
		{"an interpreter from PATH", "/run/p.py/x", 200, "python /x\n"},
		{"an interpreter", "/run/p.pl/x", 200, "perl /x\n"},
		{"an interpreter with arguments", "/run/args.x", 200, path("args.x") + "\n"},
		{"a file that is no program", "/run/data.txt", 403, ""},
		{"no such file", "/run/none", 404, ""},
		{"a directory", "/run/sub/", 404, ""},
		{"a hidden file", "/run/.hidden", 404, ""},
		{"outside of the prefix", "/show", 404, ""},
		{"half of the prefix", "/runs/show", 404, ""},
		{"dot segments in the path info", "/run/show/../x", 400, ""},
		{"encoded dot segments", "/run/show/%2e%2e/x", 400, ""},
		{"a program that cannot be started", "/run/bad.bin", 500, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := get(e, tt.target)
			if w.Code != tt.status || tt.status == 200 && w.Body.String() != tt.body {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, tt.status, tt.body)
			}
			if strings.Contains(w.Body.String(), "secret") || tt.status != 200 && strings.Contains(w.Body.String(), dir) {
				t.Errorf("the answer says too much: %q", w.Body)
			}
		})
	}
}

func TestExecutableOnly(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"a.py": "#!/usr/bin/python3\nprint()\nprint('run')\n", "b.py": "print()\nprint('run')\n"})
	static := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "static "+r.URL.Path) })
	tests := []struct {
		name     string
		only     bool
		fallback http.Handler
		target   string
		status   int
		body     string
	}{
		{"off", false, nil, "/b.py", 200, "run\n"},
		{"on", true, nil, "/a.py", 200, "run\n"},
		{"on, no bit", true, nil, "/b.py", 403, "403 not a program\n"},
		{"on, no bit, fallback", true, static, "/b.py", 200, "static /b.py"},
		{"nothing there, fallback", false, static, "/c", 200, "static /c"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEndpoint(t, cgi.Config{Dir: dir, ExecutableOnly: tt.only, Fallback: tt.fallback, Interpreters: []cgi.Interpreter{{Suffix: ".py", Program: "python3"}}})
			if w := get(e, tt.target); w.Code != tt.status || w.Body.String() != tt.body {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, tt.status, tt.body)
			}
		})
	}
}

func TestOneFileForAllPaths(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"p": "#!/bin/sh\necho\necho \"$SCRIPT_NAME|$PATH_INFO|$PATH_TRANSLATED|$REMOTE_USER|$HOME|$1\"\n"})
	e := newEndpoint(t, cgi.Config{
		File: filepath.Join(dir, "p"), Args: []string{"one"}, Program: spawner.Program{Env: []string{"HOME=/h"}},
		Amend: func(r *http.Request, v *cgi.Vars) error { v.RemoteUser = "me"; return nil },
	})
	if w := get(e, "/a/b"); w.Body.String() != "|/a/b|"+dir+"/a/b|me|/h|one\n" {
		t.Errorf("%q", w.Body)
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	s := newSpawner(t)
	for name, c := range map[string]cgi.Config{
		"nothing":       {Spawner: s},
		"both":          {Spawner: s, File: dir, Dir: dir},
		"no spawner":    {Dir: dir},
		"a missing dir": {Spawner: s, Dir: filepath.Join(dir, "none")},
		"a dir as file": {Spawner: s, File: dir},
		"no file":       {Spawner: s, File: filepath.Join(dir, "none")},
	} {
		if e, err := cgi.New(c); err == nil {
			e.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSendfile(t *testing.T) {
	top := t.TempDir()
	dir := write(t, top, map[string]string{
		"cgi/send":      "#!/bin/sh\nprintf '%s\\n' \"$HTTP_X_SEND\"\necho 'Content-Length: 4'\necho\necho body\n",
		"files/a b.txt": "0123456789", "other/secret.txt": "secret",
	})
	files := filepath.Join(dir, "files")
	if err := os.Symlink("../other/secret.txt", filepath.Join(files, "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(files, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "cgi/send")
	e := newEndpoint(t, cgi.Config{File: program, Options: cgi.Options{SendfileRoots: []string{files}}})
	tests := []struct {
		name, line string
		status     int
		body       string
	}{
		{"a file", "X-Sendfile: " + files + "/a%20b.txt", 200, "0123456789"},
		{"the old name", "X-LIGHTTPD-send-file: " + files + "/a b.txt", 200, "0123456789"},
		{"a part", "X-Sendfile2: " + files + "/a%20b.txt 2-4", 200, "234"},
		{"an open part", "X-Sendfile2: " + files + "/a%20b.txt 8-", 200, "89"},
		{"a bad part", "X-Sendfile2: " + files + "/a%20b.txt 8-10", 502, ""},
		{"elsewhere", "X-Sendfile: " + dir + "/other/secret.txt", 403, ""},
		{"dots", "X-Sendfile: " + files + "/../other/secret.txt", 403, ""},
		{"encoded dots", "X-Sendfile: " + files + "/%2e%2e/other/secret.txt", 403, ""},
		{"a link that leads outside", "X-Sendfile: " + files + "/link", 403, ""},
		{"a FIFO", "X-Sendfile: " + files + "/fifo", 403, ""},
		{"a directory", "X-Sendfile: " + files, 403, ""},
		{"nothing there", "X-Sendfile: " + files + "/none", 404, ""},
		{"not absolute", "X-Sendfile: a.txt", 502, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := get(e, "/", "X-Send", tt.line)
			if w.Code != tt.status || tt.status == 200 && w.Body.String() != tt.body || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, tt.status, tt.body)
			}
		})
	}
	if w := get(e, "/", "X-Send", "X-Sendfile: "+files+"/a%20b.txt", "Range", "bytes=1-2"); w.Code != 206 || w.Body.String() != "12" {
		t.Errorf("range: %d %q", w.Code, w.Body)
	}
	closed := newEndpoint(t, cgi.Config{File: program})
	if w := get(closed, "/", "X-Send", "X-Sendfile: "+files+"/a%20b.txt"); w.Header().Get("X-Sendfile") != "" || strings.Contains(w.Body.String(), "0123") {
		t.Errorf("without roots: %v %q", w.Header(), w.Body)
	}
}

func TestLocalRedirect(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{
		"to":   "#!/bin/sh\nprintf 'Location: %s\\n\\n' \"$HTTP_X_TO\"\n",
		"body": "#!/bin/sh\nprintf 'Location: /here\\n\\nsee there'\n",
		"loop": "#!/bin/sh\nprintf 'Location: /loop?%s1\\n\\n' \"$QUERY_STRING\"\n",
		"here": "#!/bin/sh\necho\necho \"$REQUEST_METHOD $QUERY_STRING $REQUEST_URI $REDIRECT_URI $CONTENT_LENGTH\"\n",
	})
	var e *cgi.Endpoint
	again := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { e.ServeHTTP(w, r) })
	e = newEndpoint(t, cgi.Config{Dir: dir, Options: cgi.Options{LocalRedirect: again}})
	tests := []struct {
		name, target, to string
		status           int
		body, location   string
	}{
		{"elsewhere on this server", "/to?a", "/here?x=y", 200, "GET x=y /to?a /here?x=y 0\n", ""},
		{"to another server", "/to", "http://other/", 302, "", "http://other/"},
		{"to another server without a scheme", "/to", "//other/", 302, "", "//other/"},
		{"with a body it is for the client", "/body", "", 302, "see there", "/here"},
		{"to itself it is for the client", "/to?a", "/to?a", 302, "", "/to?a"},
		{"a loop", "/loop", "", 502, "502 too many local redirects\n", ""},
		{"to nothing", "/to", "/none", 404, "404 no such program\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", tt.target, strings.NewReader("form"))
			r.Header.Set("X-To", tt.to)
			w := httptest.NewRecorder()
			e.ServeHTTP(w, r)
			if w.Code != tt.status || w.Body.String() != tt.body || w.Header().Get("Location") != tt.location {
				t.Errorf("%d %q %v, want %d %q", w.Code, w.Body, w.Header(), tt.status, tt.body)
			}
		})
	}
	plain := newEndpoint(t, cgi.Config{Dir: dir})
	if w := get(plain, "/to", "X-To", "/here"); w.Code != 302 || w.Header().Get("Location") != "/here" {
		t.Errorf("without a handler: %d %v", w.Code, w.Header())
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"wait": "#!/bin/sh\nprintf '\\nstarted'\nread x\n"})
	e := newEndpoint(t, cgi.Config{File: filepath.Join(dir, "wait"), MaxProcesses: 1, MaxQueue: 1, QueueTimeout: gatewaytest.Bound})
	addr := gatewaytest.Start(t, e)
	ask := func() *gatewaytest.Conn {
		c := gatewaytest.Dial(t, addr)
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n")
		return c
	}
	first := ask()
	r1 := first.Head()
	type answer struct {
		c *gatewaytest.Conn
		r *http.Response
	}
	answers := make(chan answer, 2)
	for range 2 {
		c := ask()
		go func() {
			r, _ := http.ReadResponse(c.R, nil)
			answers <- answer{c, r}
		}()
	}
	// One of them waits, so that there is no place for the other one.
	if refused := <-answers; refused.r == nil || refused.r.StatusCode != 503 || refused.r.Header.Get("Retry-After") == "" {
		t.Fatalf("refused with %+v", refused.r)
	}
	first.Send("go\n")
	if body := first.Body(r1); body != "started" {
		t.Errorf("first: %q", body)
	}
	second := <-answers
	second.c.Send("go\n")
	if second.r == nil || second.r.StatusCode != 200 || second.c.Body(second.r) != "started" {
		t.Errorf("second: %+v", second.r)
	}
}

func TestWaitingInTheQueueEnds(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"wait": "#!/bin/sh\nprintf '\\nstarted'\nexec cat\n"})
	e := newEndpoint(t, cgi.Config{File: filepath.Join(dir, "wait"), MaxProcesses: 1, QueueTimeout: 50 * time.Millisecond})
	addr := gatewaytest.Start(t, e)
	first := gatewaytest.Dial(t, addr)
	first.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n")
	first.Head()
	second := gatewaytest.Dial(t, addr)
	second.Send(gatewaytest.Request(""))
	if r := second.Head(); r.StatusCode != 503 {
		t.Errorf("answer %d", r.StatusCode)
	}
}

// gone waits until a process is no more.
func gone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(gatewaytest.Bound); ; time.Sleep(5 * time.Millisecond) {
		if syscall.Kill(pid, 0) == syscall.ESRCH {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("process %d is still there", pid)
		}
	}
}

// The program and its child ignore everything that can be ignored.
const stubborn = `#!/bin/sh
trap '' TERM HUP INT PIPE
sleep 1000 &
printf 'Status: %s\nUpgrade: websocket\n\n%s %s\n' "$HTTP_X_STATUS" $$ $!
while :; do sleep 1000; done
`

func TestTheWholeGroupIsStoppedWhenTheClientGoes(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"p": stubborn})
	for _, status := range []int{200, 101} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			e := newEndpoint(t, cgi.Config{File: filepath.Join(dir, "p"), Options: cgi.Options{Upgrade: true, HalfTimeout: 50 * time.Millisecond}})
			c := gatewaytest.Dial(t, gatewaytest.Start(t, e))
			c.Send(gatewaytest.Request("", "X-Status: "+strconv.Itoa(status), "Upgrade: websocket", "Connection: Upgrade"))
			r := c.Head()
			if r.StatusCode != status {
				t.Fatalf("answer %d", r.StatusCode)
			}
			var from io.Reader = c.R
			if status == 200 {
				from = r.Body
			}
			var program, child int
			if _, err := fmt.Fscan(from, &program, &child); err != nil {
				t.Fatal(err)
			}
			c.Close()
			gone(t, program)
			gone(t, child)
		})
	}
}

func TestAChildThatKeepsTheOutputOpenHoldsNothingUp(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"p": "#!/bin/sh\nprintf '\\nhello '\nsleep 1000 &\necho $!\n"})
	e := newEndpoint(t, cgi.Config{File: filepath.Join(dir, "p"), Program: spawner.Program{Linger: 20 * time.Millisecond}})
	var child int
	w := get(e, "/")
	if _, err := fmt.Sscanf(w.Body.String(), "hello %d", &child); err != nil {
		t.Fatalf("%d %q: %v", w.Code, w.Body, err)
	}
	gone(t, child)
}

func TestHTTP10AndHEAD(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"p": "#!/bin/sh\nprintf 'Status: 103\\n\\nContent-Type: text/plain\\n\\n%s' $REQUEST_METHOD\n"})
	addr := gatewaytest.Start(t, newEndpoint(t, cgi.Config{File: filepath.Join(dir, "p")}))
	c := gatewaytest.Dial(t, addr)
	c.Send("GET / HTTP/1.0\r\n\r\n")
	if all, err := io.ReadAll(c.R); err != nil || !strings.HasPrefix(string(all), "HTTP/1.0 200 OK\r\n") || !strings.HasSuffix(string(all), "\r\n\r\nGET") {
		t.Errorf("HTTP/1.0: %q, %v", all, err)
	}
	c = gatewaytest.Dial(t, addr)
	c.Send("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	c.Head()
	if all, err := io.ReadAll(c.R); err != nil || !strings.HasSuffix(string(all), "\r\n\r\n") || strings.Contains(string(all), "\r\n\r\nHEAD") {
		t.Errorf("HEAD: %q, %v", all, err)
	}
}

func TestOutputThatIsNoResponseIsABody(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{
		"plain": "#!/bin/sh\necho hello, world\n", "cut": "#!/bin/sh\nprintf 'X-A: b'\n", "blank": "#!/bin/sh\nprintf '\\nhello'\n",
	})
	e := newEndpoint(t, cgi.Config{Dir: dir})
	for path, body := range map[string]string{"/plain": "hello, world\n", "/cut": "X-A: b", "/blank": "hello"} {
		if w := get(e, path); w.Code != 200 || w.Body.String() != body {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}
	strict := newEndpoint(t, cgi.Config{Dir: dir, Strict: true})
	for path, status := range map[string]int{"/plain": 500, "/cut": 500, "/blank": 200} {
		if w := get(strict, path); w.Code != status {
			t.Errorf("strictly, %s: %d %q", path, w.Code, w.Body)
		}
	}
}

func TestStartingChangesAndRefusesRequests(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{".hidden": "#!/bin/sh\nprintf '\\n%s' \"$X\"\n", "bad": "#!/no/such/interpreter\n"})
	ended := make(chan string, 1)
	e := newEndpoint(t, cgi.Config{Dir: dir, Hidden: true, MaxProcesses: 1, MaxQueue: -1, Starting: func(r *cgi.Request) (func(), error) {
		if r.URL.RawQuery == "no" {
			return nil, &cgi.GatewayError{Status: http.StatusTeapot}
		}
		r.Vars.Set("X", r.URL.RawQuery)
		return func() { ended <- r.URL.Path }, nil
	}})
	for range 2 { // so that each has given back its place
		for _, tt := range []struct {
			target string
			status int
			body   string // "": any
		}{{"/.hidden?no", 418, ""}, {"/bad", 500, ""}, {"/.hidden?yes", 200, "yes"}} {
			w := get(e, tt.target)
			if w.Code != tt.status || tt.body != "" && w.Body.String() != tt.body {
				t.Errorf("%s: %d %q", tt.target, w.Code, w.Body)
			}
			if tt.status == 418 {
				continue
			}
			select {
			case got := <-ended:
				if !strings.HasPrefix(tt.target, got) {
					t.Errorf("%s has ended, not %s", got, tt.target)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%s does not end", tt.target)
			}
		}
	}
}

func TestABodyOfUnknownLengthIsStreamed(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"p": "#!/bin/sh\nprintf '\\n%s ' \"${CONTENT_LENGTH-none}\"\nexec cat\n"})
	c := gatewaytest.Dial(t, gatewaytest.Start(t, newEndpoint(t, cgi.Config{File: filepath.Join(dir, "p")})))
	c.Send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	r := c.Head()
	got := make([]byte, len("none abc"))
	if _, err := io.ReadFull(r.Body, got); err != nil || string(got) != "none abc" {
		t.Fatalf("%q, %v", got, err)
	}
	c.Send("3\r\ndef\r\n0\r\n\r\n")
	if rest := c.Body(r); rest != "def" {
		t.Errorf("%q", rest)
	}
}
