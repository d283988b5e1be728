package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/wsframe"
)

// TestHandshakes is about requests for a WebSocket that do not get one, and
// those that do.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	top := site(t)
	servers := map[string]*daemon{
		"open":    start(t, []string{"--header=X-All: 1", "--header-ws=X-Ws: 2", "--header-http=X-Http: 3", "--header-ws=Sec-WebSocket-Protocol: chat", "--header=Upgrade: x"}, self("exit", "0")...),
		"dir":     start(t, []string{"--dir=" + top + "/ws"}),
		"same":    start(t, []string{"--sameorigin"}, self("exit", "0")...),
		"list":    start(t, []string{"--origin=a.test,https://b.test:1"}, self("exit", "0")...),
		"both":    start(t, []string{"--origin=a.test", "--sameorigin"}, self("exit", "0")...),
		"console": start(t, []string{"--devconsole"}, self("exit", "0")...),
	}
	replace := func(old, new string) string { return strings.Replace(handshake("/"), old, new, 1) }
	tests := []struct {
		name   string
		server string
		raw    string
		status int
		body   string // part
		header http.Header
		log    string
	}{
		{"plain", "open", handshake("/"), 101, "", http.Header{"Upgrade": {"websocket"}, "Sec-Websocket-Accept": {"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, "X-All": {"1"}, "X-Ws": {"2"}, "X-Http": nil, "Sec-Websocket-Protocol": nil, "Sec-Websocket-Extensions": nil},
			`ACCESS \| session    \| url:'http://127\.0\.0\.1:\d+/' id:'[0-9a-f]{32}' remote:'127\.0\.0\.1' command:'[^']+' origin:'file:' \| CONNECT$`},
		{"any path", "open", handshake("/x/y?z"), 101, "", nil, `/x/y\?z' .* CONNECT$`},
		{"other spellings", "open", "GET / HTTP/1.1\nhost: HOST\nUPGRADE: WebSocket\nconnection: keep-alive, UPGRADE\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\n\n", 101, "", nil, ""},
		{"HTTP/1.0", "open", replace("HTTP/1.1", "HTTP/1.0"), 101, "", nil, ""},
		{"HTTP/1.0 without Host", "open", strings.Replace(replace("HTTP/1.1", "HTTP/1.0"), "Host: HOST\n", "", 1), 101, "", nil, ""},
		{"compression is not agreed on", "open", handshake("/", "Sec-WebSocket-Extensions: permessage-deflate"), 101, "", http.Header{"Sec-Websocket-Extensions": nil}, ""},
		{"the forced subprotocol, asked for", "open", handshake("/", "Sec-WebSocket-Protocol: soap, chat"), 101, "", http.Header{"Sec-Websocket-Protocol": {"chat"}}, ""},
		{"another subprotocol", "open", handshake("/", "Sec-WebSocket-Protocol: soap"), 101, "", http.Header{"Sec-Websocket-Protocol": nil}, ""},
		{"the console does not get in the way", "console", handshake("/"), 101, "", nil, ""},

		{"no key", "open", replace("Sec-WebSocket-Key", "X-Key"), 400, "Sec-WebSocket-Key", http.Header{"X-All": nil}, `ACCESS \| session .*Unable to upgrade`},
		{"short key", "open", replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400, "Sec-WebSocket-Key", nil, ""},
		{"no version", "open", replace("Sec-WebSocket-Version", "X-Version"), 400, "", http.Header{"Sec-Websocket-Version": {"13"}}, ""},
		{"other version", "open", replace("Version: 13", "Version: 8"), 400, "", http.Header{"Sec-Websocket-Version": {"13"}}, ""},
		{"POST", "open", "POST" + strings.TrimPrefix(handshake("/", "Content-Length: 0"), "GET"), 405, "", nil, ""},
		{"colliding headers", "open", handshake("/", "X-A: 1", "X_A: 2"), 400, "HTTP_X_A", nil, ""},
		{"NUL in the path", "open", handshake("/%00"), 400, "NUL", nil, ""},

		{"program", "dir", handshake("/env.sh"), 101, "", nil, `command:'[^']*/ws/env\.sh'`},
		{"missing program", "dir", handshake("/none"), 404, "404 Not Found\n", nil, `remote:'127\.0\.0\.1' \| NOT FOUND`},
		{"directory", "dir", handshake("/sub"), 404, "404 Not Found\n", nil, ""},
		{"root", "dir", handshake("/"), 404, "404 Not Found\n", nil, ""},
		{"no guessing", "dir", handshake("/env"), 404, "404 Not Found\n", nil, ""},
		{"link outside", "dir", handshake("/escape"), 404, "404 Not Found\n", nil, ""},
		{"link inside", "dir", handshake("/link"), 101, "", nil, ""},
		{"escaped dots", "dir", handshake("/%2e%2e/outside.sh"), 404, "404 Not Found\n", nil, ""},
		{"escaped slash", "dir", handshake("/sub%2Fpwd.sh"), 101, "", nil, ""},
		{"hidden program", "dir", handshake("/.hidden"), 101, "", nil, ""},
		{"not executable", "dir", handshake("/noexec"), 502, "", nil, `ERROR  \| process .*command:'[^']*/noexec'.*Could not launch process.*not executable`},
		{"missing interpreter", "dir", handshake("/nointerpreter"), 502, "", nil, `Could not launch process.*interpreter`},

		{"same origin, missing", "same", handshake("/"), 403, "", nil, `origin:'file:' \| Unable to upgrade: request without an origin`},
		{"same origin, same", "same", handshake("/", "Origin: http://HOST"), 101, "", nil, ""},
		{"same origin, other", "same", handshake("/", "Origin: http://evil.test"), 403, "", nil, `origin:'http://evil\.test' \| Unable to upgrade: .*--sameorigin`},
		{"same origin, null", "same", handshake("/", "Origin: null"), 403, "", nil, ""},
		{"list, listed", "list", handshake("/", "Origin: http://a.test:99"), 101, "", nil, ""},
		{"list, listed with scheme and port", "list", handshake("/", "Origin: https://b.test:1"), 101, "", nil, ""},
		{"list, other port", "list", handshake("/", "Origin: https://b.test"), 403, "", nil, `add "https://b\.test" to --origin`},
		{"list, missing", "list", handshake("/"), 403, "", nil, ""},
		{"list, null", "list", handshake("/", "Origin: null"), 403, "", nil, ""},
		{"both, only listed", "both", handshake("/", "Origin: http://a.test"), 403, "", nil, ""},
		{"both, only same", "both", handshake("/", "Origin: http://HOST"), 403, "", nil, ""},
		{"no restriction, any", "open", handshake("/", "Origin: http://evil.test"), 101, "", nil, `origin:'http://evil\.test' \| CONNECT`},
		{"no restriction, null", "open", handshake("/", "Origin: null"), 101, "", nil, `origin:'file:'`},
		{"no restriction, garbage", "open", handshake("/", "Origin: garbage"), 403, "", nil, `origin:'garbage'`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := servers[tt.server]
			res, body := d.get(tt.raw)
			if res.StatusCode != tt.status || !strings.Contains(body, tt.body) {
				t.Errorf("%s %q", res.Status, body)
			}
			for name, want := range tt.header {
				if got := res.Header[name]; !slices.Equal(got, want) {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if tt.log != "" {
				d.logged(tt.log)
			}
		})
	}
	if s := servers["open"]; !strings.Contains(s.stdout.String(), `Header "Upgrade" is not sent`) {
		t.Error("nobody was told about the header that cannot be sent")
	}
	for name, d := range servers {
		if d.stderr.String() != "" {
			t.Errorf("%s: on stderr: %s", name, d.stderr.String())
		}
	}
}

// TestPrograms looks at what programs get and at what clients get from them.
func TestPrograms(t *testing.T) {
	t.Parallel()
	top := site(t)
	tests := []struct {
		name    string
		flags   []string
		program []string
		target  string
		send    []string
		want    []string
		code    wsframe.CloseCode
	}{
		{name: "arguments", program: self("args", "--port=1", "a b", ""), want: []string{`["--port=1" "a b" ""]`}, code: 1000},
		{name: "programs of --dir have none", flags: []string{"--dir=" + top + "/ws"}, target: "/args", want: []string{"0"}, code: 1000},
		{name: "SCRIPT_NAME and PATH_INFO", flags: []string{"--dir=" + top + "/ws"}, target: "/sub/deep/a%20b/x/y", want: []string{"/sub/deep/a b|/x/y"}, code: 1000},
		{name: "PATH_INFO is empty for an exact match", flags: []string{"--dir=" + top + "/ws"}, target: "/sub/deep/a%20b", want: []string{"/sub/deep/a b|"}, code: 1000},
		{name: "PATH_INFO is a slash for a slash", flags: []string{"--dir=" + top + "/ws"}, target: "/sub/deep/a%20b/", want: []string{"/sub/deep/a b|/"}, code: 1000},
		{name: "programs run in the directory of the server", flags: []string{"--dir=" + top + "/ws"}, target: "/sub/pwd.sh", want: []string{workingDir(t)}, code: 1000},
		{name: "lines there and back", program: self("echo"), send: []string{"a", "", "ä"}, want: []string{"got a", "got ", "got ä"}},
		{name: "a newline in a message makes two lines", program: self("echo"), send: []string{"a\nb"}, want: []string{"got a", "got b"}},
		{name: "one carriage return goes", program: self("print", "a\r\nb\r\r\nc\r"), want: []string{"a", "b\r", "c"}, code: 1000},
		{name: "an empty line is an empty message", program: self("print", "\n\na\n"), want: []string{"", "", "a"}, code: 1000},
		{name: "the unfinished last line is not lost", program: self("print", "a\nb"), want: []string{"a", "b"}, code: 1000},
		{name: "bytes that are no text become U+FFFD", program: self("print", "a\xffb\n"), want: []string{"a\uFFFDb"}, code: 1000},
		{name: "exit status", program: self("exit", "3"), code: 1011},
		{name: "exit status 0", program: self("exit", "0"), code: 1000},
		{name: "all lines of a program that is gone", program: self("lines", "20000"), want: count(20000), code: 1000},
		{name: "all lines of a program that reads nothing", program: self("closed-stdin"), send: []string{"x", "y"}, want: count(1000), code: 1000},
		{name: "a long line is one message", program: self("print", strings.Repeat("x", 100000)+"\n"), want: []string{strings.Repeat("x", 100000)}, code: 1000},
		{name: "both streams", flags: []string{"--passstderr"}, program: self("both"), want: []string{`{"stream":"stderr","data":"err"}`, `{"stream":"stdout","data":"out \u003c\u0026\u003e"}`}, code: 1000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := startUnix(t, tt.flags, tt.program...)
			if tt.target == "" {
				tt.target = "/"
			}
			c := d.open(tt.target)
			for _, s := range tt.send {
				c.say(s)
			}
			if tt.code == 0 { // the program goes on: read what must come, and leave
				for _, want := range tt.want {
					if got := c.text(); got != want {
						t.Errorf("got %q, want %q", got, want)
					}
				}
				c.Close(wsframe.CloseNormal, "")
			} else {
				got, end := c.all()
				if tt.flags != nil && tt.flags[0] == "--passstderr" {
					slices.Sort(got) // two streams have no order
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %d messages %.200q, want %d %.200q", len(got), got, len(tt.want), tt.want)
				}
				if end.Code != tt.code || !end.Remote {
					t.Errorf("ended with %v, want %d", end, tt.code)
				}
			}
			d.logged(`ACCESS \| session    \| .*pid:'\d+' \| DISCONNECT$`)
		})
	}
}

func count(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprint(i)
	}
	return lines
}

func workingDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestEnvironmentOfPrograms asks a program what it really got.
func TestEnvironmentOfPrograms(t *testing.T) {
	t.Parallel()
	d := start(t, []string{"--passenv=PATH,WSD_PASSED,HTTPS"}, self("env0")...)
	c := d.open("/a%20b?q=1", "Proxy: evil", "X_Under: 1", "X-Good: 2", "Origin: http://o.test")
	lines, _ := c.all()
	got := map[string]string{}
	for _, line := range lines {
		var kv string
		if err := json.Unmarshal([]byte(line), &kv); err != nil {
			t.Fatal(err)
		}
		name, value, _ := strings.Cut(kv, "=")
		if _, twice := got[name]; twice {
			t.Errorf("%s is there twice", name)
		}
		got[name] = value
	}
	host, port, _ := strings.Cut(d.addr, ":")
	want := map[string]string{
		"SERVER_SOFTWARE": softwareString(), "WSD_PASSED": "passed", "REMOTE_ADDR": "127.0.0.1", "REMOTE_HOST": "127.0.0.1", "SERVER_NAME": host, "SERVER_PORT": port,
		"SERVER_PROTOCOL": "HTTP/1.1", "GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "GET", "SCRIPT_NAME": "/", "PATH_INFO": "/a b", "PATH_TRANSLATED": "/a b",
		"QUERY_STRING": "q=1", "REQUEST_URI": "/a%20b?q=1", "AUTH_TYPE": "", "CONTENT_LENGTH": "", "CONTENT_TYPE": "", "REMOTE_IDENT": "", "REMOTE_USER": "",
		"HTTP_HOST": d.addr, "HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "Upgrade", "HTTP_SEC_WEBSOCKET_VERSION": "13", "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
		"HTTP_X_GOOD": "2", "HTTP_ORIGIN": "http://o.test",
	}
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s = %q (%v), want %q", name, v, ok, value)
		}
		delete(got, name)
	}
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(got["UNIQUE_ID"]) || got["REMOTE_PORT"] == "" || got["PATH"] == "" {
		t.Errorf("UNIQUE_ID %q, REMOTE_PORT %q, PATH %q", got["UNIQUE_ID"], got["REMOTE_PORT"], got["PATH"])
	}
	for _, name := range []string{"UNIQUE_ID", "REMOTE_PORT", "PATH", "SYSTEMROOT"} {
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("more than there should be: %q", got)
	}
}

