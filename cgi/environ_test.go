package cgi

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// parse reads a request as a server would, so that the tables below start
// from bytes on the wire and not from what we think net/http makes of them.
func parse(t *testing.T, raw string) *http.Request {
	t.Helper()
	raw = strings.ReplaceAll(raw, "\n", "\r\n")
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatalf("net/http refuses the request: %v", err)
	}
	r.RemoteAddr = "192.0.2.7:4711"
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
}

func TestVariablesOfWholeRequests(t *testing.T) {
	tests := []struct {
		name string
		raw  string
		edit func(*http.Request) *http.Request
		vars Vars
		want string
	}{
		{
			name: "a WebSocket handshake gets CONTENT_LENGTH first and every header",
			raw: "GET /ws/echo/a%20b?x=1&y=%41 HTTP/1.1\nHost: example.com:8080\nUpgrade: websocket\nConnection: keep-alive, Upgrade\n" +
				"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\nSec-WebSocket-Version: 13\nSec-WebSocket-Protocol: chat\nSec-WebSocket-Protocol: superchat\n" +
				"Origin: http://example.com:8080\nCookie: a=1\nCookie: b=2\n\n",
			vars: Vars{ScriptName: "/ws/echo", PathInfo: "/a b", ScriptFilename: "/srv/ws/echo", DocumentRoot: "/srv/www", UniqueID: "u1"},
			want: `CONTENT_LENGTH=0
QUERY_STRING=x=1&y=%41
REQUEST_URI=/ws/echo/a%20b?x=1&y=%41
REDIRECT_STATUS=200
SCRIPT_NAME=/ws/echo
PATH_INFO=/a b
PATH_TRANSLATED=/srv/www/a b
SCRIPT_FILENAME=/srv/ws/echo
DOCUMENT_ROOT=/srv/www
REQUEST_METHOD=GET
SERVER_PROTOCOL=HTTP/1.1
SERVER_SOFTWARE=wspawn
GATEWAY_INTERFACE=CGI/1.1
REQUEST_SCHEME=http
SERVER_PORT=8080
SERVER_ADDR=127.0.0.1
SERVER_NAME=127.0.0.1
REMOTE_ADDR=192.0.2.7
REMOTE_PORT=4711
HTTP_CONNECTION=keep-alive, Upgrade
HTTP_COOKIE=a=1; b=2
HTTP_HOST=example.com:8080
HTTP_ORIGIN=http://example.com:8080
HTTP_SEC_WEBSOCKET_KEY=AAAAAAAAAAAAAAAAAAAAAA==
HTTP_SEC_WEBSOCKET_PROTOCOL=chat, superchat
HTTP_SEC_WEBSOCKET_VERSION=13
HTTP_UPGRADE=websocket
UNIQUE_ID=u1`,
		},
		{
			name: "a body has length and type once, as meta-variables only",
			raw:  "POST / HTTP/1.1\nHost: h\nContent-Type: text/plain\nContent-Length: 3\n\nabc",
			vars: Vars{UniqueID: "u"},
			want: `CONTENT_LENGTH=3
QUERY_STRING=
REQUEST_URI=/
REDIRECT_STATUS=200
SCRIPT_NAME=
REQUEST_METHOD=POST
SERVER_PROTOCOL=HTTP/1.1
SERVER_SOFTWARE=wspawn
GATEWAY_INTERFACE=CGI/1.1
REQUEST_SCHEME=http
SERVER_PORT=8080
SERVER_ADDR=127.0.0.1
SERVER_NAME=127.0.0.1
REMOTE_ADDR=192.0.2.7
REMOTE_PORT=4711
CONTENT_TYPE=text/plain
HTTP_HOST=h
UNIQUE_ID=u`,
		},
		{
			name: "everything the caller may say is said, and the user's password is not handed on",
			raw:  "GET /p HTTP/1.0\nAuthorization: Basic eDp5\nX-A: 1\n\n",
			edit: func(r *http.Request) *http.Request { r.TLS = &tls.ConnectionState{}; return r },
			vars: Vars{
				ScriptName: "/p", RequestURI: "/before", RedirectURI: "/p", Software: "soft/1", ServerName: "srv.example", ServerPort: "8443",
				RemoteAddr: "2001:db8::1", RemoteHost: "client.example", AuthType: "Basic", RemoteUser: "x", UniqueID: "u",
				Extra: []Var{{"SSL_CIPHER", "none"}, {"HTTP_X_A", "2"}, {"SSL_CIPHER", "some"}},
			},
			want: `CONTENT_LENGTH=0
QUERY_STRING=
REQUEST_URI=/before
REDIRECT_URI=/p
REDIRECT_STATUS=200
SCRIPT_NAME=/p
REQUEST_METHOD=GET
SERVER_PROTOCOL=HTTP/1.0
SERVER_SOFTWARE=soft/1
GATEWAY_INTERFACE=CGI/1.1
REQUEST_SCHEME=https
HTTPS=on
SERVER_PORT=8443
SERVER_ADDR=127.0.0.1
SERVER_NAME=srv.example
REMOTE_ADDR=2001:db8::1
REMOTE_HOST=client.example
HTTP_X_A=2
AUTH_TYPE=Basic
REMOTE_USER=x
UNIQUE_ID=u
SSL_CIPHER=some`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := parse(t, tt.raw)
			if tt.edit != nil {
				r = tt.edit(r)
			}
			env, err := Environ(r, tt.vars)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(env, "\n"); got != tt.want {
				t.Errorf("got:\n%s\n\nwant:\n%s", got, tt.want)
			}
		})
	}
}

func TestHeaderMapping(t *testing.T) {
	tests := []struct {
		name    string
		headers string
		want    []string // without HTTP_HOST
		refused string   // part of the error
	}{
		{name: "letters are upper-cased and dashes become underscores", headers: "X-Forwarded-For: a\n", want: []string{"HTTP_X_FORWARDED_FOR=a"}},
		{name: "digits stay", headers: "X-2: a\n", want: []string{"HTTP_X_2=a"}},
		{name: "repeats are joined in the order of the wire", headers: "X-A: 1\nX-B: 2\nx-a: 3\n", want: []string{"HTTP_X_A=1, 3", "HTTP_X_B=2"}},
		{name: "cookies are joined as cookies", headers: "Cookie: a=1\ncookie: b=2\n", want: []string{"HTTP_COOKIE=a=1; b=2"}},
		{name: "an empty value is present", headers: "X-A:\n", want: []string{"HTTP_X_A="}},
		{name: "outer blanks go, inner ones stay", headers: "X-A:   a  b \n", want: []string{"HTTP_X_A=a  b"}},
		{name: "bytes above ASCII stay as they are", headers: "X-A: \xff\xc3\xa4\n", want: []string{"HTTP_X_A=\xff\xc3\xa4"}},
		{name: "an equals sign in a value is no trouble", headers: "X-A: b=c=d\n", want: []string{"HTTP_X_A=b=c=d"}},
		{name: "Proxy never passes", headers: "Proxy: http://evil\n"},
		{name: "Proxy never passes in any spelling", headers: "pROXY: http://evil\n"},
		{name: "Proxy-Authorization is another field", headers: "Proxy-Authorization: x\n", want: []string{"HTTP_PROXY_AUTHORIZATION=x"}},
		{name: "Authorization passes while the server does not use it", headers: "Authorization: Bearer x\n", want: []string{"HTTP_AUTHORIZATION=Bearer x"}},
		{name: "an underscore drops the field", headers: "X_A: 1\n"},
		{name: "other token characters drop the field", headers: "X.A: 1\nX!B: 2\nX~C: 3\nX'D: 4\n"},
		{name: "an underscore cannot speak for a dash", headers: "X_A: evil\nX-A: good\n", refused: "HTTP_X_A"},
		{name: "neither can a dot", headers: "X-A: good\nX.A: evil\n", refused: "HTTP_X_A"},
		{name: "nor one unusual name for another", headers: "X.A: 1\nX_A: 2\n", refused: "HTTP_X_A"},
		{name: "Content_Type cannot stand beside Content-Type", headers: "Content-Type: a/b\nContent_Type: c/d\n", refused: "HTTP_CONTENT_TYPE"},
		{name: "Content_Type alone is dropped", headers: "Content_Type: c/d\n"},
		{name: "no field can forge Host", headers: "Ho-st: x\nHost_: y\n", want: []string{"HTTP_HO_ST=x"}},
		{name: "Content-Length is no HTTP variable", headers: "Content-Length: 0\n"},
		{name: "two equal Content-Types are one", headers: "Content-Type: a/b\nContent-Type: a/b\n"},
		{name: "two different Content-Types are refused", headers: "Content-Type: a/b\nContent-Type: c/d\n", refused: "Content-Type"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := parse(t, "GET / HTTP/1.1\nHost: h\n"+tt.headers+"\n")
			list, err := Variables(r, Vars{})
			if tt.refused != "" {
				var re *RequestError
				if !errors.As(err, &re) || !strings.Contains(err.Error(), tt.refused) {
					t.Fatalf("got %v, want a RequestError about %s", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range list.Environ() {
				if strings.HasPrefix(s, "HTTP_") && s != "HTTP_HOST=h" {
					got = append(got, s)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSpellingsThatOnlyAMapCanHaveCollideToo(t *testing.T) {
	r := parse(t, "GET / HTTP/1.1\nHost: h\n\n")
	r.Header["x-a"] = []string{"1"}
	r.Header["X-A"] = []string{"2"}
	if _, err := Variables(r, Vars{}); err == nil {
		t.Error("x-a and X-A passed side by side")
	}
	r.Header = http.Header{"Host": {"other"}, ":protocol": {"websocket"}, "X-None": nil}
	list, err := Headers(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(list.Environ(), " "); got != "HTTP_HOST=h" {
		t.Errorf("got %q", got)
	}
}

func TestWhatCannotBeCarriedIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		vars   Vars
		header http.Header
		client bool // the client's fault
	}{
		{name: "a NUL in the path info", vars: Vars{PathInfo: "/a\x00b"}, client: true},
		{name: "a NUL in the script name", vars: Vars{ScriptName: "/a\x00b"}, client: true},
		{name: "a NUL in a header", header: http.Header{"X-A": {"a\x00"}}, client: true},
		{name: "an equals sign in a name of the caller's", vars: Vars{Extra: []Var{{"A=B", "c"}}}},
		{name: "an empty name of the caller's", vars: Vars{Extra: []Var{{"", "c"}}}},
		{name: "a NUL in a name of the caller's", vars: Vars{Extra: []Var{{"A\x00", "c"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := parse(t, "GET / HTTP/1.1\nHost: h\n\n")
			if tt.header != nil {
				r.Header = tt.header
			}
			_, err := Environ(r, tt.vars)
			var re *RequestError
			if err == nil || errors.As(err, &re) != tt.client {
				t.Errorf("got %v, want an error, RequestError: %v", err, tt.client)
			}
		})
	}
}

func TestServerAndClientAddresses(t *testing.T) {
	tcp := func(s string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	unix := &net.UnixAddr{Name: "/run/w.sock", Net: "unix"}
	tests := []struct {
		name                     string
		local                    net.Addr
		remote, host             string
		vars                     Vars
		sName, sPort, sAddr      string
		rAddr, rPort, unexpected string
	}{
		{name: "IPv4", local: tcp("127.0.0.1:81"), remote: "127.0.0.2:5", host: "evil:1", sName: "127.0.0.1", sPort: "81", sAddr: "127.0.0.1", rAddr: "127.0.0.2", rPort: "5"},
		{name: "IPv6 has brackets in the name only", local: tcp("[::1]:81"), remote: "[2001:db8::2]:5", host: "h", sName: "[::1]", sPort: "81", sAddr: "::1", rAddr: "2001:db8::2", rPort: "5"},
		{name: "Host on request", local: tcp("127.0.0.1:81"), remote: "127.0.0.2:5", host: "ex.test:99", vars: Vars{HostAsServer: true}, sName: "ex.test", sPort: "99", sAddr: "127.0.0.1", rAddr: "127.0.0.2", rPort: "5"},
		{name: "Host without a port means the scheme's port", local: tcp("127.0.0.1:81"), remote: "127.0.0.2:5", host: "ex.test", vars: Vars{HostAsServer: true, Scheme: "https"}, sName: "ex.test", sPort: "443", sAddr: "127.0.0.1", rAddr: "127.0.0.2", rPort: "5"},
		{name: "Host with an IPv6 address", local: tcp("[::1]:81"), remote: "127.0.0.2:5", host: "[::1]:99", vars: Vars{HostAsServer: true}, sName: "[::1]", sPort: "99", sAddr: "::1", rAddr: "127.0.0.2", rPort: "5"},
		{name: "Host with an IPv6 address and no port", local: tcp("[::1]:81"), remote: "127.0.0.2:5", host: "[::1]", vars: Vars{HostAsServer: true}, sName: "[::1]", sPort: "80", sAddr: "::1", rAddr: "127.0.0.2", rPort: "5"},
		{name: "a Host that is none falls back to the address", local: tcp("127.0.0.1:81"), remote: "127.0.0.2:5", host: "a:b:c", vars: Vars{HostAsServer: true}, sName: "127.0.0.1", sPort: "81", sAddr: "127.0.0.1", rAddr: "127.0.0.2", rPort: "5"},
		{name: "a port that is none falls back too", local: tcp("127.0.0.1:81"), remote: "127.0.0.2:5", host: "a:99999", vars: Vars{HostAsServer: true}, sName: "127.0.0.1", sPort: "81", sAddr: "127.0.0.1", rAddr: "127.0.0.2", rPort: "5"},
		{name: "an empty port is no port", local: tcp("127.0.0.1:81"), remote: "127.0.0.2:5", host: "a:", vars: Vars{HostAsServer: true}, sName: "a", sPort: "80", sAddr: "127.0.0.1", rAddr: "127.0.0.2", rPort: "5"},
		{name: "Unix socket", local: unix, remote: "@", host: "ex.test:99", sName: "ex.test", sPort: "99", sAddr: "/run/w.sock", rAddr: "unix:", unexpected: "REMOTE_PORT"},
		{name: "Unix socket with an empty peer", local: unix, remote: "", host: "", sName: "localhost", sPort: "80", sAddr: "/run/w.sock", rAddr: "unix:", unexpected: "REMOTE_PORT"},
		{name: "no listener known", remote: "127.0.0.2:5", host: "", sName: "localhost", sPort: "80", rAddr: "127.0.0.2", rPort: "5", unexpected: "SERVER_ADDR"},
		{name: "an address a trusted proxy told has no port of the peer", local: tcp("127.0.0.1:81"), remote: "127.0.0.2:5", host: "h", vars: Vars{RemoteAddr: "198.51.100.1"}, sName: "127.0.0.1", sPort: "81", sAddr: "127.0.0.1", rAddr: "198.51.100.1", unexpected: "REMOTE_PORT"},
		{name: "a port a trusted proxy told", local: tcp("127.0.0.1:81"), remote: "127.0.0.2:5", host: "h", vars: Vars{RemoteAddr: "198.51.100.1", RemotePort: "6"}, sName: "127.0.0.1", sPort: "81", sAddr: "127.0.0.1", rAddr: "198.51.100.1", rPort: "6"},
		{name: "a bare remote address", local: tcp("127.0.0.1:81"), remote: "192.0.2.1", host: "h", sName: "127.0.0.1", sPort: "81", sAddr: "127.0.0.1", rAddr: "192.0.2.1", unexpected: "REMOTE_PORT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := parse(t, "GET / HTTP/1.1\nHost: h\n\n")
			r.Host, r.RemoteAddr = tt.host, tt.remote
			r = r.WithContext(context.WithValue(context.Background(), http.LocalAddrContextKey, tt.local))
			list, err := Variables(r, tt.vars)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]string{
				"SERVER_NAME": tt.sName, "SERVER_PORT": tt.sPort, "SERVER_ADDR": tt.sAddr, "REMOTE_ADDR": tt.rAddr, "REMOTE_PORT": tt.rPort,
			} {
				got, ok := list.Lookup(name)
				if got != want || ok != (name != tt.unexpected) {
					t.Errorf("%s = %q (present: %v), want %q", name, got, ok, want)
				}
			}
		})
	}
}

func TestOptionalVariables(t *testing.T) {
	chunked := parse(t, "POST /x HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n0\n\n")
	list, err := Variables(chunked, Vars{DocumentRoot: "/srv/", PathInfo: "/p"})
	if err != nil {
		t.Fatal(err)
	}
	if list[0].Name != "QUERY_STRING" {
		t.Errorf("a body of unknown length starts with %s", list[0].Name)
	}
	if v, _ := list.Lookup("PATH_TRANSLATED"); v != "/srv/p" {
		t.Errorf("PATH_TRANSLATED = %q", v)
	}
	if _, ok := list.Lookup("HTTP_TRANSFER_ENCODING"); ok {
		t.Error("Transfer-Encoding passed")
	}
	list, err = Variables(chunked, Vars{PathInfo: "/p", PathTranslated: "/else/p"})
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := list.Lookup("PATH_TRANSLATED"); v != "/else/p" {
		t.Errorf("PATH_TRANSLATED = %q", v)
	}
	built, _ := http.NewRequest("GET", "http://ex.test/a?b", nil)
	list, err = Variables(built, Vars{PathInfo: "/p"})
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := list.Lookup("REQUEST_URI"); v != "/a?b" {
		t.Errorf("REQUEST_URI of a request that was never on a wire = %q", v)
	}
	if _, ok := list.Lookup("PATH_TRANSLATED"); ok {
		t.Error("PATH_TRANSLATED without a document root")
	}
}

func TestNoNameOccursTwice(t *testing.T) {
	r := parse(t, "GET / HTTP/1.1\nHost: h\nX-A: 1\nContent-Type: a/b\nContent-Length: 0\nAuthorization: x\n\n")
	list, err := Variables(r, Vars{AuthType: "Basic", RemoteUser: "u", RemoteHost: "h", Extra: []Var{{"AUTH_TYPE", "Digest"}}})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, v := range list {
		if seen[v.Name] {
			t.Errorf("%s occurs twice", v.Name)
		}
		seen[v.Name] = true
	}
	if v, _ := list.Lookup("AUTH_TYPE"); v != "Digest" {
		t.Errorf("AUTH_TYPE = %q", v)
	}
}

func TestUniqueIDsDiffer(t *testing.T) {
	shape := regexp.MustCompile(`^[0-9a-f]{32}$`)
	seen := map[string]bool{}
	for range 1000 {
		id := NewUniqueID()
		if !shape.MatchString(id) || seen[id] {
			t.Fatalf("id %q: wrong shape or seen before", id)
		}
		seen[id] = true
	}
}

// FuzzHeaders checks what no header may achieve, whatever it is called.
func FuzzHeaders(f *testing.F) {
	f.Add("X-A", "X_A", "v")
	f.Add("Proxy", "Host", "")
	f.Add("content-type", "Content-Type", "\x00")
	f.Fuzz(func(t *testing.T, name1, name2, value string) {
		r := &http.Request{Host: "h", Header: http.Header{name1: {value}, name2: {value}}}
		list, err := Headers(r)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, v := range list {
			if seen[v.Name] || !regexp.MustCompile(`^HTTP_[A-Z0-9_]+$`).MatchString(v.Name) || strings.Contains(v.Value, "\x00") {
				t.Fatalf("%q in %q", v, list)
			}
			seen[v.Name] = true
		}
		for _, name := range []string{"HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"} {
			if seen[name] {
				t.Fatalf("%s passed", name)
			}
		}
		if v, ok := list.Lookup("HTTP_HOST"); !ok || v != "h" {
			t.Fatalf("HTTP_HOST = %q", v)
		}
	})
}
