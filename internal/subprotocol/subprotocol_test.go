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

// hello says which name of the table a session has.
type hello struct{ t *Table }

func (h hello) Open(_ context.Context, r *wsframe.Request) (wsframe.Session, error) {
	if err := h.t.Check(r); err != nil {
		return nil, err
	}
	return greeting(h.t.Name(r.Protocol)), nil
}

type greeting string

func (g greeting) Abort() {}
func (g greeting) Run(_ context.Context, c *wsframe.Conn) error {
	return c.WriteMessage(wsframe.OpText, []byte(g))
}

func TestWhatClientsGet(t *testing.T) {
	const text, binary, refused = "text.ircv3.net", "Binary.ircv3.net", "400"
	tests := []struct {
		name     string
		reject   bool
		ask      []string
		protocol string
		found    string
	}{
		{"one", false, []string{text}, text, text},
		{"the client's order", false, []string{text, binary}, text, text},
		{"the client's order, the other way round", false, []string{binary, text}, binary, binary},
		{"behind an unknown one", false, []string{"chat", binary}, binary, binary},
		{"the client's spelling", false, []string{"BINARY.IRCV3.NET"}, "BINARY.IRCV3.NET", binary},
		{"none asked for", false, nil, "", ""},
		{"none asked for, reject", true, nil, "", refused},
		{"unknown", false, []string{"chat"}, "", ""},
		{"unknown, reject", true, []string{"chat"}, "", refused},
		{"known, reject", true, []string{"chat", text}, text, text},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table, err := New(tt.reject, text, binary)
			if err != nil {
				t.Fatal(err)
			}
			h := &wsframe.Handler{Endpoint: hello{table}, Select: table.Select}
			srv := httptest.NewServer(h)
			defer srv.Close()
			defer h.Shutdown(context.Background())
			// Not by Dial, which refuses an answer without a subprotocol that it asked for, as browsers do.
			nc, res := handshake(t, srv, tt.ask)
			if tt.found == refused {
				if res.StatusCode != http.StatusBadRequest || !strings.Contains(res.Header.Get("X-WebSocket-Reject-Reason"), text) {
					t.Fatalf("status %d, %v", res.StatusCode, res.Header)
				}
				return
			}
			c := wsframe.NewConn(nc, nil, wsframe.Client, "", nil)
			_, found, err := c.ReadMessage(nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := res.Header.Get("Sec-WebSocket-Protocol"); string(found) != tt.found || got != tt.protocol {
				t.Errorf("subprotocol %q, in the table %q", got, found)
			}
			if _, ok := res.Header["Sec-Websocket-Protocol"]; ok != (tt.protocol != "") {
				t.Error("an empty header line")
			}
			c.Close(wsframe.CloseNormal, "")
		})
	}
}

func TestBadTables(t *testing.T) {
	_, err := New(false, "a b", "", "x", "X")
	for _, want := range []string{`"a b": not a token`, `"": not a token`, `"X": listed twice`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	if _, err := New(true); err == nil {
		t.Error("a table that refuses everybody")
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
