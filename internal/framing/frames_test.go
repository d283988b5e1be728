package framing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wspawn/wspawn/internal/frametest"
	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/wsframe"
)

// record is a frame as the far side reads and writes it.
func record(first byte, payload string) string {
	return string(binary.BigEndian.AppendUint32([]byte{first}, uint32(len(payload)))) + payload
}

func part(op wsframe.Opcode, payload string) frame { return frame{Op: op, Payload: payload} }
func last(payload string) frame                    { return frame{Fin: true, Payload: payload} }

var framesOnly = Options{Framing: Frames}

func init() {
	for _, n := range []int{0, 1, 125, 126, 65535, 65536} {
		p := strings.Repeat("x", n)
		if n < 1000 { // the tables are run once for each byte
			inputTests = append(inputTests, inputTest{fmt.Sprintf("frames of %d bytes", n), framesOnly, join(messageIn(opText, p), messageIn(opBin, p)), record(0x81, p) + record(0x82, p), 0})
			outputTests = append(outputTests, outputTest{fmt.Sprintf("frames of %d bytes", n), framesOnly, []string{record(0x81, p) + record(0x82, p)}, []frame{text(p), bin(p)}})
		}
	}
	inputTests = append(inputTests,
		inputTest{"frames: fragments are not put together", framesOnly, fragments(opText, "a", "", "bc"), record(1, "a") + record(0, "") + record(0x80, "bc"), 0},
		inputTest{"frames: fragments of both types, and a message that never ends", framesOnly, join(fragments(opBin, "\xff", "\xfe"), fragments(opText, "", ""), masked(false, opBin, "z")), record(2, "\xff") + record(0x80, "\xfe") + record(1, "") + record(0x80, "") + record(2, "z"), 0},
		inputTest{"frames: fragments that cut a character", framesOnly, fragments(opText, "\xe2", "\x82", "\xac"), record(1, "\xe2") + record(0, "\x82") + record(0x80, "\xac"), 0},
		inputTest{"frames: ping, pong and Close are not passed on", framesOnly, join(masked(true, wsframe.OpPing, "p"), masked(true, wsframe.OpPong, "p"), messageIn(opText, "a"), masked(true, wsframe.OpClose, "\x03\xe8")), record(0x81, "a"), 1000},
		inputTest{"frames: text that is not UTF-8 over fragments", framesOnly, join(messageIn(opText, "a"), masked(false, opText, "\xe2"), masked(true, 0, "")), record(0x81, "a") + record(1, "\xe2"), 1007},
		inputTest{"frames: a fragment without a message", framesOnly, join(messageIn(opText, "a"), masked(true, 0, "b")), record(0x81, "a"), 1002},
	)
	outputTests = append(outputTests,
		outputTest{"frames: fragments of both types", framesOnly, []string{record(1, "a") + record(0, "") + record(0x80, "b") + record(2, "\xff") + record(0x80, "")}, []frame{part(opText, "a"), part(0, ""), last("b"), part(opBin, "\xff"), last("")}},
		outputTest{"frames: fragments that cut a character", framesOnly, []string{record(1, "a\xf0") + record(0, "\x9f\x98") + record(0, "") + record(0x80, "\x80b")}, []frame{part(opText, "a\xf0"), part(0, "\x9f\x98"), part(0, ""), last("\x80b")}},
		outputTest{"frames: what a message has begun does not touch the next one", framesOnly, []string{record(2, "\xe2") + record(0x80, "\x82") + record(0x81, "\xc3\xa9")}, []frame{part(opBin, "\xe2"), last("\x82"), text("é")}},
	)
	for first := range 256 {
		f := frame{Fin: first&0x80 != 0, Op: wsframe.Opcode(first & 0xF), Payload: "x"}
		alone, inside := []frame{f}, []frame{part(opBin, "m"), f}
		switch {
		case first&0x70 != 0:
			alone[0] = fault("a frame with a reserved bit set")
			inside[1] = alone[0]
		case f.Op > opBin:
			alone[0] = fault(fmt.Sprintf("a frame with opcode %d: 0, 1 and 2 are allowed", f.Op))
			inside[1] = alone[0]
		case f.Op == 0:
			alone[0] = fault("a continuation frame outside of a message")
		default:
			inside[1] = fault(fmt.Sprintf("a %v frame inside of a fragmented message", f.Op))
		}
		firstBytes = append(firstBytes,
			outputTest{fmt.Sprintf("first byte %#x", first), framesOnly, []string{record(byte(first), "x")}, alone},
			outputTest{fmt.Sprintf("first byte %#x inside of a message", first), framesOnly, []string{record(2, "m") + record(byte(first), "x")}, inside})
	}
}

