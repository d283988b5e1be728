//go:build unix

package host

import (
	"strings"
	"testing"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/wsframe"
)

// Sessions that compress, through the whole server, with and without memory of earlier messages.
func TestCompressedSessions(t *testing.T) {
	for _, kind := range []string{"stdio", "tunnel"} {
		for _, window := range []config.Size{0, 4096} {
			r := stdioRoute("/", "cat")
			if kind == "tunnel" {
				r = config.New[config.Route]()
				r.Tunnel = config.New[config.Tunnel]()
				r.Tunnel.Framing, r.Tunnel.Servers = "lines", []string{echoServer(t)}
			}
			r.WebSocket.Compression = config.New[config.Compression]()
			r.WebSocket.Compression.Window, r.WebSocket.Compression.PeerWindow = window, window
			h, _ := run(t, routes(r))
			for _, compress := range []*wsframe.Compression{{Window: int(window), PeerWindow: int(window), MinSize: -1}, nil} {
				c := dial(t, h, "/", &wsframe.DialOptions{Options: wsframe.Options{Compression: compress}})
				if agreed := c.Extensions() != ""; agreed != (compress != nil) {
					t.Errorf("%s, window %d: extensions %q", kind, window, c.Extensions())
				}
				for _, word := range []string{"x", "grüße, grüße, grüße", strings.Repeat("again and again ", 4000), "x"} {
					echo(t, c, word)
				}
				c.Close(wsframe.CloseNormal, "")
			}
		}
	}
}

// What is too large is too large inflated.
func TestCompressedMessagesAreBounded(t *testing.T) {
	r := stdioRoute("/", "cat")
	r.WebSocket.Compression, r.WebSocket.MaxMessage = config.New[config.Compression](), 1000
	h, _ := run(t, routes(r))
	c := dial(t, h, "/", &wsframe.DialOptions{Options: wsframe.Options{Compression: &wsframe.Compression{}, MaxMessage: -1}})
	c.WriteMessage(wsframe.OpText, []byte(strings.Repeat("x", 100_000)))
	_, _, err := c.ReadMessage(nil)
	if e, ok := err.(*wsframe.CloseError); !ok || e.Code != wsframe.CloseTooBig {
		t.Errorf("the client saw %v", err)
	}
}
