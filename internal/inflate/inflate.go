// Package inflate decompresses DEFLATE (RFC 1951) that arrives in pieces.
//
// The inflaters of the standard library and of others read: in the middle of a message they wait inside
// of a call, with a goroutine. A [Decoder] is pushed. It takes what is there, gives what comes out, and
// may be left alone between any two bytes; nothing is ever allocated for what a stream claims to be.
// Neither the end of a stream nor limits on what comes out are its affair.
package inflate

import (
	"errors"
)

// MaxWindow is the largest distance of DEFLATE, and so the largest history, in bytes.
const MaxWindow = 32 << 10

// ErrCorrupt is the error for a stream that is not DEFLATE.
var ErrCorrupt = errors.New("inflate: corrupt data")

const (
	maxMatch = 258
	chunk    = 16 << 10 // of output, at least, that each call of Decode has room for
)

type state uint8

const (
	blockHeader state = iota
	storedLength
	storedData
	tableSizes
	codeLengths   // of the code in which the lengths of the other two codes are written
	symbolLengths // of these
	blockData
)

// A Decoder inflates one stream at a time. Call Reset before the first use. It is for one goroutine,
// and takes some 56 KiB of memory, so it should not be kept where nothing is going on.
type Decoder struct {
	state  state
	last   bool // the block says that it is the last one
	window int

	bits uint64 // read and not used, the next one lowest
	n    uint   // how many

	in []byte // what Decode has not read yet

	left                   int // storedData: bytes; symbolLengths and codeLengths: the next one
	literals, distances    int // symbols of the two codes
	lengthCodes            int
	lengths                [maxLiterals + maxDistances]uint8
	literalCode, otherCode code // otherCode: of distances, and before of the lengths
	literal, distance      *code

	// buf[:end] is history, of which what is before taken has been returned.
	taken, end int
	buf        [MaxWindow + chunk + maxMatch]byte
}

// Reset begins a new stream, which may refer to the end of history, and back by window bytes at most
// (0: MaxWindow).
func (d *Decoder) Reset(window int, history []byte) {
	if window <= 0 || window > MaxWindow {
		window = MaxWindow
	}
	d.window = window
	d.state, d.bits, d.n, d.in = blockHeader, 0, 0, nil
	d.end = copy(d.buf[:], history[max(0, len(history)-window):])
	d.taken = d.end
}

// Decode reads from in and returns how many bytes it has taken and what came out, at most 49,410
// bytes, which are valid until the next call. With more set it has to be called again, with the rest of in, before
// there can be new input. An error is final.
func (d *Decoder) Decode(in []byte) (out []byte, n int, more bool, err error) {
	if len(d.buf)-d.end < chunk {
		d.end = copy(d.buf[:], d.buf[d.end-MaxWindow:d.end])
		d.taken = d.end
	}
	n, more, err = d.decode(in)
	out = d.buf[d.taken:d.end]
	d.taken = d.end
	return out, n, more, err
}

func (d *Decoder) decode(in []byte) (n int, more bool, err error) {
	d.in = in
	for err == nil && !more {
		var ok bool
		switch d.state {
		case blockData:
			ok, more, err = d.symbols()
		case storedData:
			ok, more = d.copyStored()
		default:
			ok, err = d.header()
		}
		if !ok {
			break
		}
	}
	n = len(in) - len(d.in)
	d.in = nil
	return n, more, err
}

// tail is what the sender of a message leaves out (RFC 7692, section 7.2.1).
var tail = []byte{0x00, 0x00, 0xFF, 0xFF}

// Finish ends a message of RFC 7692, and reports whether it was whole. Nothing comes out any more, and
// what came out before stays valid. A message may also end with a block; that does not take a tail.
func (d *Decoder) Finish() bool {
	if !d.AtBoundary() {
		if _, _, err := d.decode(tail); err != nil {
			return false
		}
	}
	return d.AtBoundary() && d.taken == d.end
}

// AtBoundary reports whether what was read ends with a block, and with the last byte of one.
func (d *Decoder) AtBoundary() bool { return d.state == blockHeader && d.n == 0 }

// History returns the end of what came out, as much as later data may refer to. It is valid until the
// next call of Decode or Reset.
func (d *Decoder) History() []byte { return d.buf[max(0, d.end-d.window):d.end] }

// need reads until there are n bits (at most 32), and reports false when there are not so many.
func (d *Decoder) need(n uint) bool {
	for d.n < n {
		if len(d.in) == 0 {
			return false
		}
		d.bits |= uint64(d.in[0]) << d.n
		d.in = d.in[1:]
		d.n += 8
	}
	return true
}

func (d *Decoder) take(n uint) int {
	v := d.bits & (1<<n - 1)
	d.bits >>= n
	d.n -= n
	return int(v)
}

// header makes one step of what is before the data of a block (RFC 1951, section 3.2). It reports false
// when there is too little input for that.
func (d *Decoder) header() (ok bool, err error) {
	switch d.state {
	case blockHeader:
		if !d.need(3) {
			return false, nil
		}
		d.last = d.take(1) == 1
		return true, d.begin(d.take(2))
	case storedLength:
		if !d.need(32) {
			return false, nil
		}
		length, check := d.take(16), d.take(16)
		if length != check^0xFFFF {
			return false, ErrCorrupt
		}
		d.left, d.state = length, storedData
	case tableSizes:
		if !d.need(14) {
			return false, nil
		}
		d.literals, d.distances, d.lengthCodes = d.take(5)+257, d.take(5)+1, d.take(4)+4
		if d.literals > 286 || d.distances > 30 {
			return false, ErrCorrupt
		}
		d.left, d.state = 0, codeLengths
		clear(d.lengths[:len(lengthOrder)])
	case codeLengths:
		for ; d.left < d.lengthCodes; d.left++ {
			if !d.need(3) {
				return false, nil
			}
			d.lengths[lengthOrder[d.left]] = uint8(d.take(3))
		}
		if !d.otherCode.init(d.lengths[:len(lengthOrder)]) {
			return false, ErrCorrupt
		}
		d.left, d.state = 0, symbolLengths
	case symbolLengths:
		return d.readLengths()
	}
	return true, nil
}
