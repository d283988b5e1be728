//go:build unix

package host

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/h2test"
	"github.com/wspawn/wspawn/internal/streamtest"
	"github.com/wspawn/wspawn/scgi"
	"github.com/wspawn/wspawn/wsframe"
)

// hookScript says who may come, with lines for the answer. The query is the subprotocol.
const hookScript = `#!/bin/sh
echo "REMOTE_USER: alice"
echo "Set-Cookie: a=1; Secure"
echo "Set-Cookie: b=2"
echo "Header-X-Room: 7"
echo "Protocol: $QUERY_STRING"
case $REQUEST_URI in */refused*) exit 1;; esac
`

// answering is a server with a WebSocket that takes the first subprotocol, and a page. Both set a cookie.
func answering(t *testing.T) http.Handler {
	ws := &wsframe.Handler{
		Endpoint: echoes{}, Options: wsframe.AcceptOptions{Header: http.Header{"Set-Cookie": {"b=3"}}},
		Select: anyProtocol,
	}
	t.Cleanup(func() { ws.Shutdown(context.Background()) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wsframe.IsUpgrade(r) {
			ws.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Set-Cookie", "b=3")
		fmt.Fprint(w, "a page")
	})
}

// asked is everything that can be behind a question who the client is.
func asked(t *testing.T, question func(*config.Auth)) *config.Config {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "page"), []byte("a page"), 0o600); err != nil {
		t.Fatal(err)
	}
	proxied := httptest.NewServer(answering(t))
	t.Cleanup(proxied.Close)
	simple := &scgi.Server{Handler: answering(t)}
	c := routes(stdioRoute("/stdio", "cat"), stdioRoute("/refused", "cat"), filesRoute("/files/", dir))
	c.Route[0].HandshakeHeaders = []string{"Set-Cookie: b=3"}
	for path, set := range map[string]func(*config.Route){
		"/scgi": func(r *config.Route) {
			r.SCGI = config.New[config.SCGI]()
			r.SCGI.Servers, r.SCGI.Upgrade = []string{accept(t, simple.Serve, simple.Close)}, true
		},
		"/proxy": func(r *config.Route) {
			r.Proxy = config.New[config.Proxy]()
			r.Proxy.Servers, r.Proxy.Upgrade = []string{proxied.Listener.Addr().String()}, true
		},
	} {
		r := config.New[config.Route]()
		r.Path = path
		set(r)
		c.Route = append(c.Route, r)
	}
	for _, r := range c.Route {
		r.Auth = config.New[config.Auth]()
		question(r.Auth)
	}
	return c
}

func askHook(t *testing.T) func(*config.Auth) {
	script := filepath.Join(t.TempDir(), "hook.sh")
	if err := os.WriteFile(script, []byte(hookScript), 0o755); err != nil {
		t.Fatal(err)
	}
	return func(a *config.Auth) {
		a.Hook = config.New[config.AuthHook]()
		a.Hook.Command = []string{script}
	}
}

func askServer(t *testing.T) func(*config.Auth) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Remote-User", "alice")
		h["Set-Cookie"] = []string{"a=1; Secure", "b=2"}
		h.Set("X-Room", "7")
		h.Set("X-Secret", "8")
		if strings.Contains(r.Header.Get("X-Forwarded-Uri"), "/refused") {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(other.Close)
	return func(a *config.Auth) {
		a.Forward = config.New[config.AuthForward]()
		a.Forward.URL, a.Forward.AnswerHeaders = other.URL, []string{"set-cookie", "X-Room", "X-Missing"}
	}
}

