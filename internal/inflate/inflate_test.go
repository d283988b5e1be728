package inflate

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// run decodes p, cut as next says, and returns what came out before the end or the error.
func run(d *Decoder, p []byte, limit int, next func() int) (out []byte, err error) {
	for len(p) > 0 {
		piece := p[:min(len(p), next())]
		p = p[len(piece):]
		for more := true; more; {
			var b []byte
			var n int
			b, n, more, err = d.Decode(piece)
			piece = piece[n:]
			if out = append(out, b...); err != nil || len(out) > limit {
				return out, err
			}
		}
		if len(piece) > 0 {
			return out, fmt.Errorf("%d bytes left without more", len(piece))
		}
	}
	return out, nil
}

func whole() int { return 1 << 30 }

func bytewise() int { return 1 }

func samples() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 200_000)
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	skewed := make([]byte, 300_000) // long code words
	for i := range skewed {
		skewed[i] = byte(min(r.ExpFloat64()*8, 255))
	}
	var text strings.Builder
	for text.Len() < 300_000 {
		fmt.Fprintf(&text, `{"id":%d,"name":"item %d","price":%g}`+"\n", r.IntN(1000), r.IntN(100), r.Float64())
	}
	var mixed []byte // in blocks with codes and stored ones by turns
	for i := range 30 {
		mixed = append(mixed, strings.Repeat("mixed ", 1000*(i%3))...)
		mixed = append(mixed, random[i*3000:][:(i%4)*2999]...)
	}
	return map[string][]byte{
		"mixed":   mixed,
		"nothing": {}, "one byte": {7}, "random": random, "skewed": skewed, "text": []byte(text.String()),
		"zeros": make([]byte, 500_000), "period 3": bytes.Repeat([]byte("abc"), 50_000),
		"far": append(append(bytes.Clone(random[:32768]), random[:32768]...), random[:32768]...),
	}
}

func deflate(t testing.TB, level int, p []byte, flushEvery int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	for len(p) > 0 && flushEvery > 0 {
		n := min(flushEvery, len(p))
		w.Write(p[:n])
		w.Flush()
		p = p[n:]
	}
	w.Write(p)
	w.Close()
	return b.Bytes()
}

func TestDecodesWhatTheStandardLibraryEncodes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	random := func() int { return 1 + r.IntN(3000) }
	d := new(Decoder)
	for name, p := range samples() {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 6, 9} {
			for _, flush := range []int{0, 1000} {
				z := deflate(t, level, p, flush)
				for cut, next := range map[string]func() int{"whole": whole, "bytewise": bytewise, "random": random} {
					d.Reset(0, nil)
					got, err := run(d, z, 1<<30, next)
					if err != nil || !bytes.Equal(got, p) || !d.AtBoundary() {
						t.Fatalf("%s, level %d, flush %d, %s: %d bytes of %d, boundary %v, %v", name, level, flush, cut, len(got), len(p), d.AtBoundary(), err)
					}
				}
			}
		}
	}
}

func TestHistoryAndWindow(t *testing.T) {
	p := samples()["random"][:40_000]
	d := new(Decoder)
	for _, distance := range []int{1, 255, 256, 257, 5000, 32768} {
		dict := p[:distance]
		var b bytes.Buffer
		w, _ := flate.NewWriterDict(&b, 9, dict)
		w.Write(dict[:min(distance, 256)])
		w.Flush()
		for _, window := range []int{256, 8192, 32768} {
			d.Reset(window, dict)
			got, err := run(d, b.Bytes(), 1<<20, whole)
			switch {
			case distance <= window && (err != nil || !bytes.Equal(got, dict[:min(distance, 256)])):
				t.Errorf("distance %d, window %d: %v", distance, window, err)
			case distance > window && err == nil:
				t.Errorf("distance %d, window %d: no error", distance, window)
			}
		}
	}
	d.Reset(1000, nil)
	run(d, deflate(t, 1, p, 0), 1<<20, whole)
	if !bytes.Equal(d.History(), p[39_000:]) {
		t.Error("history is not the end of the output")
	}
}

