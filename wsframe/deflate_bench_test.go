package wsframe

import (
	"fmt"
	"io"
	"testing"
)

// jsonMessage is a message as applications send them, a little different each time.
func jsonMessage(i, size int) []byte {
	var m []byte
	for k := 0; len(m) < size; k++ {
		m = fmt.Appendf(m, `{"id":%d,"name":"item %d","price":%d.%02d,"tags":["a","b"]},`, i*17+k, (i+k)%100, k*i%1000, i%100)
	}
	return m[:size]
}

// One connection sends messages and the other one inflates them.
func BenchmarkCompressed(b *testing.B) {
	for _, size := range []int{200, 1000, 16_000} {
		for _, window := range []int{-1, 0, 512, 8192, 32768} {
			b.Run(fmt.Sprintf("%d/window %d", size, window), func(b *testing.B) {
				o := Options{Compression: &Compression{Window: window, PeerWindow: 32768}}
				a := &deflateParams{serverAlone: window <= 0}
				if window < 0 {
					a = nil // no compression
				}
				near, far := netPair(b)
				s, c := newConn(near, nil, Server, "", &o, a), newConn(far, nil, Client, "", &o, a)
				defer s.CloseNow()
				defer c.CloseNow()
				var sent [64][]byte
				for i := range sent {
					sent[i] = jsonMessage(i, size)
				}
				received := make(chan error, 1)
				go func() {
					n := 0
					received <- c.Receive(func(batch *Batch) error {
						for part := batch.Next(); part != nil; part = batch.Next() {
							if part.End {
								if n++; part.Op == OpBinary {
									return io.EOF
								}
							}
						}
						return nil
					})
				}()
				b.ReportAllocs()
				b.SetBytes(int64(size))
				i := 0
				for b.Loop() {
					if err := s.WriteMessage(OpText, sent[i%len(sent)]); err != nil {
						b.Fatal(err)
					}
					i++
				}
				s.WriteMessage(OpBinary, nil)
				<-received
			})
		}
	}
}

// The same with what goes over the wire, which is the point.
func TestCompressionRatioOfSimilarMessages(t *testing.T) {
	for window, most := range map[int]float64{0: 0.4, 512: 0.25, 4096: 0.2, 32768: 0.2} {
		o := &Options{Compression: &Compression{Window: window}}
		sender := &Conn{role: Server, o: o}
		sender.compress(&deflateParams{serverAlone: window == 0})
		wire, plain := 0, 0
		for i := range 20 {
			m := jsonMessage(i, 1000)
			frames, ok := sender.appendCompressed(nil, Frame{Fin: true, Op: OpText, Payload: m})
			if !ok {
				t.Fatal("not compressed")
			}
			wire, plain = wire+len(frames), plain+len(m)
		}
		ratio := float64(wire) / float64(plain)
		t.Logf("window %d: %.2f", window, ratio)
		if ratio > most {
			t.Errorf("window %d: %.2f, want %.2f at most", window, ratio, most)
		}
	}
}
