package client

import (
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/streamtest"
	"github.com/wspawn/wspawn/wsframe"
)

func wantHint(t *testing.T, err error, words string) {
	t.Helper()
	e, ok := err.(*Error)
	if !ok {
		t.Fatalf("%v has no hint", err)
	}
	if words == "" && e.Hint != "" || !strings.Contains(e.Hint, words) {
		t.Errorf("hint %q of %v does not have %q", e.Hint, err, words)
	}
}

func TestARefusalIsExplained(t *testing.T) {
	for _, test := range []struct {
		answer      *wsframe.Rejection
		origin      string
		words, hint string
	}{
		{&wsframe.Rejection{Status: 401, Reason: "who are you"}, "", "401 Unauthorized: who are you", "--header 'Authorization: …'"},
		{&wsframe.Rejection{Status: 403}, "", "403 Forbidden", "--origin http://127.0.0.1:"},
		{&wsframe.Rejection{Status: 403, Reason: "origin not allowed"}, "http://x", "403 Forbidden: origin not allowed", "another origin"},
		{&wsframe.Rejection{Status: 404}, "", "404 Not Found", "path"},
		{&wsframe.Rejection{Status: 405}, "", "405", "may not be a WebSocket"},
		{&wsframe.Rejection{Status: 426}, "", "426", "may not be a WebSocket"},
		{wsframe.Reject(429, "slow down"), "", "429 Too Many Requests: slow down", "later"},
		{wsframe.Reject(503, "full").RetryAfter(7 * time.Second), "", "503 Service Unavailable: full", "try again in 7 s"},
		{wsframe.Reject(502, "backend \x1b[2J gone"), "", "502 Bad Gateway: backend", "log of the server"},
		{wsframe.Reject(400, "bad key"), "", "400 Bad Request: bad key", "-v shows the handshake"},
		{&wsframe.Rejection{Status: 302, Header: http.Header{"Location": {"/else\x1b"}}}, "", "302 Found", "connect to /else"},
	} {
		url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { test.answer.Write(w) })
		out, _, err := connect(t, Config{URL: url, Origin: test.origin})
		wantEnd(t, err, StatusFailure, test.words)
		wantHint(t, err, test.hint)
		if out != "" || strings.ContainsAny(err.Error()+err.(*Error).Hint, "\n\x1b") {
			t.Errorf("output %q, %q", out, err)
		}
	}
}

func TestTheBodyHelpsWhereThereIsNoReason(t *testing.T) {
	kind := "text/plain"
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(500)
		io.WriteString(w, "  database is on fire\n\nmore\n")
	})
	_, _, err := connect(t, Config{URL: url})
	wantEnd(t, err, StatusFailure, "500 Internal Server Error: database is on fire")
	kind = "text/html"
	_, _, err = connect(t, Config{URL: url})
	wantEnd(t, err, StatusFailure, "")
	if strings.Contains(err.Error(), "fire") {
		t.Error(err)
	}
}

