package client

import (
	"bytes"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/wsframe"
)

// render gives messages to a renderer in pieces of n bytes.
func render(t *testing.T, mark bool, n int, op wsframe.Opcode, messages ...string) string {
	t.Helper()
	var out bytes.Buffer
	r := newRenderer(&out, mark, false)
	for _, m := range messages {
		for start := true; ; start = false {
			piece := m[:min(n, len(m))]
			m = m[len(piece):]
			r.part(&wsframe.Part{Op: op, Payload: []byte(piece), Start: start, End: m == ""})
			if err := r.flush(); err != nil {
				t.Fatal(err)
			}
			if m == "" {
				break
			}
		}
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestMessagesOnATerminalCannotSteerIt(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "< \n",
		"hello":                   "< hello\n",
		"a\tb\nsecond":            "< a\tb\n  second\n",
		"\x1b]0;title\a \x7f\r\n": "< \\x1b]0;title\\x07 \\x7f\\x0d\n  \n",
		"c1 \u009b31m":            "< c1 \\x9b31m\n",
		"\u202egnp.exe\u2066":     "< \\u202egnp.exe\\u2066\n",
		"grüße 👨\u200d👩\u200d👧 \u65e5\u672c": "< grüße 👨\u200d👩\u200d👧 \u65e5\u672c\n",
	} {
		for _, n := range []int{1, 2, 3, 100} {
			if got := render(t, true, n, wsframe.OpText, in); got != want {
				t.Errorf("%q in pieces of %d: %q, want %q", in, n, got, want)
			}
		}
	}
	if got := render(t, false, 9, wsframe.OpText, "a\nb", "c"); got != "a\nb\nc\n" {
		t.Errorf("without marks: %q", got)
	}
}

func TestBinaryIsAHexDump(t *testing.T) {
	want := "< 00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |................|\n" +
		"  00000010  68 65 6c 6c 6f                                    |hello|\n" +
		"< (no bytes)\n"
	in := "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0fhello"
	for _, n := range []int{1, 7, 16, 100} {
		if got := render(t, true, n, wsframe.OpBinary, in, ""); got != want {
			t.Errorf("in pieces of %d:\n%s", n, got)
		}
	}
}

func TestALongLineIsBroken(t *testing.T) {
	got := render(t, true, 1000, wsframe.OpText, strings.Repeat("x", 5*maxRendered))
	if strings.Count(got, "x") != 5*maxRendered || strings.Count(got, "\n  x") < 3 {
		t.Errorf("%d bytes, %d lines", len(got), strings.Count(got, "\n"))
	}
}

func TestAnIncompleteMessageSaysSo(t *testing.T) {
	for op, want := range map[wsframe.Opcode]string{
		wsframe.OpText:   "< half[incomplete]\n",
		wsframe.OpBinary: "< 00000000  68 61 6c 66                                       |half|\n  [incomplete]\n",
	} {
		var out bytes.Buffer
		r := newRenderer(&out, true, false)
		r.part(&wsframe.Part{Op: op, Payload: []byte("half"), Start: true})
		r.flush()
		r.end()
		if out.String() != want {
			t.Errorf("%v: %q", op, out.String())
		}
	}
}
