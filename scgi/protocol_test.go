package scgi

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/wspawn/wspawn/cgi"
)

var both = []Protocol{SCGI, UWSGI}

func vars(pairs ...string) cgi.List {
	var l cgi.List
	for i := 0; i < len(pairs); i += 2 {
		l = append(l, cgi.Var{Name: pairs[i], Value: pairs[i+1]})
	}
	return l
}

func TestBytesOnTheWire(t *testing.T) {
	tests := []struct {
		name string
		p    Protocol
		list cgi.List
		want string
	}{
		{"the example of the SCGI specification, with its SCGI second", SCGI,
			vars("CONTENT_LENGTH", "27", "REQUEST_METHOD", "POST", "REQUEST_URI", "/deepthought"),
			"70:CONTENT_LENGTH\x0027\x00SCGI\x001\x00REQUEST_METHOD\x00POST\x00REQUEST_URI\x00/deepthought\x00,"},
		{"CONTENT_LENGTH comes first wherever it was", SCGI, vars("A", "", "CONTENT_LENGTH", "0"), "27:CONTENT_LENGTH\x000\x00SCGI\x001\x00A\x00\x00,"},
		{"SCGI is not written twice", SCGI, vars("CONTENT_LENGTH", "0", "SCGI", "1"), "24:CONTENT_LENGTH\x000\x00SCGI\x001\x00,"},
		{"uwsgi counts in little-endian", UWSGI, vars("A", "b", "", "")[:1], "\x00\x06\x00\x00\x01\x00A\x01\x00b"},
		{"uwsgi keeps the order and takes what is empty", UWSGI, vars("B", "", "A", "xy"), "\x00\x0c\x00\x00\x01\x00B\x00\x00\x01\x00A\x02\x00xy"},
		{"uwsgi with nothing to say", UWSGI, nil, "\x00\x00\x00\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.p.Append([]byte("before"), tt.list)
			if err != nil || string(got) != "before"+tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestWhatCannotBeWritten(t *testing.T) {
	tests := []struct {
		name  string
		p     Protocol
		list  cgi.List
		large bool
	}{
		{"SCGI without CONTENT_LENGTH", SCGI, vars("A", "b"), false},
		{"SCGI with a CONTENT_LENGTH that is no number", SCGI, vars("CONTENT_LENGTH", "+1"), false},
		{"SCGI with another version of itself", SCGI, vars("CONTENT_LENGTH", "0", "SCGI", "2"), false},
		{"an empty name", UWSGI, vars("", "b"), false},
		{"an equals sign in a name", UWSGI, vars("A=", "b"), false},
		{"a NUL in a name", SCGI, vars("CONTENT_LENGTH", "0", "A\x00", "b"), false},
		{"a NUL in a value", SCGI, vars("CONTENT_LENGTH", "0", "A", "\x00b"), false},
		{"a name that occurs twice", UWSGI, vars("A", "b", "A", "b"), false},
		{"one byte too many for uwsgi", UWSGI, vars("A", strings.Repeat("x", 65535-5+1)), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.p.Append([]byte("as it was"), tt.list)
			if err == nil || string(got) != "as it was" || errors.Is(err, ErrTooLarge) != tt.large {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	if _, err := UWSGI.Append(nil, vars("A", strings.Repeat("x", 65535-5))); err != nil {
		t.Errorf("65535 bytes: %v", err)
	}
}

func TestReadIsStrict(t *testing.T) {
	const ok = "CONTENT_LENGTH\x000\x00SCGI\x001\x00"
	tests := []struct {
		name, in string
		p        Protocol
		max      int
		want     error
	}{
		{name: "nothing at all", in: "", want: io.EOF},
		{name: "an end in the length", in: "2", want: io.ErrUnexpectedEOF},
		{name: "an end in the variables", in: "24:CONTENT", want: io.ErrUnexpectedEOF},
		{name: "an end before the comma", in: "24:" + ok, want: io.ErrUnexpectedEOF},
		{name: "no length", in: ":", want: ErrSyntax},
		{name: "a sign", in: "+24:" + ok + ",", want: ErrSyntax},
		{name: "a blank", in: " 24:" + ok + ",", want: ErrSyntax},
		{name: "a leading zero", in: "024:" + ok + ",", want: ErrSyntax},
		{name: "an HTTP request", in: "GET / HTTP/1.1\r\n\r\n", want: ErrSyntax},
		{name: "an empty netstring", in: "0:,", want: ErrSyntax},
		{name: "no comma", in: "24:" + ok + ";", want: ErrSyntax},
		{name: "no NUL at the end", in: "23:" + ok[:23] + ",", want: ErrSyntax},
		{name: "a name without a value", in: "26:" + ok + "A\x00,", want: ErrSyntax},
		{name: "an empty name", in: "26:" + ok + "\x00\x00,", want: ErrSyntax},
		{name: "an equals sign in a name", in: "28:" + ok + "A=\x00\x00,", want: ErrSyntax},
		{name: "a name twice", in: "30:" + ok + "A\x00\x00A\x00\x00,", want: ErrSyntax},
		{name: "CONTENT_LENGTH is not first", in: "24:SCGI\x001\x00CONTENT_LENGTH\x000\x00,", want: ErrSyntax},
		{name: "CONTENT_LENGTH is empty", in: "23:CONTENT_LENGTH\x00\x00SCGI\x001\x00,", want: ErrSyntax},
		{name: "CONTENT_LENGTH is negative", in: "25:CONTENT_LENGTH\x00-1\x00SCGI\x001\x00,", want: ErrSyntax},
		{name: "no SCGI", in: "17:CONTENT_LENGTH\x000\x00,", want: ErrSyntax},
		{name: "SCGI is not 1", in: "24:CONTENT_LENGTH\x000\x00SCGI\x002\x00,", want: ErrSyntax},
		{name: "a length over the limit", in: "101:", max: 100, want: ErrTooLarge},
		{name: "a length over every limit", in: strings.Repeat("9", 1000), want: ErrTooLarge},

		{name: "uwsgi: nothing at all", p: UWSGI, in: "", want: io.EOF},
		{name: "uwsgi: an end in the header", p: UWSGI, in: "\x00\x06", want: io.ErrUnexpectedEOF},
		{name: "uwsgi: an end in the variables", p: UWSGI, in: "\x00\x06\x00\x00\x01", want: io.ErrUnexpectedEOF},
		{name: "uwsgi: another modifier1", p: UWSGI, in: "\x05\x00\x00\x00", want: ErrSyntax},
		{name: "uwsgi: another modifier2", p: UWSGI, in: "\x00\x00\x00\x01", want: ErrSyntax},
		{name: "uwsgi: half a length", p: UWSGI, in: "\x00\x01\x00\x00\x01", want: ErrSyntax},
		{name: "uwsgi: a name behind the end", p: UWSGI, in: "\x00\x03\x00\x00\x02\x00A", want: ErrSyntax},
		{name: "uwsgi: no value", p: UWSGI, in: "\x00\x03\x00\x00\x01\x00A", want: ErrSyntax},
		{name: "uwsgi: a NUL in a value", p: UWSGI, in: "\x00\x06\x00\x00\x01\x00A\x01\x00\x00", want: ErrSyntax},
		{name: "uwsgi: over the limit", p: UWSGI, in: "\x00\x06\x00\x00\x01\x00A\x01\x00b", max: 5, want: ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := tt.p.Read(bufio.NewReader(strings.NewReader(tt.in)), tt.max)
			if !errors.Is(err, tt.want) || l != nil {
				t.Errorf("got %q, %v, want %v", l, err, tt.want)
			}
		})
	}
}

func TestReadLeavesTheBody(t *testing.T) {
	list := vars("CONTENT_LENGTH", "4", "SCGI", "1", "LONG", strings.Repeat("v", 40000))
	for _, p := range both {
		b, err := p.Append(nil, list)
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(iotest.OneByteReader(strings.NewReader(string(b) + "body")))
		got, err := p.Read(r, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(list, got) {
			t.Errorf("%v: got %q, want %q", p, got, list)
		}
		if rest, _ := io.ReadAll(r); string(rest) != "body" {
			t.Errorf("%v: behind the head is %q", p, rest)
		}
	}
}

func TestAClaimedLengthTakesNoMemory(t *testing.T) {
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			SCGI.Read(bufio.NewReader(strings.NewReader("2000000:CONTENT_LENGTH")), 0)
		}
	}).AllocedBytesPerOp()
	if allocated > 64<<10 {
		t.Errorf("%d bytes for a length without content", allocated)
	}
}

// What can be read can be written, and reads the same again.
func fuzzRead(f *testing.F, p Protocol) {
	for _, l := range []cgi.List{
		vars("CONTENT_LENGTH", "0", "SCGI", "1"),
		vars("CONTENT_LENGTH", "12", "SCGI", "1", "A", "", "HTTP_HOST", "h", "B", "grüße\xff"),
	} {
		b, err := p.Append(nil, l)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, "body"...))
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bufio.NewReader(bytes.NewReader(in))
		l, err := p.Read(r, 0)
		if err != nil {
			if l != nil {
				t.Errorf("%v with %q", err, l)
			}
			return
		}
		out, err := p.Append(nil, l)
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", l, err)
		}
		read := len(in) - r.Buffered()
		if read != len(out) {
			t.Errorf("%d bytes were read, %d are written", read, len(out))
		}
		again, err := p.Read(bufio.NewReader(bytes.NewReader(out)), 0)
		if err != nil {
			t.Fatal(err)
		}
		if p == SCGI { // Append chooses the place of SCGI=1
			l, again = without(l, "SCGI"), without(again, "SCGI")
		} else if !bytes.Equal(out, in[:read]) {
			t.Errorf("%q became %q", in[:read], out)
		}
		if !slices.Equal(l, again) {
			t.Errorf("%q became %q", l, again)
		}
	})
}

func without(l cgi.List, name string) (rest cgi.List) {
	for _, v := range l {
		if v.Name != name {
			rest = append(rest, v)
		}
	}
	return rest
}

func FuzzReadSCGI(f *testing.F)  { fuzzRead(f, SCGI) }
func FuzzReadUWSGI(f *testing.F) { fuzzRead(f, UWSGI) }

// What can be written reads as it was.
func FuzzAppend(f *testing.F) {
	f.Add("A", "b", "C", "", int64(0))
	f.Add("A=", "b", "A", "\x00", int64(-1))
	f.Add("SCGI", "1", "SCGI", "2", int64(1<<40))
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string, length int64) {
		list := vars("CONTENT_LENGTH", strconv.FormatInt(length, 10), n1, v1, n2, v2)
		for _, p := range both {
			b, err := p.Append(nil, list)
			if err != nil {
				continue
			}
			got, err := p.Read(bufio.NewReader(bytes.NewReader(b)), 0)
			if err != nil && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%v: %q was written and cannot be read: %v", p, b, err)
			}
			if err == nil && !slices.Equal(without(list, "SCGI"), without(got, "SCGI")) {
				t.Errorf("%v: %q became %q", p, list, got)
			}
		}
	})
}
