package wsframe

import (
	"fmt"
	"strings"
)

// A vector is a byte stream and what has to come of it. The same vectors are run through the Parser
// and through real connections, in both roles, whole and in all kinds of pieces.
type vector struct {
	name string // begins with the section of RFC 6455
	role string // of the end that is tested, "server" or "client"; "" for both
	o    Options
	in   []piece // what the peer sends

	messages []string // that have to be delivered, as "text:…" and "binary:…"
	pongs    []string // that have to be sent

	// code is that of the Close frame that has to be sent. 0: everything is in order; the peer is
	// made to close with 1000 behind the vector.
	code   int
	remote bool // the Close frame that is answered with code is in the vector
	reason string
}

// A piece is encoded for the sender that the vector is run with.
type piece func(sender Role) []byte

func f(first byte, payload string) piece {
	return func(sender Role) []byte { return wire(sender, first, payload) }
}

// head is the header of a frame of which only the beginning is sent.
func head(first byte, length uint64, payload string) piece {
	form := 0
	switch {
	case length > 0xFFFF:
		form = 127
	case length > 125:
		form = 126
	}
	return long(first, form, length, payload)
}

func long(first byte, form int, length uint64, payload string) piece {
	return func(sender Role) []byte { return wireForm(sender, first, form, length, payload) }
}

// unlike encodes a frame as the other end would.
func unlike(p piece) piece { return func(sender Role) []byte { return p(other(sender)) } }

func (v *vector) bytes(sender Role) []byte {
	var b []byte
	for _, p := range v.in {
		b = append(b, p(sender)...)
	}
	return b
}

func pieces(p ...piece) []piece { return p }
func list(s ...string) []string { return s }
func x(n int) string            { return strings.Repeat("x", n) }

// tail stands behind a violation: none of it may be taken for anything.
var tail = []piece{f(fin|wireText, "never"), f(fin|wirePing, "never"), f(fin|wireClose, closePayload(1000, ""))}

func vectors() []vector {
	all := []vector{
		{name: "5.7: text and binary", in: pieces(f(fin|wireText, "Hello"), f(fin|wireBin, "\x00\xFF\xFE")), messages: list("text:Hello", "binary:\x00\xFF\xFE")},
		{name: "5.7: fragmented text", in: pieces(f(wireText, "Hel"), f(fin|wireCont, "lo")), messages: list("text:Hello")},
		{name: "5.2: empty messages", in: pieces(f(fin|wireText, ""), f(fin|wireBin, ""), f(fin|wireText, "")), messages: list("text:", "binary:", "text:")},
		{name: "5.1: a server must close on an unmasked frame", role: "server", in: append(pieces(f(fin|wireText, "first"), unlike(f(fin|wireText, "no"))), tail...), messages: list("text:first"), code: 1002},
		{name: "5.1: a client must close on a masked frame", role: "client", in: append(pieces(f(fin|wireText, "first"), unlike(f(fin|wireText, "no"))), tail...), messages: list("text:first"), code: 1002},
		{name: "5.1: wrong masking of an empty frame", in: pieces(unlike(f(fin|wireBin, ""))), code: 1002},
		{name: "5.1: wrong masking of a ping", in: pieces(unlike(f(fin|wirePing, ""))), code: 1002},
		{name: "5.1: wrong masking of a close", in: pieces(unlike(f(fin|wireClose, ""))), code: 1002},
	}
	all = append(all, lengthVectors()...)
	all = append(all, headerVectors()...)
	all = append(all, fragmentVectors()...)
	all = append(all, controlVectors()...)
	all = append(all, closeVectors()...)
	all = append(all, utf8Vectors()...)
	return append(all, limitVectors()...)
}

