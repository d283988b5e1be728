package wsframe

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
)

// stick makes c send a message that is too large for the buffers of the network, and returns when
// its beginning has arrived. The result of the write comes over the channel.
func stick(t testing.TB, c *Conn, p *peer, size int) (payload string, done chan error) {
	t.Helper()
	payload = strings.Repeat("0123456789abcdef", size/16)
	done = make(chan error, 1)
	go func() { done <- c.WriteMessage(OpBinary, []byte(payload)) }()
	if _, err := p.br.Peek(1); err != nil {
		t.Fatal(err)
	}
	return payload, done
}

func eachRole(t *testing.T, test func(t *testing.T, role Role)) {
	for _, role := range []Role{Server, Client} {
		t.Run(role.String(), func(t *testing.T) { test(t, role) })
	}
}

const huge = 16 << 20 // more than the buffers of a loopback connection take

func TestPongGoesOutBehindALargeFrameAndNotInIt(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		c, p := peerOf(t, role, nil)
		payload, written := stick(t, c, p, huge)
		go c.ReadMessage(nil)
		p.send(fin|wirePing, "are you there")
		eventually(t, "the pong waits", func() bool { return !c.mailbox.empty() })
		p.want(fin|wireBin, payload)
		p.want(fin|wirePong, "are you there")
		if err := <-written; err != nil {
			t.Error(err)
		}
	})
}

func TestCloseGoesOutBehindALargeFrameAndNotInIt(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		c, p := peerOf(t, role, &Options{CloseTimeout: patience})
		payload, written := stick(t, c, p, huge)
		if err := c.WriteClose(CloseGoingAway, "bye"); err != nil {
			t.Fatal(err)
		}
		p.want(fin|wireBin, payload)
		p.wantClose(1001)
		if err := <-written; err != nil {
			t.Error(err)
		}
		if err := c.WriteMessage(OpText, nil); err != ErrCloseSent {
			t.Errorf("write behind the Close frame: %v", err)
		}
	})
}

func TestWriterLearnsWhyTheConnectionEnded(t *testing.T) {
	c, p := peerOf(t, Server, nil)
	_, written := stick(t, c, p, huge)
	c.CloseNow()
	err := <-written
	if e := wantCloseError(t, err, CloseAbnormal, false); e != c.Err() {
		t.Errorf("the writer got %v, the connection ended by %v", e, c.Err())
	}
	if err := c.WriteMessage(OpText, nil); err != c.Err() {
		t.Errorf("later write: %v", err)
	}
}

// A batch of pings among data, while the network takes nothing, must not start a goroutine for each.
func TestPingsInABatchShareOneGoroutine(t *testing.T) {
	c, p, _ := gatedConn(t, Server, nil)
	var in []byte
	for range 500 {
		in = append(append(in, wire(Client, fin|wirePing, "")...), wire(Client, fin|wireText, "")...)
	}
	stop := errors.New("stop")
	p.write(in)
	before, most := goroutines(), 0
	n := 0
	err := c.Receive(func(b *Batch) error {
		for b.Next() != nil {
			most = max(most, goroutines())
			n++
		}
		if n == 500 {
			return stop
		}
		return nil
	})
	if err != stop {
		t.Fatal(err)
	}
	if most > before+3 {
		t.Errorf("%d goroutines became %d", before, most)
	}
}

func TestOneMessageIsOneFrame(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		c, p := peerOf(t, role, nil)
		for _, n := range []int{0, 1, 125, 126, 65535, 65536, rawio.BufferSize - 20, rawio.BufferSize, 3*rawio.BufferSize + 1} {
			for op, first := range map[Opcode]byte{OpText: fin | wireText, OpBinary: fin | wireBin} {
				sent := []byte(x(n))
				errs := make(chan error, 1)
				go func() { errs <- c.WriteMessage(op, sent) }()
				p.want(first, x(n))
				if err := <-errs; err != nil {
					t.Error(err)
				}
				if string(sent) != x(n) {
					t.Error("the caller's slice was masked")
				}
			}
		}
		if role == Client {
			distinct := slices.Clone(p.keys)
			slices.Sort(distinct)
			if n := len(slices.Compact(distinct)); n != len(p.keys) || n != 18 {
				t.Errorf("%d masking keys for %d frames", n, len(p.keys))
			}
		}
	})
}

