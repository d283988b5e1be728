//go:build unix

package host

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/wspawn/wspawn/wsframe"
)

// What each option of lighttpd's modules for programs and backends has become; docs/from-lighttpd.md names these tests. In the
// files, ${LINES} and ${SOCKET} echo lines, ${SCGI}, ${UWSGI} and ${FASTCGI} tell all variables, ${AUTHORIZER} lets in who has a
// name, ${WORKER} is a worker that echoes lines, and ${DIR} has programs and files.
var lighttpd = []struct {
	option, file string
	check        func(f far)
}{
	{"host", `
		[[route]]
		tunnel = { servers = ["${LINES}"], framing = "lines" }`, func(f far) {
		echo(f.T, f.open("/"), "hello")
	}},
	{"socket", `
		[[route]]
		tunnel = { servers = ["unix:${SOCKET}"], framing = "lines" }`, func(f far) {
		echo(f.T, f.open("/"), "hello")
	}},
	{"bin-path", `
		[[route]]
		tunnel = { pool = "p", framing = "lines" }
		[pool.p]
		command = ["${WORKER}", "an argument with blanks"]`, func(f far) {
		awaitReady(f.T, f.h, 4) // as max-procs
		if pid := ask(f.T, f.open("/"), "pid"); !strings.Contains(ready(f.h), pid) {
			f.Errorf("%s is none of %s", pid, ready(f.h))
		}
	}},
	{"bin-environment", `
		[[route]]
		tunnel = { pool = "p", framing = "lines" }
		[pool.p]
		program = "worker"
		[program.worker]
		command = ["${WORKER}"]
		env = { WSPAWN_TEST_WORKER = "by the file", A = "b" }`, func(f far) {
		if mode := ask(f.T, f.open("/"), "mode"); mode != "by the file" {
			f.Errorf("got %q", mode)
		}
	}},
	{"bin-copy-environment", `
		[[route]]
		stdio.program = "env"
		[program.env]
		command = ["sh", "-c", "echo $GIVEN/$SECRET"]
		pass_env = ["PATH", "GIVEN"]`, func(f far) {
		if got := read(f.T, f.open("/")); got != "given/" {
			f.Errorf("got %q", got)
		}
	}},
	{"min-procs", `
		[[route]]
		tunnel = { pool = "p", framing = "lines" }
		[pool.p]
		command = ["${WORKER}"]
		scaling = "dynamic"
		min = 2
		max = 3`, func(f far) {
		awaitReady(f.T, f.h, 2)
		pids := map[string]bool{}
		for range 3 {
			pids[ask(f.T, f.open("/"), "pid")] = true
		}
		if len(pids) != 3 {
			f.Errorf("three sessions at %d workers", len(pids))
		}
	}},
	{"max-load-per-proc", `
		[[route]]
		tunnel = { pool = "p", framing = "lines" }
		[pool.p]
		command = ["${WORKER}"]
		scaling = "ondemand"
		max_sessions = 2`, func(f far) {
		pids := map[string]int{}
		for range 4 {
			pids[ask(f.T, f.open("/"), "pid")]++
		}
		for pid, n := range pids {
			if n != 2 || len(pids) != 2 {
				f.Errorf("worker %s has %d sessions", pid, n)
			}
		}
	}},
	{"kill-signal", `
		drain = "20s"
		[[route]]
		tunnel = { pool = "p", framing = "lines" }
		[pool.p]
		program = "deaf"
		max = 1
		[program.deaf]
		command = ["${WORKER}"]
		env = { WSPAWN_TEST_WORKER = "deaf" } # to SIGTERM
		stop = "INT,1h,KILL"`, func(f far) {
		awaitReady(f.T, f.h, 1)
		c := f.open("/")
		ask(f.T, c, "pid") // by now it is deaf
		c.Close(wsframe.CloseNormal, "")
		if err := f.stop(); err != nil {
			f.Error(err)
		}
	}},
	{"check-local", `
		[[route]]
		path = "/checked/"
		fastcgi = { servers = ["${FASTCGI}"], root = "${DIR}" }
		[[route]]
		path = "/free/"
		fastcgi = { servers = ["${FASTCGI}"] }`, func(f far) {
		f.get("/checked/script.php", 200, "SCRIPT_FILENAME="+os.Getenv("DIR")+"/script.php")
		f.get("/checked/none.php", 404)
		f.get("/free/none.php", 200, "PATH_INFO=/none.php")
	}},
	{"mode", `
		[[route]]
		fastcgi = { servers = ["${FASTCGI}"], authorizer = { servers = ["${AUTHORIZER}"] } }`, func(f far) {
		f.get("/?anna", 200, "REMOTE_USER=anna")
		f.get("/", 403)
	}},
	{"docroot", `
		[[route]]
		path = "/f/"
		fastcgi = { servers = ["${FASTCGI}"], root = "${DIR}", docroot = "/srv/elsewhere" }
		[[route]]
		path = "/s/"
		scgi = { servers = ["${SCGI}"], root = "${DIR}", docroot = "/srv/elsewhere/" }
		[[route]]
		path = "/u/"
		uwsgi = { servers = ["${UWSGI}"], root = "${DIR}", docroot = "/srv/elsewhere" }`, func(f far) {
		for _, path := range []string{"/f/", "/s/", "/u/"} {
			f.get(path+"script.php/x", 200, "SCRIPT_FILENAME=/srv/elsewhere/script.php\n", "DOCUMENT_ROOT=/srv/elsewhere", "PATH_TRANSLATED=/srv/elsewhere/x\n")
			f.get(path+"none.php", 404)
		}
	}},
	{"broken-scriptfilename", `
		[[route]]
		fastcgi = { servers = ["${FASTCGI}"], root = "${DIR}", broken_scriptfilename = true }`, func(f far) {
		f.get("/script.php/x", 200, "SCRIPT_FILENAME="+os.Getenv("DIR")+"/script.php/x\n")
	}},
	{"strip-request-uri", `
		[[route]]
		path = "/app/"
		fastcgi = { servers = ["${FASTCGI}"], strip_request_uri = "/app" }`, func(f far) {
		f.get("/app/x?y", 200, "REQUEST_URI=/x?y\n")
	}},
	{"fix-root-scriptname", `
		[[route]]
		path = "/"
		scgi.servers = ["${SCGI}"]
		[[route]]
		path = "/app/"
		scgi.servers = ["${SCGI}"]`, func(f far) {
		f.get("/x/y", 200, "SCRIPT_NAME=\n", "PATH_INFO=/x/y\n")
		f.get("/app/x/y", 200, "SCRIPT_NAME=/app\n", "PATH_INFO=/x/y\n")
	}},
	{"x-sendfile", `
		[[route]]
		path = "/yes/"
		scgi = { servers = ["${SCGI}"], sendfile = ["${DIR}"] }
		[[route]]
		path = "/no/"
		scgi = { servers = ["${SCGI}"] }`, func(f far) {
		f.get("/yes/sendfile"+os.Getenv("DIR")+"/file.txt", 200, "text of a file")
		f.get("/yes/sendfile/etc/passwd", 403)
		f.get("/no/sendfile"+os.Getenv("DIR")+"/file.txt", 200, "SCRIPT_NAME=/no") // means nothing
	}},
	{"connect-timeout", `
		[[route]]
		tunnel = { backends = "b", framing = "lines" }
		[backends.b]
		servers = ["unix:/nowhere", "${LINES}"]
		connect_timeout = "2s"
		disable_time = "1m"
		balance = "round-robin"`, func(f far) {
		for range 4 { // whichever is asked first
			echo(f.T, f.open("/"), "hello")
		}
	}},
	{"read-timeout", `
		[[route]]
		scgi = { servers = ["${SCGI}"], response_timeout = "50ms" }`, func(f far) {
		f.get("/slow", 504)
	}},
	{"upgrade", `
		[[route]]
		path = "/yes/"
		scgi = { servers = ["${SCGI}"], upgrade = true }
		[[route]]
		path = "/no/"
		scgi = { servers = ["${SCGI}"] }`, func(f far) {
		c := f.open("/yes/")
		echo(f.T, c, "hello")
		c.Close(wsframe.CloseNormal, "")
		f.get("/yes/", 200, "PATH_INFO=/\n")
		f.refused("/no/", "", 200)
	}},
	{"scgi.protocol", `
		[[route]]
		path = "/a/"
		scgi.servers = ["${SCGI}"]
		[[route]]
		path = "/b/"
		uwsgi.servers = ["${UWSGI}"]`, func(f far) {
		f.get("/a/", 200, "SCRIPT_NAME=/a\n")
		f.get("/b/", 200, "SCRIPT_NAME=/b\n")
	}},
	{"map-extensions", `
		[[route]]
		suffix = [".php", ".php5"]
		fastcgi.servers = ["${FASTCGI}"]
		[[route]]
		files.root = "${DIR}"`, func(f far) {
		f.get("/a.php5/x", 200, "PATH_INFO=/a.php5/x\n")
		f.get("/file.txt", 200, "text of a file")
	}},
	{"frame-type", `
		[[route]]
		path = "/text"
		tunnel.servers = ["${LINES}"]
		[[route]]
		path = "/binary"
		tunnel = { servers = ["${LINES}"], binary = true }`, func(f far) {
		for path, want := range map[string]wsframe.Opcode{"/text": wsframe.OpText, "/binary": wsframe.OpBinary} {
			c := f.open(path)
			c.WriteMessage(wsframe.OpText, []byte("hello\n"))
			if op, p, err := c.ReadMessage(nil); err != nil || op != want || string(p) != "hello\n" {
				f.Errorf("%s: %v %q %v", path, op, p, err)
			}
		}
	}},
	{"origins", `
		[[route]]
		origins = ["https://example.com", "https://*.example.com"]
		tunnel = { servers = ["${LINES}"], framing = "lines" }`, func(f far) {
		f.refused("/", "https://example.com", 101)
		f.refused("/", "https://www.example.com", 101)
		f.refused("/", "http://example.com", 403)
		f.refused("/", "https://badexample.com", 403)
		f.refused("/", "", 101) // no browser; see require_origin
	}},
	{"ping-interval", `
		[[route]]
		websocket.ping = "20ms"
		tunnel = { servers = ["${LINES}"], framing = "lines" }`, func(f far) {
		pinged := make(chan bool, 1000)
		o := &wsframe.DialOptions{Options: wsframe.Options{OnPing: func([]byte) bool { pinged <- true; return false }}}
		c := dial(f.T, f.h, "/", o)
		go c.ReadMessage(nil)
		for range 2 {
			<-pinged
		}
	}},
	{"cgi.assign", `
		[[route]]
		cgi = { path = "${DIR}", interpreters = { ".sh" = "/bin/sh" } }`, func(f far) {
		f.get("/show.sh/x?y", 200, "/show.sh /x y")
		f.get("/program/x?y", 200, "/program /x y")
	}},
	{"cgi.execute-x-only", `
		[[route]]
		cgi = { path = "${DIR}", interpreters = { ".sh" = "/bin/sh" }, executable_only = true }
		files.root = "${DIR}"`, func(f far) {
		f.get("/program", 200, "/program")
		f.get("/file.txt", 200, "text of a file")
	}},
	{"cgi.x-sendfile", `
		[[route]]
		cgi = { path = "${DIR}", sendfile = ["${DIR}"] }`, func(f far) {
		f.get("/sendfile", 200, "text of a file")
	}},
	{"cgi.local-redir", `
		[[route]]
		cgi.path = "${DIR}"`, func(f far) {
		f.get("/redirect", 200, "/program /there")
	}},
	{"cgi.upgrade", `
		[[route]]
		cgi = { path = "${ECHO}", upgrade = true }`, func(f far) {
		echo(f.T, f.open("/"), "hello")
	}},
	{"cgi.limits", `
		[[route]]
		cgi = { path = "${DIR}", response_timeout = "50ms", program = "p" }
		[program.p]
		stop = "HUP,1s,KILL"`, func(f far) {
		f.get("/hang", 504)
		eventually(f.T, "the program was told", func() bool {
			b, _ := os.ReadFile(os.Getenv("DIR") + "/told")
			return string(b) == "HUP\n"
		})
	}},
	{"tempfile-accum", `
		[[route]]
		cgi = { path = "${DIR}", collect_body = "1K" }`, func(f far) {
		resp, err := http.Post(f.h.URLs("http")[0]+"length", "text/plain", io.MultiReader(strings.NewReader("of unknown length")))
		if err != nil {
			f.Fatal(err)
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); string(body) != "17\n" {
			f.Errorf("CONTENT_LENGTH is %q", body)
		}
	}},
	{"max-request-size", `
		[[route]]
		path = "/cgi/"
		cgi = { path = "${DIR}", max_body = 10 }
		[[route]]
		path = "/ws"
		websocket.max_message = 10
		tunnel = { servers = ["${LINES}"], framing = "lines" }`, func(f far) {
		resp, err := http.Post(f.h.URLs("http")[0]+"cgi/length", "text/plain", strings.NewReader("more than ten bytes"))
		if err != nil || resp.StatusCode != 413 {
			f.Errorf("%v %v", resp, err)
		}
		resp.Body.Close()
		c := f.open("/ws")
		for range 10 { // more than ten bytes together
			echo(f.T, c, "hello")
		}
		c.WriteMessage(wsframe.OpText, []byte("more than ten bytes"))
		var e *wsframe.CloseError
		if _, _, err := c.ReadMessage(nil); !errors.As(err, &e) || e.Code != wsframe.CloseTooBig {
			f.Error(err)
		}
	}},
}
