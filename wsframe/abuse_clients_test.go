package wsframe

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/wspawn/wspawn/internal/browsertest"
)

// serveAbuse serves what abuse.js talks to. The function that it returns stops it and returns how the sessions ended.
func serveAbuse(t *testing.T) (addr string, stop func() []string) {
	var mu sync.Mutex // guards ends
	var ends []string
	run := func(_ context.Context, c *Conn, path string) error {
		switch path {
		case "/flood":
			go flood(c)
		case "/enough", "/cut":
			if _, _, err := c.ReadMessage(nil); err != nil {
				return err
			}
			if path == "/cut" {
				return c.CloseNow()
			}
			return c.Close(4002, "enough")
		}
		return echo(c)
	}
	h := &Handler{Endpoint: pathEndpoint(run), OnOpen: func(*Request, *Conn) func(error) {
		return func(err error) {
			mu.Lock()
			defer mu.Unlock()
			ends = append(ends, fmt.Sprint(err))
		}
	}}
	h.Options.AllowOrigin = func(*Request) error { return nil }
	h.Options.MaxFrame, h.Options.MaxMessage = 8<<20, 8<<20
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		script, err := os.ReadFile("testdata/clients/abuse.js")
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "<!doctype html><meta charset=utf-8><link rel=icon href='data:,'><title>page</title><script>%s</script>", script)
	})
	return serve(t, mux), func() []string {
		if err := h.Shutdown(within(t)); err != nil {
			t.Error(err)
		}
		return ends
	}
}

// flood writes until the connection ends.
func flood(c *Conn) {
	p := make([]byte, 1<<16)
	for c.WriteMessage(OpBinary, p) == nil {
	}
}

// A pathEndpoint runs sessions that know the path of their request.
type pathEndpoint func(ctx context.Context, c *Conn, path string) error

type pathSession struct {
	run  pathEndpoint
	path string
}

func (e pathEndpoint) Open(_ context.Context, r *Request) (Session, error) {
	return pathSession{e, r.URL.Path}, nil
}
func (s pathSession) Run(ctx context.Context, c *Conn) error { return s.run(ctx, c, s.path) }
func (s pathSession) Abort()                                 {}

const abuseResults = `8 MiB: true, 1000  clean
client closes during a flood: 4000  clean
server closes during an upload: 4002 enough
server cuts during an upload: unclean
30 connections: true, 1000  clean
`

func TestNodeClientThatGoesToExtremes(t *testing.T) {
	addr, stop := serveAbuse(t)
	cmd := node(t, "abuse.js", "client", "ws://"+addr)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	checkLines(t, string(out), abuseResults+`ws 8 MiB in fragments: true true, 1000  clean
ws terminates in a message: 1006  unclean
ws ends the stream in a message: 1000  unclean
ws resets: 1006  unclean
`)
	checkEnds(t, stop(), "<nil>", "closed by peer: 1000", "closed by peer: 4000 enough", "closed by peer: 1006 connection lost")
}

func TestChromiumThatGoesToExtremes(t *testing.T) {
	addr, stop := serveAbuse(t)
	page := browsertest.New(t).Open(t, "http://"+addr+"/page")
	results := browsertest.Get(page, chromedp.Evaluate[[]string](`abuse(WebSocket, "ws://`+addr+`")`, chromedp.EvalAwaitPromise))
	checkLines(t, strings.Join(results, "\n")+"\n", abuseResults)
	checkEnds(t, stop(), "<nil>", "closed by peer: 1000", "closed by peer: 4000 enough")
}

func TestDialNodeServerThatGoesToExtremes(t *testing.T) {
	url, ended, stop := nodeServer(t, "abuse.js", "server")
	dial := func(path string) *Conn {
		t.Helper()
		c, _, err := Dial(t.Context(), url+path, &DialOptions{Options: Options{MaxFrame: -1, MaxMessage: -1}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.CloseNow() })
		return c
	}
	large := make([]byte, 8<<20)
	for i := range large {
		large[i] = byte(i % 251)
	}

	c := dial("/echo")
	go c.WriteMessage(OpBinary, large)
	if _, p, err := c.ReadMessage(nil); err != nil || !bytes.Equal(p, large) {
		t.Fatalf("echo of %d bytes, %v", len(p), err)
	}
	c.WriteMessage(OpBinary, make([]byte, 9<<20+1))
	_, _, err := c.ReadMessage(nil)
	wantCloseError(t, err, CloseTooBig, true)
	ended("error Max payload size exceeded")
	ended("closed 1006 ") // ws does not read our answer

	c = dial("/fragments")
	if _, p, err := c.ReadMessage(nil); err != nil || !bytes.Equal(p, large) {
		t.Fatalf("message of %d bytes, %v", len(p), err)
	}
	if err := c.Close(CloseNormal, ""); err != nil {
		t.Error(err)
	}
	ended("closed 1000 ")

	c = dial("/flood")
	if _, _, err := c.ReadMessage(nil); err != nil {
		t.Error(err)
	}
	if err := c.Close(4000, "enough"); err != nil {
		t.Error(err)
	}
	ended("closed 4000 enough")

	c = dial("/enough")
	go flood(c)
	_, _, err = c.ReadMessage(nil)
	wantCloseError(t, err, 4002, true)
	c.Close(CloseNormal, "")
	ended("closed 4002 ")

	c = dial("/terminate")
	_, _, err = c.ReadMessage(nil)
	wantCloseError(t, err, CloseAbnormal, true)
	ended("closed 1006 ")

	var all sync.WaitGroup
	for i := range 30 {
		c := dial("/echo")
		all.Go(func() {
			want := fmt.Sprint("from ", i)
			c.WriteMessage(OpText, []byte(want))
			if _, p, err := c.ReadMessage(nil); err != nil || string(p) != want {
				t.Errorf("%q, %v; want %q", p, err, want)
			}
			if err := c.Close(CloseNormal, ""); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for range 30 {
		ended("closed 1000 ")
	}
	stop()
}
