package wsframe

import (
	"encoding/binary"
	"fmt"
)

// A Part is what a [Parser] found: a control frame, or the part of a data frame that was there.
type Part struct {
	// Op is the opcode of the message that the part belongs to, so OpText or OpBinary also for
	// continuation frames, or that of a control frame.
	Op Opcode

	// Payload is unmasked. It lies in the input, or in the parser for a control frame that came in
	// pieces, and is valid until the next call. It may be empty.
	Payload []byte

	Start, End           bool   // the first, the last part of a message
	FrameStart, FrameEnd bool   // the first, the last part of a frame
	FrameFin             bool   // the FIN bit: the message ends with this frame
	FrameOp              Opcode // as on the wire: OpContinuation for further fragments
	RSV1                 bool   // the first frame of the message has it: RFC 7692
	FrameLength          int64  // of the payload of the frame, as its header says
}

// A Parser splits the byte stream of a connection into frames and checks everything that RFC 6455
// asks of them, in sections 5 to 8. It does no I/O and keeps nothing but a few bytes between
// calls: memory never follows a declared length. Any division of the input gives the same messages
// and the same error.
//
// The limits have the meaning and the defaults that they have in [Options]. A Parser is for one
// goroutine at a time.
type Parser struct {
	Role         Role // of this end: a Server takes masked frames only
	MaxFrame     int64
	MaxMessage   int64
	MaxFragments int

	// RSV1 allows that bit on the first frame of a data message, which is compressed then (RFC 7692,
	// section 6). What such a message contains is not looked at: neither UTF-8 nor MaxMessage is checked.
	RSV1 bool

	meter Meter // nil: everything may pass

	err    *CloseError
	closed bool // a Close frame has come

	header  [MaxHeader]byte // of a frame whose header came in pieces
	headerN uint8

	inFrame bool
	started bool // a part of the frame has been delivered
	fin     bool
	op      Opcode // of the frame
	key     uint32 // masking key, turned to the next byte
	length  int64  // of the frame
	left    int64  // of the frame

	control []byte // payload that came in pieces, 125 bytes at most

	message   Opcode // of the message that is going on; 0: none
	rsv1      bool   // it is compressed
	size      int64  // of its frames
	fragments int
	text      utf8Checker
}

// Next takes bytes from the front of p, which it unmasks in place, and returns how many. With ok
// it found a part; without it, all of p was taken and more is needed. The error is a *[CloseError]
// with the code to close the connection with (1002, 1007, 1009), and is final. After a Close frame
// everything is taken and nothing found.
func (d *Parser) Next(p []byte) (part Part, n int, ok bool, err error) {
	n, ok = d.next(p, &part)
	if d.err != nil {
		return Part{}, n, false, d.err
	}
	return part, n, ok, nil
}

// next is Next without the copy of the part; the error is in d.err.
func (d *Parser) next(p []byte, part *Part) (n int, ok bool) {
	if d.closed || d.err != nil {
		return len(p), false
	}
	if !d.inFrame {
		if n, ok = d.beginFrame(p); !ok {
			return n, false
		}
		p = p[n:]
	}
	if d.op.Control() {
		k, ok := d.nextControl(p, part)
		return n + k, ok
	}
	k := int(min(d.left, int64(len(p))))
	if k == 0 && d.left > 0 {
		return n, false
	}
	payload := p[:k:k]
	if d.Role == Server {
		d.key = mask(payload, d.key)
	}
	d.left -= int64(k)
	end := d.left == 0
	*part = Part{
		Op: d.message, Payload: payload,
		Start: !d.started && d.op != OpContinuation, End: end && d.fin,
		FrameStart: !d.started, FrameEnd: end, FrameFin: d.fin, FrameOp: d.op, FrameLength: d.length,
		RSV1: d.rsv1,
	}
	d.started = true
	if d.message == OpText && !d.rsv1 && (!d.text.valid(payload) || part.End && !d.text.complete()) {
		d.err = &CloseError{Code: CloseInvalidPayload, Reason: "text message is not UTF-8"}
		return n + k, false
	}
	if end {
		d.inFrame = false
		if d.fin {
			d.message, d.size, d.fragments = 0, 0, 0
		}
	}
	return n + k, true
}

func (d *Parser) nextControl(p []byte, part *Part) (n int, ok bool) {
	n = int(min(d.left, int64(len(p))))
	if d.Role == Server {
		d.key = mask(p[:n], d.key)
	}
	payload := p[:n:n]
	d.left -= int64(n)
	if len(d.control) > 0 || d.left > 0 {
		d.control = append(d.control, payload...)
		payload = d.control
	}
	if d.left > 0 {
		return n, false
	}
	d.inFrame, d.control = false, nil
	d.closed = d.op == OpClose
	*part = Part{
		Op: d.op, Payload: payload, Start: true, End: true,
		FrameStart: true, FrameEnd: true, FrameFin: true, FrameOp: d.op, FrameLength: d.length,
	}
	return n, true
}

