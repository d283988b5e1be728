//go:build unix

package host

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/h2test"
	"github.com/wspawn/wspawn/wsframe"
)

// everyTransport runs a test for each way in which a session can come. What it gets dials a path of a server of c.
func everyTransport(t *testing.T, configuration func() *config.Config, f func(t *testing.T, dial func(path string, o wsframe.Options) *wsframe.Conn)) {
	for _, encrypted := range []bool{false, true} {
		for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
			t.Run(fmt.Sprintf("%s, TLS %v", version, encrypted), func(t *testing.T) {
				c := configuration()
				if encrypted {
					c = secure(c, func(l *config.Listener) { l.SelfSigned = true })
				}
				h, _ := run(t, c)
				address := h.listeners[0].Addr().String()
				var client *h2test.Client
				switch {
				case version != "HTTP/2":
				case encrypted:
					client = h2test.DialTLS(t, address)
				default:
					client = h2test.Dial(t, "tcp", address)
				}
				f(t, func(path string, o wsframe.Options) *wsframe.Conn {
					t.Helper()
					d := &wsframe.DialOptions{Options: o, TLS: &tls.Config{InsecureSkipVerify: true}}
					if client == nil {
						return dial(t, h, path, d)
					}
					d.DialContext = func(context.Context, string, string) (net.Conn, error) { return client.Conn(), nil }
					conn, _, err := wsframe.Dial(t.Context(), "ws://localhost"+path, d)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { conn.CloseNow(); <-conn.Done() })
					return conn
				})
			})
		}
	}
}

// compressed is an echo at /stdio and /tunnel that compresses.
func compressed(t *testing.T, window, peerWindow config.Size) *config.Config {
	tunnel := config.New[config.Route]()
	tunnel.Path, tunnel.Tunnel = "/tunnel", config.New[config.Tunnel]()
	tunnel.Tunnel.Framing, tunnel.Tunnel.Servers = "lines", []string{echoServer(t)}
	c := routes(stdioRoute("/stdio", "cat"), tunnel)
	for _, r := range c.Route {
		r.WebSocket.Compression = config.New[config.Compression]()
		r.WebSocket.Compression.Window, r.WebSocket.Compression.PeerWindow = window, peerWindow
	}
	return c
}

// Sessions that compress, through the whole server, with each of the parameters (RFC 7692, section 7.1) and without.
func TestCompressedSessions(t *testing.T) {
	const serverAlone, clientAlone, serverBits, clientBits = "; server_no_context_takeover", "; client_no_context_takeover", "; server_max_window_bits=", "; client_max_window_bits="
	for _, row := range []struct {
		window, peerWindow config.Size
		client             *wsframe.Compression
		agreed             string
	}{
		{0, 0, nil, ""},
		{0, 0, &wsframe.Compression{}, serverAlone + clientAlone},
		{4096, 4096, &wsframe.Compression{}, serverAlone + clientAlone},
		{0, 0, &wsframe.Compression{Window: 4096, PeerWindow: 4096}, serverAlone + clientAlone + serverBits + "12"},
		{4096, 0, &wsframe.Compression{Window: 4096, PeerWindow: 512}, clientAlone + serverBits + "9"},
		{0, 1024, &wsframe.Compression{Window: 32768, PeerWindow: 32768}, serverAlone + clientBits + "10"},
		{0, 1024, &wsframe.Compression{Window: 4096, PeerWindow: 4096}, serverAlone + serverBits + "12" + clientBits + "10"},
		{32768, 4096, &wsframe.Compression{Window: 32768, PeerWindow: 8192}, serverBits + "13" + clientBits + "12"},
		{32768, 32768, &wsframe.Compression{Window: 32768, PeerWindow: 32768}, ""},
	} {
		want := row.agreed
		if row.client != nil {
			row.client.MinSize = -1
			want = "permessage-deflate" + want
		}
		t.Run(want, func(t *testing.T) {
			everyTransport(t, func() *config.Config { return compressed(t, row.window, row.peerWindow) }, func(t *testing.T, dial func(string, wsframe.Options) *wsframe.Conn) {
				for _, path := range []string{"/stdio", "/tunnel"} {
					c := dial(path, wsframe.Options{Compression: row.client})
					if c.Extensions() != want {
						t.Errorf("%s: extensions %q, want %q", path, c.Extensions(), want)
					}
					for _, word := range []string{"x", "grüße, grüße, grüße", strings.Repeat("again and again ", 4000), "x"} {
						echo(t, c, word)
					}
					if err := c.Close(wsframe.CloseNormal, ""); err != nil {
						t.Errorf("%s: %v", path, err)
					}
				}
			})
		})
	}
}

// What is too large is too large inflated, however little it was on the way.
func TestCompressedMessagesAreBounded(t *testing.T) {
	configuration := func() *config.Config {
		c := compressed(t, 0, 0)
		c.Route[0].WebSocket.MaxMessage, c.Route[1].WebSocket.MaxMessage = 1000, 1<<20
		return c
	}
	everyTransport(t, configuration, func(t *testing.T, dial func(string, wsframe.Options) *wsframe.Conn) {
		for path, size := range map[string]int{"/stdio": 100_000, "/tunnel": 64 << 20} {
			c := dial(path, wsframe.Options{Compression: &wsframe.Compression{}, MaxMessage: -1})
			go c.WriteMessage(wsframe.OpText, make([]byte, size))
			if _, _, err := c.ReadMessage(nil); !closedWith(err, wsframe.CloseTooBig) {
				t.Errorf("%s: the client saw %v", path, err)
			}
		}
	})
}
