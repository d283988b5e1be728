package client

import (
	"bytes"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"github.com/wspawn/wspawn/internal/frametest"
	"github.com/wspawn/wspawn/wsframe"
)

// chunks reads in pieces of a size.
type chunks struct {
	r    io.Reader
	size int
}

func (c chunks) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.size)]) }

// Lines of any length, in any pieces, are messages, up to one that is not UTF-8.
func FuzzLines(f *testing.F) {
	f.Add([]byte("one\ntwo\r\n\n"), uint16(0), uint16(1))
	f.Add([]byte("grüße\r\n👋"), uint16(9000), uint16(777))
	f.Add([]byte("no end \xe2\x82"), uint16(30), uint16(3))
	f.Add([]byte("0123456789abcdef"), uint16(0xFFFF), uint16(40000))
	f.Add([]byte("x\r"), uint16(0xFFFF), uint16(0xFFFF))
	f.Fuzz(func(t *testing.T, piece []byte, times, size uint16) {
		input := bytes.Repeat(piece, 1+int(times)%(1+(2<<20)/max(len(piece), 1)))
		wire := frametest.NewWire()
		conn := wsframe.NewConn(wire, nil, wsframe.Client, "", nil)
		defer conn.CloseNow()
		err := sendLines(conn, iotest.DataErrReader(chunks{bytes.NewReader(input), 1 + int(size)}))

		var want []string
		bad := false
		for line := range strings.Lines(string(input)) {
			if rest, ok := strings.CutSuffix(line, "\n"); ok {
				line = strings.TrimSuffix(rest, "\r")
			}
			if bad = !utf8.ValidString(line); bad {
				break
			}
			want = append(want, line)
		}
		var in *inputError
		if bad != errors.As(err, &in) || !bad && err != nil {
			t.Fatalf("error %v, bad input: %v", err, bad)
		}
		got := sentMessages(t, wire.Sent())
		if len(got) != len(want) {
			t.Fatalf("%d messages, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("message %d has %d bytes, want %d", i, len(got[i]), len(want[i]))
			}
		}
	})
}

// sentMessages are the whole messages among what a client has sent.
func sentMessages(t *testing.T, b []byte) (all []string) {
	p := wsframe.Parser{Role: wsframe.Server, MaxFrame: -1, MaxMessage: -1, MaxFragments: -1}
	var message []byte
	for len(b) > 0 {
		part, n, ok, err := p.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		if b = b[n:]; !ok {
			continue
		}
		if message = append(message, part.Payload...); part.End {
			all, message = append(all, string(message)), nil
		}
	}
	return all
}

// What is expanded is a URL, and stays as it is.
func FuzzExpandURL(f *testing.F) {
	for _, s := range []string{"", ":8080/a", "8080", "example.com/chat?x#y", "https://u:secret@h", "::1", "//h", "ws+unix:///a.sock:/b", "u:secret@h:x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := ExpandURL(raw)
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		if err != nil || u.Scheme == "" {
			t.Fatalf("%q became %q: %v", raw, got, err)
		}
		if again, err := ExpandURL(got); err != nil || again != got {
			t.Errorf("%q became %q and then %q, %v", raw, got, again, err)
		}
	})
}

// Nothing of a peer's text steers a terminal or makes another line.
func FuzzClean(f *testing.F) {
	f.Add("plain")
	f.Add("a\r\nb\x1b[2Jc\u0085\u202e\t\x00\xff\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range clean(s) {
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
				t.Fatalf("%q became %q", s, clean(s))
			}
		}
	})
}
