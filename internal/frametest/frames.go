// Package frametest has what tests of endpoints need: frames, built and read by code of its own, so
// that a mistake of package wsframe cannot hide, a network connection in memory, and a client that
// speaks bytes.
package frametest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/wspawn/wspawn/wsframe"
)

// A Frame is what a client gets.
type Frame struct {
	Fin     bool
	Op      wsframe.Opcode
	Payload string
}

// String shows the frame, with the beginning of a long payload.
func (f Frame) String() string {
	p := f.Payload
	if len(p) > 60 {
		p = fmt.Sprintf("%s... (%d bytes)", p[:40], len(p))
	}
	return fmt.Sprintf("%v(%q, fin %v)", f.Op, p, f.Fin)
}

// Text is a text message.
func Text(payload string) Frame { return Frame{true, wsframe.OpText, payload} }

// Bin is a binary message.
func Bin(payload string) Frame { return Frame{true, wsframe.OpBinary, payload} }

// Pong answers a ping.
func Pong(payload string) Frame { return Frame{true, wsframe.OpPong, payload} }

// Closing is a Close frame.
func Closing(code wsframe.CloseCode, reason string) Frame {
	return Frame{true, wsframe.OpClose, string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason}
}

// Masked encodes a frame as a client has to.
func Masked(fin bool, op wsframe.Opcode, payload string) []byte {
	key := [4]byte{0x37, 0xFA, 0x21, 0x3D}
	b := []byte{byte(op), 0x80}
	if fin {
		b[0] |= 0x80
	}
	switch n := len(payload); {
	case n > 0xFFFF:
		b[1] |= 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	case n > 125:
		b[1] |= 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] |= byte(n)
	}
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

// Message is a message of the client in one frame.
func Message(op wsframe.Opcode, payload string) []byte { return Masked(true, op, payload) }

// Fragments is a message of the client in several frames, with a ping and a pong between them.
func Fragments(op wsframe.Opcode, payloads ...string) []byte {
	var b []byte
	for i, p := range payloads {
		if i > 0 {
			b = append(append(b, Masked(true, wsframe.OpPing, "p")...), Masked(true, wsframe.OpPong, "")...)
			op = wsframe.OpContinuation
		}
		b = append(b, Masked(i == len(payloads)-1, op, p)...)
	}
	return b
}

// Join is for many messages in one segment.
func Join(frames ...[]byte) []byte { return slices.Concat(frames...) }

// Next takes a frame from the front of b, as strict as a client may be. It returns false when b does
// not have a whole one.
func Next(b []byte) (f Frame, rest []byte, ok bool, err error) {
	if len(b) < 2 {
		return f, b, false, nil
	}
	f.Fin, f.Op = b[0]&0x80 != 0, wsframe.Opcode(b[0]&0xF)
	n, head := uint64(b[1]&0x7F), 2
	switch {
	case b[0]&0x70 != 0 || b[1]&0x80 != 0:
		return f, b, false, fmt.Errorf("reserved bit or mask in %x", b[:2])
	case n == 126:
		if len(b) < 4 {
			return f, b, false, nil
		}
		n, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
		if n < 126 {
			return f, b, false, errors.New("length not in its shortest form")
		}
	case n == 127:
		if len(b) < 10 {
			return f, b, false, nil
		}
		n, head = binary.BigEndian.Uint64(b[2:]), 10
		if n < 1<<16 || n > 1<<40 {
			return f, b, false, errors.New("length not in its shortest form, or absurd")
		}
	}
	if uint64(len(b)-head) < n {
		return f, b, false, nil
	}
	f.Payload = string(b[head : head+int(n)])
	return f, b[head+int(n):], true, nil
}

// Parse parses all frames, and checks their order and the UTF-8 of text: each frame for itself.
func Parse(b []byte) (all []Frame, err error) {
	text, inside := false, false
	for len(b) > 0 {
		f, rest, ok, err := Next(b)
		if err != nil {
			return all, err
		}
		if !ok {
			return all, fmt.Errorf("%d bytes are no whole frame", len(b))
		}
		b = rest
		all = append(all, f)
		if f.Op.Control() {
			continue
		}
		if inside != (f.Op == wsframe.OpContinuation) {
			return all, fmt.Errorf("%v, inside of a message: %v", f, inside)
		}
		if f.Op != wsframe.OpContinuation {
			text = f.Op == wsframe.OpText
		}
		inside = !f.Fin
		if text && !utf8.ValidString(f.Payload) {
			return all, fmt.Errorf("%v is not UTF-8", f)
		}
	}
	return all, nil
}

// Messages joins fragments. A message that is not finished is left out.
func Messages(all []Frame) (out []Frame) {
	var m Frame
	for _, f := range all {
		switch {
		case f.Op.Control():
			out = append(out, f)
			continue
		case f.Op == wsframe.OpContinuation:
			m.Payload += f.Payload
		default:
			m = f
		}
		if m.Fin = f.Fin; f.Fin {
			out = append(out, m)
		}
	}
	return out
}
