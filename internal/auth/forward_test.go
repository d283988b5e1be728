package auth

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/limit"
)

func tlsConfig(c *http.Client) *tls.Config { return c.Transport.(*http.Transport).TLSClientConfig }

// asker is a Forward to a server that answers as it is told.
func asker(t *testing.T, c ForwardConfig, answer http.HandlerFunc) *guarded {
	t.Helper()
	srv := httptest.NewServer(answer)
	t.Cleanup(srv.Close)
	c.URL = srv.URL + "/check?x=y"
	c.Transport = &http.Transport{DisableKeepAlives: true}
	f, err := NewForward(c)
	if err != nil {
		t.Fatal(err)
	}
	return guard(f)
}

func TestForward(t *testing.T) {
	var got atomic.Pointer[http.Request]
	g := asker(t, ForwardConfig{Vars: map[string]string{"remote-user": "REMOTE_USER", "Remote-Groups": "GROUPS", "Missing": "MISSING"}}, func(w http.ResponseWriter, r *http.Request) {
		got.Store(r)
		w.Header().Set("Remote-User", "alice")
		w.Header().Add("Remote-Groups", "a")
		w.Header().Add("Remote-Groups", "b")
		w.Header().Set("Remote-Other", "x")
		w.WriteHeader(http.StatusNoContent)
	})
	vars := g.passes(t, g.ask("/chat?room=1", "Cookie: a=b", "Authorization: Bearer x", "Connection: Upgrade, X-Hop", "X-Hop: 1", "Upgrade: websocket",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "X-Forwarded-User: root", "X_Forwarded_For: 9.9.9.9", "Proxy: x", "Content-Length: 5"), "alice", "Forward")
	if vars["GROUPS"] != "a, b" {
		t.Errorf("variables %v", vars)
	}
	if _, ok := vars["MISSING"]; ok {
		t.Error("a field that is not there became a variable")
	}
	r := got.Load()
	if r.Method != "GET" || r.RequestURI != "/check?x=y" {
		t.Errorf("asked %s %s", r.Method, r.RequestURI)
	}
	want := map[string]string{
		"Cookie": "a=b", "Authorization": "Bearer x", "X-Forwarded-Method": "GET", "X-Forwarded-Host": "example.com",
		"X-Forwarded-Proto": "http", "X-Forwarded-Uri": "/chat?room=1", "X-Forwarded-For": "192.0.2.1",
	}
	for name, values := range r.Header {
		if name == "Accept-Encoding" || name == "User-Agent" || name == "Connection" {
			continue
		}
		if strings.Join(values, "|") != want[name] {
			t.Errorf("%s: %q", name, values)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestForwardRefuses(t *testing.T) {
	tests := []struct {
		name   string
		answer int
		header [2]string
		want   int
	}{
		{"no credentials", 401, [2]string{"WWW-Authenticate", "Basic realm=x"}, 401},
		{"without a challenge", 401, [2]string{}, 401},
		{"forbidden", 403, [2]string{}, 403},
		{"a login page", 302, [2]string{"Location", "https://login.test/"}, 302},
		{"a session that is begun", 303, [2]string{"Set-Cookie", "a=b"}, 303},
		{"too often", 429, [2]string{"Retry-After", "7"}, 429},
		{"not found", 404, [2]string{}, 403},
		{"not modified", 304, [2]string{}, 403},
		{"what was asked for", 403, [2]string{"X-Why", "too late"}, 403},
		{"an error", 500, [2]string{}, 503},
		{"a bad gateway", 502, [2]string{}, 503},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := asker(t, ForwardConfig{AnswerHeaders: []string{"x-why"}}, func(w http.ResponseWriter, _ *http.Request) {
				if tt.header[0] != "" {
					w.Header().Set(tt.header[0], tt.header[1])
				}
				w.Header().Set("Remote-User", "alice")
				w.WriteHeader(tt.answer)
			})
			res := g.ask("/")
			g.refuses(t, res, tt.want, "")
			if tt.header[0] != "" && res.Header.Get(tt.header[0]) != tt.header[1] {
				t.Errorf("header %v", res.Header)
			}
		})
	}
}

func TestForwardIsClosedWhenTheServerIsNotThere(t *testing.T) {
	hang := make(chan struct{})
	g := asker(t, ForwardConfig{Timeout: 50 * time.Millisecond}, func(http.ResponseWriter, *http.Request) { <-hang })
	g.refuses(t, g.ask("/"), 504, "too long")
	close(hang)

	f, err := NewForward(ForwardConfig{URL: "http://127.0.0.1:1/"}) // tcpmux, which nobody has
	if err != nil {
		t.Fatal(err)
	}
	g = guard(f)
	res := g.ask("/")
	g.refuses(t, res, 503, "not possible now")
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}

	g = asker(t, ForwardConfig{}, func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	g.refuses(t, g.ask("/"), 503, "not possible now")
}

func TestForwardConfigurations(t *testing.T) {
	for _, c := range []ForwardConfig{{}, {URL: "auth.test"}, {URL: "ftp://auth.test"}, {URL: "http://"}, {URL: "http://a.test", Vars: map[string]string{"A": "B=C"}},
		{URL: "http://a.test", AnswerHeaders: []string{"Connection"}}, {URL: "http://a.test", AnswerHeaders: []string{"a: b"}},
		{URL: "http://a.test", AnswerHeaders: []string{"Set-Cookie", "sec-websocket-protocol"}},
	} {
		if _, err := NewForward(c); err == nil {
			t.Errorf("no error for %+v", c)
		}
	}
}

// Guesses that are in a query or a cookie are known to the server alone.
func TestForwardSaysWhatIsAGuess(t *testing.T) {
	for said, counts := range map[string]bool{"": false, "true": true, "false": false} {
		g := asker(t, ForwardConfig{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Auth-Failed", said)
			w.WriteHeader(http.StatusForbidden)
		})
		g.Failures = &limit.Failures{Burst: 2}
		for range 2 {
			g.refuses(t, g.ask("/?guess"), 403, "")
		}
		if res := g.ask("/?guess"); (res.StatusCode == 429) != counts {
			t.Errorf("%q: status %d", said, res.StatusCode)
		}
	}
}
