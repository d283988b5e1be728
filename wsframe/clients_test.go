package wsframe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/wspawn/wspawn/internal/browsertest"
)

// A talker is the endpoint of the server that real clients talk to: it echoes, and obeys some words.
type talker struct {
	ended chan<- error
}

func (e talker) Open(_ context.Context, r *Request) (Session, error) {
	if r.URL.Path == "/refused" {
		return nil, Reject(http.StatusForbidden, "not you")
	}
	return e, nil
}

func (talker) Abort() {}

func (e talker) Run(ctx context.Context, c *Conn) (err error) {
	defer func() { e.ended <- err }()
	var buf []byte
	for {
		op, message, err := c.ReadMessage(buf)
		if err != nil {
			return err
		}
		buf = message
		word, rest, _ := strings.Cut(string(message), " ")
		switch {
		case op == OpText && word == "close":
			code := 0
			_, err := fmt.Sscan(rest, &code)
			_, reason, _ := strings.Cut(rest, " ")
			return errors.Join(err, c.Close(CloseCode(code), reason))
		case op == OpText && word == "cut":
			return c.CloseNow()
		case op == OpText && word == "ping":
			go func() { // the answer is read by the loop
				if _, err := c.Ping(ctx); err == nil {
					c.WriteMessage(OpText, []byte("answered"))
				}
			}()
		default:
			if err := c.WriteMessage(op, message); err != nil {
				return err
			}
		}
	}
}

// talk starts the server. The function that it returns stops it and returns how the sessions ended.
func talk(t *testing.T) (url string, stop func() []string) {
	ended := make(chan error, 1000)
	mux := http.NewServeMux()
	var handlers []*Handler
	for path, size := range map[string]int{"/": 0, "/fragments": 999} {
		h := &Handler{Endpoint: talker{ended}, Select: Prefer("chat")}
		h.Options.FragmentSize = size
		h.Options.AllowOrigin = func(*Request) error { return nil } // node and the page are elsewhere
		mux.Handle(path, h)
		handlers = append(handlers, h)
	}
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		script, err := os.ReadFile("testdata/clients/common.js")
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "<!doctype html><meta charset=utf-8><link rel=icon href='data:,'><title>page</title><script>%s</script>", script)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL, func() (ends []string) {
		for _, h := range handlers {
			if err := h.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
		for len(ended) > 0 {
			ends = append(ends, fmt.Sprint(<-ended))
		}
		return ends
	}
}

// What every client has to see, and what is different for them.
const commonResults = `text: grüße 👋, 1000  clean
binary: true, 1000  clean
empty: true 0, 1000  clean
1 MiB of text: true, 1000  clean
1 MiB of bytes: true, 1000  clean
fragments: true 100000, 1000  clean
in flight: 1000  clean
subprotocol: Chat, 1000  clean
client closes: 4000  clean
client closes without a code: 1005  clean
server closes: 4001 grüße clean
server closes without a code: 1005  clean
server cuts: 1006  unclean
server pings: answered, 1000  clean
too large: 1009
refused: exception: 1006  unclean
`

func checkLines(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Errorf("line %d: got %q, want %q", i+1, slices.Concat(g, make([]string, i+1))[i], slices.Concat(w, make([]string, i+1))[i])
		}
	}
}

func checkEnds(t *testing.T, ends []string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(ends, w) {
			t.Errorf("no session ended with %q, but with %q", w, ends)
		}
	}
}

// node runs a script with the npm package ws.
func node(t *testing.T, script string, args ...string) *exec.Cmd {
	t.Helper()
	bin, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("no node here: run scripts/setup")
	}
	modules, err := filepath.Abs("../build/npm/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, "ws")); err != nil {
		t.Fatalf("no npm package ws (%v): run scripts/setup", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, bin, append([]string{filepath.Join("testdata/clients", script)}, args...)...)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	cmd.WaitDelay = time.Second
	return cmd
}

