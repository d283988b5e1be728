package scgi

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/wspawn/wspawn/cgi"
)

// The head of a uwsgi request is modifier1 (0: a request with variables), the size of what follows
// in 16 bits, little-endian, and modifier2. Then come names and values, each behind its length in
// 16 bits (https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html).

const maxBlock = 1<<16 - 1

func appendBlock(dst []byte, l cgi.List) ([]byte, error) {
	size := 0
	for _, v := range l {
		size += 4 + len(v.Name) + len(v.Value)
	}
	if size > maxBlock {
		return dst, fmt.Errorf("%w for uwsgi (%d bytes, limit %d)", ErrTooLarge, size, maxBlock)
	}
	dst = slices.Grow(dst, 4+size)
	dst = append(dst, 0, byte(size), byte(size>>8), 0)
	for _, v := range l {
		dst = appendCounted(appendCounted(dst, v.Name), v.Value)
	}
	return dst, nil
}

func appendCounted(dst []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func readBlock(r *bufio.Reader, max int) (cgi.List, error) {
	var head [4]byte
	for i := range head {
		c, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		head[i] = c
	}
	if head[0] != 0 || head[3] != 0 {
		return nil, syntax("modifiers %d and %d are not those of a request", head[0], head[3])
	}
	size := int(binary.LittleEndian.Uint16(head[1:]))
	if size > max {
		return nil, fmt.Errorf("%w (limit %d bytes)", ErrTooLarge, max)
	}
	b, err := readFull(r, size)
	if err != nil {
		return nil, err
	}
	l := make(cgi.List, 0, 32)
	seen := make(map[string]struct{}, 32)
	for s := string(b); s != ""; {
		var v cgi.Var
		var name, value bool
		v.Name, s, name = cutCounted(s)
		v.Value, s, value = cutCounted(s)
		if !name || !value {
			return nil, syntax("a length points behind the end")
		}
		if err := checkVar(v, seen); err != nil {
			return nil, syntax("%q: %v", v.Name, err)
		}
		l = append(l, v)
	}
	return l, nil
}

func cutCounted(s string) (counted, rest string, ok bool) {
	if len(s) < 2 {
		return "", "", false
	}
	n := int(s[0]) | int(s[1])<<8
	if len(s) < 2+n {
		return "", "", false
	}
	return s[2 : 2+n], s[2+n:], true
}
