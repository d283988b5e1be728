//go:build unix

package host

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/h2test"
	"github.com/wspawn/wspawn/wsframe"
)

// A knock is a handshake, good until a test changes it.
type knock struct {
	id     string // its query: what is started notes it
	method string
	host   string
	route  string // of the path
	name   string // of the program
	header http.Header
	full   bool // the whole server is full
}

func newKnock(id, route string) *knock {
	return &knock{id: id, method: "GET", host: "localhost", route: route, name: "/good.sh", header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-WebSocket-Version": {"13"}, "Sec-WebSocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}}
}

// protocolHeader is written as in RFC 6455.
var protocolHeader = "Sec-WebSocket-Protocol"

// set makes a line of the header the only one of its name; "-" removes it.
func set(name, value string) func(*knock) {
	return func(k *knock) {
		if k.header[name] = []string{value}; value == "-" {
			delete(k.header, name)
		}
	}
}

// answered is what comes back.
type answered struct {
	status int
	header http.Header
	body   string
	last   bool          // nothing else is answered on the connection
	conn   *wsframe.Conn // nil: refused
}

// doors are the ways to knock.
var doors = map[string]func(*testing.T, *Host, *knock) answered{"HTTP/1.1": overHTTP1, "HTTP/2": overHTTP2}

func overHTTP1(t *testing.T, h *Host, k *knock) answered {
	t.Helper()
	nc, err := net.Dial("tcp", h.listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(h2test.Timeout))
	fmt.Fprintf(nc, "%s %s%s?%s HTTP/1.1\r\nHost: %s\r\n", k.method, k.route, k.name, k.id, k.host)
	for name, values := range k.header {
		for _, v := range values {
			fmt.Fprintf(nc, "%s: %s\r\n", name, v)
		}
	}
	io.WriteString(nc, "\r\n")
	br := bufio.NewReader(nc)
	resp, err := http.ReadResponse(br, &http.Request{Method: k.method})
	if err != nil {
		t.Fatal(err)
	}
	a := answered{status: resp.StatusCode, header: resp.Header, last: resp.Close}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		behind, _ := br.Peek(br.Buffered())
		a.conn = wsframe.NewConn(nc, bytes.Clone(behind), wsframe.Client, "", nil)
		return a
	}
	body, err := io.ReadAll(resp.Body)
	if a.body = string(body); err != nil {
		t.Error(err)
	}
	return a
}

