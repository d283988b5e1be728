//go:build unix

package host

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/wsframe"
)

func TestForeignNamesAreRefusedOnThisMachine(t *testing.T) {
	c := routes(stdioRoute("/", "cat"))
	c.Hosts = []string{"app.example"}
	h, _ := run(t, c)
	_, port, _ := net.SplitHostPort(h.listeners[0].Addr().String())
	for name, want := range map[string]int{
		"127.0.0.1:" + port: 426, "localhost:" + port: 426, "app.example": 426, "app.example:" + port: 426,
		"evil.test": 421, "evil.test:" + port: 421, "127.0.0.1.evil.test": 421,
	} {
		req, _ := http.NewRequest("GET", h.URLs("http")[0], nil)
		req.Host = name
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", name, resp.StatusCode, want)
		}
	}
}

// The subprotocols of IRC, and what InspIRCd does with them.
func TestSubprotocolsSayWhatMessagesAre(t *testing.T) {
	for _, kind := range []string{"stdio", "tunnel"} {
		for mode, otherwise := range map[string]wsframe.Opcode{"text": wsframe.OpText, "binary": wsframe.OpBinary, "reject": 0} {
			r := stdioRoute("/", "cat")
			if kind == "tunnel" {
				r = config.New[config.Route]()
				r.Tunnel = config.New[config.Tunnel]()
				r.Tunnel.Framing, r.Tunnel.Servers = "lines", []string{echoServer(t)}
			}
			r.Protocols = []*config.Protocol{{Name: "text.ircv3.net"}, {Name: "binary.ircv3.net", Binary: true}}
			r.DefaultProtocol = mode
			h, _ := run(t, routes(r))
			for _, test := range []struct {
				asks []string
				gets string
				op   wsframe.Opcode
			}{
				{[]string{"text.ircv3.net"}, "text.ircv3.net", wsframe.OpText},
				{[]string{"Binary.IRCv3.net", "text.ircv3.net"}, "Binary.IRCv3.net", wsframe.OpBinary},
				{[]string{"other", "text.ircv3.net"}, "text.ircv3.net", wsframe.OpText},
				{[]string{"other"}, "", otherwise},
				{nil, "", otherwise},
			} {
				o := &wsframe.DialOptions{Protocols: test.asks}
				if test.op == 0 {
					_, resp, err := wsframe.Dial(t.Context(), h.URLs("ws")[0], o)
					if err == nil || resp.StatusCode != 400 {
						t.Errorf("%s, %s, %q: %v", kind, mode, test.asks, err)
					}
					continue
				}
				c, _, err := wsframe.Dial(t.Context(), h.URLs("ws")[0], o)
				if err != nil {
					t.Errorf("%s, %s, %q: %v", kind, mode, test.asks, err)
					continue
				}
				for _, op := range []wsframe.Opcode{wsframe.OpText, wsframe.OpBinary} {
					c.WriteMessage(op, []byte("PING x"))
					if got, p, err := c.ReadMessage(nil); err != nil || got != test.op || string(p) != "PING x" {
						t.Errorf("%s, %s, %q: %v %q %v, want %v", kind, mode, test.asks, got, p, err, test.op)
					}
				}
				if c.Subprotocol() != test.gets {
					t.Errorf("%s, %s, %q: subprotocol %q", kind, mode, test.asks, c.Subprotocol())
				}
				c.CloseNow()
			}
		}
	}
}

// echoServer sends back what comes, over TCP, and returns its address.
func echoServer(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 4096)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					c.Write(buf[:n])
				}
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

func TestBackendsAreToldWhoTheClientIs(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Forwarded-For"), " ", r.Header.Get("X-Forwarded-Proto"))
	}))
	defer backend.Close()
	for _, test := range []struct {
		trusted, forwarded, want string
	}{
		{"loopback", "append", "192.0.2.1, 127.0.0.1 https"},
		{"loopback", "drop", "192.0.2.1 https"},
		{"loopback", "off", " "},
		{"", "append", "127.0.0.1 http"},
		{"", "drop", "127.0.0.1 http"},
	} {
		r := config.New[config.Route]()
		r.Proxy = config.New[config.Proxy]()
		r.Proxy.Servers, r.Proxy.Forwarded = []string{strings.TrimPrefix(backend.URL, "http://")}, test.forwarded
		c := routes(r)
		if test.trusted != "" {
			c.Client.TrustedProxies = []string{test.trusted}
		}
		h, _ := run(t, c)
		req, _ := http.NewRequest("GET", h.URLs("http")[0], nil)
		req.Header.Set("X-Forwarded-For", "192.0.2.1")
		req.Header.Set("X-Forwarded-Proto", "https")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(got) != test.want {
			t.Errorf("trusted %q, %s: %q, want %q", test.trusted, test.forwarded, got, test.want)
		}
	}
}

