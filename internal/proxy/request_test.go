package proxy

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seen asks a proxy and returns what the backend saw, without a network before the proxy.
func seen(t *testing.T, c Config, r *http.Request) (got *http.Request, status int) {
	t.Helper()
	addr := origin(t, func(w http.ResponseWriter, r *http.Request) { got = r })
	w := httptest.NewRecorder()
	newProxy(t, c, addr).ServeHTTP(w, r)
	return got, w.Code
}

func TestWhatBackendsSee(t *testing.T) {
	trusted := func(*http.Request) bool { return true }
	fresh := http.Header{
		"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Host": {"example.com"}, "X-Forwarded-Proto": {"http"},
		"Forwarded": {"for=192.0.2.1;host=example.com;proto=http"},
	}
	with := func(h http.Header, lines ...string) http.Header {
		h = h.Clone()
		for i := 0; i < len(lines); i += 2 {
			h[lines[i]] = []string{lines[i+1]}
		}
		return h
	}
	forged := http.Header{
		"X-Forwarded-For": {"1.1.1.1"}, "X_Forwarded_For": {"1.1.1.1"}, "X-Forwarded-Port": {"1"}, "X-Real-Ip": {"1.1.1.1"},
		"Forwarded": {"for=1.1.1.1"}, "X-Forwarded-Host": {"evil"}, "X-Forwarded-Proto": {"https"},
	}
	tests := []struct {
		name   string
		config Config
		target string
		header http.Header
		change func(*http.Request)
		want   http.Header
		host   string
		uri    string
	}{
		{name: "nothing but this hop", want: fresh},
		{name: "what a stranger says about other hops", header: forged, want: fresh},
		{name: "what a trusted peer says in X fields", config: Config{Trust: trusted},
			header: http.Header{"X-Forwarded-For": {"1.1.1.1", "2.2.2.2"}, "X-Forwarded-Proto": {"https"}, "X-Real-Ip": {"1.1.1.1"}, "X_Forwarded_For": {"3.3.3.3"}},
			want:   http.Header{"X-Forwarded-For": {"1.1.1.1, 2.2.2.2, 192.0.2.1"}, "X-Forwarded-Host": {"example.com"}, "X-Forwarded-Proto": {"https"}, "X-Real-Ip": {"1.1.1.1"}}},
		{name: "what a trusted peer says in Forwarded", config: Config{Trust: trusted},
			header: http.Header{"Forwarded": {"for=1.1.1.1"}},
			want:   http.Header{"Forwarded": {"for=1.1.1.1, for=192.0.2.1;host=example.com;proto=http"}}},
		{name: "what a trusted peer says in both", config: Config{Trust: trusted},
			header: http.Header{"Forwarded": {"for=1.1.1.1"}, "X-Forwarded-For": {"1.1.1.1"}},
			want:   with(fresh, "Forwarded", "for=1.1.1.1, for=192.0.2.1;host=example.com;proto=http", "X-Forwarded-For", "1.1.1.1, 192.0.2.1")},
		{name: "what a trusted peer says nothing of", config: Config{Trust: trusted}, want: fresh},
		{name: "replaced whoever said it", config: Config{Trust: trusted, Forwarding: ForwardReplace}, header: forged, want: fresh},
		{name: "nothing at all", config: Config{Trust: trusted, Forwarding: ForwardDrop}, header: forged, want: http.Header{}},
		{name: "IPv6 over TLS", change: func(r *http.Request) { r.RemoteAddr, r.TLS = "[2001:db8::1]:1", &tls.ConnectionState{} },
			want: http.Header{"X-Forwarded-For": {"2001:db8::1"}, "X-Forwarded-Host": {"example.com"}, "X-Forwarded-Proto": {"https"},
				"Forwarded": {`for="[2001:db8::1]";host=example.com;proto=https`}}},
		{name: "a Unix socket", change: func(r *http.Request) { r.RemoteAddr = "@" },
			want: http.Header{"X-Forwarded-Host": {"example.com"}, "X-Forwarded-Proto": {"http"}, "Forwarded": {`for=unknown;host=example.com;proto=http`}}},
		{name: "fields of one connection", header: http.Header{
			"Connection": {"keep-alive, X-Hop"}, "X-Hop": {"1"}, "Keep-Alive": {"timeout=5"}, "Proxy-Connection": {"x"}, "Proxy-Authorization": {"x"}, "Te": {"gzip"},
			"Upgrade": {"websocket"}, "Proxy": {"http://evil"}, "Http2-Settings": {"AAA"}, "X-End": {"2"}},
			want: with(fresh, "X-End", "2")},
		{name: "an upgrade that is not enabled", header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, want: fresh},
		{name: "trailers are welcome", header: http.Header{"Te": {"trailers, gzip"}}, want: with(fresh, "Te", "trailers")},
		{name: "a user agent is passed on", header: http.Header{"User-Agent": {"me"}}, want: with(fresh, "User-Agent", "me")},
		{name: "fields that are set", config: Config{Header: http.Header{"x-a": {"1"}, "X-B": {}, "X-Forwarded-Host": {}}},
			header: http.Header{"X-A": {"2"}, "X_A": {"3"}, "X-B": {"4"}},
			want: http.Header{"X-A": {"1"}, "X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Proto": {"http"},
				"Forwarded": {"for=192.0.2.1;host=example.com;proto=http"}}},
		{name: "another host", config: Config{Host: "inner.test"}, want: fresh, host: "inner.test"},
		{name: "no host", change: func(r *http.Request) { r.Host = "" }, host: "localhost",
			want: http.Header{"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Proto": {"http"}, "Forwarded": {"for=192.0.2.1;proto=http"}}},
		{name: "the target as it came", target: "/a%2Fb//c%20d/?x=1;y=%zz&&", want: fresh, uri: "/a%2Fb//c%20d/?x=1;y=%zz&&"},
		{name: "two slashes", target: "//other/x", want: fresh, uri: "//other/x"},
		{name: "an empty query", target: "/?", want: fresh, uri: "/?"},
		{name: "a prefix off", config: Config{StripPrefix: "/a/b"}, target: "/a%2Fb/c%2Fd?x", want: with(fresh, "X-Forwarded-Prefix", "/a/b"), uri: "/c%2Fd?x"},
		{name: "a prefix and nothing more", config: Config{StripPrefix: "/a"}, target: "/a", want: with(fresh, "X-Forwarded-Prefix", "/a"), uri: "/"},
		{name: "a prefix on", config: Config{AddPrefix: "/n w"}, target: "/x%2Fy", want: fresh, uri: "/n%20w/x%2Fy"},
		{name: "another prefix", config: Config{StripPrefix: "/é", AddPrefix: "/b"}, target: "/%C3%A9/x", want: with(fresh, "X-Forwarded-Prefix", "/é"), uri: "/b/x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.target == "" {
				tt.target = "/"
			}
			r := httptest.NewRequest("GET", "/", nil)
			var err error
			if r.URL, err = url.ParseRequestURI(tt.target); err != nil {
				t.Fatal(err)
			}
			for name, values := range tt.header {
				r.Header[name] = values
			}
			if tt.change != nil {
				tt.change(r)
			}
			before := r.Header.Clone()
			got, status := seen(t, tt.config, r)
			if status != 200 {
				t.Fatalf("status %d", status)
			}
			if diff := cmp.Diff(tt.want, got.Header); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			if want := max(tt.uri, "/"); got.RequestURI != want {
				t.Errorf("target %q, want %q", got.RequestURI, want)
			}
			if tt.host == "" {
				tt.host = "example.com"
			}
			if got.Host != tt.host {
				t.Errorf("host %q, want %q", got.Host, tt.host)
			}
			if diff := cmp.Diff(before, r.Header); diff != "" {
				t.Errorf("the request of the caller was changed:\n%s", diff)
			}
		})
	}
}

