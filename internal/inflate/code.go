package inflate

import (
	"math/bits"
	"sync"
)

const (
	maxLiterals  = 286 + 2 // the fixed code has two symbols that are never used
	maxDistances = 32
	maxLength    = 15 // of a code word

	rootBits = 9
)

// A code is a canonical Huffman code (RFC 1951, section 3.2.2) as a table of two levels: words of up to
// nine bits are found in root. The entry of a longer one leads to a table for its other bits.
type code struct {
	root [1 << rootBits]entry
	more []entry
}

// An entry has the length of a code word in its lowest four bits, above them the symbol; 0 is none. With
// subtable set these are the width of a table and where in more it begins.
type entry uint32

const subtable entry = 1 << 4

func makeEntry(length uint, v int) entry { return entry(length) | entry(v)<<5 }

// find returns the symbol at the front of bits and the size of its word. Where there are fewer bits than
// that, more have to be read. 0 means that no word begins with the first bit: a code has all words, or a
// single one of one bit, or none.
func (c *code) find(bits uint64) (size uint, symbol int) {
	e := c.root[bits&(1<<rootBits-1)]
	if e&subtable != 0 {
		e = c.more[int(e>>5)+int(bits>>rootBits&(1<<(e&0xF)-1))]
	}
	return uint(e & 0xF), int(e >> 5)
}

// init makes the code of the given lengths. It reports false for lengths that are none: too many words,
// or too few of them, but that a single one has one bit.
func (c *code) init(lengths []uint8) bool {
	clear(c.root[:])
	c.more = c.more[:0]
	var count [maxLength + 1]int
	longest := uint(0)
	for _, n := range lengths {
		count[n]++
		longest = max(longest, uint(n))
	}
	if longest == 0 {
		return true // never used
	}
	var next [maxLength + 1]int // word
	word := 0
	for n := uint(1); n <= longest; n++ {
		word <<= 1
		next[n] = word
		if word += count[n]; word > 1<<n {
			return false
		}
	}
	if word != 1<<longest && (word != 1 || longest != 1) {
		return false
	}
	var words [maxLiterals + maxDistances]uint16 // as they are read: first bit lowest
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		words[symbol] = reverse(next[n], uint(n))
		next[n]++
		if n > rootBits { // what its table must be wide for, at first
			e := &c.root[words[symbol]&(1<<rootBits-1)]
			*e = max(*e, subtable|entry(n-rootBits))
		}
	}
	for i, e := range c.root {
		if e != 0 {
			c.root[i] = e | entry(len(c.more))<<5
			c.more = append(c.more, make([]entry, 1<<(e&0xF))...)
		}
	}
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		e, word := makeEntry(uint(n), symbol), int(words[symbol])
		table, size := c.root[:], uint(n)
		if n > rootBits {
			link := c.root[word&(1<<rootBits-1)]
			table, size = c.more[link>>5:][:1<<(link&0xF)], size-rootBits
			word >>= rootBits
		}
		for i := word; i < len(table); i += 1 << size {
			table[i] = e
		}
	}
	return true
}

func reverse(word int, n uint) uint16 {
	return bits.Reverse16(uint16(word)) >> (16 - n)
}

type fixedCodes struct{ literal, distance code }

// fixed returns the codes of blocks of type 1 (RFC 1951, section 3.2.6).
var fixed = sync.OnceValue(func() *fixedCodes {
	var lengths [maxLiterals]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	f := new(fixedCodes)
	f.literal.init(lengths[:])
	var distances [maxDistances]uint8
	for i := range distances {
		distances[i] = 5
	}
	f.distance.init(distances[:])
	return f
})
