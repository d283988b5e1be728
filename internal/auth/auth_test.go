package auth

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/limit"
	"github.com/wspawn/wspawn/internal/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guarded is what is behind a Guard, and counts.
type guarded struct {
	*Guard
	calls int
	last  *http.Request
	log   streamtest.Buffer
}

func guard(methods ...Method) *guarded {
	g := &guarded{}
	g.Guard = &Guard{
		Methods: methods, Failures: &limit.Failures{Burst: -1}, Log: slog.New(slog.NewTextHandler(&g.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			g.calls++
			g.last = r
		}),
	}
	return g
}

// ask sends a request with header lines.
func (g *guarded) ask(target string, lines ...string) *http.Response {
	r := httptest.NewRequest("GET", target, nil)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	return g.serve(r)
}

func (g *guarded) serve(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	res := w.Result()
	read := make(http.Header) // as a client has it
	for name, values := range res.Header {
		for _, v := range values {
			read.Add(name, v)
		}
	}
	res.Header = read
	return res
}

// passes checks that a request went through, and returns its variables.
func (g *guarded) passes(t *testing.T, res *http.Response, user, how string) map[string]string {
	t.Helper()
	if res.StatusCode != http.StatusOK || g.calls != 1 {
		t.Fatalf("status %d, %d calls; log: %s", res.StatusCode, g.calls, g.log.String())
	}
	g.calls = 0
	list, err := cgi.Variables(g.last, cgi.Vars{})
	if err != nil {
		t.Fatal(err)
	}
	vars := make(map[string]string)
	for _, v := range list {
		vars[v.Name] = v.Value
	}
	if vars["REMOTE_USER"] != user || vars["AUTH_TYPE"] != how {
		t.Fatalf("user %q, type %q", vars["REMOTE_USER"], vars["AUTH_TYPE"])
	}
	if _, ok := vars["HTTP_AUTHORIZATION"]; ok {
		t.Error("the program sees the credentials")
	}
	if id := From(g.last.Context()); id == nil || id.User != user || !strings.Contains(g.log.String(), "user="+user) {
		t.Errorf("identity %+v, log %s", id, g.log.String())
	}
	return vars
}

