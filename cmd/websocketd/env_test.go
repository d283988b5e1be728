package main

import (
	"bufio"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestEnvironment(t *testing.T) {
	base := "GET /a%20b/c?q=%41 HTTP/1.1\nHost: h.test:81\nUpgrade: websocket\nConnection: Upgrade\n"
	tests := []struct {
		name string
		c    config
		raw  string
		peer peer
		// want is the whole environment in order, or, with lines that start
		// with + and -, what is and what is not in it.
		want string
	}{
		{
			name: "all of it",
			raw:  base + "Origin: http://x\nX-Twice: 1\nX-Twice: 2\nCookie: a=1\nCookie: b=2\n\n",
			c:    config{env: []string{"PATH=/bin", "LANG=C"}},
			want: `SERVER_SOFTWARE=` + softwareString() + `
PATH=/bin
LANG=C
REMOTE_ADDR=192.0.2.1
REMOTE_HOST=name.test
REMOTE_PORT=99
SERVER_NAME=h.test
SERVER_PORT=81
SERVER_PROTOCOL=HTTP/1.1
GATEWAY_INTERFACE=CGI/1.1
REQUEST_METHOD=GET
SCRIPT_NAME=/a b
PATH_INFO=/c
PATH_TRANSLATED=/a b/c
QUERY_STRING=q=%41
REQUEST_URI=/a%20b/c?q=%41
UNIQUE_ID=id
AUTH_TYPE=
CONTENT_LENGTH=
CONTENT_TYPE=
REMOTE_IDENT=
REMOTE_USER=
HTTP_CONNECTION=Upgrade
HTTP_COOKIE=a=1; b=2
HTTP_HOST=h.test:81
HTTP_ORIGIN=http://x
HTTP_UPGRADE=websocket
HTTP_X_TWICE=1, 2`,
		},
		{name: "TLS", c: config{ssl: true}, raw: "GET / HTTP/1.1\nHost: h\n\n", want: "+HTTPS=on\n+SERVER_PORT=443"},
		{name: "no TLS", raw: "GET / HTTP/1.1\nHost: h\n\n", want: "-HTTPS=\n+SERVER_PORT=80\n+SERVER_NAME=h"},
		{name: "IPv6 without brackets", raw: "GET / HTTP/1.1\nHost: [::1]:5\n\n", want: "+SERVER_NAME=::1\n+SERVER_PORT=5"},
		{name: "IPv6 without a port", raw: "GET / HTTP/1.1\nHost: [::1]\n\n", want: "+SERVER_NAME=::1\n+SERVER_PORT=80"},
		{name: "no Host", raw: "GET / HTTP/1.0\n\n", want: "+SERVER_NAME=\n+SERVER_PORT=80\n+SERVER_PROTOCOL=HTTP/1.0\n-HTTP_HOST="},
		{name: "Proxy is not handed on", raw: "GET / HTTP/1.1\nHost: h\nProxy: evil\n\n", want: "-HTTP_PROXY="},
		{name: "a passed HTTP_PROXY is", c: config{env: []string{"HTTP_PROXY=good"}}, raw: "GET / HTTP/1.1\nHost: h\nProxy: evil\n\n", want: "+HTTP_PROXY=good"},
		{name: "underscores are not handed on", raw: "GET / HTTP/1.1\nHost: h\nX_A: 1\n\n", want: "-HTTP_X_A="},
		{name: "the software can be replaced", c: config{env: []string{"SERVER_SOFTWARE=mine"}}, raw: "GET / HTTP/1.1\nHost: h\n\n", want: "+SERVER_SOFTWARE=mine"},
		{name: "nothing else can", c: config{env: []string{"REMOTE_ADDR=me", "REMOTE_USER=root", "HTTP_X=1"}}, raw: "GET / HTTP/1.1\nHost: h\nX: 2\n\n", want: "+REMOTE_ADDR=192.0.2.1\n+REMOTE_USER=\n+HTTP_X=2"},
		{name: "credentials are handed on", raw: "GET / HTTP/1.1\nHost: h\nAuthorization: Basic x\n\n", want: "+HTTP_AUTHORIZATION=Basic x"},
		{name: "Content-Type stays empty", raw: "GET / HTTP/1.1\nHost: h\nContent-Type: a/b\n\n", want: "+CONTENT_TYPE=\n-HTTP_CONTENT_TYPE="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(tt.raw, "\n", "\r\n"))))
			if err != nil {
				t.Fatal(err)
			}
			q := &request{r: r, id: "id", peer: peer{"192.0.2.1", "name.test", "99"}, script: "/a b", pathInfo: "/c"}
			env, err := tt.c.environment(q)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want[0] != '+' && tt.want[0] != '-' {
				if got := strings.Join(env, "\n"); got != tt.want {
					t.Errorf("got\n%s", got)
				}
				return
			}
			for _, want := range strings.Split(tt.want, "\n") {
				if want[0] == '+' && !slices.Contains(env, want[1:]) {
					t.Errorf("%s is missing in %q", want[1:], env)
				}
				if want[0] == '-' && slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, want[1:]) }) {
					t.Errorf("%s is in %q", want[1:], env)
				}
			}
		})
	}
	t.Run("ambiguous and impossible requests", func(t *testing.T) {
		for _, edit := range []func(*request){
			func(q *request) { q.r.Header["X_A"] = []string{"1"}; q.r.Header["X-A"] = []string{"2"} },
			func(q *request) { q.pathInfo = "/a\x00" },
			func(q *request) { q.r.URL.Path = "/a\x00" },
		} {
			r, _ := http.NewRequest("GET", "http://h/", nil)
			q := &request{r: r}
			edit(q)
			if env, err := new(config).environment(q); err == nil {
				t.Errorf("accepted: %q", env)
			}
		}
	})
}

func TestPeer(t *testing.T) {
	for remote, want := range map[string]peer{
		"192.0.2.1:5":     {"192.0.2.1", "192.0.2.1", "5"},
		"[2001:db8::1]:5": {"2001:db8::1", "2001:db8::1", "5"},
		"@":               {unixPeer, unixPeer, ""},
		"":                {unixPeer, unixPeer, ""},
	} {
		if got := peerOf(&http.Request{RemoteAddr: remote}, false); got != want {
			t.Errorf("%q: %+v", remote, got)
		}
	}
	// A name, or the address when nobody knows one.
	r, _ := http.NewRequest("GET", "http://h/", nil)
	r.RemoteAddr = "127.0.0.1:5"
	if got := peerOf(r, true); got.host == "" || got.addr != "127.0.0.1" || strings.HasSuffix(got.host, ".") {
		t.Errorf("%+v", got)
	}
}

func TestSchemeless(t *testing.T) {
	if got := schemeless([]string{"a.test", "http://b", "c:80", "", ":"}); !slices.Equal(got, []string{"a.test", "c:80"}) {
		t.Errorf("%q", got)
	}
	if schemeless(nil) != nil {
		t.Error("no list has entries")
	}
}
