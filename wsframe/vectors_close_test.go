package wsframe

import "fmt"

// closeVectors are about sections 5.5.1, 7.1.5, 7.1.6 and 7.4.
func closeVectors() []vector {
	closing := func(name string, code int, payload string) vector {
		return vector{name: name, in: append(pieces(f(fin|wireText, "before"), f(fin|wireClose, payload)), tail...), messages: list("text:before"), code: code, remote: true}
	}
	all := []vector{
		closing("7.1.5: without a code", 1005, ""),
		{name: "5.5.1: payload of one byte", in: append(pieces(f(fin|wireClose, "\x03")), tail...), code: 1002},
		{name: "5.5.1: close in the middle of a message", in: append(pieces(f(wireText, "never ends"), f(fin|wireClose, closePayload(1001, "bye"))), tail...), code: 1001, remote: true, reason: "bye"},
		{name: "5.5.1: close behind half a character", in: append(pieces(f(wireText, "\xE2\x82"), f(fin|wireClose, closePayload(1001, ""))), tail...), code: 1001, remote: true},
		{name: "5.5.1: close behind pings", in: append(pieces(f(fin|wirePing, "1"), f(fin|wirePing, "2"), f(fin|wireClose, closePayload(1000, ""))), tail...), pongs: list("1", "2"), code: 1000, remote: true},
		{name: "5.5.1: garbage behind the close", in: pieces(f(fin|wireClose, closePayload(1000, "")), unlike(f(0xFF, x(300)))), code: 1000, remote: true},
		{name: "5.5.1: a second close is nothing", in: pieces(f(fin|wireClose, closePayload(3000, "")), f(fin|wireClose, closePayload(4000, "")), f(fin|wireClose, "x")), code: 3000, remote: true},
	}
	for _, reason := range []string{"", "bye", "Grüße, κόσμε 👋", x(123), "\x00"} {
		v := closing("7.1.6: reason "+short(reason), 1000, closePayload(1000, reason))
		v.reason = reason
		all = append(all, v)
	}
	for _, reason := range []string{"\xFF", "half \xE2\x82", "\xED\xA0\x80", "\xC0\xAF", x(122) + "\xC3"} {
		all = append(all, vector{name: "8.1: reason is not UTF-8, " + short(reason), in: append(pieces(f(fin|wireClose, closePayload(1000, reason))), tail...), code: 1007})
	}
	// Both ends of each range of section 7.4.2, and of what the registry has meanwhile.
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		all = append(all, closing(fmt.Sprintf("7.4: code %d", code), code, closePayload(code, "")))
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 5001, 32768, 65535} {
		all = append(all, vector{name: fmt.Sprintf("7.4: illegal code %d", code), in: append(pieces(f(fin|wireClose, closePayload(code, ""))), tail...), code: 1002})
	}
	return all
}

// Text that is UTF-8, on the borders of its ranges.
var validText = []string{
	"κόσμε", "\x00", "\x7F", "\u0080", "\u07FF", "\u0800", "\u0FFF", "\uD7FF", "\uE000", "\uFFFD", "\uFFFE", "\uFFFF",
	"\U00010000", "\U0001FFFF", "\U000FFFFF", "\U0010FFFF", "a\u0301", "👩‍👩‍👧‍👦", "ascii, then ß, then €, then 𐍈",
}

