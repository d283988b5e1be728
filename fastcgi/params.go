package fastcgi

import (
	"encoding/binary"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/rawio"
)

// AppendPairs appends name-value pairs (section 3.4), the content of PARAMS
// streams and of GET_VALUES records. Names and values under 128 bytes have a
// length of one byte, longer ones of four.
func AppendPairs(dst []byte, list cgi.List) []byte {
	for _, v := range list {
		dst = appendLength(dst, len(v.Name))
		dst = appendLength(dst, len(v.Value))
		dst = append(dst, v.Name...)
		dst = append(dst, v.Value...)
	}
	return dst
}

func appendLength(dst []byte, n int) []byte {
	if n < 1<<7 {
		return append(dst, byte(n))
	}
	if int64(n) >= 1<<31 {
		panic("fastcgi: name or value of 2 GiB")
	}
	return binary.BigEndian.AppendUint32(dst, uint32(n)|1<<31)
}

// ParsePairs decodes all of b, which must be complete. A length that reaches
// behind the end is a [*ProtocolError]; nothing is allocated for it. Repeated
// and empty names are handed on as they came.
func ParsePairs(b []byte) (cgi.List, error) {
	var list cgi.List
	for len(b) > 0 {
		name, value, rest, err := nextPair(b)
		if err != nil {
			return nil, err
		}
		list = append(list, cgi.Var{Name: string(name), Value: string(value)})
		b = rest
	}
	return list, nil
}

func nextPair(b []byte) (name, value, rest []byte, err error) {
	n, b, ok := cutLength(b)
	if !ok {
		return nil, nil, nil, protocolError("name-value pairs end inside a name length")
	}
	v, b, ok := cutLength(b)
	if !ok {
		return nil, nil, nil, protocolError("name-value pairs end inside a value length")
	}
	// Each is below 2 GiB, and so the sum fits even into the signed 64 bits.
	if uint64(n)+uint64(v) > uint64(len(b)) {
		return nil, nil, nil, protocolError("name of %d and value of %d bytes in the last %d of name-value pairs", n, v, len(b))
	}
	return b[:n], b[n : n+v], b[n+v:], nil
}

func cutLength(b []byte) (n uint32, rest []byte, ok bool) {
	switch {
	case len(b) == 0:
		return 0, nil, false
	case b[0] < 1<<7:
		return uint32(b[0]), b[1:], true
	case len(b) < 4:
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(b) &^ (1 << 31), b[4:], true
}

// paramRecords is everything that stands in front of the input of a request:
// BEGIN_REQUEST, the parameters in as many records as they need, and their
// end. A pair is divided between records only if it does not fit into one: PHP
// reads each record by itself.
func paramRecords(id uint16, role Role, keepConn bool, list cgi.List) []byte {
	n := 4 * HeaderLen
	for _, v := range list {
		n += len(v.Name) + len(v.Value) + 8
	}
	b := AppendBegin(make([]byte, 0, n+n/1024), id, role, keepConn)
	pairs := rawio.GetBuffer()
	defer rawio.PutBuffer(pairs)
	have := pairs[:0]
	for i := range list {
		if size := len(list[i].Name) + len(list[i].Value) + 8; len(have)+size > sentContent {
			b = AppendStream(b, TypeParams, id, have)
			have = pairs[:0]
			if size > sentContent {
				b = AppendStream(b, TypeParams, id, AppendPairs(nil, list[i:i+1]))
				continue
			}
		}
		have = AppendPairs(have, list[i:i+1])
	}
	b = AppendStream(b, TypeParams, id, have)
	return AppendRecord(b, TypeParams, id, nil)
}
