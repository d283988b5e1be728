//go:build unix

package host

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wspawn/wspawn/fastcgi"
	"github.com/wspawn/wspawn/internal/browsertest"
	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/scgi"
	"github.com/wspawn/wspawn/wsframe"
)

// kinds are the routes of everyKind.
var kinds = []string{"stdio", "cgi", "scgi", "fastcgi", "tunnel", "proxy"}

// everyKind is a configuration with an echo behind each kind of endpoint, and files at the root.
func everyKind(t *testing.T, root string) *config.Config {
	t.Helper()
	program := filepath.Join(t.TempDir(), "ws_echo")
	if out, err := exec.Command("go", "build", "-o", program, "../../examples/ws_echo/ws_echo.go").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	echo := &wsframe.Handler{Endpoint: echoes{}, Options: wsframe.AcceptOptions{
		AllowOrigin: func(*wsframe.Request) error { return nil }, // what is in front of it has asked
	}}
	proxied := httptest.NewServer(echo)
	t.Cleanup(proxied.Close)
	t.Cleanup(func() { echo.Shutdown(context.Background()) })
	fast := &fastcgi.Server{Handler: echo}
	simple := &scgi.Server{Handler: echo}
	files := filesRoute("/", root)
	c := routes(files, stdioRoute("/stdio", "cat"))
	add := func(path string) *config.Route {
		r := config.New[config.Route]()
		r.Path = path
		c.Route = append(c.Route, r)
		return r
	}
	cgi := add("/cgi")
	cgi.CGI = config.New[config.CGI]()
	cgi.CGI.Path, cgi.CGI.Upgrade = config.Path(program), true
	f := add("/fastcgi")
	f.FastCGI = config.New[config.FastCGI]()
	f.FastCGI.Servers, f.FastCGI.Upgrade = []string{accept(t, fast.Serve, fast.Close)}, true
	s := add("/scgi")
	s.SCGI = config.New[config.SCGI]()
	s.SCGI.Servers, s.SCGI.Upgrade = []string{accept(t, simple.Serve, simple.Close)}, true
	tunnel := add("/tunnel")
	tunnel.Tunnel = config.New[config.Tunnel]()
	tunnel.Tunnel.Servers = []string{echoTCP(t)}
	proxy := add("/proxy")
	proxy.Proxy = config.New[config.Proxy]()
	proxy.Proxy.Servers, proxy.Proxy.Upgrade = []string{proxied.Listener.Addr().String()}, true
	return c
}

// echoes is an endpoint that sends back what comes.
type echoes struct{}

func (echoes) Open(context.Context, *wsframe.Request) (wsframe.Session, error) { return echoes{}, nil }
func (echoes) Abort()                                                          {}
func (echoes) Run(_ context.Context, c *wsframe.Conn) error {
	for {
		op, p, err := c.ReadMessage(nil)
		if err != nil {
			return err
		}
		c.WriteMessage(op, p)
	}
}

// accept lets a server accept connections until the end of the test.
func accept(t *testing.T, serve func(net.Listener) error, stop func() error) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		serve(ln)
	}()
	t.Cleanup(func() {
		stop()
		ln.Close()
		<-ended
	})
	return ln.Addr().String()
}

func echoTCP(t *testing.T) string {
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	return accept(t, func(ln net.Listener) error {
		for {
			c, err := ln.Accept()
			if err != nil {
				return err
			}
			all.Go(func() {
				io.Copy(c, c)
				c.Close()
			})
		}
	}, func() error { return nil })
}

// page connects to the paths behind its #, sends, and shows what comes back.
const page = `<!doctype html><meta charset=utf-8><title>echo</title><link rel=icon href=data:,><ul></ul><script>
const paths = location.hash.slice(1).split(",")
window.left = paths.length
for (const path of paths) {
	const say = text => {
		document.querySelector("ul").appendChild(document.createElement("li")).textContent = path + ": " + text
		left--
	}
	const ws = new WebSocket("wss://" + location.host + "/" + path)
	let got = "", opened = false
	ws.binaryType = "arraybuffer"
	ws.onopen = () => { opened = true; ws.send("grüße von " + path) }
	ws.onmessage = async e => {
		got += typeof e.data == "string" ? e.data : new TextDecoder().decode(e.data)
		if (got == "grüße von " + path) ws.close(1000)
	}
	ws.onclose = e => say(got + " " + e.code + " " + e.wasClean + " " + ws.extensions)
}
</script>`

func TestBrowserUsesOneHTTP2ConnectionForEveryEndpoint(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "index.html"), []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	c := everyKind(t, root)
	l := config.New[config.Listener]()
	l.Address, l.SelfSigned = "127.0.0.1:0", true
	c.Listen, c.Listener = nil, []*config.Listener{l}
	for _, r := range c.Route {
		if r.Path == "/stdio" || r.Path == "/tunnel" {
			r.WebSocket.Compression = config.New[config.Compression]()
			r.WebSocket.Compression.Window, r.WebSocket.Compression.PeerWindow, r.WebSocket.Compression.MinSize = 4096, 4096, 1
		}
	}
	h, err := New(c, Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[string]string{} // path: connection
	next := h.listeners[0].server.Handler
	h.listeners[0].server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(":protocol") == "websocket" && r.Method == http.MethodConnect && r.ProtoMajor == 2 {
			mu.Lock()
			seen[r.URL.Path] = r.RemoteAddr
			mu.Unlock()
		}
		next.ServeHTTP(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx, context.Background()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	p := browsertest.New(t).Open(t, h.URLs("http")[0]+"#"+strings.Join(kinds, ","))
	p.Wait("left == 0")
	got := strings.Split(p.Text("ul"), "\n")
	mu.Lock()
	defer mu.Unlock()
	for _, kind := range kinds {
		want := kind + ": grüße von " + kind + " 1000 true"
		if kind == "stdio" || kind == "tunnel" { // those that compress
			want += " permessage-deflate; client_max_window_bits=12"
		}
		if !slices.Contains(got, want) {
			t.Errorf("%s: the page shows %q", kind, got)
		}
		if seen["/"+kind] == "" || seen["/"+kind] != seen["/stdio"] {
			t.Errorf("%s: extended CONNECT came over %v", kind, seen)
		}
	}
}
