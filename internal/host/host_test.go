//go:build unix

package host

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/wsframe"
)

func TestMain(m *testing.M) {
	if mode, ok := os.LookupEnv(workerVariable); ok {
		worker(mode)
	}
	// Whoever runs the tests may ignore signals, as nohup and background jobs do. Programs do not inherit that if they are caught here.
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGHUP, syscall.SIGQUIT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/wspawn/wspawn/spawner.threadLoop"))
}

// run starts a server for a program and returns it; it is stopped at the end of the test.
func run(t *testing.T, c *config.Config) (h *Host, stop func() error) {
	t.Helper()
	return runLogged(t, c, slog.New(slog.DiscardHandler))
}

func runLogged(t *testing.T, c *config.Config, log *slog.Logger) (h *Host, stop func() error) {
	t.Helper()
	h, err := New(c, Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx, context.Background()) }()
	stop = func() error {
		cancel()
		select {
		case err := <-ended:
			ended <- err
			return err
		case <-time.After(30 * time.Second):
			return errors.New("the server does not stop")
		}
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return h, stop
}

func settings(command ...string) *config.Config {
	c := config.New[config.Config]()
	c.Hosts = []string{"*"} // tests have names of all kinds
	r := config.New[config.Route]()
	c.Listen, c.Route = []string{"127.0.0.1:0"}, []*config.Route{r}
	c.Program = map[string]*config.Program{"p": config.New[config.Program]()}
	r.Stdio = config.New[config.Stdio]()
	r.Stdio.Program, r.Stdio.Command = "p", command
	return c
}

func dial(t *testing.T, h *Host, path string, o *wsframe.DialOptions) *wsframe.Conn {
	t.Helper()
	c, _, err := wsframe.Dial(t.Context(), strings.TrimSuffix(h.URLs("ws")[0], "/")+path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow(); <-c.Done() })
	return c
}