// fault is how a session ends whose program sent something that no frame may be.
func fault(what string) frame { return closing(1011, "the program sent "+what) }

// firstBytes has each byte that a frame can begin with.
var firstBytes []outputTest

func TestFirstByteOfAFrame(t *testing.T) {
	for _, tt := range firstBytes {
		all := tt.output[0]
		var single []string
		for i := range len(all) {
			single = append(single, all[i:i+1])
		}
		for _, pieces := range [][]string{{all + record(0x80, "") + record(0x81, "behind")}, append(single, record(0x80, ""), record(0x81, "behind"))} {
			want := tt.want
			if want[len(want)-1].Op == wsframe.OpClose { // nothing follows
			} else if last := want[len(want)-1]; !last.Fin {
				want = append(slices.Clone(want), frame{Fin: true}, text("behind"))
			} else {
				want = append(slices.Clone(want), fault("a continuation frame outside of a message"))
			}
			if got, _ := decode(t, &tt.o, pieces...); !slices.Equal(got, want) {
				t.Errorf("%s, %d reads\ngot  %v\nwant %v", tt.name, len(pieces), got, want)
			}
		}
	}
}

func TestFramesOfEverySize(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 8191, 8192, 65535, 65536, 1 << 20} {
		p := strings.Repeat("x", n)
		records := record(2, p) + record(0, p) + record(0x80, p) + record(0x81, p)
		want := []frame{part(opBin, p), part(0, p), last(p), text(p)}
		for _, size := range []int{4, 5, 4091, 65536 - 10} {
			var pieces []string
			for rest := records; rest != "" && (n < 10000 || size > 1000); {
				k := min(size, len(rest))
				pieces, rest = append(pieces, rest[:k]), rest[k:]
			}
			if len(pieces) == 0 {
				continue
			}
			if got, whole := decode(t, &framesOnly, pieces...); !slices.Equal(got, want) || !whole {
				t.Fatalf("%d bytes, in reads of %d: got %v, whole %v", n, size, got, whole)
			}
		}
		in := join(masked(false, opBin, p), masked(false, 0, p), masked(true, 0, p), messageIn(opText, p))
		for _, size := range []int{1400, 4000, 65536 - 10} {
			var pieces [][]byte
			for rest := clone(in); len(rest) > 0; {
				k := min(size, len(rest))
				pieces, rest = append(pieces, rest[:k]), rest[k:]
			}
			if got, end := encode(&framesOnly, pieces...); got != records || end != nil {
				t.Fatalf("%d bytes, in segments of %d: got %d bytes, %v", n, size, len(got), end)
			}
		}
	}
}

func TestFramesOfOneReadGoOutInOneWrite(t *testing.T) {
	var records strings.Builder
	for range 300 {
		records.WriteString(record(1, "a") + record(0, "b") + record(0x80, "c"))
	}
	nc := &countingWire{Wire: frametest.NewWire()}
	c := wsframe.NewConn(nc, nil, wsframe.Server, "", &noPings)
	d := Decoder{Options: &framesOnly, Conn: c}
	d.Chunk(append(make([]byte, rawio.Gap), records.String()...))
	if got, err := parseFrames(nc.Sent()); len(got) != 900 || err != nil || nc.writes != 1 {
		t.Errorf("%d frames in %d writes, %v", len(got), nc.writes, err)
	}
	c.CloseNow()
	<-c.Done()
}

// A countingWire counts writes.
type countingWire struct {
	*frametest.Wire
	writes int
}

func (w *countingWire) Write(p []byte) (int, error) {
	w.writes++
	return w.Wire.Write(p)
}

func TestTextOfFramesHasToBeUTF8(t *testing.T) {
	refused := closing(1007, notUTF8)
	for _, tt := range []struct {
		name, output string
		want         []frame
	}{
		{"one frame", record(0x81, "ok") + record(0x81, "\xff"), []frame{text("ok"), refused}},
		{"one frame, cut", record(0x81, "\xe2\x82"), []frame{refused}},
		{"a character that another one cuts short", record(1, "\xe2\x82") + record(0x80, "a"), []frame{part(opText, "\xe2\x82"), refused}},
		{"a message that ends inside a character", record(1, "\xe2\x82") + record(0x80, ""), []frame{part(opText, "\xe2\x82"), refused}},
		{"an impossible third byte", record(1, "\xed") + record(0, "\xa0") + record(0x80, "\x80"), []frame{part(opText, "\xed"), refused}},
		{"binary is not looked at", record(2, "\xff") + record(0x80, "\xff"), []frame{part(opBin, "\xff"), last("\xff")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i := range len(tt.output) {
				if got, _ := decode(t, &framesOnly, tt.output[:i], tt.output[i:]); !slices.Equal(got, tt.want) {
					t.Fatalf("cut after %d bytes\ngot  %v\nwant %v", i, got, tt.want)
				}
			}
		})
	}
}

