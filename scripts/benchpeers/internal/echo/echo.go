// Package echo is the echo server of package wsframe.
package echo

import (
	"net/http"

	"github.com/wspawn/wspawn/wsframe"
)

// Serve upgrades the request. It answers all messages that one read brought with one write. They
// are put together in the memory where they arrived. A message that is cut by
// the end of a read waits for its other parts.
func Serve(w http.ResponseWriter, r *http.Request) {
	c, err := wsframe.Accept(w, r, nil)
	if err != nil {
		return
	}
	go func() {
		defer c.CloseNow()
		var cut []byte
		c.Receive(func(b *wsframe.Batch) error {
			out := b.Space()
			for p := b.Next(); p != nil; p = b.Next() {
				if !p.Start || !p.End {
					cut = append(cut, p.Payload...)
					if !p.End {
						continue
					}
					if err := c.WriteEncoded(out); err != nil {
						return err
					}
					out = b.Space()
					if err := c.WriteMessage(p.Op, cut); err != nil {
						return err
					}
					cut = cut[:0]
					continue
				}
				out = wsframe.AppendHeader(out, p.Op, true, int64(len(p.Payload)))
				out = append(out, p.Payload...)
			}
			if len(out) == 0 {
				return nil
			}
			return c.WriteEncoded(out)
		})
	}()
}
