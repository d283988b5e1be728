package framing

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/wsframe"
)

const (
	opText = wsframe.OpText
	opBin  = wsframe.OpBinary
)

type inputTest struct {
	name string
	o    Options
	in   []byte
	want string
	code wsframe.CloseCode // how the session ends; 0: not by this
}

var inputTests = []inputTest{
	{"a message is a line", Options{}, join(messageIn(opText, "one"), messageIn(opText, "zwei €")), "one\nzwei €\n", 0},
	{"an empty message is an empty line", Options{}, join(messageIn(opText, ""), messageIn(opText, "")), "\n\n", 0},
	{"fragments become one line", Options{}, fragments(opText, "a", "", "b\xe2", "\x82\xac", ""), "ab€\n", 0},
	{"newlines in messages pass", Options{}, messageIn(opText, "a\nb\r\n"), "a\nb\r\n\n", 0},
	{"newlines in messages are escaped", Options{Delimiters: Escape}, join(messageIn(opText, "a\n\\n\x00b\\"), messageIn(opText, "c")), "a\\n\\\\n\x00b\\\\\nc\n", 0},
	{"newlines in messages are refused", Options{Delimiters: Refuse}, join(messageIn(opText, "a"), messageIn(opText, "b\nc"), messageIn(opText, "d")), "a\n", 1008},
	{"newlines in fragments are refused", Options{Delimiters: Refuse}, fragments(opText, "a", "\n"), "a", 1008},
	{"newlines in messages are left out", Options{Delimiters: Strip}, join(messageIn(opText, "FOO\r\nBAR"), messageIn(opText, "a\n"), messageIn(opText, "b\rc\x00\\n")), "FOOBAR\na\nbc\x00\\n\n", 0},
	{"a message of nothing but newlines is an empty line", Options{Delimiters: Strip}, join(messageIn(opText, "\r\n\n\r"), messageIn(opText, "a")), "\na\n", 0},
	{"newlines in fragments are left out", Options{Delimiters: Strip}, fragments(opText, "\na\r", "\n", "", "b€\n", "\r"), "ab€\n", 0},
	{"binary messages are refused", Options{}, join(messageIn(opText, "a"), messageIn(opBin, "b"), messageIn(opText, "c")), "a\n", 1003},
	{"binary messages pass", Options{OtherType: Pass}, messageIn(opBin, "\xff\xfe"), "\xff\xfe\n", 0},
	{"binary messages of a binary service", Options{Binary: true}, join(messageIn(opBin, "\xff"), messageIn(opText, "t")), "\xff\nt\n", 0},
	{"text messages are refused", Options{Binary: true, OtherType: Refuse}, messageIn(opText, "a"), "", 1003},
	{"data and Close in one segment", Options{}, join(messageIn(opText, "a"), masked(true, wsframe.OpClose, "\x03\xe8")), "a\n", 1000},
	{"data in front of a violation", Options{}, join(messageIn(opText, "a"), masked(true, 3, "")), "a\n", 1002},
	{"data in front of text that is not UTF-8", Options{}, join(messageIn(opText, "a"), messageIn(opText, "\xff")), "a\n", 1007},

	{"null", Options{Framing: Null}, join(messageIn(opText, "a\n"), messageIn(opText, "")), "a\n\x00\x00", 0},
	{"null passes", Options{Framing: Null}, messageIn(opText, "a\x00b"), "a\x00b\x00", 0},
	{"null is escaped", Options{Framing: Null, Delimiters: Escape}, messageIn(opText, "\x00\\\n0"), "\\0\\\\\n0\x00", 0},
	{"null is left out, newlines are not", Options{Framing: Null, Delimiters: Strip}, join(messageIn(opText, "\x00a\r\n\x00\x00b\x00"), messageIn(opText, "\x00")), "a\r\nb\x00\x00", 0},
	{"null is refused", Options{Framing: Null, Delimiters: Refuse}, messageIn(opText, "\x00"), "", 1008},

	{"length", Options{Framing: Length}, join(messageIn(opText, "a\n"), messageIn(opText, ""), messageIn(opText, "b")), "\x00\x00\x00\x02a\n\x00\x00\x00\x00\x00\x00\x00\x01b", 0},
	{"length of fragments", Options{Framing: Length}, join(fragments(opText, "a", "", "bc"), messageIn(opText, "d"), fragments(opText, "", "", "e"), fragments(opText, "", "")), "\x00\x00\x00\x03abc\x00\x00\x00\x01d\x00\x00\x00\x01e\x00\x00\x00\x00", 0},
	{"length, binary refused", Options{Framing: Length}, messageIn(opBin, "b"), "", 1003},

	{"raw", Options{Framing: Raw}, join(messageIn(opText, "a"), messageIn(opText, ""), fragments(opText, "b", "c")), "abc", 0},
	{"raw binary takes both types", Options{Framing: Raw, Binary: true}, join(messageIn(opBin, "\x00"), messageIn(opText, "t")), "\x00t", 0},

	{"json text", Options{Framing: JSON}, join(messageIn(opText, "\"\\\n\r\t\x00\x1f\x7f€"), messageIn(opText, "")), `{"type":"text","data":"\"\\\n\r\t\u0000\u001f` + "\x7f€\"}\n" + `{"type":"text","data":""}` + "\n", 0},
	{"json text in fragments", Options{Framing: JSON}, fragments(opText, "a\xe2", "", "\x82", "\xac\n"), `{"type":"text","data":"a€\n"}` + "\n", 0},
	{"json binary", Options{Framing: JSON}, join(messageIn(opBin, "\x00\xff\n"), messageIn(opBin, "")), `{"type":"binary","data":"AP8K"}` + "\n" + `{"type":"binary","data":""}` + "\n", 0},
	{"json binary in fragments", Options{Framing: JSON}, fragments(opBin, "1", "23", "4567", "", "8"), `{"type":"binary","data":"` + base64.StdEncoding.EncodeToString([]byte("12345678")) + `"}` + "\n", 0},
	{"json, a text that never ends", Options{Framing: JSON}, masked(false, opText, "a\"\xe2\x82"), `{"type":"text","data":"a\"","incomplete":true}` + "\n", 0},
	{"json, a binary that never ends", Options{Framing: JSON}, masked(false, opBin, "1234"), `{"type":"binary","data":"MTIzNA==","incomplete":true}` + "\n", 0},
}

