package wsframe

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

const rsv1 = 0x40

// deflated returns a connection with compression and the bytes at its other end.
func deflated(t testing.TB, role Role, o Options, a deflateParams) (*Conn, *peer) {
	t.Helper()
	if o.Compression == nil {
		o.Compression = new(Compression)
	}
	near, far := netPair(t)
	c := newConn(near, nil, role, "", &o, &a)
	t.Cleanup(func() { c.CloseNow(); <-c.Done() })
	p := newPeer(t, far, other(role))
	p.deflate = true
	return c, p
}

// deflatedPair returns both ends of a connection with compression.
func deflatedPair(t testing.TB, server, client Options, a deflateParams) (*Conn, *Conn) {
	near, far := netPair(t)
	s, c := newConn(near, nil, Server, "", &server, &a), newConn(far, nil, Client, "", &client, &a)
	t.Cleanup(func() {
		s.CloseNow()
		c.CloseNow()
		<-s.Done()
		<-c.Done()
	})
	return s, c
}

func unhex(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// deflate compresses by the standard library.
func deflate(s string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9)
	io.WriteString(w, s)
	w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// compressedWays are all ways to read a message.
var compressedWays = map[string]func(c *Conn) (string, error){
	"ReadMessage": func(c *Conn) (string, error) {
		_, p, err := c.ReadMessage(nil)
		return string(p), err
	},
	"NextReader": func(c *Conn) (string, error) {
		_, r, err := c.NextReader()
		if err != nil {
			return "", err
		}
		p, err := io.ReadAll(r)
		return string(p), err
	},
	"ReadFrame": func(c *Conn) (string, error) {
		var all []byte
		for {
			f, err := c.ReadFrame(nil)
			if f.RSV1 || err == nil && (f.Op == OpContinuation) != (len(all) > 0) {
				return "", fmt.Errorf("frame %+v", f)
			}
			if all = append(all, f.Payload...); err != nil || f.Fin {
				return string(all), err
			}
		}
	},
	"Receive": func(c *Conn) (string, error) {
		var all []byte
		err := c.Receive(func(b *Batch) error {
			for part := b.Next(); part != nil; part = b.Next() {
				if part.RSV1 && (part.Start != (part.FrameOp != OpContinuation) || part.FrameLength != int64(len(part.Payload)) || part.FrameFin != part.End) {
					return fmt.Errorf("part %+v", part)
				}
				if all = append(all, part.Payload...); part.End {
					return io.EOF
				}
			}
			return nil
		})
		if err == io.EOF {
			err = nil
		}
		return string(all), err
	},
	"Space": func(c *Conn) (string, error) {
		var all []byte
		err := c.Receive(func(b *Batch) error {
			out := b.Space()
			for part := b.Next(); part != nil; part = b.Next() {
				out = append(append(out, "[head]"...), part.Payload...)
				if all = append(all, out[len(out)-len(part.Payload):]...); part.End {
					return io.EOF
				}
			}
			return nil
		})
		if err == io.EOF {
			err = nil
		}
		return string(all), err
	},
}

// The examples of RFC 7692, section 7.2.3, and what else there is in the wild.
func TestCompressedVectors(t *testing.T) {
	type frames []struct {
		first   byte
		payload string
	}
	for name, test := range map[string]struct {
		frames frames
		want   []string
	}{
		"one block":                         {frames{{fin | rsv1 | wireText, "f2 48 cd c9 c9 07 00"}}, []string{"Hello"}},
		"fragments":                         {frames{{rsv1 | wireText, "f2 48 cd"}, {fin | wireCont, "c9 c9 07 00"}}, []string{"Hello"}},
		"fragments of a byte, empty ones":   {frames{{rsv1 | wireText, ""}, {wireCont, "f2"}, {wireCont, "48"}, {wireCont, ""}, {wireCont, "cd c9 c9 07 00"}, {fin | wireCont, ""}}, []string{"Hello"}},
		"shared window":                     {frames{{fin | rsv1 | wireText, "f2 48 cd c9 c9 07 00"}, {fin | rsv1 | wireText, "f2 00 11 00 00"}}, []string{"Hello", "Hello"}},
		"no compression":                    {frames{{fin | rsv1 | wireText, "00 05 00 fa ff 48 65 6c 6c 6f 00"}}, []string{"Hello"}},
		"last block":                        {frames{{fin | rsv1 | wireText, "f3 48 cd c9 c9 07 00 00"}}, []string{"Hello"}},
		"last block, and then another":      {frames{{fin | rsv1 | wireText, "f3 48 cd c9 c9 07 00 00"}, {fin | rsv1 | wireText, "f2 48 cd c9 c9 07 00"}}, []string{"Hello", "Hello"}},
		"last block, nothing behind it":     {frames{{fin | rsv1 | wireText, "f3 48 cd c9 c9 07 00"}, {fin | rsv1 | wireText, "f2 00 11 00 00"}}, []string{"Hello", "Hello"}},
		"two blocks":                        {frames{{fin | rsv1 | wireText, "f2 48 05 00 00 00 ff ff ca c9 c9 07 00"}}, []string{"Hello"}},
		"tail not left out":                 {frames{{fin | rsv1 | wireText, "f2 48 cd c9 c9 07 00 00 00 ff ff"}}, []string{"Hello"}},
		"empty":                             {frames{{fin | rsv1 | wireText, "00"}, {fin | rsv1 | wireBin, "02 00"}, {fin | rsv1 | wireBin, ""}}, []string{"", "", ""}},
		"not compressed, not in the window": {frames{{fin | rsv1 | wireText, "f2 48 cd c9 c9 07 00"}, {fin | wireText, "41 42 43"}, {fin | rsv1 | wireText, "f2 00 11 00 00"}}, []string{"Hello", "ABC", "Hello"}},
		"control frames between fragments":  {frames{{rsv1 | wireText, "f2 48 cd"}, {fin | wirePong, "aa"}, {fin | wireCont, "c9 c9 07 00"}}, []string{"Hello"}},
		"character in two fragments":        {frames{{rsv1 | wireText, "00 01 00 fe ff c3 00 00 00 ff ff"}, {fin | wireCont, "00 01 00 fe ff bc 00"}}, []string{"ü"}},
	} {
		for way, read := range compressedWays {
			for _, cut := range []int{1, 2, 1000} {
				t.Run(fmt.Sprint(name, " ", way, " ", cut), func(t *testing.T) {
					c, p := deflated(t, Server, Options{}, deflateParams{})
					var in []byte
					for _, f := range test.frames {
						in = append(in, wire(Client, f.first, unhex(f.payload))...)
					}
					go func() {
						for piece := range slices.Chunk(in, cut) {
							p.Conn.Write(piece)
						}
					}()
					for i, want := range test.want {
						if got, err := read(c); err != nil || got != want {
							t.Fatalf("message %d: %q, %v; want %q", i, got, err, want)
						}
					}
				})
			}
		}
	}
}

func TestCompressedViolations(t *testing.T) {
	hello, zeros := unhex("f2 48 cd c9 c9 07 00"), deflate(strings.Repeat("a", 5000))
	for name, test := range map[string]struct {
		a    deflateParams
		in   []byte
		code int
	}{
		"RSV1 on a continuation":            {deflateParams{}, slices.Concat(wire(Client, rsv1|wireText, hello), wire(Client, fin|rsv1|wireCont, "")), 1002},
		"RSV1 on a ping":                    {deflateParams{}, wire(Client, fin|rsv1|wirePing, ""), 1002},
		"RSV1 on a close":                   {deflateParams{}, wire(Client, fin|rsv1|wireClose, ""), 1002},
		"RSV2":                              {deflateParams{}, wire(Client, fin|0x20|wireText, hello), 1002},
		"RSV1 and RSV3":                     {deflateParams{}, wire(Client, fin|rsv1|0x10|wireText, hello), 1002},
		"not DEFLATE":                       {deflateParams{}, wire(Client, fin|rsv1|wireBin, "\x07"), 1007},
		"ends inside of a block":            {deflateParams{}, wire(Client, fin|rsv1|wireBin, hello[:4]), 1007},
		"window without takeover":           {deflateParams{clientAlone: true}, slices.Concat(wire(Client, fin|rsv1|wireText, hello), wire(Client, fin|rsv1|wireText, unhex("f2 00 11 00 00"))), 1007},
		"inflates to invalid UTF-8":         {deflateParams{}, wire(Client, fin|rsv1|wireText, deflate("a\xff")), 1007},
		"inflates to half a character":      {deflateParams{}, wire(Client, fin|rsv1|wireText, deflate("a\xc3")), 1007},
		"inflates to too much":              {deflateParams{}, wire(Client, fin|rsv1|wireBin, zeros), 1009},
		"inflates to too much, in fragment": {deflateParams{}, slices.Concat(wire(Client, rsv1|wireBin, zeros[:8]), wire(Client, wireCont, zeros[8:])), 1009},
		"too large on the wire":             {deflateParams{}, wire(Client, rsv1|wireBin, x(3001)), 1009},
	} {
		for way, read := range compressedWays {
			t.Run(name+" "+way, func(t *testing.T) {
				c, p := deflated(t, Server, Options{MaxMessage: 4999, MaxFrame: 3000}, test.a)
				p.write(test.in)
				var err error
				for err == nil {
					_, err = read(c)
				}
				wantCloseError(t, err, CloseCode(test.code), false)
				p.wantClose(test.code)
			})
		}
	}
}

// The wire size does not count, but for MaxFrame.
func TestMaxMessageIsOfInflatedBytes(t *testing.T) {
	c, p := deflated(t, Server, Options{MaxMessage: 5000}, deflateParams{})
	p.write(wire(Client, fin|rsv1|wireBin, deflate(strings.Repeat("a", 5000))))
	if _, m, err := c.ReadMessage(nil); err != nil || len(m) != 5000 {
		t.Fatal(len(m), err)
	}
	stored := "" // 5000 bytes in blocks of one: 30,000 on the wire
	for range 5000 {
		stored += "\x00\x01\x00\xfe\xffa"
	}
	p.write(wire(Client, fin|rsv1|wireBin, stored+"\x00"))
	if _, m, err := c.ReadMessage(nil); err != nil || len(m) != 5000 {
		t.Fatal(len(m), err)
	}
}

func TestWhatIsSentOnTheWire(t *testing.T) {
	long := strings.Repeat("Hello", 100)
	noise := make([]byte, 1000)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	c, p := deflated(t, Server, Options{}, deflateParams{})
	send := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	inflate := func(first byte) string {
		t.Helper()
		got, payload, err := p.frame()
		if err != nil || got != first {
			t.Fatalf("frame %#x, %v; want %#x", got, err, first)
		}
		if got&fin != 0 {
			payload += "\x00\x00\xff\xff"
		}
		out, err := io.ReadAll(flate.NewReader(strings.NewReader(payload + "\x01\x00\x00\xff\xff")))
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	p.loose = true
	send(c.WriteMessage(OpText, []byte(long)))
	if got := inflate(fin | rsv1 | wireText); got != long {
		t.Errorf("got %q", got)
	}
	send(c.WriteMessage(OpText, []byte("small")))
	p.want(fin|wireText, "small")
	send(c.WriteMessage(OpBinary, nil))
	p.want(fin|wireBin, "")
	send(c.WriteMessage(OpBinary, noise))
	p.want(fin|wireBin, string(noise))
	send(c.WriteEncoded(slices.Concat(
		AppendFrame(nil, Server, Frame{Fin: true, Op: OpBinary, Payload: noise}),
		AppendFrame(nil, Server, Frame{Fin: true, Op: OpPing, Payload: []byte("ping")}),
		AppendFrame(nil, Server, Frame{Fin: true, Op: OpText, Payload: []byte(long)}),
		AppendFrame(nil, Server, Frame{Fin: true, RSV1: true, Op: OpText, Payload: []byte("as it is")}),
		AppendFrame(nil, Server, Frame{Op: OpText, Payload: []byte("He")}),
	)))
	p.want(fin|wireBin, string(noise))
	p.want(fin|wirePing, "ping")
	if got := inflate(fin | rsv1 | wireText); got != long {
		t.Errorf("got %q", got)
	}
	p.want(fin|rsv1|wireText, "as it is")
	if got := inflate(rsv1 | wireText); got != "He" {
		t.Errorf("got %q", got)
	}
	send(c.WriteFrame(Frame{Op: OpContinuation, Payload: []byte("l")})) // goes on as it was begun
	if got := inflate(wireCont); got != "l" {
		t.Errorf("got %q", got)
	}
	send(c.WriteEncoded(AppendFrame(nil, Server, Frame{Fin: true, Op: OpContinuation, Payload: []byte("lo")})))
	if got := inflate(fin | wireCont); got != "lo" {
		t.Errorf("got %q", got)
	}
	send(c.WriteFrame(Frame{Op: OpText, Payload: []byte(long)}))
	p.want(wireText, long)
	send(c.WriteFrame(Frame{Op: OpContinuation, Fin: true}))
	p.want(fin|wireCont, "")
	for _, f := range []Frame{{Fin: true, RSV1: true, Op: OpPing}, {Fin: true, RSV1: true, Op: OpContinuation}} {
		if err := c.WriteFrame(f); err != ErrBadFrame {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// A history that the peer does not have would make the next message wrong.
func TestFramesOfTheCallerAreNoHistory(t *testing.T) {
	o := Options{Compression: &Compression{Window: 32768, PeerWindow: 32768, MinSize: -1}}
	s, c := deflatedPair(t, o, o, deflateParams{})
	want := []string{x(1000), "caller's", x(1000), "caller's", x(1000), x(1000)}
	go func() {
		s.WriteMessage(OpText, []byte(want[0]))
		s.WriteFrame(Frame{Fin: true, RSV1: true, Op: OpText, Payload: []byte(deflate(want[1]))})
		s.WriteMessage(OpText, []byte(want[2]))
		s.WriteEncoded(AppendFrame(nil, Server, Frame{Fin: true, RSV1: true, Op: OpText, Payload: []byte(deflate(want[3]))}))
		s.WriteMessage(OpText, []byte(want[4]))
		s.WriteMessage(OpText, []byte(want[5]))
	}()
	for i, w := range want {
		if _, got, err := c.ReadMessage(nil); err != nil || string(got) != w {
			t.Fatalf("message %d: %s, %v", i, short(string(got)), err)
		}
	}
}

// messages are of all kinds: alike, large, random, empty.
func messages(r *rand.Rand, n int) (all [][]byte) {
	for range n {
		m := []byte{}
		switch r.IntN(6) {
		case 0:
			m = make([]byte, r.IntN(3000)) // cannot be compressed
			for i := range m {
				m[i] = byte(r.Uint32())
			}
		case 1:
			m = bytes.Repeat([]byte{'z'}, r.IntN(300_000))
		case 2:
		default:
			for range r.IntN(200) {
				m = fmt.Appendf(m, `{"id":%d,"name":"item %d"}`, r.IntN(100), r.IntN(5))
			}
		}
		all = append(all, m)
	}
	return all
}

// All ways to write meet all ways to read, for all parameters that can be agreed on.
func TestCompressedRoundTrips(t *testing.T) {
	writes := map[string]func(c *Conn, p []byte) error{
		"WriteMessage": func(c *Conn, p []byte) error { return c.WriteMessage(OpBinary, p) },
		"NextWriter": func(c *Conn, p []byte) error {
			w, err := c.NextWriter(OpBinary)
			for piece := range slices.Chunk(p, 10_000) {
				if err == nil {
					_, err = w.Write(piece)
				}
			}
			return errors.Join(err, w.Close())
		},
		"WriteEncoded": func(c *Conn, p []byte) error {
			return c.WriteEncoded(AppendFrame(nil, c.Role(), Frame{Fin: true, Op: OpBinary, Payload: p}))
		},
		"WriteEncoded fragments": func(c *Conn, p []byte) (err error) {
			op := OpBinary
			for piece := range slices.Chunk(p, 40_000) {
				err = errors.Join(err, c.WriteEncoded(AppendFrame(nil, c.Role(), Frame{Op: op, Payload: piece})))
				op = OpContinuation
			}
			return errors.Join(err, c.WriteEncoded(AppendFrame(nil, c.Role(), Frame{Fin: true, Op: op})))
		},
	}
	count := 12
	if raceEnabled {
		count = 3
	}
	seed := uint64(0)
	for _, a := range []deflateParams{
		{}, {serverAlone: true}, {clientAlone: true}, {serverAlone: true, clientAlone: true}, {serverBits: 8}, {clientBits: 8},
		{serverBits: 9, clientBits: 9}, {serverBits: 12, clientBits: 14}, {serverAlone: true, serverBits: 8, clientBits: 10}, {serverBits: 15, clientBits: 15},
	} {
		for name, write := range writes {
			for way, read := range compressedWays {
				seed++
				level, fragment := int(seed%10), int(seed%2)*700
				t.Run(fmt.Sprint(a, " ", name, " ", way), func(t *testing.T) {
					t.Parallel()
					r := rand.New(rand.NewPCG(seed, 0))
					o := Options{
						Compression:  &Compression{Level: level, Window: 1 << r.IntN(17), PeerWindow: 32768, MinSize: r.IntN(200) - 1},
						FragmentSize: fragment,
					}
					s, c := deflatedPair(t, o, o, a)
					var all sync.WaitGroup
					for _, ends := range [][2]*Conn{{s, c}, {c, s}} {
						sent := messages(r, count)
						all.Go(func() {
							for _, m := range sent {
								if err := write(ends[0], m); err != nil {
									t.Error(err)
									return
								}
							}
						})
						all.Go(func() {
							for i, m := range sent {
								got, err := read(ends[1])
								if err != nil || got != string(m) {
									t.Errorf("level %d, message %d: %d bytes of %d, %v", level, i, len(got), len(m), err)
									ends[0].CloseNow()
									return
								}
							}
						})
					}
					all.Wait()
				})
			}
		}
	}
}

func TestCompressedEcho(t *testing.T) {
	o := Options{Compression: &Compression{Window: 4096, PeerWindow: 32768}, MaxMessage: -1, MaxFrame: -1}
	s, c := deflatedPair(t, o, o, deflateParams{})
	go echo(s)
	sent := messages(rand.New(rand.NewPCG(5, 5)), 200)
	sent = append(sent, make([]byte, 20<<20))
	go func() {
		for _, m := range sent {
			if err := c.WriteMessage(OpBinary, m); err != nil {
				t.Error(err)
			}
		}
	}()
	for i, m := range sent {
		if _, got, err := c.ReadMessage(nil); err != nil || !bytes.Equal(got, m) {
			t.Fatalf("message %d: %d bytes of %d, %v", i, len(got), len(m), err)
		}
	}
}

// Several goroutines share one history: it must be in the order of the wire.
func TestConcurrentCompressedWrites(t *testing.T) {
	o := Options{Compression: &Compression{Window: 8192, PeerWindow: 32768}}
	s, c := deflatedPair(t, o, o, deflateParams{})
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 50 {
				m := []byte(strings.Repeat(fmt.Sprintf("goroutine %d message %d;", g, i), 20))
				if i%2 == 0 {
					s.WriteMessage(OpText, m)
				} else {
					s.WriteEncoded(AppendFrame(nil, Server, Frame{Fin: true, Op: OpText, Payload: m}))
				}
			}
		})
	}
	for range 200 {
		_, m, err := c.ReadMessage(nil)
		if err != nil || len(m) < 100 || string(m) != strings.Repeat(string(m[:len(m)/20]), 20) {
			t.Fatalf("%s, %v", short(string(m)), err)
		}
	}
	all.Wait()
}

// A handler that fails in the middle of an inflated message loses nothing.
func TestHandlerThatStopsLosesNoInflatedBytes(t *testing.T) {
	want := strings.Repeat("0123456789", 30_000)
	c, p := deflated(t, Server, Options{}, deflateParams{})
	stop := errors.New("stop")
	p.write(slices.Concat(wire(Client, fin|rsv1|wireText, deflate(want)), wire(Client, fin|wireText, x(50_000)), wire(Client, fin|rsv1|wireText, deflate("end"))))
	var all []byte
	for ends := 0; ends < 3; {
		err := c.Receive(func(b *Batch) error {
			if part := b.Next(); part != nil {
				all = append(all, part.Payload...)
				if part.End {
					ends++
				}
			}
			return stop
		})
		if err != stop {
			t.Fatal(err)
		}
	}
	if string(all) != want+x(50_000)+"end" {
		t.Errorf("got %d bytes", len(all))
	}
}
