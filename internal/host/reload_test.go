//go:build unix

package host

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/wsframe"
)

func stdioRoute(path string, command ...string) *config.Route {
	r := config.New[config.Route]()
	r.Path, r.Stdio = path, config.New[config.Stdio]()
	r.Stdio.Command = command
	return r
}

func filesRoute(path, dir string) *config.Route {
	r := config.New[config.Route]()
	r.Path, r.Files = path, config.New[config.Files]()
	r.Files.Root = config.Path(dir)
	return r
}

// routes makes a configuration of some.
func routes(all ...*config.Route) *config.Config {
	c := config.New[config.Config]()
	c.Hosts = []string{"*"} // tests have names of all kinds
	c.Listen, c.Route, c.MaxProcesses = []string{"127.0.0.1:0"}, all, 0
	return c
}

func status(t *testing.T, h *Host, path string) int {
	t.Helper()
	resp, err := http.Get(strings.TrimSuffix(h.URLs("http")[0], "/") + path)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func echo(t *testing.T, c *wsframe.Conn, word string) {
	t.Helper()
	if err := c.WriteMessage(wsframe.OpText, []byte(word)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c); got != word {
		t.Fatalf("got %q, want %q", got, word)
	}
}

func TestReloadChangesWhatIsNewAndKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	old := routes(stdioRoute("/a", "cat"), stdioRoute("/b", "cat"))
	h, _ := run(t, old)
	a, b := dial(t, h, "/a", nil), dial(t, h, "/b", nil)
	kept := h.table.Load().services[1]

	changed := routes(stdioRoute("/a", "sed", "-u", "s/^/new /"), stdioRoute("/b", "cat"), filesRoute("/c/", dir))
	if err := h.Reload(changed); err != nil {
		t.Fatal(err)
	}
	echo(t, a, "of before")
	echo(t, b, "of before")
	if h.table.Load().services[1] != kept {
		t.Error("a route that did not change was made anew")
	}
	c := dial(t, h, "/a", nil)
	c.WriteMessage(wsframe.OpText, []byte("program"))
	if got := read(t, c); got != "new program" {
		t.Errorf("got %q", got)
	}
	if got := status(t, h, "/c/"); got != 404 { // no index, no listings
		t.Errorf("the new route answers %d", got)
	}

	if err := h.Reload(routes(stdioRoute("/b", "cat"))); err != nil {
		t.Fatal(err)
	}
	echo(t, a, "of a route that is gone")
	if got := status(t, h, "/a"); got != 404 {
		t.Errorf("the route that is gone answers %d", got)
	}
}

func TestReloadWithAMistakeChangesNothing(t *testing.T) {
	h, _ := run(t, routes(stdioRoute("/a", "cat")))
	before := h.table.Load()
	for name, c := range map[string]*config.Config{
		"a program that is not there": routes(stdioRoute("/a", "no such program")),
		"a port in use": func() *config.Config {
			c := routes(stdioRoute("/z", "cat"))
			c.Listen = []string{"127.0.0.1:0", h.listeners[0].Addr().String()}
			return c
		}(),
	} {
		if err := h.Reload(c); err == nil {
			t.Errorf("%s: no error", name)
		}
		if h.table.Load() != before {
			t.Errorf("%s: another table", name)
		}
		echo(t, dial(t, h, "/a", nil), "still there")
	}
}

func TestReloadChangesTheLimitsOfPrograms(t *testing.T) {
	limited := func(processes int, rate float64) *config.Config {
		c := routes(stdioRoute("/", "cat"))
		c.MaxProcesses, c.StartRate = processes, rate
		return c
	}
	h, _ := run(t, limited(1, 0.001)) // one start, and no other in this test
	kept := h.table.Load().services[0]
	open := func() (*wsframe.Conn, *http.Response, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		c, resp, err := wsframe.Dial(ctx, h.URLs("ws")[0], nil)
		if err == nil {
			t.Cleanup(func() { c.CloseNow(); <-c.Done() })
		}
		return c, resp, err
	}
	served := func(what string) *wsframe.Conn {
		t.Helper()
		c, _, err := open()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		echo(t, c, what)
		return c
	}
	refused := func(what string) {
		t.Helper()
		if _, resp, err := open(); err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: not refused with 503, %v", what, err)
		}
	}
	reload := func(processes int, rate float64) {
		t.Helper()
		if err := h.Reload(limited(processes, rate)); err != nil {
			t.Fatal(err)
		}
	}
	first := served("the first")
	refused("a second one of one")
	reload(2, 0)
	served("the second one of two, at any rate")
	refused("a third one of two")
	reload(1, 0)
	refused("a third one where two are too many already")
	echo(t, first, "those that run go on")
	bad := limited(0, 0)
	bad.Pool = map[string]*config.Pool{"p": config.New[config.Pool]()}
	bad.Pool["p"].Command, bad.Pool["p"].Address = []string{"cat"}, "unix:"+t.TempDir()+"/nowhere/s"
	bad.Route = append(bad.Route, tunnelRoute("/p", "p"))
	if err := h.Reload(bad); err == nil {
		t.Fatal("a pool without a place for its socket")
	}
	refused("a third one after a reload that failed")
	reload(0, 0)
	served("without a limit")
	if h.table.Load().services[0] != kept {
		t.Error("the route was made anew")
	}
}

