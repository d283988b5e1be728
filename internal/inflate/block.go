package inflate

import "encoding/binary"

// begin begins a block of the given type.
func (d *Decoder) begin(kind int) error {
	switch kind {
	case 0:
		d.take(d.n % 8)
		d.state = storedLength
	case 1:
		f := fixed()
		d.literal, d.distance, d.state = &f.literal, &f.distance, blockData
	case 2:
		d.state = tableSizes
	default:
		return ErrCorrupt
	}
	return nil
}

// finish ends a block. What follows the last one begins with a new byte: RFC 7692, section 7.2.3.4, lets
// a message end so, and the next one goes on behind it.
func (d *Decoder) finish() {
	if d.state = blockHeader; d.last {
		d.take(d.n % 8)
	}
}

func (d *Decoder) copyStored() (ok, more bool) {
	for d.left > 0 && d.n > 0 && d.end < len(d.buf) {
		d.buf[d.end] = byte(d.take(8))
		d.end++
		d.left--
	}
	if d.n == 0 {
		n := copy(d.buf[d.end:], d.in[:min(len(d.in), d.left)])
		d.in, d.end, d.left = d.in[n:], d.end+n, d.left-n
	}
	if d.left == 0 {
		d.finish()
		return true, false
	}
	return false, d.end == len(d.buf)
}

// The order in which the lengths of the code of lengths are written.
var lengthOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// readLengths reads the code lengths of the symbols of a block.
func (d *Decoder) readLengths() (ok bool, err error) {
	total := d.literals + d.distances
	for d.left < total {
		d.need(14) // or what there is
		size, symbol := d.otherCode.find(d.bits)
		switch {
		case size > d.n || size == 0 && d.n == 0:
			return false, nil
		case size == 0:
			return false, ErrCorrupt
		case symbol < 16:
			d.take(size)
			d.lengths[d.left] = uint8(symbol)
			d.left++
			continue
		}
		extra, repeat, length := uint(7), 11, uint8(0)
		switch symbol {
		case 16:
			if d.left == 0 {
				return false, ErrCorrupt
			}
			extra, repeat, length = 2, 3, d.lengths[d.left-1]
		case 17:
			extra, repeat = 3, 3
		}
		if d.n < size+extra {
			return false, nil
		}
		d.take(size)
		if repeat += d.take(extra); d.left+repeat > total {
			return false, ErrCorrupt
		}
		for ; repeat > 0; repeat-- {
			d.lengths[d.left] = length
			d.left++
		}
	}
	if !d.literalCode.init(d.lengths[:d.literals]) || !d.otherCode.init(d.lengths[d.literals:total]) {
		return false, ErrCorrupt
	}
	d.literal, d.distance, d.state = &d.literalCode, &d.otherCode, blockData
	return true, nil
}

// What symbols from 257 on, and those of distances, stand for (RFC 1951, section 3.2.5).
var (
	lengthBase = [29]uint16{
		3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
	}
	lengthExtra  = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distanceBase = [30]uint16{
		1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769,
		1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
	}
	distanceExtra = [30]uint8{
		0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
	}
)

// symbols inflates the data of a block with codes. A literal or a match is taken whole, 48 bits at most,
// or not at all: so the input may end anywhere.
func (d *Decoder) symbols() (ok, more bool, err error) {
	in, bits, n, end := d.in, d.bits, d.n, d.end
loop:
	for {
		if n < 48 {
			if len(in) >= 8 {
				bits |= binary.LittleEndian.Uint64(in) << n
				in = in[(63-n)>>3:]
				n |= 56
			} else {
				for ; n <= 56 && len(in) > 0; in = in[1:] {
					bits |= uint64(in[0]) << n
					n += 8
				}
			}
		}
		if end > len(d.buf)-maxMatch {
			more = true
			break
		}
		size, symbol := d.literal.find(bits)
		switch {
		case size > n || size == 0 && n == 0:
			break loop
		case size == 0:
			err = ErrCorrupt
			break loop
		case symbol < 256:
			bits, n = bits>>size, n-size
			d.buf[end] = byte(symbol)
			end++
			continue
		case symbol == 256:
			bits, n, ok = bits>>size, n-size, true
			break loop
		case symbol > 285:
			err = ErrCorrupt
			break loop
		}
		extra := uint(lengthExtra[symbol-257])
		length := int(lengthBase[symbol-257]) + int(bits>>size&(1<<extra-1))
		used := size + extra
		if used > n {
			break
		}
		size, symbol = d.distance.find(bits >> used)
		switch {
		case used+size > n || size == 0 && n == used:
			break loop
		case size == 0 || symbol > 29:
			err = ErrCorrupt
			break loop
		}
		used += size
		extra = uint(distanceExtra[symbol])
		distance := int(distanceBase[symbol]) + int(bits>>used&(1<<extra-1))
		if used += extra; used > n {
			break
		}
		if distance > min(end, d.window) {
			err = ErrCorrupt
			break
		}
		bits, n = bits>>used, n-used
		if distance >= length {
			copy(d.buf[end:end+length], d.buf[end-distance:])
			end += length
			continue
		}
		// What is copied goes on in the copy itself.
		for start := end - distance; length > 0; {
			k := copy(d.buf[end:end+length], d.buf[start:end])
			end, length = end+k, length-k
		}
	}
	// A fast read leaves bits of bytes that it has not taken.
	d.in, d.bits, d.n, d.end = in, bits&(1<<n-1), n, end
	if ok {
		d.finish()
	}
	return ok, more, err
}