func TestBinary(t *testing.T) {
	t.Parallel()
	d := startUnix(t, []string{"--binary"}, self("cat")...)
	c := d.open("/")
	for _, op := range []wsframe.Opcode{wsframe.OpBinary, wsframe.OpText} {
		if err := c.WriteMessage(op, []byte("a\nb\x00")); err != nil {
			t.Fatal(err)
		}
		var got []byte
		for len(got) < 4 { // chunks are as the pipe has them
			typ, p, err := c.ReadMessage(nil)
			if err != nil || typ != wsframe.OpBinary {
				t.Fatalf("%v %q %v", typ, p, err)
			}
			got = append(got, p...)
		}
		if string(got) != "a\nb\x00" {
			t.Errorf("%v: %q", op, got)
		}
	}
	c.Close(wsframe.CloseNormal, "")
}

func TestTextServiceRefusesBinaryMessages(t *testing.T) {
	t.Parallel()
	c := startUnix(t, nil, self("cat")...).open("/")
	if err := c.WriteMessage(wsframe.OpBinary, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, end := c.all(); end.Code != wsframe.CloseUnsupported {
		t.Errorf("ended with %v", end)
	}
}

// TestCloseIsEchoed looks at the bytes: the code comes back, and then the end
// of the stream.
func TestCloseIsEchoed(t *testing.T) {
	t.Parallel()
	d := startUnix(t, nil, self("cat")...)
	for _, tt := range []struct{ name, frame, want string }{
		{"with a code", "\x88\x85\x00\x00\x00\x00\x03\xe9bye", "\x88\x02\x03\xe9"},
		{"without one", "\x88\x80\x00\x00\x00\x00", "\x88\x00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := d.conn()
			_, _, r := d.send(c, handshake("/"))
			if _, err := io.WriteString(c, tt.frame); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || string(got) != tt.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestMessageLimit(t *testing.T) {
	t.Parallel()
	d := startUnix(t, []string{"--maxframesize=10"}, self("echo")...)
	c := d.open("/")
	c.say("0123456789")
	if got := c.text(); got != "got 0123456789" {
		t.Errorf("got %q", got)
	}
	c.say("0123456789a")
	if _, end := c.all(); end.Code != wsframe.CloseTooBig {
		t.Errorf("ended with %v", end)
	}

	// 0 is no limit: more than the 1 MiB that is the default.
	big := strings.Repeat("x", 3<<20)
	c = startUnix(t, []string{"--maxframesize=0"}, self("cat")...).open("/")
	go c.WriteMessage(wsframe.OpText, []byte(big))
	if _, p, err := c.ReadMessage(nil); err != nil || string(p) != big {
		t.Errorf("%d bytes, %v", len(p), err)
	}
	c.Close(wsframe.CloseNormal, "")
}

func TestStderrIsLoggedAsErrors(t *testing.T) {
	t.Parallel()
	d := startUnix(t, nil, self("stderr", "one", "two \x1b[31m")...)
	d.open("/").all()
	d.logged(`ERROR  \| stderr     \| url:'[^']*' id:'[^']*' remote:'unix-socket' command:'[^']*' origin:'file:' pid:'\d+' \| one$`)
	d.logged(`ERROR  \| stderr     \| .* \| two \\x1b\[31m$`)
	out := d.stdout.String()
	if strings.Index(out, "| CONNECT") > strings.Index(out, "| one") {
		t.Error("stderr comes before CONNECT")
	}
	d.logged("DISCONNECT")
}

func TestStderrThatIsPassedOnIsLoggedToo(t *testing.T) {
	t.Parallel()
	d := startUnix(t, []string{"--passstderr"}, self("both")...)
	d.open("/").all()
	d.logged(`ERROR  \| stderr     \| url:'[^']*' .* pid:'\d+' \| err$`)
	d.logged("DISCONNECT")
}

func TestALongStderrLineDoesNotBlock(t *testing.T) {
	t.Parallel()
	d := startUnix(t, nil, self("longstderr")...)
	if got := d.open("/").text(); got != "done" {
		t.Errorf("got %q", got)
	}
}

func TestDebugLogHidesCredentials(t *testing.T) {
	t.Parallel()
	d := startUnix(t, []string{"--loglevel=debug"}, self("exit", "3")...)
	d.open("/", "Authorization: Basic hush", "Cookie: sid=hush", "X-Other: shown").all()
	d.logged(`DEBUG  \| env        \| .* HTTP_X_OTHER=shown`)
	d.logged(`DEBUG  \| process    \| .*pid:'\d+' \| Process \d+ ended: exit status 3`)
	d.logged("DISCONNECT")
	if strings.Contains(d.stdout.String(), "hush") {
		t.Error("it does not")
	}
}

func TestForks(t *testing.T) {
	t.Parallel()
	top := site(t)
	d := start(t, []string{"--maxforks=1", "--cgidir=" + top + "/cgi"}, self("pid")...)
	first := d.open("/")
	first.text()
	res, body := d.get(handshake("/"))
	if res.StatusCode != 429 || body != "429 Too Many Requests\n" {
		t.Errorf("%s %q", res.Status, body)
	}
	d.logged(`ERROR  \| http       \| url:'[^']*' \| Max of possible forks already active`)
	// CGI programs count as well.
	if res, body := d.get("GET /status.cgi HTTP/1.1\nHost: HOST\n\n"); res.StatusCode != 429 || body != "429 Too Many Requests\n" {
		t.Errorf("CGI: %s %q", res.Status, body)
	}
	// The limit is looked at before everything else.
	if res, _ := d.get(handshake("/", "Origin: garbage")); res.StatusCode != 429 {
		t.Errorf("bad origin: %s", res.Status)
	}
	first.Close(wsframe.CloseNormal, "")
	d.logged("DISCONNECT")
	// What is refused gives its place back.
	for range 3 {
		if res, _ := d.get(handshake("/", "Origin: garbage")); res.StatusCode != 403 {
			t.Errorf("bad origin: %s", res.Status)
		}
		if res, _ := d.get(handshake("/", "Sec-WebSocket-Version: 12")); res.StatusCode != 400 {
			t.Errorf("bad version: %s", res.Status)
		}
	}
	second := d.open("/")
	second.text()
	second.Close(wsframe.CloseNormal, "")
}