func TestFragmentSizeCutsBetweenCharacters(t *testing.T) {
	text := strings.Repeat("aß€𐍈", 30) + "end"
	eachRole(t, func(t *testing.T, role Role) {
		for _, size := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 100, len(text) - 1, len(text), len(text) + 1} {
			for op, first := range map[Opcode]byte{OpText: wireText, OpBinary: wireBin} {
				c, p := peerOf(t, role, &Options{FragmentSize: size})
				if err := c.WriteMessage(op, []byte(text)); err != nil {
					t.Fatal(err)
				}
				got, frames := p.whole(first)
				if got != text {
					t.Errorf("size %d: got %s", size, short(got))
				}
				for i, f := range frames {
					// The peer has checked that each frame is whole characters.
					if n, most := len(f), max(size, 4); n > most || i < len(frames)-1 && n < most-3 {
						t.Errorf("size %d: fragment %d has %d bytes", size, i, n)
					}
				}
				if want := (len(text) + max(size, 4) - 1) / max(size, 4); op == OpBinary && size%4 == 0 && len(frames) != want {
					t.Errorf("size %d: %d fragments, want %d", size, len(frames), want)
				}
			}
		}
	})
}

// whole reads a message and returns it and its fragments.
func (p *peer) whole(first byte) (whole string, frames []string) {
	p.t.Helper()
	for {
		got, payload, err := p.frame()
		if err != nil || got&^fin != first {
			p.t.Fatalf("peer: frame %#x, %v; want %#x", got, err, first)
		}
		whole += payload
		frames = append(frames, payload)
		if got&fin != 0 {
			return whole, frames
		}
		first = wireCont
	}
}