func overHTTP2(t *testing.T, h *Host, k *knock) answered {
	t.Helper()
	fields := h2test.Fields{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", k.route + k.name + "?" + k.id, ":authority", k.host}
	for name, values := range k.header {
		for _, v := range values {
			if name = strings.ToLower(name); name != "connection" && name != "upgrade" && name != "sec-websocket-key" {
				fields = append(fields, name, v)
			}
		}
	}
	s := plain(t, h).Open(fields, false)
	status, header := s.Response()
	a := answered{status: status, header: header}
	if status == http.StatusOK {
		a.conn = wsframe.NewConn(s, nil, wsframe.Client, "", nil)
		return a
	}
	s.SetReadDeadline(time.Now().Add(h2test.Timeout))
	body, err := io.ReadAll(s)
	if a.body = string(body); err != nil {
		t.Error(err)
	}
	return a
}

// expect sends a handshake and looks at the answer. Reason "" is for one that opens, which is returned.
func expect(t *testing.T, h *Host, door string, k *knock, status int, reason string) answered {
	t.Helper()
	for k.full {
		release, refusal := h.limiter.Acquire(t.Context(), "")
		if refusal != nil {
			break
		}
		defer release()
	}
	a := doors[door](t, h, k)
	if reason == "" {
		if a.conn == nil {
			t.Fatalf("%s: refused with %d %q", k.id, a.status, a.body)
		}
		t.Cleanup(func() { a.conn.CloseNow(); <-a.conn.Done() })
		return a
	}
	want := answered{status: status, body: reason + "\n"}
	if a.conn != nil {
		a.conn.CloseNow()
		<-a.conn.Done()
		t.Errorf("%s: opened, want %d %q", k.id, status, reason)
		return a
	}
	if door == "HTTP/1.1" && !a.last {
		t.Errorf("%s: the connection goes on: frames behind the handshake would be taken for a request", k.id)
	}
	if a.status != want.status || a.body != want.body {
		t.Errorf("%s: %d %q, want %d %q", k.id, a.status, a.body, want.status, want.body)
	}
	for name, value := range map[string]string{
		"X-Websocket-Reject-Reason": reason, "Content-Type": "text/plain; charset=utf-8", "Content-Length": fmt.Sprint(len(want.body)),
	} {
		if got := a.header.Get(name); got != value {
			t.Errorf("%s: %s is %q, want %q", k.id, name, got, value)
		}
	}
	return a
}

// doorPrograms has a program that can be started, one that cannot, and one that knows anna. Each notes the query of the request.
func doorPrograms(t *testing.T) (dir, hook string, started func() []string) {
	t.Helper()
	dir, notes := t.TempDir(), filepath.Join(t.TempDir(), "started")
	hook = filepath.Join(t.TempDir(), "hook")
	for file, text := range map[string]string{
		filepath.Join(dir, "good.sh"):   "#!/bin/sh\necho \"program $QUERY_STRING\" >>" + notes + "\necho \"$REMOTE_ADDR $HTTP_X_FORWARDED_FOR$HTTP_X_REAL_IP\"\nexec cat\n",
		filepath.Join(dir, "broken.sh"): "#!/no/such/interpreter\n",
		hook:                            "#!/bin/sh\necho \"hook $QUERY_STRING\" >>" + notes + "\n[ \"$HTTP_X_USER\" = anna ]\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir, hook, func() []string {
		b, err := os.ReadFile(notes)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		slices.Sort(lines)
		return lines
	}
}

// A handshake that is wrong in two ways gets the answer of the check that comes first, and nothing of what comes later
// is done for it.
func TestTheFirstCheckThatFailsAnswers(t *testing.T) {
	dir, hook, started := doorPrograms(t)
	var all []*config.Route
	for _, path := range []string{"/r/", "/busy/"} {
		r := config.New[config.Route]()
		r.Path, r.Stdio = path, config.New[config.Stdio]()
		r.Stdio.Programs = config.Path(dir)
		r.Origins, r.RequireOrigin = []string{"https://*.example.com"}, true
		r.Protocols, r.DefaultProtocol = []*config.Protocol{{Name: "x"}}, "reject"
		r.Auth = config.New[config.Auth]()
		r.Auth.Hook = config.New[config.AuthHook]()
		r.Auth.Hook.Command = []string{hook}
		all = append(all, r)
	}
	all[1].Limits.Rate = 1e-6 // one session, and the next one in eleven days
	c := routes(all...)
	c.Hosts = nil
	c.Client.TrustedProxies, c.Client.Strict = []string{"loopback"}, true
	c.Limits.Sessions, c.Limits.RatePerAddress = 100, 0
	h, stop := run(t, c)

	// The checks in their order; those with the same rank exclude each other. What is started before the answer is the same for
	// all behind the authentication.
	checks := []struct {
		rank   int
		name   string
		http1  bool // HTTP/2 cannot say so
		fail   func(*knock)
		status int
		reason string
	}{
		{1, "host", false, func(k *knock) { k.host = "evil.test" }, 421, "this server does not answer to this host name"},
		{2, "client", false, set("X-Forwarded-For", "somebody"), 400, "the proxy does not say who the client is"},
		{3, "limit", false, func(k *knock) { k.full = true }, 503, "server is full"},
		{4, "route", false, func(k *knock) { k.route = "/other" }, 404, "there is nothing at this path"},
		{5, "origin", false, set("Origin", "https://evil.test"), 403, "origin not allowed"},
		{5, "no-origin", false, set("Origin", "-"), 400, "origin missing"},
		{6, "route-limit", false, func(k *knock) { k.route = "/busy" }, 503, "server is busy"},
		{authRank, "user", false, set("X-User", "eve"), 403, "not allowed"},
		{8, "method", true, func(k *knock) { k.method = "POST" }, 405, "a WebSocket handshake is a GET request"},
		{9, "version", false, set("Sec-WebSocket-Version", "8"), 426, "Sec-WebSocket-Version is not 13"},
		{10, "key", true, set("Sec-WebSocket-Key", "-"), 400, "Sec-WebSocket-Key header is missing"},
		{11, "subprotocol", false, set(protocolHeader, "y"), 400, "a subprotocol is needed: x"},
		{12, "program", false, func(k *knock) { k.name = "/broken.sh" }, 502, "the program could not be found"},
	}
	good := func(id string) *knock {
		k := newKnock(id, "/r")
		for name, value := range map[string]string{
			"X-Forwarded-For": "192.0.2.7", "Origin": "https://app.example.com", "X-User": "anna", protocolHeader: "x",
		} {
			set(name, value)(k)
		}
		return k
	}
	var want []string
	var open []*wsframe.Conn
	for door := range doors {
		k := good(door + ":good")
		if door == "HTTP/1.1" {
			k.route = "/busy" // its only session
		}
		open = append(open, expect(t, h, door, k, 0, "").conn)
		want = append(want, "hook "+k.id, "program "+k.id)
	}
	for door := range doors {
		for i, first := range checks {
			for _, second := range checks[i:] {
				if first.rank == second.rank && first.name != second.name || door == "HTTP/2" && (first.http1 || second.http1) {
					continue
				}
				k := good(door + ":" + first.name + "+" + second.name)
				second.fail(k)
				first.fail(k)
				expect(t, h, door, k, first.status, first.reason)
				if first.rank >= authRank {
					want = append(want, "hook "+k.id)
				}
			}
		}
	}
	if n := h.programs.Running(); n != len(doors) {
		t.Errorf("%d programs run", n)
	}
	for _, conn := range open {
		conn.Close(wsframe.CloseNormal, "")
	}
	if err := stop(); err != nil { // and so whatever was started has ended
		t.Error(err)
	}
	if slices.Sort(want); !slices.Equal(started(), want) {
		t.Errorf("started\n%s\nwant\n%s", strings.Join(started(), "\n"), strings.Join(want, "\n"))
	}
}

// authRank is the place of the question who the client is among the checks.
const authRank = 7

// The checks of InspIRCd's websocket module, row by row in its order, and what wspawn answers. Its number 4, a
// server that does not speak UTF-8, and number 6, one without SHA-1, cannot be here.
func TestHandshakesAreAnsweredAsByInspIRCd(t *testing.T) {
	const peer, client = "127.0.0.1 ", "192.0.2.7 192.0.2.7"
	const origin, foreign = "https://chat.example.com", "https://evil.test"
	const foreignReason, missing, unknown = "origin not allowed", "origin missing", "the proxy does not say who the client is"
	strict := func(peers string) func(*config.Config, *config.Route) {
		return func(c *config.Config, _ *config.Route) {
			c.Client.TrustedProxies, c.Client.Strict, c.Client.Headers = []string{peers}, true, []string{"X-Real-IP", "X-Forwarded-For"}
		}
	}
	lax := func(c *config.Config, r *config.Route) {
		strict("loopback")(c, r)
		c.Client.Strict = false
	}
	trusted, untrusted := strict("loopback"), strict("192.0.2.0/24")
	required := func(_ *config.Config, r *config.Route) { r.RequireOrigin = true }
	mode := func(word string) func(*config.Config, *config.Route) {
		return func(_ *config.Config, r *config.Route) {
			r.Protocols, r.DefaultProtocol = []*config.Protocol{{Name: "text.ircv3.net"}, {Name: "binary.ircv3.net", Binary: true}}, word
		}
	}
	real := func(value string) func(*knock) { return set("X-Real-IP", value) }
	forwarded := func(value string) func(*knock) { return set("X-Forwarded-For", value) }
	asks := func(value string) func(*knock) { return set(protocolHeader, value) }
	const needed = "a subprotocol is needed: text.ircv3.net, binary.ircv3.net"
	both := func(all ...func(*knock)) func(*knock) {
		return func(k *knock) {
			for _, f := range all {
				f(k)
			}
		}
	}
	for _, row := range []struct {
		name     string
		settings func(*config.Config, *config.Route)
		change   func(*knock)
		status   int // 0: it opens
		reason   string
		sees     string // what the program knows: REMOTE_ADDR, and the lines that name a client
		http1    bool
	}{
		{name: "1a an origin of the list", change: set("Origin", origin), sees: peer},
		{name: "1a in capitals", change: set("Origin", strings.ToUpper(origin)), sees: peer},
		{name: "1b another origin", change: set("Origin", foreign), status: 403, reason: foreignReason},
		{name: "1b another port", change: set("Origin", origin+":8443"), status: 403, reason: foreignReason},
		{name: "1b no page's origin", change: set("Origin", "null"), status: 403, reason: foreignReason},
		// There the pattern is for the whole text, and matches this.
		{name: "1b a pattern in the path", change: set("Origin", foreign+"/.example.com"), status: 403, reason: foreignReason},
		{name: "1c no origin, allowed", sees: peer},
		{name: "1c no origin, required", settings: required, status: 400, reason: missing},
		{name: "1c an empty origin, allowed", change: set("Origin", ""), sees: peer},
		{name: "1c an empty origin, required", settings: required, change: set("Origin", ""), status: 400, reason: missing},
		{name: "1c an origin, required", settings: required, change: set("Origin", origin), sees: peer},

		{name: "2a no address, of a proxy", settings: trusted, status: 400, reason: unknown},
		{name: "2a no address, of a proxy that need not say it", settings: lax, sees: peer},
		// There it is 400: but who is no proxy has nothing to say.
		{name: "2a no address, of somebody else", settings: untrusted, sees: peer},
		{name: "2b a malformed address, of a proxy", settings: trusted, change: real("192.0.2"), status: 400, reason: unknown},
		{name: "2b a malformed address, of a proxy that need not say it", settings: lax, change: real("192.0.2"), sees: peer + "192.0.2"},
		{name: "2b a malformed address, and a good one that counts less", settings: trusted, change: both(real("x"), forwarded("192.0.2.7")), status: 400, reason: unknown},
		{name: "2b two addresses in X-Real-IP", settings: trusted, change: real("192.0.2.1, 192.0.2.7"), status: 400, reason: unknown},
		// There it is the address of zeros.
		{name: "2b a star", settings: trusted, change: real("*"), status: 400, reason: unknown},
		// There it is 400: but what says who is not believed never reaches a program.
		{name: "2b a malformed address, of somebody else", settings: untrusted, change: real("192.0.2"), sees: peer},
		{name: "2c an address, of a proxy", settings: trusted, change: real("192.0.2.7"), sees: client},
		{name: "2c an address in the other line", settings: trusted, change: forwarded("192.0.2.7"), sees: client},
		{name: "2c an address of IPv6", settings: trusted, change: real("2001:db8::7"), sees: "2001:db8::7 2001:db8::7"},
		// There it is 400: but proxies stand in rows.
		{name: "2c two addresses in X-Forwarded-For", settings: trusted, change: forwarded("192.0.2.1, 192.0.2.7"), sees: "192.0.2.7 192.0.2.1, 192.0.2.7"},
		{name: "2c an address, of somebody else", settings: untrusted, change: real("192.0.2.7"), sees: peer},

		{name: "3 no subprotocol, text", settings: mode("text"), sees: peer},
		{name: "3 no subprotocol, binary", settings: mode("binary"), sees: peer},
		{name: "3 no subprotocol, reject", settings: mode("reject"), status: 400, reason: needed},
		{name: "3 unknown subprotocols, text", settings: mode("text"), change: asks("chat, irc"), sees: peer},
		{name: "3 unknown subprotocols, binary", settings: mode("binary"), change: asks("chat, irc"), sees: peer},
		{name: "3 unknown subprotocols, reject", settings: mode("reject"), change: asks("chat, irc"), status: 400, reason: needed},
		{name: "3 a known subprotocol, text", settings: mode("text"), change: asks("chat, binary.ircv3.net"), sees: peer},
		{name: "3 a known subprotocol, binary", settings: mode("binary"), change: asks("TEXT.ircv3.net"), sees: peer},
		{name: "3 a known subprotocol, reject", settings: mode("reject"), change: asks("text.ircv3.net, binary.ircv3.net"), sees: peer},

		// There all three are 501, which says that the server cannot do it. It is the request that is wrong (RFC 6455, section 4.2.2).
		{name: "5 no key", change: set("Sec-WebSocket-Key", "-"), status: 400, reason: "Sec-WebSocket-Key header is missing", http1: true},
		{name: "5 an empty key", change: set("Sec-WebSocket-Key", ""), status: 400, reason: "Sec-WebSocket-Key is not the base64 form of 16 bytes", http1: true},
		// A page may ask so whatever its origin is: the browser does not let it read the answer.
		{name: "5 an ordinary request", change: both(set("Upgrade", "-"), set("Sec-WebSocket-Key", "-"), set("Origin", foreign)), status: 426, reason: "this is a WebSocket endpoint: Upgrade header without websocket", http1: true},
		// There it opens.
		{name: "5 a short key", change: set("Sec-WebSocket-Key", "A"), status: 400, reason: "Sec-WebSocket-Key is not the base64 form of 16 bytes", http1: true},
		{name: "5 another version", change: set("Sec-WebSocket-Version", "8"), status: 426, reason: "Sec-WebSocket-Version is not 13"},
		{name: "5 no version", change: set("Sec-WebSocket-Version", "-"), status: 400, reason: "Sec-WebSocket-Version header is missing"},
		{name: "5 another method", change: func(k *knock) { k.method = "POST" }, status: 405, reason: "a WebSocket handshake is a GET request", http1: true},

		{name: "1b before 2a", settings: trusted, change: set("Origin", foreign), status: 400, reason: unknown}, // the address comes first: limits and logs need it
		{name: "1b before 3", settings: mode("reject"), change: set("Origin", foreign), status: 403, reason: foreignReason},
		{name: "1c before 5", settings: required, change: set("Sec-WebSocket-Key", "-"), status: 400, reason: missing, http1: true},
		// There 3 comes first: but only a handshake has subprotocols.
		{name: "5 before 3", settings: mode("reject"), change: set("Sec-WebSocket-Version", "8"), status: 426, reason: "Sec-WebSocket-Version is not 13"},
	} {
		for door := range doors {
			if row.http1 && door != "HTTP/1.1" {
				continue
			}
			t.Run(row.name+" "+door, func(t *testing.T) {
				dir, _, started := doorPrograms(t)
				r := config.New[config.Route]()
				r.Path, r.Stdio, r.Origins = "/r/", config.New[config.Stdio](), []string{"https://*.example.com"}
				r.Stdio.Programs = config.Path(dir)
				c := routes(r)
				if row.settings != nil {
					row.settings(c, r)
				}
				h, stop := run(t, c)
				k := newKnock("it", "/r")
				if row.change != nil {
					row.change(k)
				}
				a := expect(t, h, door, k, row.status, row.reason)
				want := ""
				if row.status == 0 {
					want = "program it"
					opened(t, door, k, r, a)
					if got := read(t, a.conn); got != row.sees {
						t.Errorf("the program knows %q, want %q", got, row.sees)
					}
					a.conn.Close(wsframe.CloseNormal, "")
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
				if got := strings.Join(started(), " "); got != want {
					t.Errorf("started %q, want %q", got, want)
				}
			})
		}
	}
}

// opened is number 7: the answer that opens a connection has what it needs, and nothing else.
func opened(t *testing.T, door string, k *knock, r *config.Route, a answered) {
	t.Helper()
	want := http.Header{}
	if door == "HTTP/1.1" {
		// The key and its answer are those of RFC 6455, section 1.3.
		want = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Accept": {"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}}
	}
	var list []string
	if asked := k.header[protocolHeader]; asked != nil {
		list = strings.Split(asked[0], ", ")
	}
	for _, asked := range list { // the first that is known, in the client's spelling
		if slices.ContainsFunc(r.Protocols, func(p *config.Protocol) bool { return strings.EqualFold(p.Name, asked) }) {
			want["Sec-Websocket-Protocol"] = []string{asked}
			break
		}
	}
	got := a.header.Clone()
	delete(got, "Date")
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("header %v, want %v", got, want)
	}
}

