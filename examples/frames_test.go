//go:build unix

package examples

import (
	"testing"

	"github.com/wspawn/wspawn/wsframe"
)

func TestFrames(t *testing.T) {
	url := serve(t, "--framing", "frames", "frames/frames.py")
	t.Run("npm ws", func(t *testing.T) {
		nodeScript(t, "frames.js", url, `text text 5
text whole
text text 4, to be continued
text continuation 0, to be continued
text continuation 1, to be continued
text continuation 2
text frag€
text binary 2, to be continued
text continuation 1
binary 00ff01
closed 4000
`)
	})
	t.Run("frame by frame", func(t *testing.T) {
		c, _, err := wsframe.Dial(t.Context(), url, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(wsframe.CloseNormal, "")
		sent := []wsframe.Frame{{Op: wsframe.OpText, Payload: []byte("a\xe2")}, {Payload: []byte("\x82\xac")}, {Fin: true}}
		tell := []string{"text 2, to be continued", "continuation 2, to be continued", "continuation 0"}
		for i, f := range sent {
			if err := c.WriteFrame(f); err != nil {
				t.Fatal(err)
			}
			if got, err := c.ReadFrame(nil); string(got.Payload) != tell[i] || !got.Fin || got.Op != wsframe.OpText {
				t.Fatalf("got %+v, %v; want %q", got, err, tell[i])
			}
		}
		for _, want := range sent {
			if got, err := c.ReadFrame(nil); string(got.Payload) != string(want.Payload) || got.Fin != want.Fin || got.Op != want.Op {
				t.Fatalf("got %+v, %v; want %+v", got, err, want)
			}
		}
	})
}
