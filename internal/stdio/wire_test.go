package stdio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/wsframe"
)

// This file puts decoder and encoder between bytes in memory. Frames are built and read by code of its
// own, so that a mistake of package wsframe cannot hide.

// A wire is a network connection in memory: what is read comes piece by piece, what is written is
// kept.
type wire struct {
	mu      sync.Mutex // guards the fields below
	pieces  [][]byte
	written []byte
}

func (w *wire) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, w.pieces[0])
	if w.pieces[0] = w.pieces[0][n:]; len(w.pieces[0]) == 0 {
		w.pieces = w.pieces[1:]
	}
	return n, nil
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written = append(w.written, p...)
	return len(p), nil
}

func (w *wire) sent() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.written)
}

func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return new(net.TCPAddr) }
func (w *wire) RemoteAddr() net.Addr             { return new(net.TCPAddr) }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

var noPings = wsframe.Options{PingInterval: -1}

// A frame is what a client gets.
type frame struct {
	fin     bool
	op      wsframe.Opcode
	payload string
}

func (f frame) String() string {
	p := f.payload
	if len(p) > 60 {
		p = fmt.Sprintf("%s... (%d bytes)", p[:40], len(p))
	}
	return fmt.Sprintf("%v(%q, fin %v)", f.op, p, f.fin)
}

// nextFrame takes a frame from the front of b, as strict as a client may be. It returns false when b
// does not have a whole one.
func nextFrame(b []byte) (f frame, rest []byte, ok bool, err error) {
	if len(b) < 2 {
		return f, b, false, nil
	}
	f.fin, f.op = b[0]&0x80 != 0, wsframe.Opcode(b[0]&0xF)
	n, head := uint64(b[1]&0x7F), 2
	switch {
	case b[0]&0x70 != 0 || b[1]&0x80 != 0:
		return f, b, false, fmt.Errorf("reserved bit or mask in %x", b[:2])
	case n == 126:
		if len(b) < 4 {
			return f, b, false, nil
		}
		n, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
		if n < 126 {
			return f, b, false, errors.New("length not in its shortest form")
		}
	case n == 127:
		if len(b) < 10 {
			return f, b, false, nil
		}
		n, head = binary.BigEndian.Uint64(b[2:]), 10
		if n < 1<<16 || n > 1<<40 {
			return f, b, false, errors.New("length not in its shortest form, or absurd")
		}
	}
	if uint64(len(b)-head) < n {
		return f, b, false, nil
	}
	f.payload = string(b[head : head+int(n)])
	return f, b[head+int(n):], true, nil
}

// parseFrames parses all frames, and checks their order and the UTF-8 of text: each frame for itself,
// as rule 4 of the design wants.
func parseFrames(b []byte) (all []frame, err error) {
	text, inside := false, false
	for len(b) > 0 {
		f, rest, ok, err := nextFrame(b)
		if err != nil {
			return all, err
		}
		if !ok {
			return all, fmt.Errorf("%d bytes are no whole frame", len(b))
		}
		b = rest
		all = append(all, f)
		if f.op.Control() {
			continue
		}
		if inside != (f.op == wsframe.OpContinuation) {
			return all, fmt.Errorf("%v, inside of a message: %v", f, inside)
		}
		if f.op != wsframe.OpContinuation {
			text = f.op == wsframe.OpText
		}
		inside = !f.fin
		if text && !utf8.ValidString(f.payload) {
			return all, fmt.Errorf("%v is not UTF-8", f)
		}
	}
	return all, nil
}

// messages joins fragments. A message that is not finished is left out.
func messages(all []frame) (out []frame) {
	var m frame
	for _, f := range all {
		switch {
		case f.op.Control():
			out = append(out, f)
			continue
		case f.op == wsframe.OpContinuation:
			m.payload += f.payload
		default:
			m = f
		}
		if m.fin = f.fin; f.fin {
			out = append(out, m)
		}
	}
	return out
}

