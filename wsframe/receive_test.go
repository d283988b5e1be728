package wsframe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// Space promises six bytes for each frame and eight for the batch, for a client two for each frame.
func TestSpaceIsAlwaysEnough(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		a, b := net.Pipe()
		c := connOn(t, a, role, nil)
		defer b.Close()
		r := rand.New(rand.NewPCG(1, 2))
		var in, sent []byte
		for range 3000 {
			payload := make([]byte, []int{0, 0, 1, 2, 125, 126, 300, 20_000}[r.IntN(8)]+r.IntN(3))
			for i := range payload {
				payload[i] = byte(r.Uint32())
			}
			sent = append(sent, payload...)
			in = append(in, wire(other(role), fin|wireBin, string(payload))...)
			if r.IntN(4) == 0 {
				in = append(in, wire(other(role), fin|wirePong, x(r.IntN(126)))...)
			}
		}
		in = append(in, wire(other(role), fin|wireClose, "")...)
		go func() {
			for p := in; len(p) > 0; {
				n := 1 + r.IntN(min(len(p), []int{3, 30, 300, 65_000}[r.IntN(4)]))
				b.Write(p[:n])
				p = p[n:]
			}
		}()
		go newPeer(t, b, other(role)).untilClose()
		own := []byte("<1234>")
		if role == Client {
			own = []byte("<>")
		}
		var got []byte
		err := c.Receive(func(batch *Batch) error {
			space := batch.Space()
			out := append(space, "8 bytes."...)
			want := bytes.Clone(out)
			frame := true // the payload of a frame that began earlier has no header here
			for part := batch.Next(); part != nil; part = batch.Next() {
				if frame || part.FrameStart {
					want = append(want, own...)
				}
				want = append(want, part.Payload...)
				got = append(got, part.Payload...)
				if frame || part.FrameStart {
					out = append(out, own...)
				}
				out = append(out, part.Payload...)
				frame = false
			}
			if !bytes.Equal(out, want) {
				return errors.New("payloads were overwritten before they were parsed")
			}
			if &out[0] != &space[:1][0] {
				return fmt.Errorf("%d bytes did not fit", len(out))
			}
			return nil
		})
		wantCloseError(t, err, CloseNoStatus, true)
		if !bytes.Equal(got, sent) {
			t.Errorf("got %d bytes, want %d", len(got), len(sent))
		}
	})
}

// A handler that fails leaves what it has not seen to whoever reads next.
func TestReceiveGoesOnBehindAnError(t *testing.T) {
	for _, how := range []string{"tcp", "pipe"} {
		t.Run(how, func(t *testing.T) {
			a, b := netPair(t)
			if how == "pipe" {
				a, b = net.Pipe()
			}
			c, p := connOn(t, a, Server, nil), newPeer(t, b, Client)
			var in []byte
			for i := range 1000 {
				in = append(in, wire(Client, fin|wireText, fmt.Sprintf("message %d", i))...)
			}
			in = append(in, wire(Client, fin|wireClose, "")...)
			go p.Write(in)
			enough := errors.New("enough")
			next := 0
			take := func(s string) {
				if want := fmt.Sprintf("message %d", next); s != want {
					t.Fatalf("got %q, want %q", s, want)
				}
				next++
			}
			var buf []byte
			for next < 999 {
				err := c.Receive(func(b *Batch) error {
					for i := 0; ; i++ {
						if i == 3 {
							return enough
						}
						part := b.Next()
						if part == nil {
							return nil
						}
						take(string(part.Payload))
					}
				})
				if err != enough {
					break
				}
				var rerr error
				if _, buf, rerr = c.ReadMessage(buf); rerr != nil {
					break
				}
				take(string(buf))
			}
			for next < 1000 {
				f, err := c.ReadFrame(nil)
				if err != nil {
					t.Fatal(err)
				}
				take(string(f.Payload))
			}
			p.wantCloseOf(c)
		})
	}
}

// wantCloseOf lets c read to the end and checks its answer.
func (p *peer) wantCloseOf(c *Conn) {
	p.t.Helper()
	go c.ReadMessage(nil)
	p.wantClose(1005)
}

func TestNextReaderSkipsWhatWasNotRead(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		c, p := peerOf(t, role, nil)
		go func() {
			for range 3 {
				p.send(wireText, x(50_000))
				p.send(fin|wirePing, "")
				p.send(wireCont, x(50_000))
				p.send(fin|wireCont, "x")
				p.send(fin|wireBin, "")
				p.send(fin|wireText, "small")
			}
		}()
		for i := range 3 {
			op, r, err := c.NextReader()
			if err != nil || op != OpText {
				t.Fatal(op, err)
			}
			if i > 0 {
				var b [70_000]byte
				for n := 0; n < 60_000*(i-1)+1; {
					k, err := r.Read(b[:])
					if err != nil {
						t.Fatal(err)
					}
					n += k
				}
			}
			if op, r, err = c.NextReader(); err != nil || op != OpBinary {
				t.Fatal(op, err)
			}
			if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Fatal("an empty message is not empty")
			}
			if op, got, err := c.ReadMessage(nil); err != nil || op != OpText || string(got) != "small" {
				t.Fatal(op, short(string(got)), err)
			}
		}
	})
}