// lengthVectors are about section 5.2, payload length.
func lengthVectors() (all []vector) {
	for _, n := range []int{0, 1, 2, 124, 125, 126, 127, 128, 255, 256, 65534, 65535, 65536, 65537, 70000} {
		all = append(all, vector{
			name: fmt.Sprintf("5.2: %d bytes", n), in: pieces(f(fin|wireBin, x(n)), f(fin|wireText, x(n))),
			messages: list("binary:"+x(n), "text:"+x(n)),
		})
	}
	for _, n := range []uint64{0, 1, 125} {
		for _, op := range []byte{fin | wireText, fin | wireBin, wireText} {
			all = append(all, vector{name: fmt.Sprintf("5.2: length %d in 16 bits is not minimal, %#x", n, op), in: append(pieces(long(op, 126, n, x(int(n)))), tail...), code: 1002})
		}
	}
	for _, n := range []uint64{0, 125, 126, 65535} {
		all = append(all, vector{name: fmt.Sprintf("5.2: length %d in 64 bits is not minimal", n), in: append(pieces(long(fin|wireBin, 127, n, x(int(n)))), tail...), code: 1002})
	}
	for _, n := range []uint64{1 << 63, 1<<63 | 5, 1<<64 - 1} {
		all = append(all, vector{name: fmt.Sprintf("5.2: length %#x has the top bit set", n), in: pieces(head(fin|wireBin, n, "")), code: 1002})
		all = append(all, vector{name: fmt.Sprintf("5.2: length %#x has the top bit set, without limits", n), o: Options{MaxFrame: -1, MaxMessage: -1}, in: pieces(head(fin|wireBin, n, "")), code: 1002})
	}
	return all
}

// headerVectors are about section 5.2, reserved bits and opcodes.
func headerVectors() (all []vector) {
	for _, rsv := range []byte{0x40, 0x20, 0x10, 0x70} {
		for _, first := range []byte{fin | wireText, fin | wireBin, wireText, fin | wirePing, fin | wirePong, fin | wireClose} {
			all = append(all, vector{name: fmt.Sprintf("5.2: reserved bit, first byte %#x", rsv|first), in: append(pieces(f(fin|wireText, "first"), f(rsv|first, "")), tail...), messages: list("text:first"), code: 1002})
		}
		all = append(all, vector{name: fmt.Sprintf("5.2: reserved bit %#x on a continuation", rsv), in: append(pieces(f(wireText, "a"), f(rsv|fin|wireCont, "b")), tail...), code: 1002})
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF} {
		for _, first := range []byte{op, fin | op} {
			all = append(all,
				vector{name: fmt.Sprintf("5.2: reserved opcode, first byte %#x", first), in: append(pieces(f(first, "")), tail...), code: 1002},
				vector{name: fmt.Sprintf("5.2: reserved opcode in a message, first byte %#x", first), in: append(pieces(f(wireBin, "a"), f(first, "x")), tail...), code: 1002})
		}
	}
	return all
}