// endOfTest is the Close frame that says that nothing more comes.
var endOfTest = frame{true, wsframe.OpClose, "\x13\x87"} // 4999

// decode gives the pieces to a decoder, each one as what one read returned, and returns the frames that
// it sent and what its end said.
func decode(t testing.TB, o *Options, pieces ...string) (all []frame, whole bool) {
	t.Helper()
	all, whole, err := tryDecode(o, pieces)
	if err != nil {
		t.Fatal(err)
	}
	return all, whole
}

func tryDecode(o *Options, pieces []string) (all []frame, whole bool, err error) {
	nc := new(wire)
	c := wsframe.NewConn(nc, nil, wsframe.Server, "", &noPings)
	defer func() {
		c.CloseNow()
		<-c.Done()
	}()
	d := decoder{o: o, conn: c}
	if o.PassStderr {
		d.stream = "stdout"
	}
	for _, p := range pieces {
		chunk := make([]byte, rawio.Gap+len(p)) // not larger, so that a write behind it is found
		for i := range rawio.Gap {
			chunk[i] = 0xEE
		}
		copy(chunk[rawio.Gap:], p)
		d.chunk(chunk)
	}
	whole = d.end()
	c.WriteClose(4999, "")
	// A Close frame that finds nothing to wait for is written by somebody else.
	for i := 0; ; i++ {
		all, err = parseFrames(nc.sent())
		if n := len(all); err == nil && n > 0 && all[n-1].op == wsframe.OpClose {
			break
		}
		if i > 10000 {
			return nil, false, fmt.Errorf("no Close frame behind %v: %w", all, err)
		}
		time.Sleep(time.Duration(min(i, 1000)) * time.Microsecond)
	}
	if n := len(all) - 1; all[n] == endOfTest {
		all = all[:n]
	}
	return all, whole, nil
}

func text(payload string) frame { return frame{true, wsframe.OpText, payload} }
func bin(payload string) frame  { return frame{true, wsframe.OpBinary, payload} }
func closing(code wsframe.CloseCode, reason string) frame {
	return frame{true, wsframe.OpClose, string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason}
}

// masked encodes a frame as a client has to.
func masked(fin bool, op wsframe.Opcode, payload string) []byte {
	key := [4]byte{0x37, 0xFA, 0x21, 0x3D}
	b := []byte{byte(op), 0x80}
	if fin {
		b[0] |= 0x80
	}
	switch n := len(payload); {
	case n > 0xFFFF:
		b[1] |= 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	case n > 125:
		b[1] |= 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] |= byte(n)
	}
	b = append(b, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

// encode sends pieces of a connection through an encoder, as many reads bring them, and returns what
// the program gets, and how the encoder wants the connection to be closed.
func encode(o *Options, pieces ...[]byte) (out string, end *wsframe.CloseError) {
	c := wsframe.NewConn(&wire{pieces: slices.Clone(pieces)}, nil, wsframe.Server, "", &wsframe.Options{PingInterval: -1, MaxMessage: 1 << 24, MaxFrame: 1 << 24})
	defer func() {
		c.CloseNow()
		<-c.Done()
	}()
	e := encoder{o: o}
	var got strings.Builder
	err := c.Receive(func(b *wsframe.Batch) error {
		p, refusal := e.encode(b)
		got.Write(p)
		if refusal != nil {
			end = refusal
			return os.ErrClosed
		}
		return nil
	})
	var closed *wsframe.CloseError
	if end == nil && errors.As(err, &closed) && closed.Code != wsframe.CloseAbnormal {
		end = closed
	}
	got.Write(e.end())
	return got.String(), end
}

// join is for many messages in one segment.
func join(frames ...[]byte) []byte { return slices.Concat(frames...) }

// cut divides b after the given numbers of bytes.
func cut(b []byte, at ...int) (pieces [][]byte) {
	last := 0
	for _, i := range at {
		pieces = append(pieces, b[last:i])
		last = i
	}
	return append(pieces, b[last:])
}