func TestWhatBackendsDoNotSee(t *testing.T) {
	for _, tt := range []struct {
		target string
		config Config
		status int
	}{
		{"/public/../admin", Config{}, 400}, {"/public/..%2fadmin", Config{}, 400}, {"/%2e%2e/x", Config{}, 400}, {"/.", Config{}, 400},
		{"/public/..;/admin", Config{}, 400}, {"/public/.;a=b/admin", Config{}, 400}, {"/public/..%5cadmin", Config{}, 400}, {"/public\\..", Config{}, 400},
		{"/a", Config{StripPrefix: "/b"}, 404}, {"/bb", Config{StripPrefix: "/b"}, 404},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL, _ = url.ParseRequestURI(tt.target)
		if got, status := seen(t, tt.config, r); got != nil || status != tt.status {
			t.Errorf("%s: %d, want %d", tt.target, status, tt.status)
		}
	}
}

// Backends that read "_" as "-" must not be told by a client what is not the client's to say, or two things at once.
func TestNamesWithUnderscores(t *testing.T) {
	for _, tt := range []struct {
		name   string
		header http.Header
		want   http.Header // nil: 400
	}{
		{"others", http.Header{"X_user": {"a"}}, http.Header{"X_user": {"a"}}},
		{"of the connection", http.Header{"Content_length": {"9"}, "Transfer_encoding": {"chunked"}, "Connection_": {"b"}}, http.Header{"Connection_": {"b"}}},
		{"of the proxy", http.Header{"X_forwarded_for": {"a"}, "X_real_ip": {"a"}, "X_set": {"a"}}, http.Header{"X-Set": {"b"}}},
		{"beside the same with dashes", http.Header{"X_user": {"a"}, "X-User": {"b"}}, nil},
		{"beside the same of the proxy", http.Header{"X_set": {"a"}, "X-Set": {"a"}}, http.Header{"X-Set": {"b"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header = tt.header
			c := Config{Forwarding: ForwardDrop}
			if tt.want["X-Set"] != nil {
				c.Header = http.Header{"X-Set": {"b"}}
			}
			got, status := seen(t, c, r)
			if got == nil {
				if tt.want != nil || status != 400 {
					t.Errorf("answer %d", status)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got.Header); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]Config{"no backends": {}, "a prefix without a slash": {StripPrefix: "a"}, "a slash at the end": {AddPrefix: "/a/"}, "a slash": {StripPrefix: "/"}} {
		if name != "no backends" {
			c.Backends = newProxy(t, Config{}, "127.0.0.1:1").c.Backends
		}
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRedirectsHaveThePathOfTheClient(t *testing.T) {
	both := Config{StripPrefix: "/app", AddPrefix: "/inner", Host: "inner.test"}
	for _, tt := range []struct {
		config         Config
		location, want string
	}{
		{both, "/inner/login?a=b%20c#d", "/app/login?a=b%20c#d"},
		{both, "/inner", "/app"},
		{both, "/inner/a%2Fb", "/app/a%2Fb"},
		{both, "/inner/../x", "/app/../x"},
		{both, "http://inner.test/inner/x", "http://example.com/app/x"},
		{both, "http://example.com/inner/x", "http://example.com/app/x"},
		{both, "http://other.test/inner/x", "http://other.test/inner/x"},
		{both, "//other.test/inner/x", "//other.test/inner/x"},
		{both, "/innermost", "/innermost"},
		{both, "/elsewhere", "/elsewhere"},
		{both, "next", "next"},
		{both, "?q", "?q"},
		{both, "", ""},
		{Config{StripPrefix: "/app"}, "/", "/app/"},
		{Config{AddPrefix: "/inner"}, "/inner/x", "/x"},
		{Config{AddPrefix: "/inner"}, "/inner?q", "/?q"},
		{Config{AddPrefix: "/inner"}, "/inner//x", "/inner//x"}, // which is a host, without the prefix
		{Config{}, "/x", "/x"},
	} {
		addr := raw(t, func(p *peer) {
			p.request()
			fmt.Fprintf(p, "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", tt.location)
		})
		w := httptest.NewRecorder()
		newProxy(t, tt.config, addr).ServeHTTP(w, httptest.NewRequest("GET", "/app/", nil))
		if got := w.Header().Get("Location"); got != tt.want {
			t.Errorf("%+v: %q becomes %q, want %q", tt.config, tt.location, got, tt.want)
		}
	}
}