func read(t *testing.T, c *wsframe.Conn) string {
	t.Helper()
	_, p, err := c.ReadMessage(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

func TestStoppingServerSaysGoodbyeAndStopsPrograms(t *testing.T) {
	h, stop := run(t, settings("sh", "-c", "sleep 1000 & echo ready; wait"))
	c := dial(t, h, "/", nil)
	if got := read(t, c); got != "ready" {
		t.Fatalf("got %q", got)
	}
	closed := make(chan error, 1)
	go func() {
		_, _, err := c.ReadMessage(nil)
		closed <- err
	}()
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	var e *wsframe.CloseError
	if err := <-closed; !errors.As(err, &e) || e.Code != wsframe.CloseGoingAway {
		t.Errorf("the client saw %v", err)
	}
	if n := h.programs.Running(); n != 0 {
		t.Errorf("%d programs are left", n)
	}
}

// Browsers open connections in advance. net/http alone would wait for them.
func TestConnectionThatAsksNothingDoesNotHoldUpTheEnd(t *testing.T) {
	h, stop := run(t, settings("cat"))
	nc, err := net.Dial("tcp", h.listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	dial(t, h, "/", nil) // so the other one has been accepted as well
	closed := make(chan error, 1)
	go func() {
		_, err := nc.Read(make([]byte, 1))
		closed <- err
	}()
	if err := stop(); err != nil {
		t.Error(err)
	}
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Error("the connection is still open")
	}
}

func TestProgramSeesTheRequestAndOnlyListedVariables(t *testing.T) {
	t.Setenv("SECRET", "of the server")
	cfg := settings("sh", "-c", "env | sort; echo end")
	cfg.Program["p"].Env, cfg.Route[0].Subprotocols = map[string]string{"GREETING": "hello world"}, []string{"chat"}
	h, _ := run(t, cfg)
	c := dial(t, h, "/some/path?q=1", &wsframe.DialOptions{
		Protocols: []string{"Chat"},
		Header:    http.Header{"X-Thing": {"a", "b"}, "Proxy": {"evil"}},
	})
	if c.Subprotocol() != "Chat" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	env := map[string]string{}
	for line := read(t, c); line != "end"; line = read(t, c) {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
	}
	for name, want := range map[string]string{
		"GREETING": "hello world", "PATH_INFO": "/some/path", "QUERY_STRING": "q=1", "SCRIPT_NAME": "",
		"HTTP_X_THING": "a, b", "WEBSOCKET_PROTOCOL": "Chat", "GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "GET",
	} {
		if got, ok := env[name]; !ok || got != want {
			t.Errorf("%s is %q (%v), want %q", name, got, ok, want)
		}
	}
	for _, name := range []string{"SECRET", "HTTP_PROXY"} {
		if v, ok := env[name]; ok {
			t.Errorf("%s is %q", name, v)
		}
	}
	if len(env["UNIQUE_ID"]) != 32 || env["HTTP_HOST"] == "" {
		t.Errorf("UNIQUE_ID %q, HTTP_HOST %q", env["UNIQUE_ID"], env["HTTP_HOST"])
	}
}

func TestHeadersThatCollideAreRefused(t *testing.T) {
	h, _ := run(t, settings("cat"))
	// The client library would not send them.
	nc, err := net.Dial("tcp", h.listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX-A: 1\r\nX_A: 2\r\n\r\n")
	answer := make([]byte, 64)
	n, _ := nc.Read(answer)
	if !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 400 ") {
		t.Errorf("%q", answer[:n])
	}
}

func TestDirectoryOfProgramsIsWalked(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside.sh")
	for file, content := range map[string]string{
		dir + "/sub/hi.sh": "#!/bin/sh\necho \"$SCRIPT_NAME $PATH_INFO\"\n",
		dir + "/broken.sh": "#!/no/such/interpreter\n",
		dir + "/plain.txt": "text",
		outside:            "#!/bin/sh\necho outside\n",
	} {
		os.MkdirAll(filepath.Dir(file), 0o777)
		mode := os.FileMode(0o755)
		if strings.HasSuffix(file, ".txt") {
			mode = 0o644
		}
		if err := os.WriteFile(file, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, dir+"/link.sh"); err != nil {
		t.Fatal(err)
	}
	c := settings()
	c.Route[0].Stdio.Programs = config.Path(dir)
	h, _ := run(t, c)
	conn := dial(t, h, "/sub/hi.sh/and/more", nil)
	if got := read(t, conn); got != "/sub/hi.sh /and/more" {
		t.Errorf("got %q", got)
	}
	for path, want := range map[string]int{
		"/": 404, "/sub/": 404, "/nothing": 404, "/link.sh": 404, "/broken.sh": 502, "/plain.txt": 502,
	} {
		_, resp, err := wsframe.Dial(t.Context(), strings.TrimSuffix(h.URLs("ws")[0], "/")+path, nil)
		if err == nil || resp == nil || resp.StatusCode != want {
			t.Errorf("%s: %v, want %d", path, err, want)
		}
	}
}

func TestFragmentSizeCutsMessages(t *testing.T) {
	c := settings("cat")
	c.Route[0].WebSocket.FragmentSize = 4
	h, _ := run(t, c)
	conn := dial(t, h, "/", nil)
	conn.WriteMessage(wsframe.OpText, []byte("grüße, all"))
	var frames []string
	for {
		f, err := conn.ReadFrame(nil)
		if err != nil {
			t.Fatal(err)
		}
		if frames = append(frames, string(f.Payload)); f.Fin {
			break
		}
	}
	if got := strings.Join(frames, "|"); got != "grü|ße,| all" {
		t.Errorf("fragments %q", got)
	}
}

func TestLimitOfProcessesIs503WithRetryAfter(t *testing.T) {
	c := settings("cat")
	c.MaxProcesses = 1
	h, _ := run(t, c)
	first := dial(t, h, "/", nil)
	_, resp, err := wsframe.Dial(t.Context(), h.URLs("ws")[0], nil)
	if err == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("%v", err)
	}
	first.Close(wsframe.CloseNormal, "")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, _, err := wsframe.Dial(t.Context(), h.URLs("ws")[0], nil)
		if err == nil {
			c.CloseNow()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the place is not free again: %v", err)
		}
	}
}

func TestChangedProgramEndsItsSessions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.sh")
	write := func(word string) {
		if err := os.WriteFile(file+"~", []byte("#!/bin/sh\necho "+word+"; exec cat\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+"~", file); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	cfg := settings(file)
	cfg.Route[0].Stdio.Watch = true
	h, _ := run(t, cfg)
	c := dial(t, h, "/", nil)
	if got := read(t, c); got != "old" {
		t.Fatalf("got %q", got)
	}
	write("new")
	var e *wsframe.CloseError
	if _, _, err := c.ReadMessage(nil); !errors.As(err, &e) || e.Code != wsframe.CloseServiceRestart {
		t.Fatalf("the client saw %v", err)
	}
	if got := read(t, dial(t, h, "/", nil)); got != "new" {
		t.Errorf("got %q", got)
	}
}

func TestUnixSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	c := settings("cat")
	c.Listen = []string{"unix:" + path, "127.0.0.1:0"} // both kinds at once
	c.Route[0].Console = "auto"
	h, stop := run(t, c)
	conn := dial0(t, path)
	conn.WriteMessage(wsframe.OpText, []byte("hi"))
	if got := read(t, conn); got != "hi" {
		t.Errorf("got %q", got)
	}
	if got, want := h.ConsoleURL(), "http://"+h.listeners[1].Addr().String()+"/"; got != want {
		t.Errorf("console at %q, want %q", got, want)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func dial0(t *testing.T, path string) *wsframe.Conn {
	t.Helper()
	c, _, err := wsframe.Dial(t.Context(), "ws://localhost/", &wsframe.DialOptions{UnixSocket: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow(); <-c.Done() })
	return c
}

func TestConsoleIsOnlyForThisMachineUnlessAsked(t *testing.T) {
	for _, test := range []struct {
		listen, console, static, want string
	}{
		{"127.0.0.1:0", "auto", "", "/"},
		{"127.0.0.1:0", "auto", ".", "/" + ConsolePath},
		{"127.0.0.1:0", "off", "", ""},
		{"0.0.0.0:0", "auto", "", ""},
		{"0.0.0.0:0", "on", "", "/"},
	} {
		c := settings("cat")
		c.Listen, c.Route[0].Console = []string{test.listen}, test.console
		if test.static != "" {
			c.Route[0].Files = &config.Files{Root: config.Path(test.static)}
		}
		h, _ := run(t, c)
		if got := strings.TrimPrefix(h.ConsoleURL(), "http://"+h.listeners[0].Addr().String()); got != test.want {
			t.Errorf("%v: console at %q", test, got)
		}
	}
}