// Text that is not UTF-8, and how many of its bytes suffice to know that, whatever follows.
var invalidText = []struct {
	text  string
	known int
}{
	{"\x80", 1}, {"\xBF", 1}, {"\xC0", 1}, {"\xC1", 1}, {"\xF5", 1}, {"\xF8", 1}, {"\xFC", 1}, {"\xFE", 1}, {"\xFF", 1},
	{"\xC0\xAF", 1}, {"\xC1\xBF", 1}, // overlong
	{"\xE0\x80\xAF", 2}, {"\xE0\x9F\xBF", 2}, {"\xF0\x80\x80\xAF", 2}, {"\xF0\x8F\xBF\xBF", 2},
	{"\xED\xA0\x80", 2}, {"\xED\xBF\xBF", 2}, {"\xED\xA0\xB5\xED\xBF\xBF", 2}, // surrogates
	{"\xF4\x90\x80\x80", 2}, {"\xF7\xBF\xBF\xBF", 1}, {"\xF8\x88\x80\x80\x80", 1}, // over U+10FFFF
	{"\xC3(", 2}, {"\xE2(\xA1", 2}, {"\xE2\x82(", 3}, {"\xF0(\x8C\xBC", 2}, {"\xF0\x90(\xBC", 3}, {"\xF0\x90\x8C(", 4},
	{"\xC3\xC3", 2}, {"\xE2\x82\xE2", 3}, {"\xF0\x90\x8C\xF0", 4},
	{"κόσμε\xED\xA0\x80edited", 12}, {"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xF4\x90\x80\x80", 13},
}

// Text that ends inside a character: known only when the message ends.
var truncatedText = []string{"\xC3", "\xE2", "\xE2\x82", "\xF0", "\xF0\x90", "\xF0\x90\x8C", "fine until \xF4\x8F\xBF"}

// utf8Vectors are about section 8.1.
func utf8Vectors() (all []vector) {
	for _, s := range validText {
		all = append(all, vector{name: "8.1: valid " + short(s), in: pieces(f(fin|wireText, s), f(fin|wireText, "next")), messages: list("text:"+s, "text:next")})
		v := vector{name: "8.1: valid, a fragment for each byte, " + short(s), in: pieces(f(wireText, "")), messages: list("text:"+s, "text:next"), pongs: nil}
		for i := range len(s) {
			v.in = append(v.in, f(wireCont, s[i:i+1]), f(fin|wirePing, "\xFF"))
			v.pongs = append(v.pongs, "\xFF")
		}
		v.in = append(v.in, f(fin|wireCont, ""), f(fin|wireText, "next"))
		all = append(all, v)
	}
	for _, c := range invalidText {
		bad, rest := c.text[:c.known], c.text[c.known:]
		all = append(all,
			vector{name: "8.1: invalid " + short(c.text), in: append(pieces(f(fin|wireText, "first"), f(fin|wireText, c.text)), tail...), messages: list("text:first"), code: 1007},
			// Nothing is sent behind the impossible byte: the answer must not wait for it.
			vector{name: "8.1: impossible byte in a frame that goes on, " + short(bad), in: pieces(head(fin|wireText, 1000, bad)), code: 1007},
			vector{name: "8.1: impossible byte in a message that goes on, " + short(bad), in: pieces(f(wireText, bad[:len(bad)-1]), f(wireCont, ""), f(wireCont, bad[len(bad)-1:])), code: 1007},
			vector{name: "8.1: impossible byte in a fragment that goes on, " + short(bad), in: pieces(f(wireText, bad[:len(bad)-1]), f(fin|wirePing, "p"), head(wireCont, 70000, bad[len(bad)-1:])), pongs: list("p"), code: 1007},
			vector{name: "8.1: binary may have " + short(c.text), in: pieces(f(wireBin, c.text), f(fin|wireCont, rest)), messages: list("binary:" + c.text + rest)})
	}
	for _, s := range truncatedText {
		all = append(all,
			vector{name: "8.1: message ends inside a character, " + short(s), in: append(pieces(f(fin|wireText, s)), tail...), code: 1007},
			vector{name: "8.1: last fragment ends inside a character, " + short(s), in: append(pieces(f(wireText, "x"), f(fin|wireCont, s)), tail...), code: 1007},
			vector{name: "8.1: empty last fragment behind half a character, " + short(s), in: append(pieces(f(wireText, s), f(fin|wireCont, "")), tail...), code: 1007},
			vector{name: "8.1: the next message does not complete it, " + short(s), in: append(pieces(f(fin|wireText, s), f(fin|wireText, "\x80\x80\x80")), tail...), code: 1007})
	}
	return all
}