// A client behind a trusted proxy is limited by its own address.
func TestEachAddressHasItsLimits(t *testing.T) {
	c := routes(stdioRoute("/", "cat"))
	c.Client.TrustedProxies = []string{"loopback"}
	c.Limits.SessionsPerAddress = 2
	h, _ := run(t, c)
	from := func(address string) *wsframe.DialOptions {
		return &wsframe.DialOptions{Header: http.Header{"X-Forwarded-For": {address}}}
	}
	first := dial(t, h, "/", from("192.0.2.1"))
	dial(t, h, "/", from("192.0.2.1"))
	_, resp, err := wsframe.Dial(t.Context(), h.URLs("ws")[0], from("192.0.2.1"))
	if err == nil || resp == nil || resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a third session: %v", err)
	}
	dial(t, h, "/", from("192.0.2.2"))
	first.Close(wsframe.CloseNormal, "")
	eventually(t, "there is room again", func() bool {
		c, _, err := wsframe.Dial(t.Context(), h.URLs("ws")[0], from("192.0.2.1"))
		if err == nil {
			c.CloseNow()
		}
		return err == nil
	})
}

func TestClientsThatSendTooMuchAreClosed(t *testing.T) {
	for name, change := range map[string]func(*config.WebSocket){
		"messages": func(w *config.WebSocket) { w.MessageRate = 5 },
		"bytes":    func(w *config.WebSocket) { w.ByteRate, w.MaxMessage = 100, 100 },
	} {
		r := stdioRoute("/", "cat")
		change(&r.WebSocket)
		h, _ := run(t, routes(r))
		c := dial(t, h, "/", nil)
		for range 3 {
			echo(t, c, "slowly")
		}
		go func() {
			for c.WriteMessage(wsframe.OpText, []byte("much more than anybody asked for")) == nil {
			}
		}()
		for {
			if _, _, err := c.ReadMessage(nil); err != nil {
				var e *wsframe.CloseError
				if !errors.As(err, &e) || e.Code != wsframe.ClosePolicy {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
		}
	}
}

func TestEachRouteHasItsLimitsAndHeaders(t *testing.T) {
	limited := stdioRoute("/limited", "cat")
	limited.Limits.Sessions = 1
	limited.Headers, limited.HandshakeHeaders, limited.ErrorHeaders = []string{"X-All: 1"}, []string{"X-Open: 2"}, []string{"X-Error: 3"}
	h, _ := run(t, routes(limited, stdioRoute("/other", "cat")))
	base := strings.TrimSuffix(h.URLs("ws")[0], "/")
	c, resp, err := wsframe.Dial(t.Context(), base+"/limited", nil)
	if err != nil {
		t.Fatal(err)
	}
	has := func(resp *http.Response, want string) {
		t.Helper()
		if got := resp.Header.Get("X-All") + resp.Header.Get("X-Open") + resp.Header.Get("X-Error"); got != want {
			t.Errorf("status %d: headers %q, want %q", resp.StatusCode, got, want)
		}
	}
	has(resp, "12")
	_, resp, err = wsframe.Dial(t.Context(), base+"/limited", nil)
	if err == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("a second session: %v", err)
	}
	has(resp, "3")
	dial(t, h, "/other", nil)
	c.Close(wsframe.CloseNormal, "")
	eventually(t, "there is room again", func() bool {
		c, _, err := wsframe.Dial(t.Context(), base+"/limited", nil)
		if err == nil {
			c.CloseNow()
		}
		return err == nil
	})
	eventually(t, "nothing is counted any more", func() bool { return h.limiter.Stats().Sessions == 1 })
}

func TestAnySubprotocol(t *testing.T) {
	c := routes(stdioRoute("/", "sh", "-c", `echo "$WEBSOCKET_PROTOCOL"; cat`))
	c.Route[0].Subprotocols = []string{"*"}
	h, _ := run(t, c)
	for _, test := range []struct {
		asks []string
		gets string
	}{
		{[]string{"Chat", "other"}, "Chat"},
		{[]string{"*", "x"}, "*"},
		{nil, ""},
	} {
		conn := dial(t, h, "/", &wsframe.DialOptions{Protocols: test.asks})
		if got := read(t, conn); got != test.gets || conn.Subprotocol() != test.gets {
			t.Errorf("%q: the client gets %q, the program %q, want %q", test.asks, conn.Subprotocol(), got, test.gets)
		}
	}
	req, _ := http.NewRequest("GET", h.URLs("http")[0], nil)
	for name, value := range map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "a b",
	} {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a subprotocol that is no token: status %d", resp.StatusCode)
	}
}

func TestSubprotocolsChooseTheProgram(t *testing.T) {
	c := routes(stdioRoute("/", "cat"))
	c.Program = map[string]*config.Program{"other": config.New[config.Program]()}
	c.Program["other"].Command = []string{"sed", "-u", "s/^/other /"}
	c.Route[0].Protocols = []*config.Protocol{{Name: "plain"}, {Name: "special", Program: "other"}}
	h, _ := run(t, c)
	for protocol, want := range map[string]string{"plain": "x", "special": "other x"} {
		conn := dial(t, h, "/", &wsframe.DialOptions{Protocols: []string{protocol}})
		conn.WriteMessage(wsframe.OpText, []byte("x"))
		if got := read(t, conn); got != want {
			t.Errorf("%s: %q, want %q", protocol, got, want)
		}
	}
}
