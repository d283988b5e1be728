//go:build unix

package host

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/wsframe"
)

// What the guard itself does is tested in its package. Here: that it stands in front of every kind of route, that
// programs get the name, and that nothing is started for who is refused.
func TestGuardStandsInFrontOfEverything(t *testing.T) {
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users, started := filepath.Join(dir, "users"), filepath.Join(dir, "started")
	script := filepath.Join(dir, "hello.sh")
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(users, "anna:"+string(hash)+"\n")
	write(script, "#!/bin/sh\necho x >>"+started+"\n[ -n \"$SERVER_PROTOCOL\" ] && [ \"$HTTP_UPGRADE\" = \"\" ] && echo && echo\necho \"$REMOTE_USER $AUTH_TYPE $HTTP_AUTHORIZATION\"\n")
	write(filepath.Join(dir, "page"), "a page")
	hook := filepath.Join(dir, "hook.sh")
	write(hook, "#!/bin/sh\ncase $QUERY_STRING in\nname=*) echo \"REMOTE_USER: ${QUERY_STRING#name=}\";;\n*) exit 1;;\nesac\n")
	asked := 0
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; r.Header.Get("X-Forwarded-Uri") != "/forward?x" {
			w.WriteHeader(http.StatusForbidden)
		}
		w.Header().Set("Remote-User", "carla")
	}))
	defer other.Close()

	guarded := func(r *config.Route, change func(*config.Auth)) *config.Route {
		r.Auth = config.New[config.Auth]()
		change(r.Auth)
		return r
	}
	basic := func(a *config.Auth) { a.Htpasswd = config.Path(users) }
	cgi := config.New[config.Route]()
	cgi.Path, cgi.CGI = "/cgi", config.New[config.CGI]()
	cgi.CGI.Path = config.Path(script)
	h, _ := run(t, routes(
		guarded(stdioRoute("/stdio", script), basic), guarded(cgi, basic), guarded(filesRoute("/files/", dir), basic),
		guarded(stdioRoute("/hook", script), func(a *config.Auth) {
			a.Hook = config.New[config.AuthHook]()
			a.Hook.Command = []string{hook}
		}),
		guarded(stdioRoute("/forward", script), func(a *config.Auth) {
			a.Forward = config.New[config.AuthForward]()
			a.Forward.URL = other.URL
		}),
	))
	base := strings.TrimSuffix(h.URLs("http")[0], "/")
	get := func(path, password string) int {
		req, _ := http.NewRequest("GET", base+path, nil)
		if password != "" {
			req.SetBasicAuth("anna", password)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	refusedWS := func(path string, header http.Header, want int) {
		t.Helper()
		_, resp, err := wsframe.Dial(t.Context(), "ws"+strings.TrimPrefix(base, "http")+path, &wsframe.DialOptions{Header: header})
		if err == nil || resp == nil || resp.StatusCode != want || resp.Header.Get("X-WebSocket-Reject-Reason") == "" {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{"/stdio", "/cgi", "/files/page"} {
		for _, password := range []string{"", "wrong"} {
			if got := get(path, password); got != 401 {
				t.Errorf("%s with %q: %d", path, password, got)
			}
		}
	}
	refusedWS("/stdio", nil, 401)
	refusedWS("/hook", nil, 403)
	refusedWS("/hook?other", nil, 403)
	refusedWS("/forward", nil, 403)
	if _, err := os.Stat(started); err == nil {
		t.Error("a program was started for somebody who was refused")
	}

	auth := func() http.Header {
		r, _ := http.NewRequest("GET", "/", nil)
		r.SetBasicAuth("anna", "secret")
		return r.Header
	}
	for path, want := range map[string]string{"/stdio": "anna Basic ", "/hook?name=bert": "bert  ", "/forward?x": "carla  "} {
		c, _, err := wsframe.Dial(t.Context(), "ws"+strings.TrimPrefix(base, "http")+path, &wsframe.DialOptions{Header: auth()})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got := read(t, c); !strings.HasPrefix(got, strings.TrimRight(want, " ")) || strings.Contains(got, "secret") {
			t.Errorf("%s: the program knows %q, want %q", path, got, want)
		}
		c.CloseNow()
	}
	if got := get("/files/page", "secret"); got != 200 {
		t.Errorf("a page for anna: %d", got)
	}
	other.Close()
	refusedWS("/forward?x", nil, 503) // down is closed
	if asked == 0 {
		t.Error("the other server was never asked")
	}
}

// A backend that answers HTTP learns who the user is, and clients can neither say it themselves nor take it away.
func TestBackendsAreToldWhoTheUserIs(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var lines []string
		for name, values := range r.Header {
			if strings.Contains(strings.ToLower(name), "user") && name != "User-Agent" {
				lines = append(lines, name+"="+strings.Join(values, "|"))
			}
		}
		fmt.Fprint(w, strings.Join(lines, " "))
	}))
	defer backend.Close()
	r := config.New[config.Route]()
	r.Proxy, r.Auth = config.New[config.Proxy](), config.New[config.Auth]()
	r.Proxy.Servers, r.Proxy.UserHeader = []string{strings.TrimPrefix(backend.URL, "http://")}, "x-remote-user"
	r.Auth.Hook = config.New[config.AuthHook]()
	r.Auth.Hook.Command = []string{"sh", "-c", `echo "REMOTE_USER: $QUERY_STRING"`}
	h, _ := run(t, routes(r))
	for _, test := range []struct{ user, header, value, want string }{
		{"anna", "X-Other", "x", "X-Remote-User=anna"},
		{"anna", "X-Remote-User", "root", "X-Remote-User=anna"},
		{"anna", "x_remote-user", "root", "X-Remote-User=anna"},
		{"anna", "Connection", "close, X-Remote-User", "X-Remote-User=anna"},
		{"", "X-Remote-User", "root", ""},
		{"", "X_Remote_User", "root", ""},
	} {
		req, _ := http.NewRequest("GET", h.URLs("http")[0]+"?"+test.user, nil)
		req.Header[test.header] = []string{test.value}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(got) != test.want {
			t.Errorf("%q, %s: %s: the backend sees %q, want %q", test.user, test.header, test.value, got, test.want)
		}
	}
}