func TestNextWriter(t *testing.T) {
	text := strings.Repeat("aß€𐍈", 30000)
	for _, c := range []struct {
		name     string
		op       Opcode
		size     int
		writes   []string
		payloads int // number of frames
	}{
		{"nothing", OpText, 0, nil, 1},
		{"empty writes", OpBinary, 0, list("", "", ""), 1},
		{"small", OpText, 0, list("Hel", "lo"), 1},
		{"characters in pieces", OpText, 0, list("\xE2", "\x82", "\xAC", "\xF0\x90", "\x8D\x88"), 1},
		{"32 KiB", OpBinary, 0, list(x(32<<10-1), "x"), 1},
		{"one byte more", OpBinary, 0, list(x(32<<10), "x"), 2},
		{"large", OpText, 0, list(text), (len(text) + 32<<10 - 1) / (32 << 10)},
		{"large, in odd pieces", OpText, 0, list(text[:77777], text[77777:]), (len(text) + 32<<10 - 1) / (32 << 10)},
		{"fragments", OpBinary, 5, list("1234567890", "1"), 3},
		{"fragments of text", OpText, 5, list("€€€", "€"), 4},
		{"fragments of the smallest size", OpText, 1, list("𐍈𐍈"), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachRole(t, func(t *testing.T, role Role) {
				conn, p := peerOf(t, role, &Options{FragmentSize: c.size})
				errs := make(chan error, 1)
				go func() {
					w, err := conn.NextWriter(c.op)
					for _, s := range c.writes {
						if n, werr := io.WriteString(w, s); n != len(s) || werr != nil {
							err = fmt.Errorf("wrote %d of %d bytes: %w", n, len(s), werr)
						}
					}
					errs <- errors.Join(err, w.Close(), w.Close())
					if _, err := w.Write([]byte("x")); err != io.ErrClosedPipe {
						t.Errorf("Write behind Close: %v", err)
					}
					errs <- nil
				}()
				got, frames := p.whole(byte(c.op))
				if want := strings.Join(c.writes, ""); got != want || len(frames) != c.payloads {
					t.Errorf("got %s in %d frames, want %s in %d", short(got), len(frames), short(want), c.payloads)
				}
				if err := errors.Join(<-errs, <-errs); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestNextWriterRefusesWhatIsNotUTF8(t *testing.T) {
	for _, writes := range [][]string{{"fine", "\xFF"}, {"half a character \xE2\x82"}, {x(40000), "\xED\xA0\x80"}} {
		c, p := peerOf(t, Server, nil)
		w, _ := c.NextWriter(OpText)
		var err error
		for _, s := range writes {
			_, err = io.WriteString(w, s)
		}
		if closed := w.Close(); closed != ErrInvalidUTF8 || err != nil && err != ErrInvalidUTF8 {
			t.Errorf("Write: %v, Close: %v", err, closed)
		}
		for {
			first, payload, err := p.frame()
			if err != nil {
				t.Fatal(err)
			}
			if first == fin|wireClose {
				if !strings.HasPrefix(payload, closePayload(1011, "")) {
					t.Errorf("closed with %q", payload)
				}
				break
			}
		}
		if err := c.WriteMessage(OpText, nil); err != ErrCloseSent { // and the lock is free again
			t.Errorf("then: %v", err)
		}
	}
}

func TestWriteRefusesWhatTheRFCForbids(t *testing.T) {
	c, p := peerOf(t, Server, nil)
	long := make([]byte, 126)
	for _, f := range []Frame{
		{Fin: true, Op: 3}, {Fin: true, Op: 7}, {Fin: true, Op: 0xB}, {Fin: true, Op: 0xF}, {Fin: true, Op: 0x11}, {Fin: true, Op: 0xFF},
		{Fin: true, Op: OpClose}, {Op: OpPing}, {Op: OpPong}, {Fin: true, Op: OpPing, Payload: long}, {Fin: true, Op: OpPong, Payload: long},
	} {
		if err := c.WriteFrame(f); err != ErrBadFrame {
			t.Errorf("%v: %v", f, err)
		}
	}
	for _, op := range []Opcode{OpContinuation, OpClose, OpPing, OpPong, 3, 0x81} {
		if err := c.WriteMessage(op, nil); err != ErrBadFrame {
			t.Errorf("WriteMessage of %v: %v", op, err)
		}
		if _, err := c.NextWriter(op); err != ErrBadFrame {
			t.Errorf("NextWriter of %v: %v", op, err)
		}
	}
	if err := c.WriteMessage(OpText, []byte("\xFF")); err != ErrInvalidUTF8 {
		t.Errorf("WriteMessage: %v", err)
	}
	for _, code := range []CloseCode{1, 999, 1004, 1006, 1015, 1016, 2999, 5000} {
		if err := c.WriteClose(code, ""); err != ErrBadCode {
			t.Errorf("WriteClose of %d: %v", code, err)
		}
	}
	for _, f := range []Frame{{Op: OpText}, {Op: OpContinuation, Payload: long}, {Fin: true, Op: OpPing, Payload: long[:125]}, {Fin: true, Op: OpContinuation}} {
		if err := c.WriteFrame(f); err != nil {
			t.Errorf("%v: %v", f, err)
		}
	}
	// Nothing of what was refused went out.
	p.want(wireText, "")
	p.want(wireCont, string(long))
	p.want(fin|wirePing, string(long[:125]))
	p.want(fin|wireCont, "")
}

func TestWriteEncoded(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		c, p := peerOf(t, role, nil)
		b := AppendFrame(nil, role, Frame{Fin: true, Op: OpText, Payload: []byte("one")})
		b = AppendFrame(b, role, Frame{Op: OpBinary, Payload: []byte(x(200))})
		if err := c.WriteEncoded(b); err != nil {
			t.Fatal(err)
		}
		p.want(fin|wireText, "one")
		p.want(wireBin, x(200))
		c.WriteClose(0, "")
		if err := c.WriteEncoded(b); err != ErrCloseSent {
			t.Errorf("behind a Close frame: %v", err)
		}
		p.wantClose(1005)
	})
}

func TestWriteEncodedWaitsForTheEndOfAMessage(t *testing.T) {
	c, p := peerOf(t, Server, nil)
	w, err := c.NextWriter(OpBinary)
	if err != nil {
		t.Fatal(err)
	}
	half := x(32 << 10)
	io.WriteString(w, half+"rest")
	p.want(wireBin, half)
	written := make(chan error, 1)
	go func() {
		written <- c.WriteEncoded(AppendFrame(nil, Server, Frame{Fin: true, Op: OpText, Payload: []byte("news")}))
	}()
	time.Sleep(20 * time.Millisecond) // for a write that does not wait
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	p.want(fin|wireCont, "rest")
	p.want(fin|wireText, "news")
	if err := <-written; err != nil {
		t.Error(err)
	}
}
