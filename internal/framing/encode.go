package framing

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"math"

	"github.com/wspawn/wspawn/wsframe"
)

// An Encoder turns messages of the client into what the far side reads. It is for one goroutine at a
// time; the zero value with Options is ready.
type Encoder struct {
	Options *Options

	out   []byte
	moved bool // out does not lie in the batch any more

	message []byte // Length: the fragments of a message whose length is not known yet

	group unbase64 // Base64: of the message

	begun wsframe.Opcode // JSON: the type of the message whose line has been begun; 0: none
	carry []byte         // JSON: what of it cannot be written yet, part of a character or of a base64 group
}

// Encode turns what is left of a batch into what is to be written, in the memory of the batch where
// that has room (always, without escapes and JSON). The error is how to close the connection; what
// came before the message that caused it is returned with it.
func (e *Encoder) Encode(b *wsframe.Batch) (out []byte, err *wsframe.CloseError) {
	e.out, e.moved = b.Space(), false
	for part := b.Next(); part != nil && err == nil; part = b.Next() {
		if part.Start && e.Options.refuses(part.Op) {
			err = closeError(wsframe.CloseUnsupported, "this service does not take "+part.Op.String()+" messages")
			break
		}
		switch e.Options.Framing {
		case Lines:
			err = e.delimited(part, '\n', 'n')
		case Null:
			err = e.delimited(part, 0, '0')
		case Length:
			err = e.prefixed(part)
		case Frames:
			err = e.frame(part)
		case JSON:
			e.json(part)
		case Base64:
			err = e.base64(part)
		case Raw:
			if len(e.out) == 0 {
				e.out = b.InPlace() // what is alone need not be moved
			} else {
				e.out = append(e.out, part.Payload...)
			}
		}
	}
	out, e.out = e.out, nil
	return out, err
}

func closeError(code wsframe.CloseCode, reason string) *wsframe.CloseError {
	return &wsframe.CloseError{Code: code, Reason: reason}
}

// leave copies the output out of the batch, so that it may grow over what is not parsed yet.
func (e *Encoder) leave() {
	if !e.moved {
		e.out, e.moved = append(make([]byte, 0, len(e.out)+512), e.out...), true
	}
}

func (e *Encoder) delimited(part *wsframe.Part, delimiter, letter byte) *wsframe.CloseError {
	switch e.Options.Delimiters {
	case Refuse:
		if bytes.IndexByte(part.Payload, delimiter) >= 0 {
			return closeError(wsframe.ClosePolicy, "messages must not contain the delimiter of lines")
		}
		e.out = append(e.out, part.Payload...)
	case Escape:
		e.escape(part.Payload, delimiter, letter)
	case Strip:
		e.strip(part.Payload, delimiter)
	default:
		e.out = append(e.out, part.Payload...)
	}
	if part.End {
		e.out = append(e.out, delimiter)
	}
	return nil
}

func (e *Encoder) escape(p []byte, delimiter, letter byte) {
	for _, c := range p {
		switch c {
		case delimiter:
			e.leave()
			e.out = append(e.out, '\\', letter)
		case '\\':
			e.leave()
			e.out = append(e.out, '\\', '\\')
		default:
			e.out = append(e.out, c)
		}
	}
}

// strip leaves the delimiter out, and CR, which some take for the end of a line as well.
func (e *Encoder) strip(p []byte, delimiter byte) {
	other := delimiter
	if delimiter == '\n' {
		other = '\r'
	}
	if bytes.IndexByte(p, delimiter) < 0 && bytes.IndexByte(p, other) < 0 {
		e.out = append(e.out, p...)
		return
	}
	for _, c := range p {
		if c != delimiter && c != other {
			e.out = append(e.out, c)
		}
	}
}

// prefixed streams messages of one frame, whose length is known from the start.
func (e *Encoder) prefixed(part *wsframe.Part) *wsframe.CloseError {
	length := part.FrameLength
	switch {
	case e.message == nil && part.FrameFin && part.FrameOp != wsframe.OpContinuation:
		if part.FrameStart {
			if length > math.MaxUint32 {
				return closeError(wsframe.CloseTooBig, "message too large for a length of four bytes")
			}
			e.out = binary.BigEndian.AppendUint32(e.out, uint32(length))
		}
		e.out = append(e.out, part.Payload...)
	case !part.End:
		e.message = append(e.message, part.Payload...)
	default:
		if int64(len(e.message))+length > math.MaxUint32 {
			return closeError(wsframe.CloseTooBig, "message too large for a length of four bytes")
		}
		e.leave()
		e.out = binary.BigEndian.AppendUint32(e.out, uint32(len(e.message)+len(part.Payload)))
		e.out = append(append(e.out, e.message...), part.Payload...)
		e.message = nil
	}
	return nil
}

// json streams messages too: text escaped, binary in base64.
func (e *Encoder) json(part *wsframe.Part) {
	e.leave()
	if part.Start {
		e.out = append(append(append(e.out, `{"type":"`...), part.Op.String()...), `","data":"`...)
		e.begun = part.Op
	}
	p := part.Payload
	if len(e.carry) > 0 {
		e.carry = append(e.carry, p...)
		p = e.carry
	}
	n := len(p)
	if part.Op == wsframe.OpText {
		if !part.End {
			n -= wsframe.IncompleteRune(p)
		}
		e.out = appendEscaped(e.out, p[:n])
	} else {
		if !part.End {
			n -= n % 3
		}
		e.out = base64.StdEncoding.AppendEncode(e.out, p[:n])
	}
	e.carry = append([]byte(nil), p[n:]...)
	if part.End {
		e.out = append(e.out, "\"}\n"...)
		e.begun = 0
	}
}

// End returns what is to be written when there will be no more messages. A line of JSON that was begun
// for a message whose end never came is made a whole one, which says so.
func (e *Encoder) End() []byte {
	if e.begun == 0 {
		return nil
	}
	var rest []byte
	if e.begun == wsframe.OpBinary {
		rest = base64.StdEncoding.AppendEncode(nil, e.carry)
	}
	return append(rest, "\",\"incomplete\":true}\n"...)
}

// appendEscaped appends the inside of a JSON string. Bytes from 0x80 are left alone, so the text may
// be cut anywhere.
func appendEscaped(dst, p []byte) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i, c := range p {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, p[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xF])
		}
	}
	return append(dst, p[start:]...)
}
