//go:build unix

package host

import (
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/wsframe"
)

// The host that a proxy tells of is the host everywhere, if it may say so; and it never opens a door that the name of
// the request itself would not.
func TestHostsThatProxiesTellOf(t *testing.T) {
	for _, test := range []struct {
		name, trusted, setting string
		host, origin           string
		more                   string // a further header line
		want                   int    // status; 0: it opens
		program                string // what the program sees as its host then
	}{
		{"same origin", "loopback", "X-Forwarded-Host", "localhost", "https://app.example", "x-forwarded-host: app.example", 0, "app.example"},
		{"same origin with a port", "loopback", "X-Forwarded-Host", "localhost", "https://app.example:8443", "x-forwarded-host: app.example:8443", 0, "app.example:8443"},
		{"another port", "loopback", "X-Forwarded-Host", "localhost", "https://app.example", "x-forwarded-host: app.example:8443", 403, ""},
		{"another origin", "loopback", "X-Forwarded-Host", "localhost", "https://evil.test", "x-forwarded-host: app.example", 403, ""},
		{"the origin of the proxy", "loopback", "X-Forwarded-Host", "localhost", "http://localhost", "x-forwarded-host: app.example", 403, ""},
		{"nothing is said", "loopback", "X-Forwarded-Host", "localhost", "http://localhost", "x-other: x", 0, "localhost"},
		{"malformed", "loopback", "X-Forwarded-Host", "localhost", "https://app.example", "x-forwarded-host: user@app.example", 403, ""},
		{"a route of another host", "loopback", "X-Forwarded-Host", "localhost", "https://other.example", "x-forwarded-host: other.example", 404, ""},
		{"a name that is not ours", "loopback", "X-Forwarded-Host", "localhost", "https://evil.test", "x-forwarded-host: evil.test", 421, ""},
		{"a page with our address under its name", "loopback", "X-Forwarded-Host", "evil.test", "http://evil.test", "x-forwarded-host: app.example", 421, ""},
		{"not switched on", "loopback", "", "localhost", "https://app.example", "x-forwarded-host: app.example", 403, ""},
		{"a proxy that is not trusted", "192.0.2.1", "X-Forwarded-Host", "localhost", "https://app.example", "x-forwarded-host: app.example", 403, ""},
		{"a proxy that is not trusted says what would be refused", "192.0.2.1", "X-Forwarded-Host", "localhost", "http://localhost", "x-forwarded-host: evil.test", 0, "localhost"},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := stdioRoute("/", "sh", "-c", `echo "$HTTP_HOST"`)
			app.Host = []string{"app.example", "localhost"}
			c := routes(app)
			c.Hosts = []string{"app.example", "other.example"}
			c.Client = *config.New[config.Client]()
			c.Client.TrustedProxies, c.Client.HostHeader = []string{test.trusted}, test.setting
			var log strings.Builder // read when nobody writes any more
			h, stop := runLogged(t, c, slog.New(slog.NewTextHandler(&log, nil)))
			field, value, _ := strings.Cut(test.more, ": ")
			for door, knockAt := range doors {
				k := newKnock(test.name, "/")
				k.id, k.name, k.host = "", "", test.host
				set("Origin", test.origin)(k)
				set(http.CanonicalHeaderKey(field), value)(k)
				a := knockAt(t, h, k)
				if test.want != 0 {
					if a.status != test.want {
						t.Errorf("%s: %d %q, want %d", door, a.status, a.body, test.want)
					}
					continue
				}
				if a.conn == nil {
					t.Errorf("%s: %d %q", door, a.status, a.body)
					continue
				}
				if got := read(t, a.conn); got != test.program {
					t.Errorf("%s: the program knows %q", door, got)
				}
				a.conn.CloseNow()
				<-a.conn.Done()
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			if hint := strings.Contains(log.String(), "host_header"); hint != (test.name == "not switched on" || test.name == "malformed") {
				t.Errorf("hint %v: %s", hint, log.String())
			}
		})
	}
}

// Behind a proxy the log says who each session is for, and which proxy it came through; programs know both too.
func TestSessionsAreLoggedWithClientProxyAndUser(t *testing.T) {
	both := stdioRoute("/stdio", "sh", "-c", `echo "$REMOTE_ADDR $PEER_ADDR"; cat`)
	both.Auth = config.New[config.Auth]()
	both.Auth.Hook = config.New[config.AuthHook]()
	both.Auth.Hook.Command = []string{"echo", "REMOTE_USER: anna"}
	tunnel := config.New[config.Route]()
	tunnel.Path, tunnel.Tunnel = "/tunnel", config.New[config.Tunnel]()
	tunnel.Tunnel.Framing, tunnel.Tunnel.Servers = "lines", []string{echoServer(t)}
	c := routes(both, tunnel)
	c.Client.TrustedProxies = []string{"loopback"}
	var log strings.Builder // read when nobody writes any more
	h, stop := runLogged(t, c, slog.New(slog.NewTextHandler(&log, nil)))
	header := http.Header{"X-Forwarded-For": {"192.0.2.1"}}
	s := dial(t, h, "/stdio", &wsframe.DialOptions{Header: header})
	if got := read(t, s); got != "192.0.2.1 127.0.0.1" {
		t.Errorf("the program knows %q", got)
	}
	other := dial(t, h, "/tunnel", &wsframe.DialOptions{Header: header})
	echo(t, other, "x")
	s.Close(wsframe.CloseNormal, "")
	other.Close(wsframe.CloseNormal, "")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`msg="session started" route=/stdio remote=192.0.2.1:0 pid=[0-9]+ peer=127.0.0.1:[0-9]+ user=anna path=/stdio`,
		`msg="session ended" route=/stdio .* peer=127.0.0.1:[0-9]+ user=anna path=/stdio`,
		`msg="session started" route=/tunnel remote=192.0.2.1:0 backend=[^ ]+ peer=127.0.0.1:[0-9]+\n`,
	} {
		if !regexp.MustCompile(want).MatchString(log.String()) {
			t.Errorf("there is no line %s in\n%s", want, log.String())
		}
	}
}
