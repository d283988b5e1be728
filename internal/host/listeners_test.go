//go:build unix

package host

import (
	"crypto/tls"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/wsframe"
)

// on puts a route on some listeners.
func on(r *config.Route, addresses ...string) *config.Route {
	r.Listeners = addresses
	return r
}

var anyCertificate = &tls.Config{InsecureSkipVerify: true}

// open asks the n-th listener for a WebSocket. The connection is nil if it is refused.
func open(t *testing.T, h *Host, n int, path string) (*wsframe.Conn, *http.Response) {
	t.Helper()
	o := &wsframe.DialOptions{TLS: anyCertificate}
	url, unix, _ := strings.Cut(h.URLs("ws")[n], "+unix:")
	if o.UnixSocket = unix; unix != "" {
		url += "://localhost/"
	}
	c, resp, err := wsframe.Dial(t.Context(), strings.TrimSuffix(url, "/")+path, o)
	if resp == nil {
		t.Fatal(err)
	}
	if err != nil {
		return nil, resp
	}
	t.Cleanup(func() { c.CloseNow(); <-c.Done() })
	return c, resp
}

// said is what comes first from the n-th listener, or the reason why nothing does.
func said(t *testing.T, h *Host, n int, path string) string {
	t.Helper()
	c, resp := open(t, h, n, path)
	if c == nil {
		return resp.Status + ": " + resp.Header.Get(rejectReason)
	}
	return read(t, c)
}

const nothing = "404 Not Found: there is nothing at this path"

func TestRoutesAreOnTheirListeners(t *testing.T) {
	const plain, secured = "127.0.0.1:0", "localhost:0"
	socket := "unix:" + filepath.Join(t.TempDir(), "s")
	c := routes(
		stdioRoute("/all", "echo", "all"),
		on(stdioRoute("/irc", "echo", "plain"), plain),
		on(stdioRoute("/irc", "echo", "secured"), secured),
		on(stdioRoute("/irc", "echo", "socket"), socket),
		on(stdioRoute("/two", "echo", "two"), secured, socket),
		on(filesRoute("/files/", t.TempDir()), secured),
	)
	c.Route[5].Files.Listings = true
	c.Listen = []string{plain, socket}
	l := config.New[config.Listener]()
	l.Address, l.SelfSigned = secured, true
	c.Listener = []*config.Listener{l}
	h, _ := run(t, c)
	for path, want := range map[string][3]string{ // of plain, socket, secured
		"/all": {"all", "all", "all"}, "/irc": {"plain", "socket", "secured"}, "/two": {nothing, "two", "two"}, "/none": {nothing, nothing, nothing},
	} {
		for n, want := range want {
			if got := said(t, h, n, path); got != want {
				t.Errorf("%s on %s: %q, want %q", path, h.URLs("ws")[n], got, want)
			}
		}
	}
	// Ordinary requests, in both versions of HTTP.
	for _, http2 := range []bool{false, true} {
		p := new(http.Protocols)
		p.SetHTTP1(!http2)
		p.SetHTTP2(http2)
		p.SetUnencryptedHTTP2(http2)
		transport := &http.Transport{TLSClientConfig: anyCertificate.Clone(), Protocols: p}
		for n, want := range map[int]int{0: 404, 2: 200} {
			resp, err := (&http.Client{Transport: transport}).Get(strings.TrimSuffix(h.URLs("http")[n], "/") + "/files/")
			if err != nil {
				t.Fatal(err)
			}
			if resp.Body.Close(); resp.StatusCode != want || (resp.ProtoMajor == 2) != http2 {
				t.Errorf("%s of listener %d: %s, want %d", resp.Proto, n, resp.Status, want)
			}
		}
		transport.CloseIdleConnections()
	}
}

// A route that others cannot connect to is local, and browsers are told of a listener that has it.
func TestConsoleIsOnAListenerOfItsRoute(t *testing.T) {
	const public, local = "0.0.0.0:0", "127.0.0.1:0"
	c := routes(on(stdioRoute("/a", "cat"), public), on(stdioRoute("/b", "cat"), local))
	c.Listen = []string{public, local}
	for _, r := range c.Route {
		r.Console = "auto"
	}
	h, _ := run(t, c)
	if got, want := h.ConsoleURL(), h.URLs("http")[1]; got != want {
		t.Errorf("console at %q, want %q", got, want)
	}

	// It is the listeners behind a reload that count.
	for _, test := range []struct {
		address string
		console bool
	}{{local, true}, {public, false}} {
		c = routes(stdioRoute("/", "cat"))
		c.Listen, c.Route[0].Console = []string{test.address}, "auto"
		if err := h.Reload(c); err != nil {
			t.Fatal(err)
		}
		if got := h.ConsoleURL(); (got != "") != test.console {
			t.Errorf("on %s: console at %q", test.address, got)
		}
	}
}

func TestReloadOfListenersKeepsWhatIsOnOthers(t *testing.T) {
	const one, two, three = "127.0.0.1:0", "localhost:0", "[::1]:0"
	with := func(listen []string, r ...*config.Route) *config.Config {
		c := routes(r...)
		c.Listen = listen
		return c
	}
	h, _ := run(t, with([]string{one, two}, on(stdioRoute("/x", "cat"), one), on(stdioRoute("/x", "echo", "two"), two)))
	a, _ := open(t, h, 0, "/x")
	if a == nil {
		t.Fatal("refused")
	}
	kept := h.table.Load().services[0]

	// The second listener gives way to a third.
	if err := h.Reload(with([]string{one, three}, on(stdioRoute("/x", "cat"), one), on(stdioRoute("/x", "echo", "three"), three))); err != nil {
		t.Fatal(err)
	}
	if h.table.Load().services[0] != kept {
		t.Error("the route of a listener that did not change was made anew")
	}
	if got := said(t, h, 1, "/x"); got != "three" {
		t.Errorf("the new listener: %q", got)
	}

	// The route goes from one listener to the other; its sessions stay.
	if err := h.Reload(with([]string{one, three}, on(stdioRoute("/x", "echo", "moved"), three))); err != nil {
		t.Fatal(err)
	}
	echo(t, a, "of before")
	if got := said(t, h, 0, "/x"); got != nothing {
		t.Errorf("the listener that it was on: %q", got)
	}
	if got := said(t, h, 1, "/x"); got != "moved" {
		t.Errorf("the listener that it is on now: %q", got)
	}
}

// Connections on which nothing is asked take no more memory where there are many descriptors.
func TestConnectionsThatWaitAreNoMoreThanMayAsk(t *testing.T) {
	set := func(c *config.Config, sessions, requests int) *config.Config {
		c.Limits.Sessions, c.Limits.Requests = sessions, requests
		return c
	}
	h, _ := run(t, set(routes(stdioRoute("/", "cat")), 15, 20))
	for _, want := range []struct{ sessions, requests, max int }{
		{15, 20, 35}, {20, 20, 40}, {1, 1, 16}, {0, 20, descriptors() / 4}, {20, 0, descriptors() / 4},
	} {
		if err := h.Reload(set(routes(stdioRoute("/", "cat")), want.sessions, want.requests)); err != nil {
			t.Fatal(err)
		}
		l := h.listeners[0]
		l.waiting.mu.Lock()
		if got := l.waiting.max; got != want.max {
			t.Errorf("%d sessions and %d requests: %d connections may wait, want %d", want.sessions, want.requests, got, want.max)
		}
		l.waiting.mu.Unlock()
	}
}
