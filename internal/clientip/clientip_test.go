package clientip

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
)

// seen is what is behind a Resolver.
type seen struct {
	Remote, Peer, Scheme, Host string
	Trusted                    bool
	Header                     http.Header
	Vars                       map[string]string
}

// serve answers with what it sees.
func serve(t *testing.T, c Config, network string) (address string) {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		list, err := cgi.Variables(r, cgi.Vars{})
		if err != nil {
			t.Error(err)
		}
		vars := make(map[string]string)
		for _, v := range list {
			vars[v.Name] = v.Value
		}
		json.NewEncoder(w).Encode(seen{r.RemoteAddr, Peer(r.Context()), Scheme(r), r.Host, Trusted(r.Context()), r.Header, vars})
	})))
	srv.Listener.Close()
	at := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": filepath.Join(t.TempDir(), "s")}[network]
	if srv.Listener, err = net.Listen(network, at); err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// ask sends header lines as they are.
func ask(t *testing.T, network, address string, lines ...string) (status int, got seen, local string) {
	t.Helper()
	nc, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: a.test\r\n%s\r\n", strings.Join(append(slices.Clone(lines), ""), "\r\n"))
	res, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
	} else if res.Header.Get("X-WebSocket-Reject-Reason") == "" || len(body) == 0 {
		t.Errorf("status %d without a reason: %v %q", res.StatusCode, res.Header, body)
	}
	return res.StatusCode, got, nc.LocalAddr().String()
}

