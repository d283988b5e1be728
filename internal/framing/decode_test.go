package framing

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/wsframe"
)

const notUTF8 = "the program sent text that is not UTF-8"

type outputTest struct {
	name   string
	o      Options
	output []string // of the far side, as reads return it
	want   []frame
}

var outputTests = []outputTest{
	{"a line is a message", Options{}, []string{"one\ntwo\n"}, []frame{text("one"), text("two")}},
	{"LF and CRLF end lines, CR alone does not", Options{}, []string{"a\r\nb\rc\nd\r\r\n"}, []frame{text("a"), text("b\rc"), text("d\r")}},
	{"an empty line is an empty message", Options{}, []string{"\n\r\n\n"}, []frame{text(""), text(""), text("")}},
	{"an unfinished last line is a message", Options{}, []string{"a\nprompt> "}, []frame{text("a"), text("prompt> ")}},
	{"an unfinished line is sent once", Options{}, []string{"a", "b", "c\n"}, []frame{text("abc")}},
	{"no output, no message", Options{}, []string{""}, nil},
	{"CRLF divided by a read", Options{}, []string{"a\r", "\nb"}, []frame{text("a"), text("b")}},
	{"NUL is an ordinary byte of a line", Options{}, []string{"a\x00b\n"}, []frame{text("a\x00b")}},
	{"a character divided by a read", Options{}, []string{"\xe2\x82", "\xac\n"}, []frame{text("€")}},
	{"lines as binary messages", Options{Binary: true}, []string{"\xff\xfe\r\n", "x\n"}, []frame{bin("\xff\xfe"), bin("x")}},

	{"NUL ends a message, newlines do not", Options{Framing: Null}, []string{"a\nb\r\x00\x00c\r\n"}, []frame{text("a\nb\r"), text(""), text("c\r\n")}},

	{"length in front", Options{Framing: Length}, []string{"\x00\x00\x00\x03a\nb\x00\x00\x00\x01\x00"}, []frame{text("a\nb"), text("\x00")}},
	{"length zero", Options{Framing: Length}, []string{"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01x"}, []frame{text(""), text(""), text("x")}},
	{"length divided by reads", Options{Framing: Length, Binary: true}, []string{"\x00", "\x00\x00", "\x02x", "y\x00\x00\x00", "\x00"}, []frame{bin("xy"), bin("")}},

	{"raw text is what a read returns", Options{Framing: Raw}, []string{"a\nb", "", "c\r\n"}, []frame{text("a\nb"), text("c\r\n")}},
	{"raw text is not cut inside a character", Options{Framing: Raw}, []string{"1\xf0", "\x9f\x98", "\x802", "\xe2"}, []frame{text("1"), text("😀2"), text("\uFFFD")}},
	{"raw binary is what a read returns", Options{Framing: Raw, Binary: true}, []string{"1\xf0", "\x9f\n"}, []frame{bin("1\xf0"), bin("\x9f\n")}},

	{"bytes that are not UTF-8 are replaced", Options{}, []string{"a\xff\xfeb\n\xe2\x82\nok\n"}, []frame{text("a\uFFFD\uFFFDb"), text("\uFFFD\uFFFD"), text("ok")}},
	{"a message that is not UTF-8 goes out as binary", Options{InvalidUTF8: AsBinary}, []string{"a\xff\nok\n"}, []frame{bin("a\xff"), text("ok")}},
	{"raw output that is not UTF-8 goes out as binary", Options{Framing: Raw, InvalidUTF8: AsBinary}, []string{"\xff", "ok"}, []frame{bin("\xff"), text("ok")}},
	{"a message that is not UTF-8 ends the session", Options{InvalidUTF8: Refuse}, []string{"ok\na\xff\nnever\n"}, []frame{text("ok"), closing(1007, notUTF8)}},
	{"an unfinished character at the end ends the session", Options{InvalidUTF8: Refuse, Framing: Raw}, []string{"ok\xe2"}, []frame{text("ok"), closing(1007, notUTF8)}},

	{"JSON: text, with what the line end of a Windows program adds", Options{Framing: JSON}, []string{`{"type":"text","data":"a\nb€\u20ac"}` + "\r\n"}, []frame{text("a\nb€€")}},
	{"JSON: texts in which nothing is escaped, as JavaScript and Python write them", Options{Framing: JSON}, []string{`{"type":"text","data":"a€"}` + "\n" + `{"type": "text", "data": "b{}"}` + "\n" + `{"type":"text","data":""}` + "\n"}, []frame{text("a€"), text("b{}"), text("")}},
	{"JSON: a text with something behind it", Options{Framing: JSON}, []string{`{"type":"text","data":"a","reason":"b"}` + "\n"}, []frame{text("a")}},
	{"JSON: binary", Options{Framing: JSON}, []string{`{"type":"binary","data":"AP8K"}` + "\n"}, []frame{bin("\x00\xff\n")}},
	{"JSON: ping, in its place among messages", Options{Framing: JSON}, []string{`{"type":"text","data":"a"}` + "\n" + `{"type":"ping","data":"p"}` + "\n" + `{"type":"text"}` + "\n"}, []frame{text("a"), {Fin: true, Op: wsframe.OpPing, Payload: "p"}, text("")}},
	{"JSON: close with code and reason, behind what came before", Options{Framing: JSON}, []string{`{"type":"text","data":"a"}` + "\n" + `{"type":"close","code":4001,"reason":"bye €"}` + "\n" + `{"type":"text","data":"never"}` + "\n"}, []frame{text("a"), closing(4001, "bye €")}},
	{"JSON: close alone", Options{Framing: JSON}, []string{`{"type":"close"}`}, []frame{closing(1000, "")}},
	{"JSON: empty lines are nothing", Options{Framing: JSON}, []string{"\n \r\n" + `{"type":"text","data":"a"}` + "\n\n"}, []frame{text("a")}},
	{"JSON: a line that is not UTF-8 is replaced", Options{Framing: JSON}, []string{`{"type":"text","data":"` + "\xff\"}\n"}, []frame{text("\uFFFD")}},
	{"JSON: a line that is not UTF-8 ends the session", Options{Framing: JSON, InvalidUTF8: Refuse}, []string{`{"type":"text","data":"` + "\xff\"}\n"}, []frame{closing(1007, notUTF8)}},
}