func TestUsageErrorsAreFoundBeforeConnecting(t *testing.T) {
	url := serveHTTP(t, func(http.ResponseWriter, *http.Request) { t.Error("connected") })
	missing := filepath.Join(t.TempDir(), "missing")
	empty := filepath.Join(t.TempDir(), "empty")
	os.WriteFile(empty, nil, 0o600)
	for name, c := range map[string]Config{
		"no URL":             {},
		"no host":            {URL: "/path"},
		"scheme":             {URL: "ftp://host"},
		"fragment":           {URL: url + "#x"},
		"own key":            {URL: url, Header: http.Header{"Sec-Websocket-Key": {"x"}}},
		"header value":       {URL: url, Header: http.Header{"X": {"a\nb"}}},
		"subprotocol":        {URL: url, Protocols: []string{"a b"}},
		"subprotocol twice":  {URL: url, Protocols: []string{"a", "a"}},
		"origin":             {URL: url, Origin: "a\x00"},
		"missing CA":         {URL: url, CAFile: missing},
		"empty CA":           {URL: url, CAFile: empty},
		"CA and insecure":    {URL: url, CAFile: empty, Insecure: true},
		"negative timeout":   {URL: url, Timeout: -1},
		"negative ping":      {URL: url, Ping: -1},
		"negative message":   {URL: url, MaxMessage: -1},
		"two sockets":        {URL: "ws+unix:///a:/b", UnixSocket: "/c"},
		"negative close":     {URL: url, CloseTimeout: -1},
		"path of other host": {URL: "//", UnixSocket: "/c"},
	} {
		_, _, err := connect(t, c)
		if status(err) != StatusUsage {
			t.Errorf("%s: %v", name, err)
		}
		if c.CAFile != "" && !c.Insecure && (err == nil || !strings.HasPrefix(err.Error(), "--ca: ")) {
			t.Errorf("%s: %v does not name the flag", name, err)
		}
	}
}

func TestFailuresOfTheNetworkHaveANextStep(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	defer l.Close()
	silent := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			silent <- c
		}
	}()
	_, _, err = connect(t, Config{URL: addr, Timeout: 50 * time.Millisecond})
	wantEnd(t, err, StatusFailure, "no connection within 50ms")
	wantHint(t, err, "--timeout")
	(<-silent).Close()

	_, _, err = connect(t, Config{URL: streamtest.Dead(t)})
	wantEnd(t, err, StatusFailure, "refused")
	wantHint(t, err, "is the server running")

	_, _, err = connect(t, Config{URL: "/", UnixSocket: filepath.Join(t.TempDir(), "none")})
	wantEnd(t, err, StatusFailure, "no such file")
	wantHint(t, err, "is this its socket")

	url := serve(t, nil, echo)
	_, _, err = connect(t, Config{URL: strings.Replace(url, "http", "wss", 1)})
	wantEnd(t, err, StatusFailure, "TLS")
	wantHint(t, err, "try ws://")
}

func TestASignalEndsTheHandshake(t *testing.T) {
	signals := make(chan os.Signal, 1)
	release := make(chan struct{})
	url := serveHTTP(t, func(http.ResponseWriter, *http.Request) { signals <- os.Interrupt; <-release })
	_, _, err := connect(t, Config{URL: url, Signals: signals})
	close(release)
	wantEnd(t, err, StatusFailure, "stopped by a signal: interrupt")
}

func TestTLSIsCheckedUnlessToldOtherwise(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := wsframe.Accept(w, r, nil); err == nil {
			defer c.Close(wsframe.CloseNormal, "")
			echo(c)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()

	_, _, err := connect(t, Config{URL: s.URL})
	wantEnd(t, err, StatusFailure, "certificate")
	wantHint(t, err, "--ca FILE")

	_, _, err = connect(t, Config{URL: strings.Replace(s.URL, "https", "ws", 1)})
	wantEnd(t, err, StatusFailure, "400")

	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Config{{CAFile: ca}, {Insecure: true}} {
		c.URL, c.Stdin = s.URL, strings.NewReader("over TLS\n")
		if out, _, err := connect(t, c); err != nil || out != "over TLS\n" {
			t.Errorf("output %q, %v", out, err)
		}
	}
}

func TestTheRequestIsWhatWasAskedFor(t *testing.T) {
	requests := make(chan *http.Request, 1)
	o := &wsframe.AcceptOptions{Protocol: "chat.v2", AllowOrigin: func(*wsframe.Request) error { return nil }}
	url := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		if c, err := wsframe.Accept(w, r, o); err == nil {
			defer c.Close(wsframe.CloseNormal, "")
			echo(c)
		}
	})
	header, err := ParseHeader([]string{"Authorization: Bearer secret", "Cookie: key=secret", "X-Two: a", "X-Two: b", "Host: other:1"})
	if err != nil {
		t.Fatal(err)
	}
	out, notes, err := connect(t, Config{URL: url + "/p?q", Stdin: strings.NewReader("x\n"), Origin: "https://page",
		Protocols: []string{"chat.v2", "chat.v1"}, Header: header, Verbose: true})
	if err != nil || out != "x\n" {
		t.Fatalf("output %q, %v", out, err)
	}
	r := <-requests
	if r.Host != "other:1" || r.Header.Get("Origin") != "https://page" || r.Header.Get("Cookie") != "key=secret" ||
		r.Header.Get("Sec-Websocket-Protocol") != "chat.v2, chat.v1" || len(r.Header["X-Two"]) != 2 || r.UserAgent() != "wspawn" {
		t.Errorf("request %v %v", r.Host, r.Header)
	}
	for _, line := range []string{"> GET /p?q HTTP/1.1\n", "> Host: other:1\n", "> Authorization: Bearer [hidden]\n", "> Cookie: key=[hidden]\n",
		"< HTTP/1.1 101 Switching Protocols\n", "< Sec-Websocket-Protocol: chat.v2\n", "* sent close 1000\n", "* close answered\n"} {
		if !strings.Contains(notes, line) {
			t.Errorf("notes lack %q:\n%s", line, notes)
		}
	}
	if strings.Contains(notes, "secret") {
		t.Errorf("notes tell secrets:\n%s", notes)
	}
}