// nodeServer starts a script that prints its port, and a line for each connection that has ended. The function ended
// expects one of these; stop ends the script and expects no more of them.
func nodeServer(t *testing.T, script string, args ...string) (url string, ended func(want string), stop func()) {
	t.Helper()
	cmd := node(t, script, args...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		t.Fatal("the server does not say its port")
	}
	ended = func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("the server says %q, want %q", lines.Text(), want)
		}
	}
	return "ws://127.0.0.1:" + lines.Text(), ended, func() {
		t.Helper()
		stdin.Close()
		if lines.Scan() {
			t.Errorf("the server also says %q", lines.Text())
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestNodeClient(t *testing.T) {
	url, stop := talk(t)
	cmd := node(t, "client.js", strings.Replace(url, "http", "ws", 1))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	checkLines(t, string(out), commonResults+`ws fragments: text 7 grüße, pong between
ws character in two fragments: text 3 €
ws pings: 0 1 2 3 4 5 6 7 8 9 125
ws not UTF-8: 1007 text message is not UTF-8
ws not masked: 1002 unmasked frame from a client
ws offers compression: "" text 5000 yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy
ws terminates: 1006 
`)
	checkEnds(t, stop(), "closed by peer: 1000", "closed by peer: 4000 grüße", "closed by peer: 1005", "<nil>",
		"closed: 1007 text message is not UTF-8", "closed: 1002 unmasked frame from a client", "closed by peer: 1006 connection lost")
}

func TestChromium(t *testing.T) {
	if !slices.ContainsFunc([]string{"chromium", "chromium-browser", "google-chrome", "chrome", "headless-shell"}, func(name string) bool {
		_, err := exec.LookPath(name)
		return err == nil
	}) {
		t.Fatal("no chromium here: run scripts/setup")
	}
	url, stop := talk(t)
	page := browsertest.New(t).Open(t, url+"/page")
	results := browsertest.Get(page, chromedp.Evaluate[[]string](
		`common(WebSocket, location.href.replace("http", "ws").replace("/page", ""))`, chromedp.EvalAwaitPromise))
	checkLines(t, strings.Join(results, "\n")+"\n", commonResults)
	checkEnds(t, stop(), "closed by peer: 1000", "closed by peer: 4000 grüße", "closed by peer: 1005", "<nil>")
}

func TestDialNodeServer(t *testing.T) {
	url, ended, stop := nodeServer(t, "server.js")
	dial := func(o *DialOptions) *Conn {
		t.Helper()
		c, _, err := Dial(t.Context(), url, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.CloseNow() })
		return c
	}
	say := func(c *Conn, op Opcode, s string) {
		t.Helper()
		if err := c.WriteMessage(op, []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(c *Conn, op Opcode, s string) {
		t.Helper()
		gotOp, got, err := c.ReadMessage(nil)
		if err != nil || gotOp != op || string(got) != s {
			t.Fatalf("got %v %s, %v; want %v %s", gotOp, short(string(got)), err, op, short(s))
		}
	}

	c := dial(&DialOptions{Protocols: []string{"other", "chat"}, Options: Options{FragmentSize: 100_000}})
	if c.Subprotocol() != "chat" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	for _, s := range []string{"", "grüße", x(70_000), strings.Repeat("€", 300_000)} {
		say(c, OpText, s)
		hear(c, OpText, s)
		say(c, OpBinary, s)
		hear(c, OpBinary, s)
	}
	say(c, OpText, "fragments")
	hear(c, OpText, "one two three")
	go func() {
		if _, err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		say(c, OpText, "measured")
	}()
	hear(c, OpText, "measured")
	if err := c.Close(4000, "grüße"); err != nil {
		t.Error(err)
	}
	// The ping among the fragments was answered, perhaps behind the next message.
	ended("pong between")
	ended("closed 4000 grüße")

	c = dial(nil)
	say(c, OpText, "close 4001 tschüß")
	_, _, err := c.ReadMessage(nil)
	if e := wantCloseError(t, err, 4001, true); e.Reason != "tschüß" {
		t.Errorf("reason %q", e.Reason)
	}
	ended("closed 4001 ")

	c = dial(nil)
	say(c, OpText, "terminate")
	_, _, err = c.ReadMessage(nil)
	wantCloseError(t, err, CloseAbnormal, true)
	ended("closed 1006 ")

	c = dial(nil)
	say(c, OpText, "masked")
	_, _, err = c.ReadMessage(nil)
	wantCloseError(t, err, CloseProtocolError, false)
	ended("closed 1002 masked frame from a server")

	c = dial(nil)
	c.Close(0, "")
	ended("closed 1005 ")

	stop()
}
