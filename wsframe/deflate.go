package wsframe

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/wspawn/wspawn/internal/rawio"
)

// A compressor is some 1 MiB of memory, so it is borrowed for each message, and never held while a slow
// peer is waited for.
type compressor struct {
	w   *flate.Writer
	out []byte
}

func (w *compressor) Write(p []byte) (int, error) {
	w.out = append(w.out, p...)
	return len(p), nil
}

// compressors are those of levels 1 to 9, and those of windows from 2^8 to 2^14 bytes.
var compressors [10 + maxWindowBits]sync.Pool

// A deflater compresses the messages of a connection. Its history is in the order of the wire, so it
// belongs to who holds sending, until the message is written.
type deflater struct {
	level, bits, minSize int
	window               int // 0: no message refers to earlier ones
	history              []byte
	open                 bool // a compressed message goes out in fragments
}

// compress appends p to dst, compressed, with the four bytes at the end that each message leaves out.
func (z *deflater) compress(dst, p []byte) []byte {
	pool := &compressors[z.level]
	if z.bits < maxWindowBits {
		pool = &compressors[10+z.bits]
	}
	w, _ := pool.Get().(*compressor)
	if w == nil {
		w = new(compressor)
		if z.bits < maxWindowBits {
			w.w, _ = flate.NewWriterWindow(w, 1<<z.bits) // fails for sizes that are out of range
		} else {
			w.w, _ = flate.NewWriter(w, z.level)
		}
	}
	w.out = dst
	w.w.ResetDict(w, z.history)
	w.w.Write(p) // cannot fail, since Write above does not
	w.w.Flush()
	dst, w.out = w.out, nil
	pool.Put(w)
	return dst
}

// appendCompressed appends f, as one frame or more, to dst. It reports false for what goes out as it is:
// small messages, those that would grow, and the rest of those that have begun so. It needs sending.
func (c *Conn) appendCompressed(dst []byte, f Frame) (_ []byte, ok bool) {
	z, first, start := c.deflate, f.Op != OpContinuation, len(dst)
	if first && f.Fin && len(f.Payload) < z.minSize || !first && !z.open {
		return dst, false
	}
	var header [MaxHeader]byte
	dst = z.compress(append(dst, header[:]...), f.Payload)
	p := dst[start+MaxHeader:]
	if f.Fin {
		p = p[:len(p)-4]
		if first && len(p) >= len(f.Payload) && len(f.Payload) > 0 {
			return dst[:start], false
		}
	}
	z.open = !f.Fin
	if z.window > 0 {
		z.history = appendWindow(z.history, f.Payload, z.window)
	}
	out := Frame{RSV1: first, Op: f.Op, Fin: f.Fin, Payload: p}
	size := c.o.fragmentSize()
	if size == 0 || len(p) <= size {
		return c.moveFrame(dst[:start], out), true
	}
	dst = dst[:start]
	for p := bytes.Clone(p); len(p) > 0; {
		out.Payload, p = p[:min(size, len(p))], p[min(size, len(p)):]
		out.Fin = f.Fin && len(p) == 0
		dst = AppendFrame(dst, c.role, out)
		out.RSV1, out.Op = false, OpContinuation
	}
	return dst, true
}

// moveFrame is AppendFrame for a payload that lies a little behind dst in the same memory.
func (c *Conn) moveFrame(dst []byte, f Frame) []byte {
	n := len(f.Payload)
	dst, key := appendHeader(dst, c.role, firstByte(f), int64(n))
	start := len(dst)
	dst = dst[:start+copy(dst[start:start+n], f.Payload)]
	if c.role == Client {
		mask(dst[start:], key)
	}
	return dst
}

// sendCompressed sends f compressed, or reports false when it has to go out as it is. It needs sending.
func (c *Conn) sendCompressed(f Frame) (sent bool, err error) {
	buf := rawio.GetBuffer()
	defer rawio.PutBuffer(buf)
	out, ok := c.appendCompressed(buf[:0], f)
	if !ok {
		return false, nil
	}
	return true, c.writeFrames(out)
}

// recode is WriteEncoded with compression. It needs sending.
func (c *Conn) recode(frames []byte) error {
	buf := rawio.GetBuffer()
	defer rawio.PutBuffer(buf)
	out := buf[:0]
	for len(frames) > 0 {
		f, n := decodeFrame(frames)
		if len(out) > 0 && len(out)+n+MaxHeader > len(buf) {
			if err := c.writeFrames(out); err != nil {
				return err
			}
			out = buf[:0]
		}
		if f.RSV1 {
			c.deflate.history = nil // the peer's is another one from now on
		}
		ok := false
		if !f.Op.Control() && !f.RSV1 && f.Op.known() {
			out, ok = c.appendCompressed(out, f)
		}
		if !ok {
			out = append(out, frames[:n]...)
		}
		frames = frames[n:]
	}
	return c.writeFrames(out)
}

// decodeFrame returns the first of the frames that one of our functions has encoded, and its size.
// Something else is returned as a reserved opcode, whole.
func decodeFrame(p []byte) (f Frame, size int) {
	junk := Frame{Op: 0x7}
	if len(p) < 2 {
		return junk, len(p)
	}
	length, header := int64(p[1]&0x7F), 2
	switch length {
	case 126:
		header += 2
	case 127:
		header += 8
	}
	masked := p[1]&0x80 != 0
	if masked {
		header += 4
	}
	if len(p) < header {
		return junk, len(p)
	}
	switch p[1] & 0x7F {
	case 126:
		length = int64(binary.BigEndian.Uint16(p[2:]))
	case 127:
		length = int64(binary.BigEndian.Uint64(p[2:]))
	}
	if length < 0 || length > int64(len(p)-header) {
		return junk, len(p)
	}
	size = header + int(length)
	f = Frame{Fin: p[0]&0x80 != 0, RSV1: p[0]&0x70 != 0, Op: Opcode(p[0] & 0xF), Payload: p[header:size:size]}
	if masked {
		f.Payload = bytes.Clone(f.Payload)
		mask(f.Payload, binary.LittleEndian.Uint32(p[header-4:]))
	}
	return f, size
}