// What gateways answer themselves has the reason as well, for who asks for a WebSocket.
func TestGatewaysSayWhyTheyRefuse(t *testing.T) {
	dead := []string{"127.0.0.1:1"}
	dir := t.TempDir()
	var all []*config.Route
	add := func(path string) *config.Route {
		r := config.New[config.Route]()
		r.Path = path
		all = append(all, r)
		return r
	}
	cgi := add("/cgi/")
	cgi.CGI = config.New[config.CGI]()
	cgi.CGI.Path, cgi.CGI.Upgrade = config.Path(dir), true
	scgi := add("/scgi/")
	scgi.SCGI = config.New[config.SCGI]()
	scgi.SCGI.Servers, scgi.SCGI.Upgrade = dead, true
	fast := add("/fastcgi/")
	fast.FastCGI = config.New[config.FastCGI]()
	fast.FastCGI.Servers, fast.FastCGI.Upgrade = dead, true
	proxy := add("/proxy/")
	proxy.Proxy = config.New[config.Proxy]()
	proxy.Proxy.Servers, proxy.Proxy.Upgrade = dead, true
	h, _ := run(t, routes(all...))
	for door, knocks := range doors {
		for path, want := range map[string]string{"/cgi": "no such program", "/scgi": "no backend can be reached", "/fastcgi": "no backend can be reached", "/proxy": "no backend can be reached"} {
			a := knocks(t, h, newKnock(door+path, path))
			reason := a.header.Get("X-WebSocket-Reject-Reason")
			if a.status < 400 || reason != want || a.body != fmt.Sprintf("%d %s\n", a.status, reason) {
				t.Errorf("%s%s: %d %q, %q", door, path, a.status, reason, a.body)
			}
		}
	}
}
