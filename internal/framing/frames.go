package framing

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/wspawn/wspawn/wsframe"
)

// framePrefix is the size of what stands in front of the payload of a frame, both ways: FIN and the
// opcode, as the first byte of a frame has them (RFC 6455, section 5.2), and the length.
const framePrefix = 5

const finBit = 0x80

// frame passes a frame on, as far as it is there. A header of the client is larger than the prefix, so
// that has room in the batch.
func (e *Encoder) frame(part *wsframe.Part) *wsframe.CloseError {
	if part.FrameStart {
		if part.FrameLength > math.MaxUint32 {
			return closeError(wsframe.CloseTooBig, "frame too large for a length of four bytes")
		}
		first := byte(part.FrameOp)
		if part.FrameFin {
			first |= finBit
		}
		e.out = binary.BigEndian.AppendUint32(append(e.out, first), uint32(part.FrameLength))
	}
	e.out = append(e.out, part.Payload...)
	return nil
}

// A frameOrder is where in a message the frames of the far side are.
type frameOrder struct {
	first   byte           // of the frame that is coming: FIN and the opcode
	message wsframe.Opcode // of the message that has been begun; 0: none
	tail    [3]byte        // of a text message: the beginning of a character that its next frame goes on with; nothing behind its end
	tailN   uint8
}

// beginFrame takes the first byte of a frame. What a client would have to refuse ends the session here,
// where the far side can be told.
func (d *Decoder) beginFrame(first byte) {
	o, op := &d.order, wsframe.Opcode(first&0xF)
	fault := ""
	switch {
	case first&0x70 != 0:
		fault = " sent a frame with a reserved bit set"
	case op > wsframe.OpBinary:
		fault = fmt.Sprintf(" sent a frame with opcode %d: 0, 1 and 2 are allowed", op)
	case op == wsframe.OpContinuation && o.message == 0:
		fault = " sent a continuation frame outside of a message"
	case op != wsframe.OpContinuation && o.message != 0:
		fault = fmt.Sprintf(" sent a %v frame inside of a fragmented message", op)
	}
	if fault != "" {
		d.close(wsframe.CloseInternalError, d.peer()+fault)
		return
	}
	if o.first = first; op != wsframe.OpContinuation {
		o.message = op
	}
}

// frame sends a frame of the far side, which is buf[start:end], as one to the client.
func (d *Decoder) frame(buf []byte, start, end int, last bool) {
	o := &d.order
	op, fin := wsframe.Opcode(o.first&0xF), o.first&finBit != 0
	if o.message == wsframe.OpText && !o.valid(buf[:end], start, fin) {
		d.close(wsframe.CloseInvalidPayload, d.peer()+invalidText)
		return
	}
	if fin {
		o.message = 0
	}
	d.emit(buf, start, end, op, fin, last)
}

// valid reports whether the message is UTF-8 with buf[start:], a frame of it. Frames may cut characters: the
// beginning of one is put in front of the next frame, where bytes are dead, and looked at again.
func (o *frameOrder) valid(buf []byte, start int, fin bool) bool {
	text := buf[start-int(o.tailN):]
	copy(text, o.tail[:o.tailN])
	n := len(text)
	if !fin {
		n -= wsframe.IncompleteRune(text)
	}
	o.tailN = uint8(copy(o.tail[:], text[n:]))
	return utf8.Valid(text[:n])
}
