package wsframe

import (
	"errors"
	"io"
	"net"
	"os"
	"unicode/utf8"

	"github.com/wspawn/wspawn/internal/rawio"
)

// WriteEncoded writes frames that [AppendFrame], [AppendHeader] or [PutHeader] have encoded, in one
// write. The caller answers for what they are: whole messages, or it is the only one to write data.
// They wait for the end of a message that another goroutine is writing.
//
// On a connection with compression, the messages are compressed on the way, under the same rules as
// those of [Conn.WriteMessage]; frames with RSV1 are sent as they are.
func (c *Conn) WriteEncoded(frames []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	if c.deflate != nil {
		return c.recode(frames)
	}
	return c.writeFrames(frames)
}

func (c *Conn) writeFrames(frames []byte) error {
	c.writing.Lock()
	err := c.write(frames)
	c.unlockWriting()
	return err
}

// write writes whole frames. It needs writing.
func (c *Conn) write(p []byte) error {
	if err := c.beginFrame(); err != nil {
		return err
	}
	return c.writeRaw(p)
}

// beginFrame comes before each write but those inside of a frame, and needs writing. The mail goes
// first: it may be the rest of a frame.
func (c *Conn) beginFrame() error {
	c.flushMail(true)
	if c.Ending() {
		return c.writeErr()
	}
	return nil
}

func (c *Conn) writeRaw(p []byte) error {
	if _, err := c.out.Write(p); err != nil {
		return c.writeFailed(err)
	}
	return nil
}

func (c *Conn) writeErr() error {
	if e := c.cause.Load(); e != nil && (c.aborted.Load() || e.Remote) {
		return e
	}
	return ErrCloseSent
}

// writeFailed ends a connection that cannot be written. A peer that is gone may have left messages
// and a Close frame, so the reader goes on to the end of the stream, for CloseTimeout at most.
func (c *Conn) writeFailed(err error) error {
	e := networkError(err)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.abort(e)
		return c.endCause()
	case c.aborted.Load() || errors.Is(err, net.ErrClosed):
		return c.endCause()
	}
	c.awaitClose()
	return e
}

// WriteMessage sends p as one message, in one frame unless FragmentSize asks for more. Text must be
// UTF-8, or ErrInvalidUTF8 is returned and nothing sent. The slice is not changed.
func (c *Conn) WriteMessage(op Opcode, p []byte) error {
	switch {
	case op != OpText && op != OpBinary:
		return ErrBadFrame
	case op == OpText && !utf8.Valid(p):
		return ErrInvalidUTF8
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	if c.deflate != nil {
		if sent, err := c.sendCompressed(Frame{Op: op, Payload: p, Fin: true}); sent {
			return err
		}
	}
	return c.writeMessage(op, p)
}

// writeMessage sends a message as it is. It needs sending.
func (c *Conn) writeMessage(op Opcode, p []byte) error {
	size, text := c.o.fragmentSize(), op == OpText
	for size > 0 && len(p) > size {
		piece := p[:size]
		if text {
			piece = piece[:size-IncompleteRune(piece)]
		}
		if err := c.writeFrame(Frame{Op: op, Payload: piece}); err != nil {
			return err
		}
		op, p = OpContinuation, p[len(piece):]
	}
	return c.writeFrame(Frame{Op: op, Payload: p, Fin: true})
}

// WriteFrame sends one frame as given, for messages that the caller fragments itself and for
// extensions. Reserved opcodes, control frames that RFC 6455 forbids and Close frames (they are for
// [Conn.WriteClose]) give ErrBadFrame; the order of fragments and the UTF-8 of text are the
// caller's affair.
//
// On a connection with compression, frames are not compressed, but continue a message whose beginning
// WriteEncoded has compressed. RSV1 is for messages that the caller has compressed, without reference
// to others; any other use of it gives ErrBadFrame there.
func (c *Conn) WriteFrame(f Frame) error {
	if !f.Op.known() || f.Op == OpClose || f.Op.Control() && (!f.Fin || len(f.Payload) > MaxControlPayload) {
		return ErrBadFrame
	}
	if c.deflate != nil && (f.RSV1 || f.Op == OpContinuation) {
		return c.writeFragment(f)
	}
	return c.writeFrame(f)
}

// writeFragment is for frames that have to do with compression.
func (c *Conn) writeFragment(f Frame) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	switch {
	case !f.RSV1:
		if sent, err := c.sendCompressed(f); sent {
			return err
		}
	case f.Op != OpText && f.Op != OpBinary:
		return ErrBadFrame
	default:
		c.deflate.history = nil // the peer's is another one from now on
	}
	return c.writeFrame(f)
}

