package framing

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// fuzzOptions makes any options of a few bits, with limits that are small enough to be reached.
func fuzzOptions(bits uint16) (o Options, stream string) {
	o = Options{Framing: Kind(bits & 7 % 6), Binary: bits&8 != 0}
	o.InvalidUTF8 = []Choice{Default, Replace, AsBinary, Refuse}[bits>>4&3]
	o.LongLine = []Choice{Default, Refuse}[bits>>6&1]
	o.MaxLine = []int64{0, 1, 10, 100}[bits>>7&3]
	o.Delimiters = []Choice{Pass, Escape, Strip, Refuse}[bits>>9&3]
	o.OtherType = []Choice{Default, Pass, Refuse}[bits>>11&3%3]
	if o.Framing == Lines && !o.Binary && bits&(1<<14) != 0 {
		stream = "stdout"
	}
	return o, stream
}

// pieces cuts s after each number of bytes, again and again; at least one byte each time.
func pieces(s string, cuts []byte) (all []string) {
	for i := 0; s != ""; i++ {
		n := len(s)
		if len(cuts) > 0 {
			n = min(n, 1+int(cuts[i%len(cuts)]))
		}
		all, s = append(all, s[:n]), s[n:]
	}
	return all
}

// What a program writes means the same, however reads cut it.
func FuzzOutputCutAtRandom(f *testing.F) {
	for i, tt := range outputTests {
		f.Add(uint16(tt.o.Framing), strings.Join(tt.output, ""), []byte{byte(i)})
	}
	for i, tt := range taggedTests {
		f.Add(uint16(1<<14), strings.Join(tt.output, ""), []byte{byte(i)})
	}
	f.Add(uint16(0), strings.Repeat("\xe2\x82\r", 50)+"\n", []byte{0, 1, 2})
	f.Add(uint16(2|1<<7), "\x00\x00\x00\x05hello\x00\x00\x00\x00\xff", []byte{3, 0})
	f.Fuzz(func(t *testing.T, bits uint16, output string, cuts []byte) {
		o, stream := fuzzOptions(bits)
		if o.Framing == Raw {
			o.InvalidUTF8 = Replace // for other choices each piece counts for itself
		}
		whole, wholeEnd, err := tryDecode(&o, stream, pieces(output, nil))
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		part, partEnd, err := tryDecode(&o, stream, pieces(output, cuts))
		if err != nil {
			t.Fatalf("%+v: %v", o, err)
		}
		a, b := messages(whole), messages(part)
		switch {
		case o.Framing == Raw:
			a, b = []frame{text(payloads(a))}, []frame{text(payloads(b))}
		case stream != "" && o.LongLine != Refuse: // long lines come in pieces
			a, b = []frame{text(untagged(a))}, []frame{text(untagged(b))}
		case o.InvalidUTF8 == AsBinary && o.LongLine != Refuse && o.MaxLine > 0:
			// Of a message that is being split, text is replaced.
			for _, m := range [][]frame{a, b} {
				for i := range m {
					m[i].Op, m[i].Payload = opText, string(appendReplaced(nil, []byte(m[i].Payload)))
				}
			}
		}
		if !slices.Equal(a, b) || wholeEnd != partEnd {
			t.Errorf("%+v\nwhole: %v, %v\npart:  %v, %v", o, a, wholeEnd, b, partEnd)
		}
	})
}

func payloads(all []frame) string {
	var b strings.Builder
	for _, f := range all {
		b.WriteString(f.Payload)
	}
	return b.String()
}

func untagged(all []frame) string {
	var b strings.Builder
	for _, f := range all {
		data, ok := strings.CutPrefix(f.Payload, `{"stream":"stdout","data":"`)
		if data, ok2 := strings.CutSuffix(data, `"}`); ok && ok2 {
			b.WriteString(data)
		} else {
			b.WriteString(f.String())
		}
	}
	return b.String()
}

// What a client sends means the same, however segments cut it.
func FuzzInputCutAtRandom(f *testing.F) {
	for i, tt := range inputTests {
		f.Add(uint16(tt.o.Framing), string(tt.in), []byte{byte(i)})
	}
	f.Fuzz(func(t *testing.T, bits uint16, in string, cuts []byte) {
		o, _ := fuzzOptions(bits)
		if len(in) > 4000 { // a read in memory brings no more
			return
		}
		a, endA := encode(&o, []byte(in))
		var cutUp [][]byte
		for _, p := range pieces(in, cuts) {
			cutUp = append(cutUp, []byte(p))
		}
		b, endB := encode(&o, cutUp...)
		if (endA == nil) != (endB == nil) || endA != nil && *endA != *endB {
			t.Fatalf("%+v: ends with %v or %v", o, endA, endB)
		}
		// A session that is ended may have passed on a part of the message that ended it.
		if endA != nil && endA.Code != 1000 && endA.Code != 1005 {
			return
		}
		if a != b {
			t.Errorf("%+v\nwhole: %q\npart:  %q", o, a, b)
		}
	})
}

// Messages of a client, divided into frames, arrive as they are, or without their line ends, and come back from a
// program that echoes them.
func FuzzEcho(f *testing.F) {
	f.Add(uint16(0), "a€b", "", []byte{1, 2})
	f.Add(uint16(1), "line\nline", "\r", []byte{0})
	f.Add(uint16(2), "", "x", []byte{})
	f.Add(uint16(1<<9), "FOO\r\nBAR\xff", "\n\r", []byte{0, 3})
	f.Fuzz(func(t *testing.T, bits uint16, first, second string, cuts []byte) {
		o, _ := fuzzOptions(bits)
		o = Options{Framing: o.Framing, Binary: true} // text would have to be UTF-8
		var in []byte
		want := []frame{bin(first), bin(second)}
		for _, m := range []string{first, second} {
			p := pieces(m, cuts)
			if len(p) == 0 {
				p = []string{""}
			}
			in = append(in, fragments(opBin, p...)...)
		}
		without := map[Kind]*strings.Replacer{Lines: strings.NewReplacer("\r", "", "\n", ""), Null: strings.NewReplacer("\x00", "")}[o.Framing]
		if without != nil && bits&(1<<9) != 0 {
			o.Delimiters = Strip
			first, second = without.Replace(first), without.Replace(second)
			want = []frame{bin(first), bin(second)}
		}
		got, end := encode(&o, in)
		switch o.Framing {
		case Lines, Null:
			delimiter := "\n"
			if o.Framing == Null {
				delimiter = "\x00"
			}
			if got != first+delimiter+second+delimiter {
				t.Errorf("got %q", got)
			}
			if strings.ContainsAny(first+second, "\r"+delimiter) {
				return
			}
		case Length:
			b := binary.BigEndian.AppendUint32(nil, uint32(len(first)))
			b = binary.BigEndian.AppendUint32(append(b, first...), uint32(len(second)))
			if got != string(b)+second {
				t.Errorf("got %q", got)
			}
		case Raw:
			if got != first+second {
				t.Errorf("got %q", got)
			}
			return
		}
		back, whole := decode(t, &o, pieces(got, cuts)...)
		if o.Framing == Frames {
			back = messages(back)
		}
		if o.Framing == JSON { // the types are told, and the program may say the same
			want = []frame{bin(first), bin(second)}
		}
		if !slices.Equal(back, want) || !whole || end != nil {
			t.Errorf("%v: got %v, %v, %v", o.Framing, back, whole, end)
		}
	})
}