func TestMessagesBecomeInput(t *testing.T) {
	for _, tt := range inputTests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.o.Check(); err != nil {
				t.Fatal(err)
			}
			check := func(how string, pieces ...[]byte) {
				t.Helper()
				got, end := encode(&tt.o, pieces...)
				var code wsframe.CloseCode
				if end != nil {
					code = end.Code
				}
				if tt.code == 1008 { // the beginning of such a message may have been passed on
					got = strings.TrimSuffix(got, "b")
				}
				if got != tt.want || code != tt.code {
					t.Fatalf("%s\ngot  %q, %d\nwant %q, %d", how, got, code, tt.want, tt.code)
				}
			}
			check("in one segment", clone(tt.in))
			var single [][]byte
			for i := range tt.in {
				if i > 0 {
					check("cut", cut(clone(tt.in), i)...)
				}
				single = append(single, clone(tt.in[i:i+1]))
			}
			check("byte by byte", single...)
		})
	}
}

func clone(b []byte) []byte { return append([]byte(nil), b...) } // since it is unmasked in place

func TestAMessageOverManySegments(t *testing.T) {
	payload := strings.Repeat("0123456789€\"\n", 20000)
	object, _ := json.Marshal(struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}{"text", payload})
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"lines", Options{}, payload + "\n"},
		{"lines, escaped", Options{Delimiters: Escape}, strings.ReplaceAll(payload, "\n", `\n`) + "\n"},
		{"lines, stripped", Options{Delimiters: Strip}, strings.ReplaceAll(payload, "\n", "") + "\n"},
		{"null", Options{Framing: Null}, payload + "\x00"},
		{"length", Options{Framing: Length}, "\x00\x04\x93\xe0" + payload},
		{"json", Options{Framing: JSON}, string(object) + "\n"},
		{"raw", Options{Framing: Raw}, payload},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, frames := range [][]byte{
				messageIn(opText, payload),
				fragments(opText, payload[:7], payload[7:1013], payload[1013:99999], payload[99999:]),
			} {
				for _, size := range []int{1400, 4000, 4080, len(frames)} {
					var pieces [][]byte
					for rest := clone(frames); len(rest) > 0; {
						n := min(size, len(rest))
						pieces, rest = append(pieces, rest[:n]), rest[n:]
					}
					got, end := encode(&tt.o, pieces...)
					if got != tt.want || end != nil {
						t.Fatalf("segments of %d: %d bytes, %v; want %d bytes", size, len(got), end, len(tt.want))
					}
				}
			}
		})
	}
}

func TestManyMessagesInOneSegment(t *testing.T) {
	var in []byte
	var lines, prefixed, escaped strings.Builder
	for i := range 3000 {
		p := strings.Repeat("\\", i%7)
		in = append(in, messageIn(opText, p)...)
		lines.WriteString(p + "\n")
		escaped.WriteString(p + p + "\n")
		prefixed.WriteString("\x00\x00\x00" + string(rune(i%7)) + p)
	}
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{}, lines.String()},
		{Options{Delimiters: Escape}, escaped.String()},
		{Options{Framing: Length}, prefixed.String()},
	} {
		if got, end := encode(&tt.o, clone(in)); got != tt.want || end != nil {
			t.Errorf("%+v: %d bytes, %v; want %d bytes", tt.o, len(got), end, len(tt.want))
		}
	}
}