func TestEndInsideOfAFrameOrAMessageIsNoticed(t *testing.T) {
	all := record(1, "a") + record(0x80, "bc")
	for i := 1; i < len(all); i++ {
		if got, whole := decode(t, &framesOnly, all[:i]); whole {
			t.Errorf("after %d bytes: got %v, whole", i, got)
		}
	}
}

// parseFrames is frametest.Parse for frames that may cut characters.
func parseFrames(b []byte) (all []frame, err error) {
	inside := false
	for len(b) > 0 {
		f, rest, ok, err := frametest.Next(b)
		if err == nil && !ok {
			err = errors.New("no whole frame")
		}
		if err == nil && !f.Op.Control() {
			if inside != (f.Op == wsframe.OpContinuation) {
				err = fmt.Errorf("%v, inside of a message: %v", f, inside)
			}
			inside = !f.Fin
		}
		if err != nil {
			return all, err
		}
		all, b = append(all, f), rest
	}
	for _, m := range messages(all) {
		if m.Op == opText && !utf8.ValidString(m.Payload) {
			return all, fmt.Errorf("%v is not UTF-8", m)
		}
	}
	return all, nil
}

// What a program writes in frames is what the client gets, frame by frame, however reads cut it, up to the
// first one that may not be; and what the client sends comes to the program in the same form.
func FuzzFrames(f *testing.F) {
	for _, tt := range slices.Concat(outputTests, firstBytes) {
		if tt.o.Framing == Frames {
			f.Add([]byte(strings.Join(tt.output, "")), []byte{0, 3})
		}
	}
	f.Add([]byte(record(1, "\xe2\x82")+record(0x80, "\xac")+record(0x89, "")), []byte{6})
	f.Add([]byte("\x82\xff\xff\xff\xff"), []byte{})
	f.Fuzz(func(t *testing.T, output, cuts []byte) {
		if len(output) > 4000 {
			return
		}
		o := Options{Framing: Frames, MaxLine: 1000}
		got, whole, err := tryDecode(&o, "", pieces(string(output), cuts))
		if err != nil {
			t.Fatal(err)
		}
		want, wantWhole := readRecords(output, 1000)
		if !slices.Equal(got, want) || whole != wantWhole {
			t.Errorf("got  %v, %v\nwant %v, %v", got, whole, want, wantWhole)
		}
		var in []byte
		var back strings.Builder
		for _, f := range want {
			if f.Op.Control() {
				break
			}
			in = append(in, masked(f.Fin, f.Op, f.Payload)...)
			first := byte(f.Op)
			if f.Fin {
				first |= 0x80
			}
			back.WriteString(record(first, f.Payload))
		}
		var cutUp [][]byte
		for _, p := range pieces(string(in), cuts) {
			cutUp = append(cutUp, []byte(p))
		}
		if got, end := encode(&o, cutUp...); got != back.String() || end != nil {
			t.Errorf("the program gets %q, %v; want %q", got, end, back.String())
		}
	})
}

// readRecords is the specification: what the records of a program become.
func readRecords(p []byte, limit int) (all []frame, whole bool) {
	inside, message := wsframe.Opcode(0), ""
	for len(p) >= 5 {
		f := frame{Fin: p[0] >= 0x80, Op: wsframe.Opcode(p[0] & 0xF)}
		n := int(binary.BigEndian.Uint32(p[1:]))
		switch {
		case p[0]&0x70 != 0:
			return append(all, fault("a frame with a reserved bit set")), true
		case f.Op > 2:
			return append(all, fault(fmt.Sprintf("a frame with opcode %d: 0, 1 and 2 are allowed", f.Op))), true
		case f.Op == 0 && inside == 0:
			return append(all, fault("a continuation frame outside of a message")), true
		case f.Op != 0 && inside != 0:
			return append(all, fault(fmt.Sprintf("a %v frame inside of a fragmented message", f.Op))), true
		case n > limit:
			return append(all, closing(1009, "the program sent a message that is too large")), true
		case len(p) < 5+n:
			return all, false
		}
		if f.Op != 0 {
			inside, message = f.Op, ""
		}
		f.Payload, p = string(p[5:5+n]), p[5+n:]
		message += f.Payload
		cut := len(message)
		if !f.Fin {
			cut -= wsframe.IncompleteRune([]byte(message))
		}
		if inside == opText && !utf8.ValidString(message[:cut]) {
			return append(all, closing(1007, notUTF8)), true
		}
		if all = append(all, f); f.Fin {
			inside = 0
		}
	}
	return all, len(p) == 0 && inside == 0
}