// fragmentVectors are about section 5.4.
func fragmentVectors() []vector {
	all := []vector{
		{name: "5.4: empty fragments", in: pieces(f(wireText, ""), f(wireCont, ""), f(fin|wireCont, "")), messages: list("text:")},
		{name: "5.4: empty fragments around one", in: pieces(f(wireBin, ""), f(wireCont, "x"), f(wireCont, ""), f(fin|wireCont, "")), messages: list("binary:x")},
		{name: "5.4: fragments of one byte", in: pieces(f(wireText, "H"), f(wireCont, "e"), f(wireCont, "l"), f(wireCont, "l"), f(fin|wireCont, "o")), messages: list("text:Hello")},
		{name: "5.4: fragmented messages in a row", in: pieces(f(wireText, "a"), f(fin|wireCont, "b"), f(wireBin, "c"), f(fin|wireCont, "d"), f(fin|wireText, "e")), messages: list("text:ab", "binary:cd", "text:e")},
		{name: "5.4: control frames between fragments", in: pieces(f(wireText, "Hel"), f(fin|wirePing, "1"), f(wireCont, ""), f(fin|wirePong, "2"), f(fin|wirePing, ""), f(fin|wireCont, "lo")), messages: list("text:Hello"), pongs: list("1", "")},
		{name: "5.4: a ping between fragments is answered before the message ends", in: pieces(f(wireText, "Hel"), f(fin|wirePing, "now"), f(fin|wireClose, closePayload(1000, ""))), pongs: list("now"), code: 1000, remote: true},
		{name: "5.4: large fragments", in: pieces(f(wireBin, x(70000)), f(fin|wireCont, x(300))), messages: list("binary:" + x(70300))},
	}
	for _, first := range []byte{wireCont, fin | wireCont} {
		all = append(all,
			vector{name: fmt.Sprintf("5.4: continuation %#x of nothing", first), in: append(pieces(f(first, "x")), tail...), code: 1002},
			vector{name: fmt.Sprintf("5.4: continuation %#x behind a whole message", first), in: append(pieces(f(fin|wireText, "a"), f(first, "x")), tail...), messages: list("text:a"), code: 1002},
			vector{name: fmt.Sprintf("5.4: continuation %#x behind a fragmented message", first), in: append(pieces(f(wireText, "a"), f(fin|wireCont, "b"), f(first, "")), tail...), messages: list("text:ab"), code: 1002})
	}
	for _, first := range []byte{wireText, wireBin, fin | wireText, fin | wireBin} {
		all = append(all,
			vector{name: fmt.Sprintf("5.4: new message %#x inside of one", first), in: append(pieces(f(wireText, "a"), f(first, "b")), tail...), code: 1002},
			vector{name: fmt.Sprintf("5.4: new message %#x inside of one, behind a ping", first), in: append(pieces(f(wireBin, ""), f(fin|wirePing, "p"), f(first, "")), tail...), pongs: list("p"), code: 1002})
	}
	return all
}

// controlVectors are about sections 5.5, 5.5.2 and 5.5.3.
func controlVectors() (all []vector) {
	for _, op := range []byte{wirePing, wirePong, wireClose} {
		all = append(all,
			vector{name: fmt.Sprintf("5.5: control frame %#x in fragments", op), in: append(pieces(f(op, ""), f(fin|wireCont, "")), tail...), code: 1002},
			vector{name: fmt.Sprintf("5.5: control frame %#x in fragments, in a message", op), in: append(pieces(f(wireText, "a"), f(op, "x")), tail...), code: 1002},
			vector{name: fmt.Sprintf("5.5: control frame %#x of 126 bytes", op), in: append(pieces(f(fin|op, "\x03\xE8"+x(124))), tail...), code: 1002},
			vector{name: fmt.Sprintf("5.5: control frame %#x of 65536 bytes", op), in: pieces(head(fin|op, 65536, "")), code: 1002},
			vector{name: fmt.Sprintf("5.5: control frame %#x of 5 bytes in 16 bits", op), in: append(pieces(long(fin|op, 126, 5, "\x03\xE8xyz")), tail...), code: 1002},
			vector{name: fmt.Sprintf("5.5: control frame %#x of 5 bytes in 64 bits", op), in: append(pieces(long(fin|op, 127, 5, "\x03\xE8xyz")), tail...), code: 1002})
	}
	ten := vector{name: "5.5.2: ten pings are answered in order"}
	for i := range 10 {
		ten.in = append(ten.in, f(fin|wirePing, fmt.Sprint(i)))
		ten.pongs = append(ten.pongs, fmt.Sprint(i))
	}
	bin := "\x00\x01\xFE\xFF\x80 not UTF-8"
	return append(all, ten,
		vector{name: "5.5.2: ping without payload", in: pieces(f(fin|wirePing, "")), pongs: list("")},
		vector{name: "5.5.2: ping with the most payload", in: pieces(f(fin|wirePing, x(125))), pongs: list(x(125))},
		vector{name: "5.5.2: the payload of a ping is any bytes", in: pieces(f(fin|wirePing, bin)), pongs: list(bin)},
		vector{name: "5.5.2: pings of different lengths", in: pieces(f(fin|wirePing, x(100)), f(fin|wirePing, ""), f(fin|wirePing, "a"), f(fin|wirePing, bin)), pongs: list(x(100), "", "a", bin)},
		vector{name: "5.5.3: an unsolicited pong is nothing", in: pieces(f(fin|wirePong, ""), f(fin|wirePong, "12345678"), f(fin|wirePong, x(125)), f(fin|wireText, "x")), messages: list("text:x")},
	)
}

