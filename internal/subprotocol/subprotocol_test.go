package subprotocol

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/wspawn/wspawn/wsframe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hello sends one message of the kind that the subprotocol asks for.
type hello struct{ t *Table }

func (h hello) Open(_ context.Context, r *wsframe.Request) (wsframe.Session, error) {
	if err := h.t.Check(r); err != nil {
		return nil, err
	}
	return greeting(h.t.Lookup(r.Protocol)), nil
}

type greeting Entry

func (g greeting) Abort() {}
func (g greeting) Run(_ context.Context, c *wsframe.Conn) error {
	return c.WriteMessage(g.Op, []byte("hello "+g.Framing))
}

func TestIRC(t *testing.T) {
	text, binary := wsframe.OpText, wsframe.OpBinary
	tests := []struct {
		name     string
		mode     Mode
		ask      []string
		protocol string
		op       wsframe.Opcode // 0: refused
	}{
		{"text", Text, []string{"text.ircv3.net"}, "text.ircv3.net", text},
		{"binary", Text, []string{"binary.ircv3.net"}, "binary.ircv3.net", binary},
		{"the old names", Text, []string{"binary.inspircd.org"}, "binary.inspircd.org", binary},
		{"the client's order, text first", Binary, []string{"text.ircv3.net", "binary.ircv3.net"}, "text.ircv3.net", text},
		{"the client's order, binary first", Text, []string{"binary.ircv3.net", "text.ircv3.net"}, "binary.ircv3.net", binary},
		{"behind an unknown one", Text, []string{"chat", "binary.ircv3.net"}, "binary.ircv3.net", binary},
		{"the client's spelling", Text, []string{"BINARY.IRCV3.NET"}, "BINARY.IRCV3.NET", binary},
		{"none asked for, text", Text, nil, "", text},
		{"none asked for, binary", Binary, nil, "", binary},
		{"none asked for, reject", Reject, nil, "", 0},
		{"unknown, text", Text, []string{"chat"}, "", text},
		{"unknown, binary", Binary, []string{"chat"}, "", binary},
		{"unknown, reject", Reject, []string{"chat"}, "", 0},
		{"known, reject", Reject, []string{"chat", "text.ircv3.net"}, "text.ircv3.net", text},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table, err := New(tt.mode, IRC()...)
			if err != nil {
				t.Fatal(err)
			}
			h := &wsframe.Handler{Endpoint: hello{table}, Select: table.Select}
			srv := httptest.NewServer(h)
			defer srv.Close()
			defer h.Shutdown(context.Background())
			// Not by Dial, which refuses an answer without a subprotocol that it asked for, as browsers do.
			nc, res := handshake(t, srv, tt.ask)
			if tt.op == 0 {
				if res.StatusCode != http.StatusBadRequest || !strings.Contains(res.Header.Get("X-WebSocket-Reject-Reason"), "text.ircv3.net") {
					t.Fatalf("status %d, %v", res.StatusCode, res.Header)
				}
				return
			}
			c := wsframe.NewConn(nc, nil, wsframe.Client, "", nil)
			op, _, err := c.ReadMessage(nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := res.Header.Get("Sec-WebSocket-Protocol"); op != tt.op || got != tt.protocol {
				t.Errorf("subprotocol %q, opcode %d", got, op)
			}
			if _, ok := res.Header["Sec-Websocket-Protocol"]; ok != (tt.protocol != "") {
				t.Error("an empty header line")
			}
			c.Close(wsframe.CloseNormal, "")
		})
	}
}

func TestLookup(t *testing.T) {
	table, err := New(Binary, Entry{Name: "json", Op: wsframe.OpText, Framing: "json"}, Entry{Name: "Raw"})
	if err != nil {
		t.Fatal(err)
	}
	if e := table.Lookup("JSON"); e.Framing != "json" || e.Op != wsframe.OpText || e.Name != "json" {
		t.Errorf("%+v", e)
	}
	if e := table.Lookup("raw"); e.Op != wsframe.OpBinary || e.Name != "Raw" {
		t.Errorf("%+v", e)
	}
	if e := table.Lookup(""); e != (Entry{Op: wsframe.OpBinary}) {
		t.Errorf("%+v", e)
	}
	if e := table.Lookup("x"); e != (Entry{Op: wsframe.OpBinary}) {
		t.Errorf("%+v", e)
	}
}

func TestBadTables(t *testing.T) {
	_, err := New(Text, Entry{Name: "a b"}, Entry{Name: ""}, Entry{Name: "x"}, Entry{Name: "X"}, Entry{Name: "p", Op: wsframe.OpPing})
	for _, want := range []string{`"a b": not a token`, `"": not a token`, `"X": listed twice`, `"p": messages are`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	if _, err := New(Reject); err == nil {
		t.Error("a table that refuses everybody")
	}
	for s, want := range map[string]Mode{"": Text, "text": Text, "binary": Binary, "reject": Reject} {
		if got, err := ParseMode(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	if _, err := ParseMode("yes"); err == nil {
		t.Error("no error")
	}
}

// handshake asks for subprotocols, each on a line of its own.
func handshake(t *testing.T, srv *httptest.Server, ask []string) (net.Conn, *http.Response) {
	t.Helper()
	nc, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	fmt.Fprint(nc, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
	for _, p := range ask {
		fmt.Fprintf(nc, "Sec-WebSocket-Protocol: %s\r\n", p)
	}
	fmt.Fprint(nc, "\r\n")
	br := bufio.NewReader(nc)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &bufferedConn{nc, br}, res
}

// bufferedConn reads what came with the answer first.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }
