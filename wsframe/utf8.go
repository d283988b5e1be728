package wsframe

import "unicode/utf8"

// IncompleteRune returns how many bytes at the end of p begin a UTF-8 sequence that p does not
// complete: 0 to 3. Text that is cut there is not cut inside a character.
func IncompleteRune(p []byte) int {
	for i := 1; i <= min(len(p), utf8.UTFMax-1); i++ {
		c := p[len(p)-i]
		if c < utf8.RuneSelf {
			return 0
		}
		if utf8.RuneStart(c) {
			if utf8.FullRune(p[len(p)-i:]) {
				return 0 // complete, or never to become valid
			}
			return i
		}
	}
	return 0
}

// utf8Checker validates text that arrives in pieces, and finds a fault as soon as the first byte
// is there that cannot be right (RFC 6455, section 8.1).
type utf8Checker struct {
	carry [utf8.UTFMax]byte
	n     uint8 // bytes in carry: the incomplete sequence at the end of the piece before
}

func (u *utf8Checker) valid(p []byte) bool {
	for u.n > 0 && len(p) > 0 {
		u.carry[u.n] = p[0]
		u.n++
		p = p[1:]
		if c := u.carry[:u.n]; utf8.FullRune(c) {
			if r, size := utf8.DecodeRune(c); r == utf8.RuneError && size <= 1 {
				return false
			}
			u.n = 0
		}
	}
	tail := IncompleteRune(p)
	if tail > 0 {
		u.n = uint8(copy(u.carry[:], p[len(p)-tail:]))
		p = p[:len(p)-tail]
	}
	return utf8.Valid(p)
}

func (u *utf8Checker) complete() bool { return u.n == 0 }
