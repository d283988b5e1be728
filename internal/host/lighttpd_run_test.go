//go:build unix

package host

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/fastcgi"
	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/scgi"
	"github.com/wspawn/wspawn/wsframe"
)

// A far is a server under test, seen from far away.
type far struct {
	*testing.T
	h    *Host
	stop func() error
}

// get wants a status, and an answer that contains all of some words.
func (f far) get(path string, status int, words ...string) {
	f.Helper()
	resp, err := http.Get(strings.TrimSuffix(f.h.URLs("http")[0], "/") + path)
	if err != nil {
		f.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		f.Errorf("%s: %d %s %v, want %d", path, resp.StatusCode, body, err, status)
	}
	for _, word := range words {
		if !strings.Contains(string(body), word) {
			f.Errorf("%s: %q is not in\n%s", path, word, body)
		}
	}
}

// open connects, and refused wants a status instead.
func (f far) open(path string) *wsframe.Conn { return dial(f.T, f.h, path, nil) }

func (f far) refused(path, origin string, status int) {
	f.Helper()
	c, resp, err := wsframe.Dial(f.Context(), strings.TrimSuffix(f.h.URLs("ws")[0], "/")+path, &wsframe.DialOptions{Origin: origin})
	if err == nil {
		c.CloseNow()
	}
	if resp == nil || resp.StatusCode != status {
		f.Errorf("%s from %q: %v, want %d", path, origin, err, status)
	}
}

func TestLighttpd(t *testing.T) {
	surroundings(t)
	for _, test := range lighttpd {
		t.Run(test.option, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "wspawn.toml")
			text := "listen = [\"127.0.0.1:0\"]\n" + test.file
			if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
			c, _, err := config.Read(file)
			if err != nil {
				t.Fatal(err)
			}
			h, stop := run(t, c)
			test.check(far{t, h, stop})
		})
	}
}

// surroundings sets up what the files name.
func surroundings(t *testing.T) {
	t.Helper()
	exe, err1 := os.Executable()
	wsEcho, err2 := filepath.Abs("../../examples/ws_echo/ws_echo.py")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	const show = `printf 'Content-Type: text/plain\n\n%s %s %s\n' "$SCRIPT_NAME" "$PATH_INFO" "$QUERY_STRING"` + "\n"
	for name, text := range map[string]string{
		"program": "#!/bin/sh\n" + show, "show.sh": show, "script.php": "", "file.txt": "text of a file",
		"sendfile": "#!/bin/sh\nprintf 'X-Sendfile: " + dir + "/file.txt\\n\\n'\n",
		"redirect": "#!/bin/sh\nprintf 'Location: /program/there\\n\\n'\n",
		"length":   "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n%s\\n' \"$CONTENT_LENGTH\"\n",
		"worker":   "#!/bin/sh\nexport " + workerVariable + "=$" + workerVariable + "\nexec " + exe + "\n",
		"hang":     "#!/bin/sh\ntrap 'echo HUP > " + dir + "/told; exit' HUP\nwhile :; do sleep 0.02; done\n",
	} {
		mode := os.FileMode(0o755)
		if filepath.Ext(name) != "" {
			mode = 0o644
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	lines := func(network, address string) string {
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go serveLines(c, "lines")
			}
		}()
		return ln.Addr().String()
	}
	tell := func(variables func(*http.Request) cgi.List) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			list := variables(r)
			path, _ := list.Lookup("PATH_INFO")
			switch file, send := strings.CutPrefix(path, "/sendfile"); {
			case wsframe.IsUpgrade(r):
				c, err := wsframe.Accept(w, r, nil)
				if err != nil {
					return
				}
				for {
					op, p, err := c.ReadMessage(nil)
					if err != nil {
						return
					}
					c.WriteMessage(op, p)
				}
			case path == "/slow":
				time.Sleep(300 * time.Millisecond)
			case send:
				w.Header().Set("X-Sendfile", file)
			}
			for _, v := range list {
				fmt.Fprintf(w, "%s=%s\n", v.Name, v.Value)
			}
		})
	}
	type server interface {
		Serve(net.Listener) error
		Close() error
	}
	serve := func(s server) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ln) }()
		t.Cleanup(func() { s.Close(); <-ended })
		return ln.Addr().String()
	}
	params := func(r *http.Request) cgi.List { return fastcgi.Params(r.Context()) }
	authorizer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, _ := params(r).Lookup("QUERY_STRING"); name != "" {
			w.Header()["Variable-REMOTE_USER"] = []string{name}
		} else {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	for name, value := range map[string]string{
		"DIR": dir, "WORKER": dir + "/worker", "ECHO": wsEcho, "GIVEN": "given", "SECRET": "secret",
		"LINES": lines("tcp", "127.0.0.1:0"), "SOCKET": lines("unix", filepath.Join(dir, "socket")),
		"SCGI":       serve(&scgi.Server{Handler: tell(scgi.Variables)}),
		"UWSGI":      serve(&scgi.Server{Handler: tell(scgi.Variables), Protocol: scgi.UWSGI}),
		"FASTCGI":    serve(&fastcgi.Server{Handler: tell(params)}),
		"AUTHORIZER": serve(&fastcgi.Server{Authorizer: authorizer}),
	} {
		t.Setenv(name, value)
	}
}

// The page names all of the table above, and nothing else as such.
func TestPageForLighttpdNamesItsTests(t *testing.T) {
	named := map[string]bool{}
	for _, test := range testsOnPage(t, "../../docs/from-lighttpd.md", codeOfTests(t)) {
		if option, ok := strings.CutPrefix(test, "TestLighttpd/"); ok {
			named[option] = true
		}
	}
	for _, test := range lighttpd {
		if !named[test.option] {
			t.Errorf("TestLighttpd/%s is not on the page", test.option)
		}
		delete(named, test.option)
	}
	for option := range named {
		t.Errorf("there is no TestLighttpd/%s", option)
	}
}