// Whatever reads are mixed with: no memory of a buffer that was given back.
func TestMessagesBeginBehindWhatWasBegunInAnotherWay(t *testing.T) {
	enough := errors.New("enough")
	begins := map[string]func(c *Conn) error{
		"ReadFrame": func(c *Conn) error { _, err := c.ReadFrame(nil); return err },
		"Receive": func(c *Conn) error {
			err := c.Receive(func(b *Batch) error {
				if b.Next() != nil {
					return enough
				}
				return nil
			})
			if err == enough {
				return nil
			}
			return err
		},
	}
	reads := map[string]func(c *Conn) (string, error){
		"ReadMessage": func(c *Conn) (string, error) { _, p, err := c.ReadMessage(nil); return string(p), err },
		"NextReader": func(c *Conn) (string, error) {
			_, r, err := c.NextReader()
			if err != nil {
				return "", err
			}
			p, err := io.ReadAll(r)
			return string(p), err
		},
	}
	for begin, f := range begins {
		for read, g := range reads {
			t.Run(begin+" and "+read, func(t *testing.T) {
				c, p := peerOf(t, Server, nil)
				p.send(wireText, "one ")
				if err := f(c); err != nil {
					t.Fatal(err)
				}
				p.send(wireCont, "two ")
				p.send(fin|wireCont, "three")
				p.send(fin|wireText, "next")
				if got, err := g(c); err != nil || got != "next" {
					t.Errorf("%q, %v; want the next message", got, err)
				}
			})
		}
	}
}

func TestReaderOfAnEarlierMessageIsHarmless(t *testing.T) {
	c, p := peerOf(t, Server, nil)
	p.send(fin|wireText, "first, long enough to be read in pieces")
	_, r, err := c.NextReader()
	if err != nil {
		t.Fatal(err)
	}
	var b [5]byte
	r.Read(b[:])
	p.send(fin|wireText, "second")
	c.ReadFrame(nil)
	if n, err := r.Read(b[:]); n != 0 || err == nil {
		t.Errorf("behind ReadFrame: %q, %v", b[:n], err)
	}
}

// Neither a control frame nor what is not UTF-8 may be taken for the rest of the message.
func TestReaderOfABrokenMessageKeepsItsError(t *testing.T) {
	for name, test := range map[string]struct {
		rest func(p *peer)
		code CloseCode
	}{
		"a Close frame":         {func(p *peer) { p.send(fin|wireClose, closePayload(1001, "reason")) }, CloseGoingAway},
		"an empty Close frame":  {func(p *peer) { p.send(fin|wireClose, "") }, CloseNoStatus},
		"a ping, and the end":   {func(p *peer) { p.send(fin|wirePing, "payload"); p.Conn.Close() }, CloseAbnormal},
		"what is not UTF-8":     {func(p *peer) { p.send(fin|wireCont, "\xff\xff") }, CloseInvalidPayload},
		"an end in a character": {func(p *peer) { p.send(wireCont, "\xc3"); p.send(fin|wireCont, "") }, CloseInvalidPayload},
	} {
		t.Run(name, func(t *testing.T) {
			eachRole(t, func(t *testing.T, role Role) {
				c, p := peerOf(t, role, nil)
				p.send(wireText, "beginning")
				_, r, err := c.NextReader()
				if err != nil {
					t.Fatal(err)
				}
				test.rest(p)
				if _, err = io.ReadAll(r); err == nil {
					t.Fatal("the message ended")
				}
				first := wantCloseError(t, err, test.code, test.code != CloseInvalidPayload)
				for range 2 {
					var b [20]byte
					if n, err := r.Read(b[:]); n != 0 || err != error(first) {
						t.Errorf("read %q, %v", b[:n], err)
					}
				}
			})
		})
	}
}

func TestInPlaceIsWhereThePayloadLies(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		a, b := net.Pipe() // one write is one batch
		c, p := connOn(t, a, role, nil), newPeer(t, b, other(role))
		go func() {
			p.write(append(wire(p.role, fin|wireText, "one"), wire(p.role, fin|wireText, "two")...))
			p.write(wire(p.role, fin|wireClose, ""))
		}()
		go p.untilClose()
		c.Receive(func(b *Batch) error {
			first := b.Next()
			if first == nil {
				return nil
			}
			out := b.InPlace()
			if string(out) != "one" || &out[0] != &first.Payload[0] {
				t.Errorf("%q", out)
			}
			if out = append(out, b.Next().Payload...); string(out) != "onetwo" {
				t.Errorf("%q", out)
			}
			return nil
		})
	})
}