// limitVectors are about our limits: section 7.4.1 has the code, 10.4 the advice.
func limitVectors() []vector {
	fragments := func(n int) (p []piece) {
		p = append(p, f(wireBin, "a"))
		for range n - 2 {
			p = append(p, f(wireCont, ""))
		}
		return append(p, f(fin|wireCont, "z"))
	}
	small := Options{MaxFrame: 10, MaxMessage: 20, MaxFragments: 4}
	defaults := vector{name: "10.4: message of the default limit", in: pieces(f(fin|wireBin, x(1<<20))), messages: list("binary:" + x(1<<20))}
	return []vector{
		defaults,
		{name: "10.4: header of a frame over the default limit", in: pieces(head(fin|wireBin, 1<<20+1, "")), code: 1009},
		{name: "10.4: header of the largest possible frame", in: pieces(head(fin|wireBin, 1<<63-1, "")), code: 1009},
		{name: "10.4: frame of the limit", o: small, in: pieces(f(fin|wireText, x(10)), f(wireText, x(10)), f(fin|wireCont, x(10))), messages: list("text:"+x(10), "text:"+x(20))},
		{name: "10.4: header of a frame over the limit", o: small, in: pieces(f(fin|wireText, "ok"), head(fin|wireText, 11, "")), messages: list("text:ok"), code: 1009},
		{name: "10.4: header of a fragment over the limit", o: small, in: pieces(f(wireText, "ok"), head(fin|wireCont, 11, "")), code: 1009},
		{name: "10.4: header of a message over the limit", o: Options{MaxFrame: 100, MaxMessage: 20}, in: pieces(head(fin|wireText, 21, "")), code: 1009},
		{name: "10.4: header of the fragment that makes a message too large", o: small, in: pieces(f(wireText, x(10)), f(wireCont, x(10)), head(fin|wireCont, 1, "")), code: 1009},
		{name: "10.4: an empty fragment does not make a message too large", o: small, in: pieces(f(wireText, x(10)), f(wireCont, x(10)), f(fin|wireCont, ""), f(fin|wireText, x(10))), messages: list("text:"+x(20), "text:"+x(10))},
		{name: "10.4: the sum must not overflow", o: Options{MaxFrame: -1, MaxMessage: 1<<63 - 1}, in: pieces(f(wireBin, "x"), head(fin|wireCont, 1<<63-1, "")), code: 1009},
		{name: "10.4: fragments up to the limit", o: small, in: append(fragments(4), fragments(4)...), messages: list("binary:az", "binary:az")},
		{name: "10.4: one fragment too many", o: small, in: pieces(f(wireText, ""), f(wireCont, ""), f(wireCont, ""), f(wireCont, ""), f(wireCont, "")), code: 1009},
		{name: "10.4: control frames are no fragments", o: small, in: pieces(f(wireText, "a"), f(fin|wirePing, "1"), f(fin|wirePing, "2"), f(fin|wirePing, "3"), f(wireCont, "b"), f(wireCont, "c"), f(fin|wireCont, "d")), messages: list("text:abcd"), pongs: list("1", "2", "3")},
		{name: "10.4: control frames have a limit of their own", o: Options{MaxFrame: 1, MaxMessage: 1}, in: pieces(f(fin|wirePing, x(125)), f(fin|wireText, "x")), pongs: list(x(125)), messages: list("text:x")},
		{name: "10.4: fragments up to the default limit", in: fragments(16384), messages: list("binary:az")},
		{name: "10.4: one fragment over the default limit", in: fragments(16385), code: 1009},
		{name: "10.4: no limits", o: Options{MaxFrame: -1, MaxMessage: -1, MaxFragments: -1}, in: append(fragments(17000), f(fin|wireBin, x(1<<20+1))), messages: list("binary:az", "binary:"+x(1<<20+1))},
		{name: "10.4: a violation comes before the limit", in: pieces(head(0x40|fin|wireBin, 1<<40, "")), code: 1002},
	}
}
