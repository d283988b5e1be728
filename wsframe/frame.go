package wsframe

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// An Opcode says what a frame carries (RFC 6455, section 5.2).
type Opcode byte

// The opcodes that RFC 6455 defines; all others are reserved and refused.
const (
	OpContinuation Opcode = 0x0 // a further fragment of a message
	OpText         Opcode = 0x1
	OpBinary       Opcode = 0x2
	OpClose        Opcode = 0x8
	OpPing         Opcode = 0x9
	OpPong         Opcode = 0xA
)

// Control reports whether op is that of a control frame (RFC 6455, section 5.5).
func (op Opcode) Control() bool { return op&0x8 != 0 }

// String returns the name of the opcode in lower case.
func (op Opcode) String() string {
	switch op {
	case OpContinuation:
		return "continuation"
	case OpText:
		return "text"
	case OpBinary:
		return "binary"
	case OpClose:
		return "close"
	case OpPing:
		return "ping"
	case OpPong:
		return "pong"
	}
	return fmt.Sprintf("opcode 0x%X", byte(op))
}

func (op Opcode) known() bool { return op <= OpBinary || op >= OpClose && op <= OpPong }

// A Role tells which end of a connection this is. It decides who masks: a client masks what it
// sends, a server does not, and each refuses anything else (RFC 6455, section 5.1).
type Role uint8

// The two ends of a connection.
const (
	Server Role = iota
	Client
)

// MaxControlPayload is the largest payload of a control frame (RFC 6455, section 5.5).
const MaxControlPayload = 125

// MaxHeader is the size of the largest frame header: two bytes, a 64-bit length, a masking key.
const MaxHeader = 14

// A Frame is one frame as it is on the wire, unmasked.
type Frame struct {
	Fin              bool // the last fragment of a message
	RSV1, RSV2, RSV3 bool // for extensions; refused when received without one
	Op               Opcode
	Payload          []byte
}

// AppendFrame appends f, encoded for a sender of the given role, to dst. It does not judge f:
// control frames that are too long or fragmented are encoded as given.
func AppendFrame(dst []byte, role Role, f Frame) []byte {
	var key uint32
	dst, key = appendHeader(dst, role, firstByte(f), int64(len(f.Payload)))
	start := len(dst)
	dst = append(dst, f.Payload...)
	if role == Client {
		mask(dst[start:], key)
	}
	return dst
}

// AppendHeader appends the header of an unmasked frame, as servers send them, whose payload of the
// given length the caller appends itself.
func AppendHeader(dst []byte, op Opcode, fin bool, length int64) []byte {
	dst, _ = appendHeader(dst, Server, firstByte(Frame{Op: op, Fin: fin}), length)
	return dst
}

// PutHeader writes the header of an unmasked frame to the end of gap, directly in front of a
// payload that follows it in memory, and returns where in gap the header begins. A gap of ten bytes
// holds every header.
func PutHeader(gap []byte, op Opcode, fin bool, length int64) int {
	var h [10]byte
	b := AppendHeader(h[:0], op, fin, length)
	return len(gap) - copy(gap[len(gap)-len(b):], b) // panics when the gap is too small
}

func firstByte(f Frame) byte {
	b := byte(f.Op) & 0xF
	if f.Fin {
		b |= 0x80
	}
	if f.RSV1 {
		b |= 0x40
	}
	if f.RSV2 {
		b |= 0x20
	}
	if f.RSV3 {
		b |= 0x10
	}
	return b
}

func appendHeader(dst []byte, role Role, first byte, length int64) (_ []byte, key uint32) {
	var m byte
	if role == Client {
		m = 0x80
	}
	switch {
	case length <= 125:
		dst = append(dst, first, m|byte(length))
	case length <= 0xFFFF:
		dst = append(dst, first, m|126, byte(length>>8), byte(length))
	default:
		dst = append(dst, first, m|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(length))
	}
	if role == Client {
		// RFC 6455, section 5.3, wants keys that a page cannot predict. The top-level functions of
		// math/rand/v2 draw from the runtime's ChaCha8 generator, seeded by the system.
		key = rand.Uint32()
		dst = binary.LittleEndian.AppendUint32(dst, key)
	}
	return dst, key
}
