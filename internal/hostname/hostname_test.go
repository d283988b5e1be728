package hostname

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// ask sends a Host over a real connection.
func ask(t *testing.T, c Config, network, address, head string) (status int, reason string, calls int) {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(p.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++ })))
	srv.Listener.Close()
	if srv.Listener, err = net.Listen(network, address); err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer srv.Close()
	nc, err := net.Dial(network, srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprint(nc, head)
	res, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 && len(body) == 0 {
		t.Error("no body")
	}
	return res.StatusCode, res.Header.Get("X-WebSocket-Reject-Reason"), calls
}

func TestHosts(t *testing.T) {
	named := Config{Names: []string{"App.Example.com", "*.wild.test.", "192.168.1.5", "[2001:db8::1]"}}
	unix := filepath.Join(t.TempDir(), "s")
	tests := []struct {
		name, host string
		config     Config
		network    string // tcp4
		want       bool
	}{
		{name: "localhost", host: "localhost", want: true},
		{name: "localhost with a port", host: "localhost:8080", want: true},
		{name: "localhost in capitals with a dot", host: "LOCALHOST.:8080", want: true},
		{name: "below localhost", host: "app.localhost:8080", want: true},
		{name: "IPv4", host: "127.0.0.1:8080", want: true},
		{name: "another loopback address", host: "127.5.5.5", want: true},
		{name: "IPv6", host: "[::1]:8080", want: true},
		{name: "IPv6 without a port", host: "[::1]", want: true},
		{name: "IPv4 in IPv6", host: "[::ffff:127.0.0.1]:8080", want: true},
		{name: "over IPv6", host: "localhost", network: "tcp6", want: true},
		{name: "another name", host: "evil.test", want: false},
		{name: "another name with a port", host: "evil.test:8080", want: false},
		{name: "another name over IPv6", host: "evil.test", network: "tcp6", want: false},
		{name: "localhost as a part", host: "localhost.evil.test", want: false},
		{name: "localhost as an end", host: "evillocalhost", want: false},
		{name: "a number as a part", host: "127.0.0.1.evil.test", want: false},
		{name: "another address", host: "192.168.1.5", want: false},
		{name: "the unspecified address", host: "0.0.0.0:8080", want: false},
		{name: "an address written oddly", host: "127.1", want: false},
		{name: "a zone", host: "[fe80::1%25lo]", want: false},
		{name: "two dots at the end", host: "evil.test..", want: false},
		{name: "two ports", host: "localhost:1:2", want: false},
		{name: "a name that is configured", host: "app.example.com", config: named, want: true},
		{name: "a name that is configured, otherwise", host: "APP.example.com.:81", config: named, want: true},
		{name: "localhost beside names", host: "localhost", config: named, want: true},
		{name: "below a name that is configured", host: "x.app.example.com", config: named, want: false},
		{name: "below a pattern", host: "a.b.wild.test:1", config: named, want: true},
		{name: "the name of a pattern itself", host: "wild.test", config: named, want: false},
		{name: "only the dot of a pattern", host: ".wild.test", config: named, want: false},
		{name: "an end without a dot", host: "evilwild.test", config: named, want: false},
		{name: "an address that is configured", host: "192.168.1.5:80", config: named, want: true},
		{name: "an IPv6 address that is configured", host: "[2001:db8::1]:80", config: named, want: true},
		{name: "all names", host: "evil.test", config: Config{Names: []string{"*"}}, want: true},
		{name: "a Unix socket", host: "evil.test", network: "unix", want: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			network, address := "tcp4", "127.0.0.1:0"
			switch tt.network {
			case "tcp6":
				network, address = "tcp6", "[::1]:0"
			case "unix":
				network, address = "unix", unix
			}
			var log bytes.Buffer
			tt.config.Log = slog.New(slog.NewTextHandler(&log, nil))
			status, reason, calls := ask(t, tt.config, network, address, "GET / HTTP/1.1\r\nHost: "+tt.host+"\r\n\r\n")
			if tt.want {
				if status != 200 || calls != 1 {
					t.Errorf("status %d, %d calls", status, calls)
				}
				return
			}
			if status != 421 || calls != 0 || !strings.Contains(reason, "host name") || !strings.Contains(log.String(), "to hosts to admit it") {
				t.Errorf("status %d, reason %q, %d calls, log %s", status, reason, calls, log.String())
			}
		})
	}
	if status, _, calls := ask(t, Config{}, "tcp4", "127.0.0.1:0", "GET / HTTP/1.0\r\n\r\n"); status != 200 || calls != 1 {
		t.Errorf("no Host: status %d", status)
	}
}

// Other addresses than loopback, without having to have one.
func TestOtherAddresses(t *testing.T) {
	p, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Host = "evil.test"
	for ip, want := range map[string]bool{"192.0.2.1": true, "127.0.0.2": false, "::1": false} {
		over := r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(ip)}))
		if got := p.Check(over) == nil; got != want {
			t.Errorf("over %s: %v", ip, got)
		}
	}
}

func TestBadNames(t *testing.T) {
	bad := []string{"", "a:80", "http://a", "a b", "*.*.a", "a.*", "*a.test", "[::1]:80", "*.", "bücher.test", "*.bücher.test"}
	_, err := New(Config{Names: append([]string{"good.test"}, bad...)})
	if err == nil {
		t.Fatal("no error")
	}
	for _, b := range bad {
		if !strings.Contains(err.Error(), fmt.Sprintf("host %q", b)) {
			t.Errorf("%q is not in %v", b, err)
		}
	}
	if strings.Contains(err.Error(), "good.test") {
		t.Error(err)
	}
}