// These are for the stream "stdout".
var taggedTests = []outputTest{
	{"stdout tagged", Options{}, []string{"a\"\n\xff\r\n\nz"}, []frame{
		text(`{"stream":"stdout","data":"a\""}`), text(`{"stream":"stdout","data":"\ufffd"}`), text(`{"stream":"stdout","data":""}`), text(`{"stream":"stdout","data":"z"}`),
	}},
	{"stdout tagged, long lines in pieces", Options{MaxLine: 4}, []string{"abcde", "f\nab\n", "abcde", "\r\n", "\n"}, []frame{
		text(`{"stream":"stdout","data":"abcde"}`), text(`{"stream":"stdout","data":"f"}`), text(`{"stream":"stdout","data":"ab"}`),
		text(`{"stream":"stdout","data":"abcde"}`), text(`{"stream":"stdout","data":""}`),
	}},
}

func TestOutputBecomesMessages(t *testing.T) {
	check := func(tests []outputTest, stream string) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				if err := tt.o.Check(); err != nil {
					t.Fatal(err)
				}
				got, whole := decodeStream(t, &tt.o, stream, tt.output...)
				if !slices.Equal(got, tt.want) || !whole {
					t.Errorf("got  %v, whole %v\nwant %v", got, whole, tt.want)
				}
			})
		}
	}
	check(outputTests, "")
	check(taggedTests, "stdout")
}

func TestOutputMayBeCutAnywhere(t *testing.T) {
	check := func(tests []outputTest, stream string) {
		for _, tt := range tests {
			if tt.o.Framing == Raw || tt.o.MaxLine > 0 { // there the cuts are the point
				continue
			}
			t.Run(tt.name, func(t *testing.T) {
				all := strings.Join(tt.output, "")
				for i := range len(all) {
					if got, _ := decodeStream(t, &tt.o, stream, all[:i], all[i:]); !slices.Equal(got, tt.want) {
						t.Fatalf("cut after %d bytes\ngot  %v\nwant %v", i, got, tt.want)
					}
				}
				var single []string
				for i := range len(all) {
					single = append(single, all[i:i+1])
				}
				if got, _ := decodeStream(t, &tt.o, stream, single...); !slices.Equal(got, tt.want) {
					t.Errorf("byte by byte\ngot  %v\nwant %v", got, tt.want)
				}
			})
		}
	}
	check(outputTests, "")
	check(taggedTests, "stdout")
}