func TestWhoIsAskedSetsLinesOfTheAnswer(t *testing.T) {
	for name, question := range map[string]func(*testing.T) func(*config.Auth){"hook": askHook, "forward": askServer} {
		t.Run(name, func(t *testing.T) {
			h, _ := run(t, asked(t, question(t)))
			base := strings.TrimSuffix(h.URLs("http")[0], "/")
			h2 := plain(t, h)
			check := func(what string, status, want int, got http.Header, cookies ...string) {
				t.Helper()
				if status != want || !slices.Equal(got["Set-Cookie"], cookies) || got.Get("X-Room") != "7" || got["X-Secret"] != nil || got["X-Missing"] != nil {
					t.Errorf("%s: status %d, %v, want %d and cookies %q", what, status, got, want, cookies)
				}
			}
			for _, path := range []string{"/stdio", "/scgi", "/proxy"} {
				c, resp, err := wsframe.Dial(t.Context(), "ws"+strings.TrimPrefix(base, "http")+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				c.Close(wsframe.CloseNormal, "")
				check(path, resp.StatusCode, 101, resp.Header, "a=1; Secure", "b=2", "b=3")
				ws, s := connect(t, h2, path)
				status, header := s.Response()
				check(path+" over HTTP/2", status, 200, header, "a=1; Secure", "b=2", "b=3")
				if err := echoed(ws, "hello"); err != nil {
					t.Errorf("%s over HTTP/2: %v", path, err)
				}
				ws.Close(wsframe.CloseNormal, "")
			}
			for path, cookies := range map[string][]string{
				"/files/page": {"a=1; Secure", "b=2"}, "/files/missing": {"a=1; Secure", "b=2"}, "/scgi": {"a=1; Secure", "b=2", "b=3"}, "/proxy": {"a=1; Secure", "b=2", "b=3"},
				"/refused": {"a=1; Secure", "b=2"},
			} {
				want := map[string]int{"/refused": 403, "/files/missing": 404}[path]
				if want == 0 {
					want = 200
				}
				resp, err := http.Get(base + path)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				check("GET "+path, resp.StatusCode, want, resp.Header, cookies...)
				status, header := h2.Open(h2test.Get(path), true).Response()
				check("GET "+path+" over HTTP/2", status, want, header, cookies...)
			}
		})
	}
}

func TestHooksChooseTheSubprotocol(t *testing.T) {
	var log streamtest.Buffer
	question := askHook(t)
	c := asked(t, question)
	c.Route[0].Subprotocols = []string{"first"}
	table := stdioRoute("/table", "cat")
	table.Protocols, table.Auth = []*config.Protocol{{Name: "Chat", Binary: true}, {Name: "first"}}, config.New[config.Auth]()
	question(table.Auth)
	c.Route = append(c.Route, table)
	h, _ := runLogged(t, c, slog.New(slog.NewTextHandler(&log, nil)))
	base := strings.TrimSuffix(h.URLs("ws")[0], "/")
	h2 := plain(t, h)
	for _, path := range []string{"/stdio", "/table", "/scgi", "/proxy"} {
		for _, test := range []struct {
			chosen string
			asks   []string
			gets   string // "": refused
		}{
			{"chat", []string{"first", "Chat"}, "Chat"},
			{"", []string{"first", "Chat"}, "first"},
			{"first", []string{"first", "Chat"}, "first"},
			{"other", []string{"first", "Chat"}, ""},
			{"chat", nil, ""},
		} {
			what := fmt.Sprintf("%s, %q of %q", path, test.chosen, test.asks)
			c, resp, err := wsframe.Dial(t.Context(), base+path+"?"+test.chosen, &wsframe.DialOptions{Protocols: test.asks})
			if err == nil {
				c.Close(wsframe.CloseNormal, "")
			}
			want := http.StatusSwitchingProtocols
			if test.gets == "" {
				want = http.StatusInternalServerError
			}
			if resp == nil || resp.StatusCode != want || resp.Header.Get("Sec-WebSocket-Protocol") != test.gets {
				t.Errorf("%s: %v", what, err)
				continue
			}
			if test.gets == "" && !strings.Contains(resp.Header.Get("X-WebSocket-Reject-Reason"), "none that it asks for") {
				t.Errorf("%s: %v", what, resp.Header)
			}
			var more []string
			if test.asks != nil {
				more = []string{"sec-websocket-protocol", strings.Join(test.asks, ", ")}
			}
			if want == http.StatusSwitchingProtocols {
				want = http.StatusOK
			}
			s := h2.Open(h2test.WebSocket(path+"?"+test.chosen, more...), false)
			status, header := s.Response()
			s.Reset(http2.ErrCodeCancel)
			if status != want || header.Get("Sec-WebSocket-Protocol") != test.gets {
				t.Errorf("%s over HTTP/2: status %d, %v", what, status, header)
			}
		}
	}
	if !strings.Contains(log.String(), `is none that it asks for: \"other\" is not one of [\"first\" \"Chat\"]`) {
		t.Errorf("the log does not say why: %s", log.String())
	}
}
