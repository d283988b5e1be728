package wsframe

import (
	"bytes"
	"fmt"
	"testing"
)

func TestExamplesOfTheRFC(t *testing.T) { // section 5.7
	for _, c := range []struct {
		f    Frame
		want string
	}{
		{Frame{Fin: true, Op: OpText, Payload: []byte("Hello")}, "\x81\x05Hello"},
		{Frame{Op: OpText, Payload: []byte("Hel")}, "\x01\x03Hel"},
		{Frame{Fin: true, Op: OpContinuation, Payload: []byte("lo")}, "\x80\x02lo"},
		{Frame{Fin: true, Op: OpPing, Payload: []byte("Hello")}, "\x89\x05Hello"},
		{Frame{Fin: true, Op: OpPong, Payload: []byte("Hello")}, "\x8A\x05Hello"},
		{Frame{Fin: true, Op: OpBinary, Payload: []byte(x(256))}, "\x82\x7E\x01\x00" + x(256)},
		{Frame{Fin: true, Op: OpBinary, Payload: []byte(x(65536))}, "\x82\x7F\x00\x00\x00\x00\x00\x01\x00\x00" + x(65536)},
	} {
		if got := AppendFrame(nil, Server, c.f); string(got) != c.want {
			t.Errorf("got %s, want %s", short(string(got)), short(c.want))
		}
	}
	masked := "\x81\x85\x37\xFA\x21\x3D\x7F\x9F\x4D\x51\x58"
	if got := wire(Client, fin|wireText, "Hello"); string(got) != masked {
		t.Errorf("the encoder of the tests: %q", got)
	}
	d := Parser{Role: Server}
	if part, _, ok, err := d.Next([]byte(masked)); !ok || err != nil || string(part.Payload) != "Hello" {
		t.Errorf("masked Hello: %q, %v, %v", part.Payload, ok, err)
	}
}

func TestFirstByteOfFrames(t *testing.T) {
	for first := range 256 {
		b := byte(first)
		f := Frame{Fin: b&0x80 != 0, RSV1: b&0x40 != 0, RSV2: b&0x20 != 0, RSV3: b&0x10 != 0, Op: Opcode(b & 0xF)}
		if got := AppendFrame(nil, Server, f); got[0] != b {
			t.Errorf("first byte %#x, want %#x", got[0], b)
		}
	}
}

func TestHeaders(t *testing.T) {
	for n, want := range map[int64]string{
		0: "\x82\x00", 1: "\x82\x01", 125: "\x82\x7D", 126: "\x82\x7E\x00\x7E", 65535: "\x82\x7E\xFF\xFF",
		65536: "\x82\x7F\x00\x00\x00\x00\x00\x01\x00\x00", 1<<63 - 1: "\x82\x7F\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
	} {
		if got := AppendHeader([]byte("in front"), OpBinary, true, n); string(got) != "in front"+want {
			t.Errorf("%d bytes: %q, want %q", n, got, want)
		}
		gap := []byte("0123456789abcdef")
		at := PutHeader(gap, OpBinary, true, n)
		if string(gap[at:]) != want || string(gap[:at]) != "0123456789abcdef"[:at] {
			t.Errorf("%d bytes: %q from %d", n, gap, at)
		}
		at = PutHeader(gap[:10], OpBinary, false, n) // enough for all
		if string(gap[at+1:10]) != want[1:] || gap[at] != 0x02 {
			t.Errorf("%d bytes in a gap of ten: %q from %d", n, gap[:10], at)
		}
	}
}

func TestMask(t *testing.T) {
	slowly := func(p []byte, key [4]byte, at int) {
		for i := range p {
			p[i] ^= key[(i+at)%4]
		}
	}
	key := [4]byte{1, 0x20, 0x83, 0xF4}
	for n := range 300 {
		for offset := range 9 { // of the slice in memory
			got := make([]byte, offset+n)
			for i := range got {
				got[i] = byte(i * 7)
			}
			want := bytes.Clone(got)
			slowly(want[offset:], key, 0)
			turned := mask(got[offset:], 0xF4832001)
			if !bytes.Equal(got, want) {
				t.Fatalf("%d bytes at offset %d", n, offset)
			}
			// The key that is returned goes on where this ended.
			more, wantMore := []byte("0123456789"), []byte("0123456789")
			mask(more, turned)
			slowly(wantMore, key, n)
			if !bytes.Equal(more, wantMore) {
				t.Fatalf("key behind %d bytes", n)
			}
		}
	}
}

func TestNamesOfOpcodes(t *testing.T) {
	for op, want := range map[Opcode]string{0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong", 3: "opcode 0x3", 15: "opcode 0xF"} {
		if got := op.String(); got != want {
			t.Errorf("%d: %q", op, got)
		}
	}
	for op := range Opcode(16) {
		if op.Control() != (op >= 8) {
			t.Errorf("%v: Control %v", op, op.Control())
		}
	}
}

func TestSendableCodes(t *testing.T) {
	for code := range 1 << 16 {
		want := false
		for _, r := range [][2]int{{1000, 1003}, {1007, 1014}, {3000, 4999}} {
			want = want || code >= r[0] && code <= r[1]
		}
		if CloseCode(code).Sendable() != want {
			t.Errorf("%d", code)
		}
	}
}

func BenchmarkMask(b *testing.B) {
	for _, n := range []int{16, 125, 1024, 32 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := make([]byte, n)
			b.SetBytes(int64(n))
			for b.Loop() {
				mask(p, 0x12345678)
			}
		})
	}
}