func TestLongMessagesAreRefusedBeyondTheExactLimit(t *testing.T) {
	x := strings.Repeat("x", 20)
	tooLarge := closing(1009, "the program sent a message that is too large")
	quoted := func(n int) string { return `{"type":"text","data":"` + x[:n] + `"}` }
	for _, tt := range []struct {
		name       string
		o          Options
		fits, over string // the limit is 10 bytes, or 30 for JSON
		message    frame
	}{
		{"lines", Options{}, x[:10] + "\n", x[:11] + "\n", text(x[:10])},
		{"lines with CRLF", Options{}, x[:10] + "\r\n", x[:11] + "\r\n", text(x[:10])},
		{"lines with a CR of their own", Options{}, x[:9] + "\r\r\n", x[:10] + "\r\r\n", text(x[:9] + "\r")},
		{"an unfinished last line", Options{}, x[:10], x[:11], text(x[:10])},
		{"an unfinished last line with CR", Options{}, x[:10] + "\r", x[:11] + "\r", text(x[:10])},
		{"null", Options{Framing: Null}, x[:9] + "\r\x00", x[:10] + "\r\x00", text(x[:9] + "\r")},
		{"length", Options{Framing: Length}, "\x00\x00\x00\x0a" + x[:10], "\x00\x00\x00\x0b" + x[:11], text(x[:10])},
		{"frames", Options{Framing: Frames}, "\x81\x00\x00\x00\x0a" + x[:10], "\x81\x00\x00\x00\x0b" + x[:11], text(x[:10])},
		{"length, giant", Options{Framing: Length}, "\x00\x00\x00\x0a" + x[:10], "\xff\xff\xff\xffx", text(x[:10])},
		{"json", Options{Framing: JSON, MaxLine: 30}, quoted(30-len(quoted(0))) + "\n", quoted(31-len(quoted(0))) + "\n", text(x[:30-len(quoted(0))])},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.LongLine = Refuse
			if tt.o.MaxLine == 0 {
				tt.o.MaxLine = 10
			}
			output := tt.fits + tt.over
			if !strings.ContainsAny(tt.fits, "\n\x00") { // so that it is the last one
				output = tt.over
			}
			for i := range len(tt.fits) {
				if got, _ := decode(t, &tt.o, tt.fits[:i], tt.fits[i:]); !slices.Equal(got, []frame{tt.message}) {
					t.Errorf("cut after %d bytes: got %v, want %v", i, got, tt.message)
				}
			}
			for i := range len(output) {
				got, _ := decode(t, &tt.o, output[:i], output[i:])
				want := []frame{tt.message, tooLarge}
				if output == tt.over {
					want = want[1:]
				}
				if !slices.Equal(got, want) {
					t.Errorf("cut after %d bytes: got %v, want %v", i, got, want)
				}
			}
		})
	}
}

func TestLongMessagesAreSplitIntoFragmentsOfOneMessage(t *testing.T) {
	const limit = 100
	for _, tt := range []struct {
		name     string
		o        Options
		in, want string
	}{
		{"a line", Options{}, strings.Repeat("x", 500) + "\n", strings.Repeat("x", 500)},
		{"a line with characters of several bytes", Options{}, strings.Repeat("a€😀", 70) + "\n", strings.Repeat("a€😀", 70)},
		{"a line with CRs and CRLF", Options{}, strings.Repeat("\r", 400) + "\r\n", strings.Repeat("\r", 400)},
		{"a line that is not UTF-8", Options{}, strings.Repeat("\xe2\x82", 150) + "\n", strings.Repeat("\uFFFD", 300)},
		{"a line that is not UTF-8, for binary", Options{InvalidUTF8: AsBinary}, strings.Repeat("\xff", 300) + "\n", strings.Repeat("\uFFFD", 300)},
		{"an unfinished line", Options{}, strings.Repeat("x", 300), strings.Repeat("x", 300)},
		{"null", Options{Framing: Null}, strings.Repeat("\r\n", 200) + "\x00", strings.Repeat("\r\n", 200)},
		{"length", Options{Framing: Length}, "\x00\x00\x02\x00" + strings.Repeat("\x00€", 128), strings.Repeat("\x00€", 128)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.MaxLine = limit
			for size := 1; size < 200; size++ {
				var pieces []string
				for rest := tt.in; rest != ""; {
					n := min(size, len(rest))
					pieces, rest = append(pieces, rest[:n]), rest[n:]
				}
				frames, whole := decode(t, &tt.o, pieces...)
				if !whole || len(frames) < 2 {
					t.Fatalf("reads of %d: %d frames, whole %v", size, len(frames), whole)
				}
				for i, f := range frames {
					if f.Fin != (i == len(frames)-1) || (f.Op == wsframe.OpText) != (i == 0) {
						t.Fatalf("reads of %d: frame %d of %d is %v", size, i, len(frames), f)
					}
					if f.Payload == "" && i < len(frames)-1 {
						t.Fatalf("reads of %d: frame %d is empty", size, i)
					}
				}
				if got := messages(frames); got[0].Payload != tt.want {
					t.Fatalf("reads of %d: got %q, want %q", size, got[0].Payload, tt.want)
				}
			}
		})
	}
}