// beginFrame reads a frame header, over several calls where it came in pieces.
func (d *Parser) beginFrame(p []byte) (n int, ok bool) {
	h := p
	if d.headerN > 0 {
		h = d.header[:int(d.headerN)+copy(d.header[d.headerN:], p)]
	}
	size := d.parseHeader(h)
	if d.err != nil {
		return len(p), false
	}
	if size == 0 {
		if d.headerN == 0 {
			copy(d.header[:], p)
		}
		d.headerN += uint8(len(p))
		return len(p), false
	}
	n = size - int(d.headerN)
	d.headerN = 0
	d.inFrame, d.started = true, false
	return n, true
}

// parseHeader returns the size of the header at the start of h, or 0 when h is too short for it.
// What the first two bytes do wrong is an error at once, also when the rest never comes.
func (d *Parser) parseHeader(h []byte) (size int) {
	if len(h) < 2 {
		return 0
	}
	op, fin, masked, length := Opcode(h[0]&0xF), h[0]&0x80 != 0, h[1]&0x80 != 0, int64(h[1]&0x7F)
	rsv1 := h[0]&0x40 != 0 && d.RSV1 && (op == OpText || op == OpBinary)
	rsv := h[0] & 0x70
	if rsv1 {
		rsv &^= 0x40
	}
	if reason := d.violation(op, fin, masked, length, rsv); reason != "" {
		d.err = violation(reason)
		return 0
	}
	size = 2
	switch length {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if masked {
		size += 4
	}
	if len(h) < size {
		return 0
	}
	rest := h[2:size]
	switch length {
	case 126:
		length = int64(binary.BigEndian.Uint16(rest))
		if rest = rest[2:]; length <= 125 {
			d.err = violation("length of a frame in 16 bits that fits into 7")
			return 0
		}
	case 127:
		length = int64(binary.BigEndian.Uint64(rest))
		if rest = rest[8:]; length < 0 {
			d.err = violation("length of a frame with the top bit set")
			return 0
		} else if length <= 0xFFFF {
			d.err = violation("length of a frame in 64 bits that fits into 16")
			return 0
		}
	}
	if masked {
		d.key = binary.LittleEndian.Uint32(rest)
	}
	if !op.Control() && !d.admit(op, length, rsv1) {
		return 0
	}
	d.op, d.fin, d.length, d.left = op, fin, length, length
	return size
}

// violation returns what RFC 6455, sections 5.1 to 5.5, has against the start of a header.
func (d *Parser) violation(op Opcode, fin, masked bool, length int64, rsv byte) string {
	switch {
	case rsv != 0:
		return "reserved bit set without an extension"
	case !op.known():
		return fmt.Sprintf("reserved %v", op)
	case masked && d.Role == Client:
		return "masked frame from a server"
	case !masked && d.Role == Server:
		return "unmasked frame from a client"
	case op.Control() && !fin:
		return fmt.Sprintf("fragmented %v frame", op)
	case op.Control() && length > MaxControlPayload:
		return fmt.Sprintf("%v frame with more than %d bytes", op, MaxControlPayload)
	case op == OpContinuation && d.message == 0:
		return "continuation frame outside of a message"
	case !op.Control() && op != OpContinuation && d.message != 0:
		return fmt.Sprintf("%v frame inside of a fragmented message", op)
	}
	return ""
}

// admit applies the limits to a data frame and counts it.
func (d *Parser) admit(op Opcode, length int64, rsv1 bool) bool {
	maxFrame, maxMessage := orDefault(d.MaxFrame, DefaultMaxFrame), orDefault(d.MaxMessage, DefaultMaxMessage)
	maxFragments := orDefault(d.MaxFragments, DefaultMaxFragments)
	if op == OpContinuation {
		rsv1 = d.rsv1
	}
	switch {
	case maxFrame >= 0 && length > maxFrame:
		d.err = tooBig("frame of %d bytes, the limit is %d", length, maxFrame)
	case maxMessage >= 0 && !rsv1 && (length > maxMessage || d.size > maxMessage-length):
		d.err = tooBig("message of at least %d bytes, the limit is %d", d.size+min(length, maxMessage), maxMessage)
	case maxFragments >= 0 && d.fragments >= maxFragments:
		d.err = tooBig("message of more than %d fragments", int64(maxFragments))
	case d.meter != nil && !d.meter.Take(started(op), int(length)):
		d.err = &CloseError{Code: ClosePolicy, Reason: "too many messages in too little time"}
	default:
		if op != OpContinuation {
			d.message, d.rsv1 = op, rsv1
		}
		d.size += length // cannot overflow without a limit: nobody sends 2^63 bytes
		d.fragments++
		return true
	}
	return false
}

// started counts the messages that a frame begins.
func started(op Opcode) int {
	if op == OpContinuation {
		return 0
	}
	return 1
}

func tooBig(format string, args ...any) *CloseError {
	return &CloseError{Code: CloseTooBig, Reason: fmt.Sprintf(format, args...)}
}

func orDefault[T int | int64](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}
