//go:build unix

package examples

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/browsertest"
	"github.com/wspawn/wspawn/wsframe"
)

// ircServer runs ngircd on a free port of this machine and returns its address.
func ircServer(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	socket, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	// It takes the socket in place of the port in the file, as from systemd.
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec ngircd -n -f irc/ngircd.conf`)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "PATH="+os.Getenv("PATH")+":/usr/sbin")
	cmd.ExtraFiles = []*os.File{socket}
	start(t, cmd)
	return ln.Addr().String()
}

// An ircClient speaks IRC in messages of one type.
type ircClient struct {
	t    *testing.T
	conn *wsframe.Conn
	op   wsframe.Opcode
}

func dialIRC(t *testing.T, url string, protocols []string, gets string, op wsframe.Opcode) *ircClient {
	t.Helper()
	conn, _, err := wsframe.Dial(t.Context(), url, &wsframe.DialOptions{Protocols: protocols})
	if err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(timeout, func() { conn.CloseNow() })
	t.Cleanup(func() { watchdog.Stop(); conn.CloseNow() })
	if conn.Subprotocol() != gets {
		t.Errorf("%q gets the subprotocol %q, want %q", protocols, conn.Subprotocol(), gets)
	}
	return &ircClient{t, conn, op}
}

func (c *ircClient) send(lines ...string) {
	c.t.Helper()
	for _, line := range lines {
		if err := c.conn.WriteMessage(c.op, []byte(line)); err != nil {
			c.t.Fatal(err)
		}
	}
}

// want reads up to a line with a text. Every message is one line, of the right type.
func (c *ircClient) want(text string) {
	c.t.Helper()
	for {
		op, line, err := c.conn.ReadMessage(nil)
		if err != nil {
			c.t.Fatalf("%v, want %q", err, text)
		}
		if op != c.op || len(line) == 0 || strings.ContainsAny(string(line), "\r\n") {
			c.t.Errorf("got %v %q, want one line as %v", op, line, c.op)
		}
		if strings.Contains(string(line), text) {
			return
		}
	}
}

func TestIRC(t *testing.T) {
	base := serveFile(t, "irc/wspawn.toml", "IRC="+ircServer(t))
	browser := browsertest.New(t)
	page := browser.Open(t, pageURL(base, "irc.html"))
	shows := func(text string) {
		t.Helper()
		page.Wait(fmt.Sprintf(`document.querySelector("#room p:last-child")?.textContent === %q`, text))
	}
	page.Type("#nick", "Bea\r")
	page.Wait(`document.getElementById("state").textContent === "Bea in #lobby, by text.ircv3.net"`)
	shows("* here: @Bea")
	other := browser.Open(t, pageURL(base, "irc.html"))
	other.Type("#nick", "bea\r") // is taken
	other.Wait(`document.getElementById("state").textContent.startsWith("closed")`)
	other.Wait(`document.querySelector("#room p:last-child")?.textContent.startsWith("* bea Nickname")`)

	ann := dialIRC(t, base+"irc", []string{"binary.ircv3.net"}, "binary.ircv3.net", wsframe.OpBinary)
	ann.send("NICK Ann", "USER ann 0 * :Ann", "JOIN #lobby")
	ann.want(" 001 Ann ")
	ann.want(" 366 Ann #lobby ")
	shows("* Ann came in")
	ann.send("PRIVMSG #lobby :grüß dich, 日本 <b> : x")
	shows("Ann: grüß dich, 日本 <b> : x")
	page.Type("#text", "schön: <i>né</i> 日本\r")
	ann.want("PRIVMSG #lobby :schön: <i>né</i> 日本")
	shows("Bea: schön: <i>né</i> 日本")

	// One message is one command, whatever is in it.
	ann.send("PRIVMSG #lobby :one\r\nPRIVMSG #lobby :two\n")
	shows("Ann: onePRIVMSG #lobby :two")

	// Bytes that are no text reach those who ask for bytes.
	bob := dialIRC(t, base+"irc", []string{"text.ircv3.net"}, "text.ircv3.net", wsframe.OpText)
	bob.send("NICK Bob", "USER bob 0 * :Bob\r\n", "JOIN #lobby")
	bob.want(" 366 Bob #lobby ")
	shows("* Bob came in")
	ann.send("PRIVMSG #lobby :caf\xe9")
	bob.want(":caf\ufffd")
	shows("Ann: caf\ufffd")
	cyd := dialIRC(t, base+"irc", []string{"binary.ircv3.net"}, "binary.ircv3.net", wsframe.OpBinary)
	cyd.send("NICK Cyd", "USER cyd 0 * :Cyd", "JOIN #lobby")
	cyd.want(" 366 Cyd #lobby ")
	ann.send("PRIVMSG #lobby :caf\xe9")
	cyd.want(":caf\xe9")

	if err := ann.conn.Close(wsframe.CloseNormal, ""); err != nil { // without QUIT
		t.Error(err)
	}
	shows("* Ann left")
	cyd.send("QUIT")
	cyd.want("ERROR ")
	if _, _, err := cyd.conn.ReadMessage(nil); !strings.Contains(err.Error(), "1000") {
		t.Errorf("the server hangs up: %v, want 1000", err)
	}
	shows("* Cyd left")
}

func TestSubprotocolsOfIRC(t *testing.T) {
	t.Parallel()
	base := serveFile(t, "irc/wspawn.toml", "IRC="+ircServer(t))
	for _, test := range []struct {
		asks []string
		gets string
		op   wsframe.Opcode
	}{
		{[]string{"text.ircv3.net"}, "text.ircv3.net", wsframe.OpText},
		{[]string{"binary.ircv3.net"}, "binary.ircv3.net", wsframe.OpBinary},
		{[]string{"binary.ircv3.net", "text.ircv3.net"}, "binary.ircv3.net", wsframe.OpBinary},
		{[]string{"other", "text.ircv3.net"}, "text.ircv3.net", wsframe.OpText},
		{nil, "", wsframe.OpText},
	} {
		c := dialIRC(t, base+"irc", test.asks, test.gets, test.op)
		c.send("JOIN #early")
		c.want(" 451 ") // not registered
	}
	for origin, want := range map[string]int{"https://evil.example": 403, strings.TrimSuffix(pageURL(base, ""), "/"): 101} {
		conn, resp, err := wsframe.Dial(t.Context(), base+"irc", &wsframe.DialOptions{Origin: origin})
		if resp == nil || resp.StatusCode != want {
			t.Errorf("a page of %s: %v, want %d", origin, err, want)
		}
		if err == nil {
			conn.CloseNow()
		}
	}
	for path, want := range map[string]int{"irc.html": 200, "irc": http.StatusUpgradeRequired, "wspawn.toml": 404, "ngircd.conf": 404} {
		if got, _ := get(t, pageURL(base, path)); got != want {
			t.Errorf("/%s answers %d, want %d", path, got, want)
		}
	}
}