func TestReloadOpensAndClosesListeners(t *testing.T) {
	path := t.TempDir() + "/s"
	c := routes(stdioRoute("/", "cat"))
	h, _ := run(t, c)
	first := dial(t, h, "/", nil)
	both := routes(stdioRoute("/", "cat"))
	both.Listen = append(both.Listen, "unix:"+path)
	if err := h.Reload(both); err != nil {
		t.Fatal(err)
	}
	echo(t, dial0(t, path), "by the new one")
	echo(t, dial(t, h, "/", nil), "by the old one")
	one := routes(stdioRoute("/", "cat"))
	one.Listen = []string{"unix:" + path}
	if err := h.Reload(one); err != nil {
		t.Fatal(err)
	}
	echo(t, first, "its session goes on")
	echo(t, dial0(t, path), "still")
	if _, err := http.Get(fmt.Sprintf("http://%s/", first.RemoteAddr())); err == nil {
		t.Error("the address is still served")
	}
}

func TestReloadChangesWhatAListenerIs(t *testing.T) {
	socket := "unix:" + t.TempDir() + "/s"
	listeners := func(change func(tcp, unix *config.Listener)) *config.Config {
		c := routes(stdioRoute("/", "cat"))
		tcp, unix := config.New[config.Listener](), config.New[config.Listener]()
		tcp.Address, unix.Address = "127.0.0.1:0", socket
		change(tcp, unix)
		c.Listen, c.Listener = nil, []*config.Listener{tcp, unix}
		return c
	}
	h, _ := run(t, listeners(func(_, _ *config.Listener) {}))
	first := dial(t, h, "/", nil)
	addr := h.listeners[0].Addr().String()
	early, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	for h.listeners[0].waiting.empty() {
		time.Sleep(time.Millisecond)
	}
	if err := h.Reload(listeners(func(tcp, _ *config.Listener) { tcp.SelfSigned = true })); err != nil {
		t.Fatal(err)
	}
	io.WriteString(early, "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(early), nil); err != nil {
		t.Errorf("a request of before the reload: %v, %v", resp, err)
	}
	if now := h.URLs("ws")[0]; now != "wss://"+addr+"/" {
		t.Errorf("listening at %s, not %s", now, addr)
	}
	echo(t, dial(t, h, "/", &wsframe.DialOptions{TLS: &tls.Config{InsecureSkipVerify: true}}), "with TLS")
	echo(t, first, "its session goes on")
	if err := h.Reload(listeners(func(tcp, _ *config.Listener) { tcp.ProxyProtocol = []string{"192.0.2.1"} })); err != nil {
		t.Fatal(err)
	}
	if err := h.Reload(listeners(func(tcp, _ *config.Listener) { tcp.HTTP2 = false })); err != nil {
		t.Fatal(err)
	}
	echo(t, dial(t, h, "/", nil), "without TLS again")
	if got := h.listeners[0].Addr().String(); got != addr {
		t.Errorf("listening at %s, not %s", got, addr)
	}
	err = h.Reload(listeners(func(tcp, unix *config.Listener) { tcp.HTTP2, unix.HTTP2 = false, false }))
	if err == nil || !strings.Contains(err.Error(), "started anew") {
		t.Errorf("another listener at a Unix socket: %v", err)
	}
	echo(t, dial(t, h, "/", nil), "as before")
}

// A hundred reloads, while half a thousand sessions talk and others come and go.
func TestReloadUnderLoadHurtsNobody(t *testing.T) {
	const sessions, reloads = 500, 100
	dir := t.TempDir()
	configuration := func(i int) *config.Config {
		return routes(
			stdioRoute("/kept", "cat"), // never changes
			func() *config.Route { // changes each time
				r := stdioRoute("/echo", "cat")
				r.Headers = []string{fmt.Sprintf("X-Generation: %d", i)}
				return r
			}(),
			filesRoute(fmt.Sprintf("/files%d/", i%3), dir), // comes and goes
		)
	}
	h, stop := run(t, configuration(0))
	conns := make([]*wsframe.Conn, sessions)
	for i := range conns {
		conns[i] = dial(t, h, []string{"/kept", "/echo"}[i%2], nil)
	}
	base := strings.TrimSuffix(h.URLs("ws")[0], "/")
	var rounds, arrivals atomic.Int64
	var failed atomic.Pointer[error]
	fail := func(err error) { failed.CompareAndSwap(nil, &err) }
	over := make(chan struct{})
	var work sync.WaitGroup
	for worker := range 8 { // each talks on its share of the sessions
		work.Go(func() {
			for {
				for i := worker; i < sessions; i += 8 {
					select {
					case <-over:
						return
					default:
					}
					word := fmt.Sprintf("%d", rounds.Add(1))
					if err := conns[i].WriteMessage(wsframe.OpText, []byte(word)); err != nil {
						fail(fmt.Errorf("session %d: %w", i, err))
						return
					}
					if _, p, err := conns[i].ReadMessage(nil); err != nil || string(p) != word {
						fail(fmt.Errorf("session %d: %q, %w", i, p, err))
						return
					}
				}
			}
		})
	}
	work.Go(func() { // others arrive
		for {
			select {
			case <-over:
				return
			default:
			}
			c, _, err := wsframe.Dial(t.Context(), base+"/echo", nil)
			if err != nil {
				fail(fmt.Errorf("a new session: %w", err))
				return
			}
			c.Close(wsframe.CloseNormal, "")
			arrivals.Add(1)
		}
	})
	for i := range reloads {
		if err := h.Reload(configuration(i + 1)); err != nil {
			t.Fatal(err)
		}
		before := rounds.Load()
		for end := time.Now().Add(30 * time.Second); rounds.Load() < before+8 && failed.Load() == nil; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the sessions stand still")
			}
		}
	}
	close(over)
	work.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
	for i, c := range conns {
		echo(t, c, fmt.Sprintf("session %d at the end", i))
		c.Close(wsframe.CloseNormal, "")
	}
	t.Logf("%d echoes and %d new sessions during %d reloads", rounds.Load(), arrivals.Load(), reloads)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		h.mu.Lock()
		h.retire(h.table.Load(), h.table.Load())
		left := len(h.old)
		h.mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d services of old tables are left", left)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// Each service of each generation had a directory or a goroutine of its own.
	if runtime.GOOS == "linux" {
		if fds, err := os.ReadDir("/proc/self/fd"); err != nil || len(fds) > 64 {
			t.Errorf("%d descriptors are left, %v", len(fds), err)
		}
	}
}

// A route that changes keeps its sessions, so that they count for what it may have then, as do those of a user.
func TestReloadCountsTheSessionsOfBefore(t *testing.T) {
	hooked := func(sessions, perUser int, command ...string) *config.Config {
		r := stdioRoute("/", command...)
		r.Auth = config.New[config.Auth]()
		r.Auth.Hook = config.New[config.AuthHook]()
		r.Auth.Hook.Command = []string{"sh", "-c", `echo "REMOTE_USER: $QUERY_STRING"`}
		r.Limits.Sessions, r.Limits.SessionsPerUser = sessions, perUser
		c := routes(r)
		c.Admin = "127.0.0.1:0"
		return c
	}
	h, _ := run(t, hooked(3, 1, "cat"))
	try := func(user string, want int) {
		t.Helper()
		c, resp, err := wsframe.Dial(t.Context(), h.URLs("ws")[0]+"?"+user, nil)
		got := 0
		if err == nil {
			t.Cleanup(func() { c.CloseNow(); <-c.Done() })
		} else if resp != nil {
			got = resp.StatusCode
		}
		if got != want {
			t.Errorf("%s: status %d (%v), want %d", user, got, err, want)
		}
	}
	reload := func(c *config.Config) {
		t.Helper()
		if err := h.Reload(c); err != nil {
			t.Fatal(err)
		}
	}
	first := dial(t, h, "/?anna", nil)
	try("anna", 429)
	reload(hooked(3, 1, "sed", "-u", "s/^/new /"))
	try("anna", 429)
	try("bert", 0)
	counted(t, h, `wspawn_sessions{route="/"} 2`)

	broken := hooked(9, 9, "cat")
	broken.Route[0].Auth.Htpasswd = config.Path(t.TempDir()) // which only the service finds out
	if err := h.Reload(broken); err == nil {
		t.Error("a directory is no password file")
	}
	try("bert", 429)

	reload(hooked(3, 2, "cat"))
	try("anna", 0)
	try("carla", 503)
	echo(t, first, "of before")
	first.Close(wsframe.CloseNormal, "")
	counted(t, h, `wspawn_sessions{route="/"} 2`)
	try("carla", 0)
	reload(hooked(0, 0, "cat"))
	try("carla", 0)
	try("carla", 0)
}