func TestVerboseShowsControlFrames(t *testing.T) {
	url := serve(t, nil, func(c *wsframe.Conn) {
		c.WriteFrame(wsframe.Frame{Fin: true, Op: wsframe.OpPing, Payload: []byte("a\x1b")})
		c.WriteFrame(wsframe.Frame{Fin: true, Op: wsframe.OpPong})
		c.Close(4001, "enough")
	})
	_, notes, err := connect(t, Config{URL: url, Verbose: true})
	wantEnd(t, err, StatusApplication, "4001")
	for _, line := range []string{`* received ping "a\x1b"`, `* received pong ""`, "* received close 4001 enough\n"} {
		if !strings.Contains(notes, line) {
			t.Errorf("notes lack %q:\n%s", line, notes)
		}
	}
}

func TestNoSubprotocolIsMentioned(t *testing.T) {
	_, notes, err := connect(t, Config{URL: serve(t, nil, echo), Stdin: strings.NewReader(""), Protocols: []string{"x"}})
	if err != nil || notes != "wspawn: the server chose none of the subprotocols\n" {
		t.Errorf("notes %q, %v", notes, err)
	}
}

func TestUnixSocketsTakeAPathForAURL(t *testing.T) {
	dir, err := os.MkdirTemp("", "") // t.TempDir may be too long a name for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	paths := make(chan string, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths <- r.URL.Path
		if c, err := wsframe.Accept(w, r, nil); err == nil {
			defer c.Close(wsframe.CloseNormal, "")
			echo(c)
		}
	}))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	defer s.Close()
	out, _, err := connect(t, Config{URL: "/chat", UnixSocket: socket, Stdin: strings.NewReader("x\n")})
	if path := <-paths; err != nil || out != "x\n" || path != "/chat" {
		t.Errorf("output %q, path %q, %v", out, path, err)
	}
}

func TestProxiesOfTheEnvironmentCanBeLeftAlone(t *testing.T) {
	proxied := make(chan string, 1)
	proxy := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		proxied <- r.Method + " " + r.Host
		w.WriteHeader(http.StatusProxyAuthRequired)
	})
	// net/http reads the environment once, so this runs in a process of its own.
	out, code := runChild(t, "ws://example.invalid:81/", "HTTP_PROXY="+proxy, "NO_PROXY=")
	if got := <-proxied; got != "CONNECT example.invalid:81" || code != StatusFailure || !strings.Contains(out, "407") {
		t.Errorf("proxy got %q, status %d, %q", got, code, out)
	}
}
