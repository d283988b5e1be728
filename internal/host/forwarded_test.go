//go:build unix

package host

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/internal/config"
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
