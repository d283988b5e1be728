package framing

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/wsframe"
)

// What the encoder and the decoder do does not depend on compression: messages of a client go through
// both, as through cat, and come back.
func TestFramingsOnCompressedConnections(t *testing.T) {
	compression := &wsframe.Compression{Window: 4096, PeerWindow: 32768, MinSize: 100}
	for _, kind := range []Kind{Lines, Null, Length, Raw, Frames} {
		for _, fragment := range []int{0, 1000} {
			t.Run(fmt.Sprint(kind, " ", fragment), func(t *testing.T) {
				o := &Options{Framing: kind}
				ended := make(chan error, 1)
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					a := &wsframe.AcceptOptions{}
					a.Compression, a.FragmentSize = compression, fragment
					c, err := wsframe.Accept(w, r, a)
					if err != nil {
						t.Error(err)
						return
					}
					e, d := Encoder{Options: o}, Decoder{Options: o, Conn: c}
					go func() {
						defer c.Close(wsframe.CloseNormal, "")
						ended <- c.Receive(func(b *wsframe.Batch) error {
							out, refusal := e.Encode(b)
							if refusal != nil {
								return refusal
							}
							d.Chunk(append(make([]byte, rawio.Gap), out...))
							return nil
						})
					}()
				}))
				defer server.Close()
				dial := &wsframe.DialOptions{}
				dial.Compression = compression
				c, _, err := wsframe.Dial(t.Context(), strings.Replace(server.URL, "http", "ws", 1), dial)
				if err != nil {
					t.Fatal(err)
				}
				defer c.CloseNow()
				if c.Extensions() != "permessage-deflate" {
					t.Fatalf("extensions %q", c.Extensions())
				}
				var sent [][]byte
				for i := range 300 {
					n := i * i
					if i%3 == 0 {
						n = i
					}
					sent = append(sent, bytes.Repeat([]byte{byte('a' + i%26)}, n))
				}
				go func() {
					for _, m := range sent {
						c.WriteMessage(wsframe.OpText, m)
					}
				}()
				if kind == Raw {
					want := bytes.Join(sent, nil)
					var got []byte
					for len(got) < len(want) {
						_, m, err := c.ReadMessage(nil)
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, m...)
					}
					if !bytes.Equal(got, want) {
						t.Error("differs")
					}
				} else {
					for i, want := range sent {
						if _, m, err := c.ReadMessage(nil); err != nil || !bytes.Equal(m, want) {
							t.Fatalf("message %d: %d bytes of %d, %v", i, len(m), len(want), err)
						}
					}
				}
				c.Close(wsframe.CloseNormal, "")
				<-ended
			})
		}
	}
}
