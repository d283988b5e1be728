package fastcgi

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/cgi"
)

func TestRecordsOnTheWire(t *testing.T) {
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{"BEGIN_REQUEST", AppendBegin(nil, 0x0102, RoleResponder, true), "\x01\x01\x01\x02\x00\x08\x00\x00" + "\x00\x01\x01\x00\x00\x00\x00\x00"},
		{"BEGIN_REQUEST of an authorizer, connection closed behind it", AppendBegin(nil, 1, RoleAuthorizer, false), "\x01\x01\x00\x01\x00\x08\x00\x00" + "\x00\x02\x00\x00\x00\x00\x00\x00"},
		{"ABORT_REQUEST", AppendRecord(nil, TypeAbortRequest, 7, nil), "\x01\x02\x00\x07\x00\x00\x00\x00"},
		{"END_REQUEST", AppendEnd(nil, 1, 0x01020304, StatusOverloaded), "\x01\x03\x00\x01\x00\x08\x00\x00" + "\x01\x02\x03\x04\x02\x00\x00\x00"},
		{"a short pair", AppendPairs(nil, cgi.List{{Name: "A", Value: "bc"}}), "\x01\x02Abc"},
		{"an empty pair", AppendPairs(nil, cgi.List{{}}), "\x00\x00"},
		{"a pair of 127 and 128", AppendPairs(nil, cgi.List{{Name: strings.Repeat("n", 127), Value: strings.Repeat("v", 128)}}),
			"\x7f\x80\x00\x00\x80" + strings.Repeat("n", 127) + strings.Repeat("v", 128)},
		{"STDIN", AppendStream(nil, TypeStdin, 1, []byte("abc")), "\x01\x05\x00\x01\x00\x03\x00\x00abc"},
		{"no STDIN", AppendStream(nil, TypeStdin, 1, nil), ""},
		{"UNKNOWN_TYPE", appendUnknown(nil, 77), "\x01\x0b\x00\x00\x00\x08\x00\x00" + "\x4d\x00\x00\x00\x00\x00\x00\x00"},
		{"WINDOW", appendWindow(nil, 3, 65536), "\x01\x57\x00\x03\x00\x04\x00\x00\x00\x01\x00\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if string(tt.got) != tt.want {
				t.Errorf("got %q, want %q", tt.got, tt.want)
			}
		})
	}
}

func TestLongStreamsBecomeSeveralAlignedRecords(t *testing.T) {
	b := AppendStream(nil, TypeParams, 9, bytes.Repeat([]byte("x"), 200000))
	var p Parser
	total, lengths := 0, []uint16{}
	err := p.Feed(b, func(h Header, piece []byte, last bool) error {
		total += len(piece)
		if last {
			lengths = append(lengths, h.Length)
		}
		return nil
	})
	if err != nil || total != 200000 || !slices.Equal(lengths, []uint16{65528, 65528, 65528, 3416}) {
		t.Errorf("%d bytes in %v, %v", total, lengths, err)
	}
}

func TestPairsThatAreWrong(t *testing.T) {
	tests := []struct{ name, b string }{
		{"only a name length", "\x01"},
		{"name length cut off", "\x80\x00\x00"},
		{"value length missing", "\x80\x00\x00\x01"},
		{"value length cut off", "\x01\x80\x00"},
		{"name too short", "\x02\x00A"},
		{"value too short", "\x01\x02Ab"},
		{"lengths of 2 GiB each", "\xff\xff\xff\xff\xff\xff\xff\xffAb"},
		{"the second pair is wrong", "\x01\x01AB\x01"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list, err := ParsePairs([]byte(tt.b))
			var bad *ProtocolError
			if !errors.As(err, &bad) || list != nil {
				t.Errorf("got %q, %v, want a ProtocolError", list, err)
			}
		})
	}
}

func TestContentsOfAWrongLength(t *testing.T) {
	for n := range 20 {
		b := make([]byte, n)
		if _, _, err := ParseBegin(b); (err == nil) != (n == 8) {
			t.Errorf("BEGIN_REQUEST of %d: %v", n, err)
		}
		if _, _, err := ParseEnd(b); (err == nil) != (n == 8) {
			t.Errorf("END_REQUEST of %d: %v", n, err)
		}
		if _, err := parseWindow(b); err == nil {
			t.Errorf("WINDOW of %d zeros passed", n)
		}
	}
}

func TestOtherVersionsAreRefused(t *testing.T) {
	var p Parser
	b := AppendRecord(nil, TypeStdout, 1, nil)
	b[0] = 2
	var bad *ProtocolError
	if err := p.Feed(b, func(Header, []byte, bool) error { return nil }); !errors.As(err, &bad) {
		t.Errorf("got %v", err)
	}
}

func TestNamesOfConstants(t *testing.T) {
	got := fmt.Sprint(TypeBeginRequest, TypeWindow, RecordType(99), RoleResponder, Role(9), StatusComplete, ProtocolStatus(9))
	if want := "BEGIN_REQUEST WINDOW type 99 RESPONDER role 9 request complete protocol status 9"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// rebuild parses b in pieces of size n and returns what AppendHeader would
// have made of it, without padding.
func rebuild(b []byte, n int) (out []byte, rest bool, err error) {
	var p Parser
	var content []byte
	for len(b) > 0 && err == nil {
		k := min(n, len(b))
		err = p.Feed(b[:k], func(h Header, piece []byte, last bool) error {
			content = append(content, piece...)
			if len(content) > int(h.Length) || last != (len(content) == int(h.Length)) {
				return fmt.Errorf("%v: last is %v behind %d bytes", h, last, len(content))
			}
			if last {
				out = AppendRecord(out, h.Type, h.ID, content)
				content = content[:0]
			}
			return nil
		})
		b = b[k:]
	}
	return out, p.have > 0, err
}

func FuzzParser(f *testing.F) {
	f.Add(AppendBegin(nil, 1, RoleResponder, true), 3)
	f.Add(append(padded(TypeStdout, 1, "hello", 3), end(1, 0, 0)...), 1)
	f.Add([]byte("\x02"), 1)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		n = max(n%64, 1)
		whole, rest, err := rebuild(b, max(len(b), 1))
		pieces, rest2, err2 := rebuild(b, n)
		if !bytes.Equal(whole, pieces) || rest != rest2 || (err == nil) != (err2 == nil) {
			t.Fatalf("in one piece %q, %v; in pieces of %d %q, %v", whole, err, n, pieces, err2)
		}
		var bad *ProtocolError
		if err != nil && !errors.As(err, &bad) {
			t.Fatal(err)
		}
		again, rest, err := rebuild(whole, 5)
		if !bytes.Equal(again, whole) || rest || err != nil {
			t.Fatalf("round trip of %q: %q, %v, %v", whole, again, rest, err)
		}
	})
}

func FuzzPairs(f *testing.F) {
	f.Add(AppendPairs(nil, cgi.List{{Name: "A", Value: "b"}, {Name: strings.Repeat("n", 200), Value: ""}}))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xffAb"))
	f.Add([]byte("\x80\x00\x00\x01\x01Ab"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParsePairs(b)
		if err != nil {
			return
		}
		size := 0
		for _, v := range list {
			size += len(v.Name) + len(v.Value) + 2
		}
		if size > len(b) {
			t.Fatalf("%d bytes of pairs out of %d", size, len(b))
		}
		again, err := ParsePairs(AppendPairs(nil, list))
		if err != nil || !slices.Equal(again, list) {
			t.Fatalf("round trip of %q: %q, %v", list, again, err)
		}
	})
}
