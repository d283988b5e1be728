package wsframe

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

// measured skips tests of allocations where they cannot hold.
func measured(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates; the same runs without it")
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	measured(t)
	for _, n := range []int{0, 19, 5000, 60_000} {
		eachRole(t, func(t *testing.T, role Role) {
			c, p := peerOf(t, role, nil)
			frame := wire(p.role, fin|wireText, x(n))
			var buf []byte
			for name, read := range map[string]func() error{
				"ReadMessage": func() (err error) { _, buf, err = c.ReadMessage(buf); return err },
				"ReadFrame": func() error {
					f, err := c.ReadFrame(buf)
					buf = f.Payload
					return err
				},
				"NextReader": func() error {
					_, r, err := c.NextReader()
					for err == nil {
						_, err = r.Read(buf[:cap(buf)])
					}
					if err == io.EOF {
						err = nil
					}
					return err
				},
			} {
				buf = make([]byte, 0, 100_000)
				allocs := testing.AllocsPerRun(500, func() {
					p.Write(frame)
					if err := read(); err != nil {
						t.Fatal(err)
					}
				})
				if allocs != 0 {
					t.Errorf("%s of %d bytes: %v allocations", name, n, allocs)
				}
			}
		})
	}
}

func TestWritingAllocatesNothing(t *testing.T) {
	measured(t)
	for _, n := range []int{0, 19, 5000, 60_000} {
		eachRole(t, func(t *testing.T, role Role) {
			c, p := peerOf(t, role, nil)
			message := []byte(x(n))
			encoded := AppendFrame(nil, role, Frame{Fin: true, Op: OpText, Payload: message})
			sink := make([]byte, len(encoded))
			for name, write := range map[string]func() error{
				"WriteMessage": func() error { return c.WriteMessage(OpText, message) },
				"WriteFrame":   func() error { return c.WriteFrame(Frame{Fin: true, Op: OpBinary, Payload: message}) },
				"WriteEncoded": func() error { return c.WriteEncoded(encoded) },
			} {
				allocs := testing.AllocsPerRun(500, func() {
					if err := write(); err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadFull(p.Conn, sink); err != nil {
						t.Fatal(err)
					}
				})
				if allocs != 0 {
					t.Errorf("%s of %d bytes: %v allocations", name, n, allocs)
				}
			}
		})
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	measured(t)
	var in []byte
	for range 50 {
		in = append(in, wire(Client, fin|wireText, "grüße")...)
		in = append(in, wire(Client, wireBin, x(200))...)
		in = append(in, wire(Client, fin|wirePing, "ping")...)
		in = append(in, wire(Client, fin|wireCont, "")...)
	}
	work := make([]byte, len(in))
	d := Parser{Role: Server}
	allocs := testing.AllocsPerRun(100, func() {
		copy(work, in)
		for p, i := work, 1; len(p) > 0; i++ {
			_, n, _, err := d.Next(p[:min(len(p), i%100+1)])
			if err != nil {
				t.Fatal(err)
			}
			p = p[n:]
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkParser(b *testing.B) {
	for _, n := range []int{32, 1000, 32 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			chunk := bytes.Repeat(wire(Client, fin|wireText, x(n)), max(1, 60_000/n))
			work := make([]byte, len(chunk))
			d := Parser{Role: Server}
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			messages := 0
			for b.Loop() {
				copy(work, chunk)
				for p := work; len(p) > 0; {
					_, n, _, err := d.Next(p)
					if err != nil {
						b.Fatal(err)
					}
					p = p[n:]
					messages++
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(messages), "ns/msg")
		})
	}
}

func BenchmarkEcho(b *testing.B) {
	for _, c := range []struct{ size, inFlight int }{{32, 1}, {32, 32}, {32 << 10, 1}, {32 << 10, 8}} {
		b.Run(fmt.Sprintf("%dx%d", c.size, c.inFlight), func(b *testing.B) {
			s, nc := netPair(b)
			server := connOn(b, s, Server, nil)
			go echo(server)
			defer nc.Close()
			batch := bytes.Repeat(wire(Client, fin|wireText, x(c.size)), c.inFlight)
			answer := make([]byte, c.inFlight*len(wire(Server, fin|wireText, x(c.size))))
			b.SetBytes(int64(c.size * c.inFlight))
			b.ReportAllocs()
			for b.Loop() {
				if len(batch) < 100_000 {
					nc.Write(batch)
				} else {
					go nc.Write(batch) // more than the network takes at once
				}
				if _, err := io.ReadFull(nc, answer); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*c.inFlight)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

func BenchmarkWriteMessage(b *testing.B) {
	for _, role := range []Role{Server, Client} {
		for _, n := range []int{32, 32 << 10} {
			b.Run(fmt.Sprintf("%s/%d", role, n), func(b *testing.B) {
				a, nc := netPair(b)
				c := connOn(b, a, role, nil)
				defer nc.Close()
				go io.Copy(io.Discard, nc)
				p := []byte(x(n))
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					c.WriteMessage(OpBinary, p)
				}
			})
		}
	}
}