// writeFrame sends header and payload in one write where they fit into a pooled buffer. The rest
// of a large payload is written from where it lies, or masked piece by piece.
func (c *Conn) writeFrame(f Frame) error {
	buf := rawio.GetBuffer()
	defer rawio.PutBuffer(buf)
	out, key := appendHeader(buf[:0], c.role, firstByte(f), int64(len(f.Payload)))
	c.writing.Lock()
	defer c.unlockWriting()
	if err := c.beginFrame(); err != nil {
		return err
	}
	p := f.Payload
	for {
		n := min(len(p), cap(out)-len(out))
		start := len(out)
		out = append(out, p[:n]...)
		if p = p[n:]; c.role == Client {
			key = mask(out[start:], key)
		}
		if err := c.writeRaw(out); err != nil || len(p) == 0 {
			return err
		}
		if c.role == Server {
			return c.writeRaw(p)
		}
		out = out[:0]
	}
}

// NextWriter begins a message whose length need not be known. What is written is sent when 32 KiB,
// or FragmentSize, have come together; a message that ends before is one frame. Close ends it. Text
// must be UTF-8, or Write returns ErrInvalidUTF8 and the connection is closed with 1011, since half
// a message cannot be taken back. Other messages wait until Close.
func (c *Conn) NextWriter(op Opcode) (io.WriteCloser, error) {
	if op != OpText && op != OpBinary {
		return nil, ErrBadFrame
	}
	c.sending.Lock()
	w := &messageWriter{c: c, op: op, text: op == OpText, size: c.o.fragmentSize()}
	if w.size == 0 || w.size > 32<<10 || c.deflate != nil { // then the compressed bytes are cut
		w.size = 32 << 10
	}
	return w, nil
}

type messageWriter struct {
	c     *Conn
	op    Opcode // of the next frame
	text  bool
	size  int
	buf   []byte
	check utf8Checker
	err   error
	done  bool
}

func (w *messageWriter) Write(p []byte) (int, error) {
	if w.done && w.err == nil {
		return 0, io.ErrClosedPipe
	}
	if w.text && w.err == nil && !w.check.valid(p) {
		w.fail()
	}
	written := 0
	for w.err == nil && len(p) > 0 {
		n := min(len(p), w.size-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p, written = p[n:], written+n
		if len(w.buf) < w.size || len(p) == 0 {
			break // a full buffer is kept as well: it may be the end
		}
		w.flush(false)
	}
	return written, w.err
}

func (w *messageWriter) flush(fin bool) {
	tail := 0
	if w.text && !fin {
		tail = IncompleteRune(w.buf)
	}
	cut := len(w.buf) - tail
	w.err = w.c.writePiece(Frame{Op: w.op, Payload: w.buf[:cut], Fin: fin})
	w.op, w.buf = OpContinuation, append(w.buf[:0], w.buf[cut:]...)
}

// writePiece sends a piece of a message of NextWriter.
func (c *Conn) writePiece(f Frame) error {
	if c.deflate != nil {
		if sent, err := c.sendCompressed(f); sent {
			return err
		}
		return c.writeMessage(f.Op, f.Payload) // a whole one
	}
	return c.writeFrame(f)
}

func (w *messageWriter) fail() {
	w.err = ErrInvalidUTF8
	w.c.WriteClose(CloseInternalError, "message could not be completed")
}

func (w *messageWriter) Close() error {
	if w.done {
		return w.err
	}
	w.done = true
	if w.err == nil && w.text && !w.check.complete() {
		w.fail()
	}
	if w.err == nil {
		w.flush(true)
	}
	w.buf = nil
	w.c.sending.Unlock()
	return w.err
}