// A block with codes, of any length, is followed by stored ones at once.
func TestStoredBlocksBehindOthers(t *testing.T) {
	for literals := range 100 {
		var z []byte
		n := 0
		put := func(v, size int, reversed bool) { // Huffman codes begin with their highest bit
			for i := range size {
				if n%8 == 0 {
					z = append(z, 0)
				}
				bit := v >> i & 1
				if reversed {
					bit = v >> (size - 1 - i) & 1
				}
				z[len(z)-1] |= byte(bit << (n % 8))
				n++
			}
		}
		put(1<<1, 3, false)
		for range literals {
			put(0x30+'a', 8, true)
		}
		put(0, 7, true)
		put(0, 3, false)
		want := strings.Repeat("a", literals)
		for range 3 {
			z = append(z, 20, 0, 0xEB, 0xFF)
			z = append(z, bytes.Repeat([]byte{0xFF}, 20)...)
			z = append(z, 0) // the header of the next one
			want += strings.Repeat("\xFF", 20)
		}
		d := new(Decoder)
		for _, next := range []func() int{whole, bytewise} {
			d.Reset(0, nil)
			got, err := run(d, z, 1000, next)
			if err != nil || string(got) != want || !d.Finish() {
				t.Fatalf("%d literals: %q, %v", literals, got, err)
			}
		}
	}
}

func TestCorruptStreams(t *testing.T) {
	for name, stream := range map[string]string{
		"block type 3":                        "07",
		"stored length without complement":    "000500fffe",
		"distance beyond the beginning":       "4b040200", // a, then a match of distance 4
		"too many literal codes":              "f5ffffff",
		"too many words in code of lengths":   "04c0ffffffffffffff",
		"symbol 286 of the fixed code":        "1bc7",
		"repeats the length before the first": "0500000000000000000049",
	} {
		p, err := hex.DecodeString(stream)
		if err != nil {
			t.Fatal(err)
		}
		p = append(p, make([]byte, 50)...)
		_, std := io.ReadAll(flate.NewReader(bytes.NewReader(p)))
		d := new(Decoder)
		d.Reset(0, nil)
		if _, err := run(d, p, 1<<20, bytewise); err != ErrCorrupt {
			t.Errorf("%s: %v, the standard library says %v", name, err, std)
		}
	}
}

// Whatever comes: the same as the standard library, however it is cut.
func FuzzDecode(f *testing.F) {
	for _, p := range samples() {
		f.Add(deflate(f, 6, p[:min(len(p), 2000)], 0), uint64(1))
		f.Add(deflate(f, 1, p[:min(len(p), 2000)], 300), uint64(2))
	}
	f.Fuzz(func(t *testing.T, p []byte, seed uint64) {
		const limit = 1 << 20
		r := rand.New(rand.NewPCG(seed, 0))
		d := new(Decoder)
		d.Reset(0, nil)
		// Only until the end of the last block: what follows is read as more blocks here.
		in := bytes.NewReader(p)
		std := flate.NewReader(in)
		want, stdErr := io.ReadAll(io.LimitReader(std, limit))
		if stdErr == nil && len(want) < limit {
			p = p[:len(p)-in.Len()]
		}
		got, err := run(d, p, limit, func() int { return 1 + r.IntN(20) })
		if len(got) >= limit || len(want) == limit {
			if !bytes.Equal(got[:min(len(got), limit)], want[:min(len(got), limit)]) {
				t.Fatal("differs")
			}
			return
		}
		if !bytes.Equal(got, want) && !(stdErr == io.ErrUnexpectedEOF && bytes.HasPrefix(got, want)) && !(err != nil && bytes.HasPrefix(got, want)) {
			t.Fatalf("got %d bytes, want %d (%v, %v)", len(got), len(want), err, stdErr)
		}
		_, corrupt := stdErr.(flate.CorruptInputError)
		if corrupt && err == nil { // it may be noticed with the next bit
			d.Reset(0, nil)
			_, err = run(d, append(bytes.Clone(p), byte(seed)), limit, whole)
			if err != nil {
				return
			}
		}
		if corrupt != (err != nil) {
			t.Fatalf("error %v, the standard library says %v", err, stdErr)
		}
		d.Reset(0, nil)
		all, err2 := run(d, p, limit, whole)
		if err2 != err || !bytes.Equal(all, got) {
			t.Fatal("depends on how the input is cut")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	p := samples()["text"]
	for _, size := range []int{200, 1000, 16_000, 300_000} {
		z := deflate(b, 1, p[:size], 0)
		d := new(Decoder)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				d.Reset(0, nil)
				in := z
				for more := true; more; {
					_, n, m, err := d.Decode(in)
					if in, more = in[n:], m; err != nil {
						b.Fatal(err)
					}
				}
			}
		})
		b.Run(fmt.Sprint(size, " std"), func(b *testing.B) {
			b.SetBytes(int64(size))
			var in bytes.Reader
			r := flate.NewReader(&in)
			for b.Loop() {
				in.Reset(z)
				r.(flate.Resetter).Reset(&in, nil)
				io.Copy(io.Discard, r)
			}
		})
	}
}
