package wsframe

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// inflateAll runs the parser and the inflater over in, cut at random, and returns the messages, and the
// error or the beginning of a message as the last ones.
func inflateAll(t *testing.T, in []byte, limit int64, alone bool, cut func() int) (all []string) {
	d := Parser{Role: Server, MaxMessage: limit, MaxFrame: -1, RSV1: true}
	z := &inflater{alone: alone, window: 1 << 12}
	defer z.release()
	message, compressed := "", false
	for work := bytes.Clone(in); len(work) > 0; {
		p := work[:min(len(work), cut())]
		work = work[len(p):]
		for len(p) > 0 || z.pending() {
			var part Part
			n, ok := z.next(&d, p, &part)
			p = p[n:]
			if d.err != nil {
				return append(all, d.err.Error())
			}
			if !ok {
				continue
			}
			if part.Op.Control() {
				all = append(all, fmt.Sprintf("%v %q", part.Op, part.Payload))
				continue
			}
			if part.Start {
				message, compressed = "", part.RSV1
			}
			if compressed != part.RSV1 || part.Start != (part.FrameOp != OpContinuation && part.FrameStart) {
				t.Fatalf("part %+v", part)
			}
			if message += string(part.Payload); int64(len(message)) > limit {
				t.Fatalf("message of %d bytes, the limit is %d", len(message), limit)
			}
			if part.End {
				all = append(all, fmt.Sprintf("%v %q", part.Op, message))
			}
		}
		z.settle()
		if z.decoder != nil && z.op == 0 {
			t.Fatal("a decoder is held between messages")
		}
	}
	return all
}

func FuzzInflate(f *testing.F) {
	for _, s := range []string{"", "Hello", strings.Repeat("Hello", 1000), strings.Repeat("\x00", 100_000), "grüße \xff"} {
		p := deflate(s)
		f.Add(wire(Client, fin|rsv1|wireText, p), uint64(1), true)
		f.Add(wire(Client, fin|rsv1|wireBin, p+p), uint64(2), false)
		f.Add(append(wire(Client, rsv1|wireText, p[:len(p)/2]), wire(Client, fin|wireCont, p[len(p)/2:])...), uint64(3), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, alone bool) {
		const limit = 50_000
		r := rand.New(rand.NewPCG(seed, 0))
		want := inflateAll(t, in, limit, alone, func() int { return len(in) })
		got := inflateAll(t, in, limit, alone, func() int { return 1 + r.IntN(30) })
		// The bytes after which a limit is noticed are not always the same.
		if len(want) != len(got) {
			t.Fatalf("got %q, want %q", got, want)
		}
		for i := range want {
			if want[i] != got[i] && !strings.Contains(want[i], "compressed message of at least") {
				t.Fatalf("got %q, want %q", got[i], want[i])
			}
		}
	})
}

func FuzzCompressedRoundTrip(f *testing.F) {
	f.Add([]byte("Hello"), uint8(1), uint8(15), 0, 3)
	f.Add(bytes.Repeat([]byte("grüße"), 3000), uint8(9), uint8(8), 512, 1000)
	f.Add(make([]byte, 20_000), uint8(3), uint8(12), 1<<15, 7000)
	f.Fuzz(func(t *testing.T, p []byte, level, bits uint8, window, size int) {
		o := &Options{Compression: &Compression{Level: int(level), Window: window, MinSize: -1}}
		a := &deflateParams{serverBits: 8 + int(bits%8), serverAlone: window <= 0}
		sender := &Conn{role: Server, o: o}
		sender.compress(a)
		d := Parser{Role: Client, MaxMessage: -1, MaxFrame: -1, RSV1: true}
		z := &inflater{alone: a.serverAlone, window: 1 << max(a.serverBits, minWindowBits)}
		defer z.release()
		size = len(p)/50 + 1 + max(0, size%1000)
		for i := 0; i <= len(p); i += size {
			message := p[i:min(len(p), i+size)]
			frames, ok := sender.appendCompressed(nil, Frame{Fin: true, Op: OpBinary, Payload: message})
			if !ok {
				continue
			}
			var got []byte
			for len(frames) > 0 || z.pending() {
				var part Part
				n, ok := z.next(&d, frames, &part)
				if frames = frames[n:]; d.err != nil {
					t.Fatalf("message at %d: %v", i, d.err)
				}
				if ok {
					got = append(got, part.Payload...)
				}
			}
			if !bytes.Equal(got, message) {
				t.Fatalf("message at %d differs", i)
			}
			if i%2 == 0 {
				z.settle()
			}
		}
	})
}
