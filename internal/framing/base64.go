package framing

import (
	"encoding/base64"

	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/wsframe"
)

// An unbase64 decodes one message, piece by piece and where it lies.
type unbase64 struct {
	bits   uint32
	n      uint8 // digits in bits, 0 to 3
	padded uint8 // padding seen
}

// digits has the value of each digit plus one.
var digits = func() (table [256]uint8) {
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		table[c] = uint8(i) + 1
	}
	return table
}()

// base64 decodes messages. Their output is shorter than they are, so it has room in the batch.
func (e *Encoder) base64(part *wsframe.Part) *wsframe.CloseError {
	g := &e.group
	if part.Start {
		*g = unbase64{}
	}
	for _, c := range part.Payload {
		d := digits[c]
		switch {
		case d != 0 && g.padded == 0:
			if g.bits, g.n = g.bits<<6|uint32(d-1), g.n+1; g.n == 4 {
				e.out = append(e.out, byte(g.bits>>16), byte(g.bits>>8), byte(g.bits))
				g.bits, g.n = 0, 0
			}
		case c == '=' && g.n+g.padded < 4 && g.n > 1:
			g.padded++
		case c == '\n' || c == '\r':
		default:
			return notBase64()
		}
	}
	if !part.End {
		return nil
	}
	if g.padded > 0 && g.n+g.padded != 4 {
		return notBase64()
	}
	switch g.n {
	case 1:
		return notBase64()
	case 2:
		e.out = append(e.out, byte(g.bits>>4))
	case 3:
		e.out = append(e.out, byte(g.bits>>10), byte(g.bits>>2))
	}
	return nil
}

func notBase64() *wsframe.CloseError {
	return closeError(wsframe.CloseInvalidPayload, "this subprotocol takes base64 only")
}

// base64 sends the base64 form of the chunk, as one message where that fits in a buffer.
func (d *Decoder) base64(chunk []byte) {
	const most = 48 << 10
	buf := rawio.GetBuffer()
	defer rawio.PutBuffer(buf)
	for p := chunk[rawio.Gap:]; len(p) > 0 && d.err == nil; {
		n := min(len(p), most)
		end := rawio.Gap + base64.StdEncoding.EncodedLen(n)
		base64.StdEncoding.Encode(buf[rawio.Gap:end], p[:n])
		d.emit(buf[:], rawio.Gap, end, wsframe.OpText, true, true)
		p = p[n:]
	}
}