// refuses checks that a request did not go through.
func (g *guarded) refuses(t *testing.T, res *http.Response, status int, reason string) {
	t.Helper()
	got := res.Header.Get("X-WebSocket-Reject-Reason")
	if res.StatusCode != status || !strings.Contains(got, reason) {
		t.Fatalf("status %d, reason %q, want %d, %q; log: %s", res.StatusCode, got, status, reason, g.log.String())
	}
	if g.calls != 0 {
		t.Fatalf("%d calls of what is behind", g.calls)
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	rewrite(t, path, text)
	return path
}

func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// secret as htpasswd(1) and openssl-passwd(1) write it.
const passwords = `# users
bcrypt:$2y$04$PD2f9goTGtiH4PT6hMjEj.OkxHE1lC5B2VtDjgDWp98GsmeVaSP.q
apr1:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/
md5:$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1
sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
ssha:{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0

sha256:$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.
sha512:$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.
plain:secret
nothing
`

func basic(user, password string) string {
	r := &http.Request{Header: make(http.Header)}
	r.SetBasicAuth(user, password)
	return "Authorization: " + r.Header.Get("Authorization")
}

func TestPasswords(t *testing.T) {
	var log streamtest.Buffer
	m, err := NewBasic(BasicConfig{File: write(t, "users", passwords), Realm: `the "realm"`, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"bcrypt", "apr1", "md5", "sha", "ssha", "sha256", "sha512"} {
		t.Run(user, func(t *testing.T) {
			g := guard(m)
			for range 2 { // the second time from memory
				g.passes(t, g.ask("/", basic(user, "secret")), user, "Basic")
			}
			if g.last.Header.Get("Authorization") != "" {
				t.Error("the password was passed on")
			}
			g.refuses(t, g.ask("/", basic(user, "Secret")), 401, "wrong user or password")
			g.refuses(t, g.ask("/", basic(user, "")), 401, "wrong user or password")
			g.passes(t, g.ask("/", basic(user, "secret")), user, "Basic")
		})
	}
	tests := []struct {
		name, line, reason string
	}{
		{"nothing", "X: y", "authentication required"},
		{"an unknown user", basic("nobody", "secret"), "wrong user or password"},
		{"a user whose password is in the clear", basic("plain", "secret"), "wrong user or password"},
		{"a user without a password", basic("nothing", ""), "wrong user or password"},
		{"no user", basic("", "secret"), "wrong user or password"},
		{"no base64", "Authorization: Basic ???", "malformed"},
		{"no colon", "Authorization: Basic eHh4", "malformed"},
		{"a very long password", basic("sha512", strings.Repeat("x", 5000)), "malformed"},
		{"another scheme", "Authorization: Bearer x", "authentication required"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := guard(m)
			res := g.ask("/", tt.line)
			g.refuses(t, res, 401, tt.reason)
			if c := res.Header.Get("WWW-Authenticate"); c != `Basic realm="the \"realm\"", charset="UTF-8"` {
				t.Errorf("challenge %q", c)
			}
		})
	}
	if s := log.String(); !strings.Contains(s, "line=10") || !strings.Contains(s, "line=11") || strings.Contains(s, "secret") || strings.Count(s, "\n") > 2*strings.Count(s, "line=10") {
		t.Errorf("log: %s", s)
	}
}

func TestPasswordsAreReadAgain(t *testing.T) {
	path := write(t, "users", "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
	m, err := NewBasic(BasicConfig{File: path})
	if err != nil {
		t.Fatal(err)
	}
	g := guard(m)
	g.passes(t, g.ask("/", basic("alice", "secret")), "alice", "Basic")
	rewrite(t, path, "bob00:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n") // of the same length
	g.refuses(t, g.ask("/", basic("alice", "secret")), 401, "wrong user")
	g.passes(t, g.ask("/", basic("bob00", "secret")), "bob00", "Basic")
	// Old enough to be taken for unchanged the next time.
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	g.passes(t, g.ask("/", basic("bob00", "secret")), "bob00", "Basic")
	g.passes(t, g.ask("/", basic("bob00", "secret")), "bob00", "Basic")
	rewrite(t, path, "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
	g.refuses(t, g.ask("/", basic("bob00", "secret")), 401, "wrong user")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	res := g.ask("/", basic("alice", "secret"))
	g.refuses(t, res, 503, "not possible now")
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	rewrite(t, path, "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
	g.passes(t, g.ask("/", basic("alice", "secret")), "alice", "Basic")

	if _, err := NewBasic(BasicConfig{File: path + ".missing"}); err == nil {
		t.Error("no error for a file that is not there")
	}
}

func TestFailuresAreSlowedDown(t *testing.T) {
	m, err := NewBasic(BasicConfig{File: write(t, "users", passwords)})
	if err != nil {
		t.Fatal(err)
	}
	g := guard(m)
	g.Failures = &limit.Failures{Burst: 3, Every: time.Hour}
	for range 20 { // without credentials nothing failed
		g.refuses(t, g.ask("/"), 401, "required")
	}
	for range 20 {
		g.passes(t, g.ask("/", basic("sha", "secret")), "sha", "Basic")
	}
	for range 3 {
		g.refuses(t, g.ask("/", basic("sha", "wrong")), 401, "wrong")
	}
	res := g.ask("/", basic("sha", "secret"))
	g.refuses(t, res, 429, "too many failed logins")
	if res.Header.Get("Retry-After") != "3600" {
		t.Errorf("Retry-After is %q", res.Header.Get("Retry-After"))
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "198.51.100.1:1"
	r.SetBasicAuth("sha", "secret")
	g.passes(t, g.serve(r), "sha", "Basic")
}

// fake is a method that does as it is told.
type fake struct {
	id        *Identity
	err       error
	challenge string
	asked     int
}

func (f *fake) Authenticate(*http.Request) (*Identity, error) { f.asked++; return f.id, f.err }
func (f *fake) Challenge() string                             { return f.challenge }
func (f *fake) Strip(r *http.Request)                         { r.Header.Del("X-Secret") }

func TestMethodsTogether(t *testing.T) {
	known := &Identity{User: "u", Type: "T"}
	tests := []struct {
		name    string
		methods []Method
		status  int
		reason  string
	}{
		{"none at all", nil, 403, "authentication required"},
		{"none that can be asked for", []Method{&fake{}}, 403, "authentication required"},
		{"one that can be asked for", []Method{&fake{}, &fake{challenge: "X"}}, 401, "authentication required"},
		{"the second knows", []Method{&fake{}, &fake{id: known}}, 200, ""},
		{"the second knows what the first refuses", []Method{&fake{err: wrong("no", nil)}, &fake{id: known}}, 200, ""},
		{"the second knows what the first cannot tell", []Method{&fake{err: unavailable(nil)}, &fake{id: known}}, 200, ""},
		{"two refuse", []Method{&fake{err: wrong("first", nil)}, &fake{err: wrong("second", nil)}}, 401, "first"},
		{"the second cannot tell", []Method{&fake{err: wrong("first", nil)}, &fake{err: late(nil)}}, 504, "too long"},
		{"an error of our own", []Method{&fake{err: errors.New("what a secret")}}, 500, "internal error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := guard(tt.methods...)
			res := g.ask("/", "X-Secret: 1")
			if tt.status == 200 {
				g.passes(t, res, "u", "T")
				if g.last.Header.Get("X-Secret") != "" {
					t.Error("the secret is still there")
				}
				return
			}
			g.refuses(t, res, tt.status, tt.reason)
		})
	}
	first, second := &fake{id: known}, &fake{}
	g := guard(first, second)
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("X-Secret", "1")
	g.passes(t, g.serve(r), "u", "T")
	if second.asked != 0 {
		t.Error("the second was asked although the first knew")
	}
	if r.Header.Get("X-Secret") == "" {
		t.Error("the request itself was changed")
	}
}
