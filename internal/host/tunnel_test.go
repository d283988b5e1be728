//go:build unix

package host

import (
	"errors"
	"testing"

	"github.com/wspawn/wspawn/wsframe"
)

func TestNewlinesInMessagesForATunnel(t *testing.T) {
	for choice, want := range map[string][]string{"pass": {"a", "b"}, "escape": {"a\r\\nb"}, "strip": {"ab"}, "refuse": nil} {
		c := pooled(t, "", nil)
		c.Route[0].Tunnel.Newlines = choice
		h, _ := run(t, c)
		conn := dial(t, h, "/", nil)
		if err := conn.WriteMessage(wsframe.OpText, []byte("a\r\nb")); err != nil {
			t.Fatal(err)
		}
		for _, line := range want {
			if got := read(t, conn); got != line {
				t.Errorf("%s: %q, want %q", choice, got, line)
			}
		}
		if want == nil {
			var e *wsframe.CloseError
			if _, _, err := conn.ReadMessage(nil); !errors.As(err, &e) || e.Code != wsframe.ClosePolicy {
				t.Errorf("%s: %v", choice, err)
			}
		}
		conn.Close(wsframe.CloseNormal, "")
	}
}