func TestSplittingStopsAtTextThatIsRefused(t *testing.T) {
	o := Options{MaxLine: 10, InvalidUTF8: Refuse}
	got, _ := decode(t, &o, strings.Repeat("x", 20), strings.Repeat("y", 20)+"\xff", "z\nnever\n")
	want := []frame{{Op: wsframe.OpText, Payload: strings.Repeat("x", 20)}, closing(1007, notUTF8)}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEndInsideOfALengthMessageIsNoticed(t *testing.T) {
	for _, output := range []string{"\x00", "\x00\x00\x00\x02", "\x00\x00\x00\x02x", "\x00\x00\x00\x00\x00"} {
		o := Options{Framing: Length}
		if got, whole := decode(t, &o, output); whole || len(messages(got)) != strings.Count(output, "\x00\x00\x00\x00") {
			t.Errorf("%q: got %v, whole %v", output, got, whole)
		}
	}
	o := Options{Framing: Length, MaxLine: 2}
	if got, whole := decode(t, &o, "\x00\x00\x00\x09abcdefg", "h"); whole || len(messages(got)) != 0 {
		t.Errorf("got %v, whole %v", got, whole)
	}
}

func TestManyMessagesOfOneReadGoOutInOneWrite(t *testing.T) {
	var in, want strings.Builder
	for _, n := range []int{0, 1, 125, 126, 127, 4000, 8191, 8192, 9000, 5, 30000, 1, 65535} {
		line := strings.Repeat("a", n)
		in.WriteString(line + "\n")
		want.WriteString(line + "|")
	}
	o := Options{}
	frames, _ := decode(t, &o, in.String())
	var got strings.Builder
	for _, f := range frames {
		if !f.Fin || f.Op != wsframe.OpText {
			t.Errorf("%v is not one frame", f)
		}
		got.WriteString(f.Payload + "|")
	}
	if got.String() != want.String() {
		t.Error("messages are not what they were")
	}
}

func TestBadLinesOfJSONEndTheSession(t *testing.T) {
	for _, line := range []string{
		"x", "null", "[]", "1", `"text"`, "{", "{}", `{"type":"text","data":1}`, `{"type":"text","dat":"a"}`,
		`{"type":"text"} {"type":"text"}`, `{"type":"text"}}`, `{"type":"text"}]`, `{"type":"text"},`, `{"type":"text"} x`,
		`{"type":"binary","data":"A"}`, `{"type":"binary","data":"A-_="}`,
		`{"type":"close","code":1005}`, `{"type":"close","code":1006}`, `{"type":"close","code":999}`, `{"type":"close","code":70000}`, `{"type":"close","code":-1}`,
		`{"type":"ping","data":"` + strings.Repeat("x", 126) + `"}`, `{"type":"pong"}`, `{"type":"Text"}`,
		`{"type":"text","data":"a"}"}`, `{"type":"text","data":"a\"}`, "{\"type\":\"text\",\"data\":\"a\tb\"}", `{"type":"text","data":"}`,
	} {
		o := Options{Framing: JSON}
		got, _ := decode(t, &o, `{"type":"text","data":"before"}`+"\n"+line+"\n"+`{"type":"text","data":"never"}`+"\n")
		if len(got) != 2 || got[0] != text("before") || !strings.HasPrefix(got[1].Payload, "\x03\xf3the program sent a bad line: ") {
			t.Errorf("%s: got %v", line, got)
		}
	}
}

func TestReasonOfACloseIsCutBetweenCharacters(t *testing.T) {
	o := Options{Framing: JSON}
	line, _ := json.Marshal(map[string]any{"type": "close", "code": 3000, "reason": strings.Repeat("€", 60)})
	got, _ := decode(t, &o, string(line))
	if want := closing(3000, strings.Repeat("€", 41)); !slices.Equal(got, []frame{want}) {
		t.Errorf("got %v", got)
	}
}
