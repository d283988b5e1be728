package wsframe

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// FuzzParser cuts a stream in many ways, all of which have to give the same; and what was accepted
// has to give the same once more when it is encoded anew.
func FuzzParser(f *testing.F) {
	for _, v := range vectors() {
		for _, role := range v.roles() {
			if in := v.bytes(other(role)); len(in) < 5000 {
				f.Add(in, role == Client, uint64(len(in)))
			}
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, client bool, seed uint64) {
		role := Server
		if client {
			role = Client
		}
		d := func() *Parser { return &Parser{Role: role, MaxFrame: 5000, MaxMessage: 8000, MaxFragments: 20} }
		whole, err := parse(d(), in)
		if err != nil {
			t.Fatal(err)
		}
		same := func(how string, o outcome, err error) {
			t.Helper()
			if err != nil || !slices.Equal(o.messages, whole.messages) || !slices.Equal(o.pings, whole.pings) ||
				o.code != whole.code || o.remote != whole.remote || o.reason != whole.reason {
				t.Fatalf("%s: %+v, %v; whole: %+v", how, o, err, whole)
			}
		}
		o, err := parse(d(), slices.Collect(slices.Chunk(in, 1))...)
		same("byte by byte", o, err)
		r := rand.New(rand.NewPCG(seed, 0))
		for range 5 {
			var chunks [][]byte
			for p := in; len(p) > 0; {
				n := 1 + r.IntN(min(len(p), 1+r.IntN(64)))
				chunks, p = append(chunks, p[:n]), p[n:]
			}
			o, err := parse(d(), chunks...)
			same("in pieces", o, err)
		}
		if whole.code == 0 || whole.remote {
			o, err := parse(d(), reencode(t, d(), in, other(role)))
			same("encoded anew", o, err)
		}
	})
}

// reencode takes a stream apart and encodes the frames that were accepted, up to the last whole one.
func reencode(t *testing.T, d *Parser, in []byte, sender Role) (out []byte) {
	in = bytes.Clone(in)
	var frame []byte
	for len(in) > 0 {
		part, n, ok, err := d.Next(in)
		if err != nil {
			t.Fatal(err)
		}
		in = in[n:]
		if !ok {
			continue
		}
		if part.FrameStart {
			frame = nil
		}
		if frame = append(frame, part.Payload...); part.FrameEnd {
			out = AppendFrame(out, sender, Frame{Fin: part.FrameFin || part.Op.Control(), Op: part.FrameOp, Payload: frame})
		}
	}
	return out
}

// FuzzConn lets a peer send anything to a real connection that echoes: it always ends, what it sends
// is always well-formed and ends with a Close frame unless the peer has broken off.
func FuzzConn(f *testing.F) {
	for _, v := range vectors() {
		for _, role := range v.roles() {
			if in := v.bytes(other(role)); len(in) < 2000 {
				f.Add(in, role == Client, uint8(len(in)))
			}
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, client bool, how uint8) {
		role := Server
		if client {
			role = Client
		}
		// The fuzzing engine does not notice an input that hangs.
		defer time.AfterFunc(30*time.Second, func() {
			debug.SetTraceback("all")
			panic("the connection does not end")
		}).Stop()
		a, b := unixPair(t)
		if how&1 != 0 {
			a, b = net.Pipe()
		}
		defer b.Close()
		c := NewConn(a, nil, role, "", &Options{MaxMessage: 5000, MaxFragments: 20, FragmentSize: int(how>>4) * 10, CloseTimeout: 10 * time.Second})
		ended := make(chan error, 1)
		go func() {
			var err error
			switch how >> 1 & 3 {
			case 0:
				err = echoAs(c)
			case 1:
				for err == nil {
					var f Frame
					if f, err = c.ReadFrame(nil); err == nil {
						err = c.WriteFrame(f)
					}
				}
			case 2:
				err = echoStreams(c)
			default:
				var op Opcode
				var buf []byte
				for err == nil {
					if op, buf, err = c.ReadMessage(buf); err == nil {
						err = c.WriteMessage(op, buf)
					}
				}
			}
			c.Close(CloseInternalError, "")
			ended <- err
		}()
		go func() {
			for p := in; len(p) > 0; {
				n := min(len(p), 1+int(how))
				if _, err := b.Write(p[:n]); err != nil {
					return
				}
				p = p[n:]
			}
			b.Write(wire(other(role), fin|wireClose, "")) // may come inside of a frame
			if h, ok := b.(interface{ CloseWrite() error }); ok {
				h.CloseWrite()
			} else {
				time.AfterFunc(5*time.Millisecond, func() { b.Close() })
			}
		}()
		p := &peer{t: t, Conn: b, role: other(role), br: bufio.NewReader(b), loose: how>>1&3 < 2}
		var err error
		for err == nil && (!p.closed || how&1 == 0) {
			_, _, err = p.frame()
		}
		if errors.Is(err, errMalformed) {
			t.Error(err)
		}
		if !p.closed && err == io.EOF && how&1 == 0 {
			t.Error("no Close frame")
		}
		b.Close()
		var e *CloseError
		if err := <-ended; !errors.As(err, &e) {
			t.Errorf("ended with %v", err)
		}
		<-c.Done()
	})
}

// echoAs is echo for both roles.
func echoAs(c *Conn) error {
	return c.Receive(func(b *Batch) error {
		var out []byte
		for part := b.Next(); part != nil; part = b.Next() {
			op := part.Op
			if !part.Start {
				op = OpContinuation
			}
			out = AppendFrame(out, c.Role(), Frame{Fin: part.End, Op: op, Payload: part.Payload})
		}
		return c.WriteEncoded(out)
	})
}

func echoStreams(c *Conn) error {
	for {
		op, r, err := c.NextReader()
		if err != nil {
			return err
		}
		w, err := c.NextWriter(op)
		if err != nil {
			return err
		}
		if _, err = io.Copy(w, r); err != nil {
			// The message cannot be completed, so the connection cannot go on. Close only unlocks.
			c.WriteClose(CloseInternalError, "")
			w.Close()
			return err
		}
		if err = w.Close(); err != nil {
			return err
		}
	}
}