func TestClients(t *testing.T) {
	local := Config{Trusted: []string{"loopback", "10.0.0.0/8", "2001:db8:1::/48"}}
	strict := local
	strict.Strict = true
	with := func(names ...string) Config {
		c := strict
		c.Header = names
		return c
	}
	both := with("X-Real-IP", "X-Forwarded-For")
	rfc := with("Forwarded")
	rfcLax := rfc
	rfcLax.Strict = false
	hosts, hostsLax, hostsRFC, hostsRFCLax := strict, local, rfc, rfcLax
	for _, c := range []*Config{&hosts, &hostsLax, &hostsRFC, &hostsRFCLax} {
		c.HostHeader = "x-forwarded-HOST"
	}
	ownHost := strict
	ownHost.HostHeader = "X-Original-Host"
	const from = "X-Forwarded-For: 192.0.2.1"
	one := Config{Strict: true, Trusted: []string{"127.0.0.1"}}

	tests := []struct {
		name    string
		config  Config
		network string // tcp4
		lines   []string
		want    string // "peer": the address of the connection; "400"
		scheme  string // http
		host    string // a.test
	}{
		{name: "nobody is trusted", lines: []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"}, want: "peer"},
		{name: "others are trusted", config: Config{Trusted: []string{"192.0.2.1"}, Strict: true}, lines: []string{"X-Forwarded-For: 192.0.2.1"}, want: "peer"},
		{name: "malformed from an untrusted peer", config: Config{Strict: true}, lines: []string{"X-Forwarded-For: ???"}, want: "peer"},
		{name: "nothing from an untrusted peer", config: Config{Strict: true}, want: "peer"},
		{name: "a trusted peer says nothing", config: local, want: "peer"},
		{name: "a trusted peer says nothing, strict", config: strict, want: "400"},
		{name: "empty", config: local, lines: []string{"X-Forwarded-For:"}, want: "peer"},
		{name: "empty, strict", config: strict, lines: []string{"X-Forwarded-For:"}, want: "400"},
		{name: "only commas, strict", config: strict, lines: []string{"X-Forwarded-For: , ,"}, want: "400"},
		{name: "one address", config: strict, lines: []string{"X-Forwarded-For: 192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "name in other letters", config: strict, lines: []string{"x-forwarded-FOR: 192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "blanks around", config: strict, lines: []string{"X-Forwarded-For: \t 192.0.2.1 \t"}, want: "192.0.2.1:0"},
		{name: "with a port", config: strict, lines: []string{"X-Forwarded-For: 192.0.2.1:4711"}, want: "192.0.2.1:4711"},
		{name: "IPv6", config: strict, lines: []string{"X-Forwarded-For: 2001:db8::1"}, want: "[2001:db8::1]:0"},
		{name: "IPv6 in brackets", config: strict, lines: []string{"X-Forwarded-For: [2001:db8::1]"}, want: "[2001:db8::1]:0"},
		{name: "IPv6 with a port", config: strict, lines: []string{"X-Forwarded-For: [2001:db8::1]:4711"}, want: "[2001:db8::1]:4711"},
		{name: "IPv6 in capitals", config: strict, lines: []string{"X-Forwarded-For: 2001:DB8::A"}, want: "[2001:db8::a]:0"},
		{name: "IPv4 in IPv6", config: strict, lines: []string{"X-Forwarded-For: ::ffff:192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "a chain, the last is the client", config: strict, lines: []string{"X-Forwarded-For: 198.51.100.9, 192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "a chain over a trusted hop", config: strict, lines: []string{"X-Forwarded-For: 192.0.2.1, 10.1.2.3"}, want: "192.0.2.1:0"},
		{name: "a chain over two trusted hops", config: strict, lines: []string{"X-Forwarded-For: 8.8.8.8, 192.0.2.1, 10.1.2.3, 2001:db8:1::2"}, want: "192.0.2.1:0"},
		{name: "all are trusted, the first is the client", config: strict, lines: []string{"X-Forwarded-For: 10.0.0.1, 10.0.0.2"}, want: "10.0.0.1:0"},
		{name: "a trusted hop as IPv4 in IPv6", config: strict, lines: []string{"X-Forwarded-For: 192.0.2.1, ::ffff:10.1.2.3"}, want: "192.0.2.1:0"},
		{name: "garbage of the client before its address", config: strict, lines: []string{"X-Forwarded-For: <script>, 192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "a trusted address that the client made up", config: strict, lines: []string{"X-Forwarded-For: 10.0.0.1, 192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "garbage behind a trusted hop", config: strict, lines: []string{"X-Forwarded-For: garbage, 10.1.2.3"}, want: "400"},
		{name: "garbage behind a trusted hop, lax", config: local, lines: []string{"X-Forwarded-For: garbage, 10.1.2.3"}, want: "peer"},
		{name: "several lines", config: strict, lines: []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 10.1.2.3, 10.1.2.4"}, want: "192.0.2.1:0"},
		{name: "several lines, the client sent the first", config: strict, lines: []string{"X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "empty elements", config: strict, lines: []string{"X-Forwarded-For: 192.0.2.1,, ,10.1.2.3,"}, want: "192.0.2.1:0"},
		{name: "unknown", config: strict, lines: []string{"X-Forwarded-For: unknown"}, want: "400"},
		{name: "a host name", config: strict, lines: []string{"X-Forwarded-For: localhost"}, want: "400"},
		{name: "a star", config: strict, lines: []string{"X-Forwarded-For: *"}, want: "400"},
		{name: "a bad port", config: strict, lines: []string{"X-Forwarded-For: 192.0.2.1:65536"}, want: "400"},
		{name: "an empty port", config: strict, lines: []string{"X-Forwarded-For: 192.0.2.1:"}, want: "400"},
		{name: "a word as port", config: strict, lines: []string{"X-Forwarded-For: 192.0.2.1:http"}, want: "400"},
		{name: "IPv4 in brackets", config: strict, lines: []string{"X-Forwarded-For: [192.0.2.1]:80"}, want: "400"},
		{name: "an open bracket", config: strict, lines: []string{"X-Forwarded-For: [2001:db8::1"}, want: "400"},
		{name: "a zone", config: strict, lines: []string{"X-Forwarded-For: fe80::1%eth0"}, want: "400"},
		{name: "leading zeros", config: strict, lines: []string{"X-Forwarded-For: 192.0.02.1"}, want: "400"},
		{name: "a short address", config: strict, lines: []string{"X-Forwarded-For: 192.1"}, want: "400"},

		{name: "a field that was not chosen", config: local, lines: []string{"X-Real-IP: 192.0.2.1"}, want: "peer"},
		{name: "X-Real-IP", config: both, lines: []string{"X-Real-IP: 192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "X-Real-IP before X-Forwarded-For", config: both, lines: []string{"X-Forwarded-For: 198.51.100.1", "X-Real-IP: 192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "X-Real-IP empty", config: both, lines: []string{"X-Real-IP:", "X-Forwarded-For: 192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "X-Real-IP malformed is not rescued", config: both, lines: []string{"X-Real-IP: x", "X-Forwarded-For: 192.0.2.1"}, want: "400"},
		{name: "X-Real-IP with two addresses", config: both, lines: []string{"X-Real-IP: 192.0.2.1, 192.0.2.2"}, want: "400"},
		{name: "X-Real-IP on two lines", config: both, lines: []string{"X-Real-IP: 192.0.2.1", "X-Real-IP: 192.0.2.2"}, want: "400"},
		{name: "a field of one's own", config: with("CF-Connecting-IP"), lines: []string{"CF-Connecting-IP: 2001:db8::1"}, want: "[2001:db8::1]:0"},
		{name: "a list of one's own", config: with("X-Original-Forwarded-For"), lines: []string{"X-Original-Forwarded-For: 192.0.2.1, 10.0.0.1"}, want: "192.0.2.1:0"},

		{name: "Forwarded", config: rfc, lines: []string{"Forwarded: for=192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "Forwarded with everything", config: rfc, lines: []string{`Forwarded: By=10.0.0.1;FOR="192.0.2.1:4711";host=a.test;proto=HTTPS`}, want: "192.0.2.1:4711", scheme: "https"},
		{name: "Forwarded with IPv6", config: rfc, lines: []string{`Forwarded: for="[2001:db8:cafe::17]:4711"`}, want: "[2001:db8:cafe::17]:4711"},
		{name: "Forwarded with IPv6 and no quotes", config: rfc, lines: []string{`Forwarded: for=[2001:db8:cafe::17]`}, want: "[2001:db8:cafe::17]:0"},
		{name: "Forwarded with quoted pairs", config: rfc, lines: []string{`Forwarded: for="192.0.2\.1"`}, want: "192.0.2.1:0"},
		{name: "Forwarded over trusted hops, the scheme is the client's", config: rfc, lines: []string{`Forwarded: for=8.8.8.8;proto=http, for=192.0.2.1;proto=https , for=10.0.0.1;proto=http`}, want: "192.0.2.1:0", scheme: "https"},
		{name: "Forwarded on several lines", config: rfc, lines: []string{`Forwarded: for="x, y"`, "Forwarded: for=192.0.2.1", "Forwarded: for=10.0.0.1"}, want: "192.0.2.1:0"},
		{name: "Forwarded with a hidden client", config: rfc, lines: []string{"Forwarded: for=_hidden"}, want: "400"},
		{name: "Forwarded with an unknown client", config: rfc, lines: []string{"Forwarded: for=unknown"}, want: "400"},
		{name: "Forwarded with a hidden client, lax", config: rfcLax, lines: []string{"Forwarded: for=_hidden;proto=https"}, want: "peer", scheme: "https"},
		{name: "Forwarded with a hidden port", config: rfc, lines: []string{`Forwarded: for="192.0.2.1:_x"`}, want: "192.0.2.1:0"},
		{name: "Forwarded with a hidden client behind a known one", config: rfc, lines: []string{"Forwarded: for=_hidden, for=192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "Forwarded without for", config: rfc, lines: []string{"Forwarded: proto=https"}, want: "400"},
		{name: "Forwarded with an open string", config: rfc, lines: []string{`Forwarded: for="192.0.2.9, for=192.0.2.1`}, want: "400"},
		{name: "Forwarded with for twice", config: rfc, lines: []string{`Forwarded: for=192.0.2.9;for=192.0.2.1`}, want: "400"},
		{name: "Forwarded that is none", config: rfc, lines: []string{`Forwarded: 192.0.2.1`}, want: "400"},
		{name: "Forwarded of nothing", config: rfc, lines: []string{`Forwarded: ,;`}, want: "400"},
		{name: "Forwarded with an unknown scheme", config: rfc, lines: []string{`Forwarded: for=192.0.2.1;proto=gopher`}, want: "400"},

		{name: "scheme", config: strict, lines: []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"}, want: "192.0.2.1:0", scheme: "https"},
		{name: "scheme of WebSockets", config: strict, lines: []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: WSS"}, want: "192.0.2.1:0", scheme: "https"},
		{name: "scheme without an address", config: local, lines: []string{"X-Forwarded-Proto: https"}, want: "peer", scheme: "https"},
		{name: "schemes, one per hop", config: strict, lines: []string{"X-Forwarded-For: 192.0.2.1, 10.0.0.1", "X-Forwarded-Proto: https, http"}, want: "192.0.2.1:0", scheme: "https"},
		{name: "schemes, one that the client made up", config: strict, lines: []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https, http"}, want: "192.0.2.1:0", scheme: "http"},
		{name: "an unknown scheme", config: local, lines: []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: gopher"}, want: "192.0.2.1:0"},
		{name: "an unknown scheme, strict", config: strict, lines: []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: gopher"}, want: "400"},

		{name: "a host that is not asked for", config: strict, lines: []string{from, "X-Forwarded-Host: b.test"}, want: "192.0.2.1:0"},
		{name: "a malformed host that is not asked for", config: strict, lines: []string{from, "X-Forwarded-Host: <b>"}, want: "192.0.2.1:0"},
		{name: "a host from an untrusted peer", config: Config{HostHeader: "X-Forwarded-Host"}, lines: []string{"X-Forwarded-Host: b.test"}, want: "peer"},
		{name: "a malformed host from an untrusted peer", config: Config{HostHeader: "X-Forwarded-Host", Strict: true}, lines: []string{"X-Forwarded-Host: <b>"}, want: "peer"},
		{name: "a host", config: hosts, lines: []string{from, "X-Forwarded-Host: b.test"}, want: "192.0.2.1:0", host: "b.test"},
		{name: "no host", config: hosts, lines: []string{from}, want: "192.0.2.1:0"},
		{name: "an empty host", config: hosts, lines: []string{from, "X-Forwarded-Host:"}, want: "192.0.2.1:0"},
		{name: "a host with a port", config: hosts, lines: []string{from, "X-Forwarded-Host: B_1.test:8443"}, want: "192.0.2.1:0", host: "B_1.test:8443"},
		{name: "a host with a dot at its end", config: hosts, lines: []string{from, "X-Forwarded-Host: b.test."}, want: "192.0.2.1:0", host: "b.test."},
		{name: "an address as host", config: hosts, lines: []string{from, "X-Forwarded-Host: [2001:db8::1]:80"}, want: "192.0.2.1:0", host: "[2001:db8::1]:80"},
		{name: "a host without an address", config: hostsLax, lines: []string{"X-Forwarded-Host: b.test"}, want: "peer", host: "b.test"},
		{name: "a host and a malformed address", config: hostsLax, lines: []string{"X-Forwarded-For: x", "X-Forwarded-Host: b.test"}, want: "peer", host: "b.test"},
		{name: "a host and an unknown scheme", config: hostsLax, lines: []string{from, "X-Forwarded-Proto: gopher", "X-Forwarded-Host: b.test"}, want: "192.0.2.1:0", host: "b.test"},
		{name: "hosts, one per hop", config: hosts, lines: []string{"X-Forwarded-For: 192.0.2.1, 10.0.0.1", "X-Forwarded-Host: b.test, c.test"}, want: "192.0.2.1:0", host: "b.test"},
		{name: "hosts on several lines", config: hosts, lines: []string{"X-Forwarded-For: 192.0.2.1, 10.0.0.1", "X-Forwarded-Host: b.test", "X-Forwarded-Host: c.test"}, want: "192.0.2.1:0", host: "b.test"},
		{name: "hosts, one that the client made up", config: hosts, lines: []string{from, "X-Forwarded-Host: evil.test, b.test"}, want: "192.0.2.1:0", host: "b.test"},
		{name: "hosts and addresses that the client made up", config: hosts, lines: []string{"X-Forwarded-For: 10.0.0.9, 192.0.2.1", "X-Forwarded-Host: evil.test, b.test"}, want: "192.0.2.1:0", host: "b.test"},
		{name: "a malformed host that the client made up", config: hosts, lines: []string{from, "X-Forwarded-Host: <script>, b.test"}, want: "192.0.2.1:0", host: "b.test"},
		{name: "another spelling is another field, and removed", config: hosts, lines: []string{from, "X_Forwarded_Host: evil.test"}, want: "192.0.2.1:0"},
		{name: "a field of one's own for the host", config: ownHost, lines: []string{from, "X-Original-Host: b.test", "X-Forwarded-Host: evil.test"}, want: "192.0.2.1:0", host: "b.test"},
		{name: "a malformed host", config: hosts, lines: []string{from, "X-Forwarded-Host: b test"}, want: "400"},
		{name: "a malformed host, lax", config: hostsLax, lines: []string{from, "X-Forwarded-Host: b test"}, want: "192.0.2.1:0"},
		{name: "Forwarded with a host", config: hostsRFC, lines: []string{`Forwarded: for=192.0.2.1;host="b.test:8443"`}, want: "192.0.2.1:0", host: "b.test:8443"},
		{name: "Forwarded with a host that is not asked for", config: rfc, lines: []string{`Forwarded: for=192.0.2.1;host=b.test`}, want: "192.0.2.1:0"},
		{name: "Forwarded with hosts, the client's counts", config: hostsRFC, lines: []string{`Forwarded: for=8.8.8.8;host=evil.test, for=192.0.2.1;host=b.test, for=10.0.0.1;host=c.test`}, want: "192.0.2.1:0", host: "b.test"},
		{name: "Forwarded with no host, but others", config: hostsRFC, lines: []string{`Forwarded: for=8.8.8.8;host=evil.test, for=192.0.2.1`, "X-Forwarded-Host: evil.test"}, want: "192.0.2.1:0"},
		{name: "Forwarded with a malformed host", config: hostsRFC, lines: []string{`Forwarded: for=192.0.2.1;host="b.test/x"`}, want: "400"},
		{name: "Forwarded with a malformed host, lax", config: hostsRFCLax, lines: []string{`Forwarded: for=192.0.2.1;host="b.test/x"`}, want: "192.0.2.1:0"},
		{name: "Forwarded with two hosts in one element", config: hostsRFC, lines: []string{`Forwarded: for=192.0.2.1;host=b.test;host=c.test`}, want: "400"},

		{name: "an IPv6 peer", config: strict, network: "tcp6", lines: []string{"X-Forwarded-For: 192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "an IPv6 peer that is not trusted", config: one, network: "tcp6", lines: []string{"X-Forwarded-For: 192.0.2.1"}, want: "peer"},
		{name: "an exact address", config: one, lines: []string{"X-Forwarded-For: 192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "a pattern", config: Config{Trusted: []string{"127.?.0.*"}}, lines: []string{"X-Forwarded-For: 192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "a pattern that does not fit", config: Config{Trusted: []string{"127.?.1.*"}}, lines: []string{"X-Forwarded-For: 192.0.2.1"}, want: "peer"},
		{name: "a Unix socket", config: Config{Trusted: []string{"unix"}, Strict: true}, network: "unix", lines: []string{"X-Forwarded-For: 192.0.2.1"}, want: "192.0.2.1:0"},
		{name: "a Unix socket that is not trusted", config: strict, network: "unix", lines: []string{"X-Forwarded-For: 192.0.2.1"}, want: "peer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			network := tt.network
			if network == "" {
				network = "tcp4"
			}
			status, got, local := ask(t, network, serve(t, tt.config, network), tt.lines...)
			if tt.want == "400" {
				if status != http.StatusBadRequest {
					t.Fatalf("got %d with the client %s", status, got.Remote)
				}
				return
			}
			if network == "unix" {
				local = "@"
			}
			want, scheme := tt.want, tt.scheme
			if want == "peer" {
				want = local
			}
			if scheme == "" {
				scheme = "http"
			}
			if got.Remote != want || got.Scheme != scheme || got.Peer != local {
				t.Errorf("got client %q, scheme %q, peer %q, want %q, %q, %q", got.Remote, got.Scheme, got.Peer, want, scheme, local)
			}
			if host := cmp.Or(tt.host, "a.test"); got.Host != host || got.Vars["HTTP_HOST"] != host {
				t.Errorf("host %q, HTTP_HOST %q, want %q", got.Host, got.Vars["HTTP_HOST"], host)
			}
			if got.Vars["REQUEST_SCHEME"] != scheme || (got.Vars["HTTPS"] == "on") != (scheme == "https") {
				t.Errorf("variables: %v", got.Vars)
			}
			addr, _, err := net.SplitHostPort(want)
			if err == nil && got.Vars["REMOTE_ADDR"] != addr {
				t.Errorf("REMOTE_ADDR is %q", got.Vars["REMOTE_ADDR"])
			}
			peer, port := "", "" // of a proxy alone
			if want != local {
				if peer, port, err = net.SplitHostPort(local); err != nil {
					peer = "unix:"
				}
			}
			if got.Vars["PEER_ADDR"] != peer || got.Vars["PEER_PORT"] != port {
				t.Errorf("PEER_ADDR is %q, PEER_PORT %q, want %q and %q", got.Vars["PEER_ADDR"], got.Vars["PEER_PORT"], peer, port)
			}
		})
	}
}

// Whatever has the meaning of a forwarded field must not get past a Resolver that does not believe it.
func TestFieldsOfUntrustedPeersAreRemoved(t *testing.T) {
	lines := []string{
		"X-Forwarded-For: 192.0.2.1", "x_forwarded_for: 192.0.2.2", "X-Forwarded-Host: evil", "X-Forwarded-Whatever: 1", "Forwarded: for=192.0.2.1",
		"X-Real-IP: 192.0.2.1", "CF-Connecting-IP: 192.0.2.1", "X-Mine: 192.0.2.1", "X-Proto: https", "X-Host: evil", "X-Other: stays",
	}
	tests := []struct {
		name   string
		config Config
		want   []string
	}{
		{"the default", Config{}, []string{"X-Host", "X-Mine", "X-Other", "X-Proto"}},
		{"fields that are chosen", Config{Header: []string{"x-mine"}, SchemeHeader: "x-proto", HostHeader: "x_host"}, []string{"X-Other"}},
		{"none but those that would be believed", Config{Remove: []string{}}, []string{"Cf-Connecting-Ip", "Forwarded", "X-Forwarded-Host", "X-Forwarded-Whatever", "X-Host", "X-Mine", "X-Other", "X-Proto", "X-Real-Ip"}},
		{"a peer that is trusted", Config{Trusted: []string{"loopback"}}, []string{"Cf-Connecting-Ip", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Whatever", "X-Host", "X-Mine", "X-Other", "X-Proto", "X-Real-Ip"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, got, _ := ask(t, "tcp4", serve(t, tt.config, "tcp4"), lines...)
			var names []string
			for name := range got.Header {
				names = append(names, name)
			}
			slices.Sort(names)
			if !slices.Equal(names, tt.want) {
				t.Errorf("got %v, want %v", names, tt.want)
			}
			if got.Trusted != (tt.config.Trusted != nil) {
				t.Errorf("trusted: %v", got.Trusted)
			}
		})
	}
}

func TestBadPeersAreAllNamed(t *testing.T) {
	bad := []string{"10.0.0.0/33", "10.0.0", "proxy.test", "", "fe80::1%eth0", "*.example.com", "::ffff:0:0/90", "10.0.0.0/8/8"}
	_, err := New(Config{Trusted: append(slices.Clone(bad), "10.0.0.1", "192.168.*", "PRIVATE")})
	if err == nil {
		t.Fatal("no error")
	}
	for _, b := range bad {
		if !strings.Contains(err.Error(), fmt.Sprintf("%q", b)) {
			t.Errorf("%q is not in %v", b, err)
		}
	}
	if strings.Contains(err.Error(), "192.168") || strings.Contains(err.Error(), "PRIVATE") {
		t.Error(err)
	}
}

func TestPeers(t *testing.T) {
	tests := []struct {
		entry, addr string
		want        bool
	}{
		{"192.0.2.0/24", "192.0.2.77:1", true},
		{"192.0.2.99/24", "192.0.2.77:1", true},
		{"192.0.2.0/24", "192.0.3.77:1", false},
		{"192.0.2.0/24", "[::ffff:192.0.2.1]:1", true},
		{"::ffff:192.0.2.0/120", "192.0.2.1:1", true},
		{"::ffff:192.0.2.7", "192.0.2.7:1", true},
		{"2001:db8::/32", "[2001:db8:1::1]:1", true},
		{"2001:db8::/32", "192.0.2.1:1", false},
		{"0.0.0.0/0", "[::1]:1", false},
		{"fe80::1", "[fe80::1%eth0]:1", true},
		{"2001:DB8::*", "[2001:db8::1]:1", true},
		{"198.51.100.*", "198.51.100.7:1", true},
		{"198.51.100.*", "198.51.10.7:1", false},
		{"*.7", "198.51.100.7:1", true},
		{"198.51.100.??", "198.51.100.7:1", false},
		{"private", "172.31.0.1:1", true},
		{"private", "172.32.0.1:1", false},
		{"private", "[fd00::1]:1", true},
		{"private", "127.0.0.1:1", false},
		{"loopback", "127.9.9.9:1", true},
		{"loopback", "127.0.0.1", true},
		{"loopback", "@", false},
		{"unix", "@", true},
		{"unix", "", true},
		{"unix", "127.0.0.1:1", false},
		{"*", "", false},
		{"loopback", "nonsense", false},
	}
	for _, tt := range tests {
		p, err := ParsePeers([]string{tt.entry})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Contain(tt.addr); got != tt.want {
			t.Errorf("%q contains %q: %v", tt.entry, tt.addr, got)
		}
	}
}

// Schemes over TLS: the proxy may speak TLS with us and plain HTTP with the client.
func TestSchemeOverTLS(t *testing.T) {
	for _, tt := range []struct{ proto, want, https string }{{"http", "http", "off"}, {"https", "https", "on"}, {"", "https", "on"}} {
		s, err := New(Config{Trusted: []string{"loopback"}})
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewTLSServer(s.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			list, err := cgi.Variables(r, cgi.Vars{})
			if err != nil {
				t.Error(err)
			}
			https, _ := list.Lookup("HTTPS")
			fmt.Fprint(w, Scheme(r), " ", https)
		})))
		req, err := http.NewRequest("GET", srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.proto != "" {
			req.Header.Set("X-Forwarded-Proto", tt.proto)
		}
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		srv.Close()
		if string(body) != tt.want+" "+tt.https {
			t.Errorf("%q: got %q", tt.proto, body)
		}
	}
}

func FuzzForwarded(f *testing.F) {
	for _, s := range []string{"for=1.2.3.4", `for="[::1]:1";proto=http, for=_x`, `a="\"`, ";,=", "for==", `for="a"b`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		before, err := parseForwarded([]string{line})
		if err == nil && len(before) == 0 {
			t.Fatal("no elements and no error")
		}
		// What a proxy appends to a good line is found at its end.
		after, err2 := parseForwarded([]string{line + ", for=192.0.2.1"})
		if err == nil && (err2 != nil || after[len(after)-1].node != "192.0.2.1" || len(after) != len(before)+1) {
			t.Fatalf("%q: %v, appended: %v, %v", line, before, after, err2)
		}
		parseNode(line)
	})
}

func TestHosts(t *testing.T) {
	for _, s := range []string{"a", "a.test", "A-1_b.test.", "a.test:1", "a.test:65535", "192.0.2.1", "192.0.2.1:80", "[::1]", "[2001:db8::1]:8443", "xn--bcher-kva.test"} {
		if err := checkHost(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{
		"", ".", "..", ".a", "a..b", ":80", "a:", "a:65536", "a:-1", "a:+1", "a:1:2", "a:x", "::1", "[::1", "[::1]80", "[::1]:", "[192.0.2.1]", "[fe80::1%eth0]", "[a.test]",
		"user@a.test", "a.test/", "a.test?x", "a.test#x", "a%2etest", "a test", "a,b", "a\\b", "a\x00", "bücher.test", "*", "https://a.test", strings.Repeat("a", 300),
	} {
		if checkHost(s) == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

// What is taken for a host is one for everybody who reads URLs, and nothing else.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"a.test:80", "[::1]:1", "user@a.test", "a.test/x", "[::1]", "a:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if checkHost(s) != nil {
			return
		}
		u, err := url.Parse("http://" + s)
		if err != nil || u.Host != s || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q: %+v, %v", s, u, err)
		}
	})
}
