package wsframe

import (
	"bytes"
	"sync"

	"github.com/wspawn/wspawn/internal/inflate"
	"github.com/wspawn/wspawn/internal/rawio"
)

var decoders = sync.Pool{New: func() any { return new(inflate.Decoder) }}

// An inflater stands between the parser of a connection and those who read, and puts the pieces of
// inflated messages in the place of what the parser finds. It belongs to the holder of reading.
type inflater struct {
	alone   bool // messages do not refer to earlier ones
	window  int
	history []byte // of a connection that waits for a message

	decoder *inflate.Decoder // nil while there is nothing to do

	in      []byte // of a compressed part, not inflated yet
	inEnd   bool   // it is the last one of the message
	busy    bool   // there is such a part
	op      Opcode // of the compressed message that is going on; 0: none
	started bool   // a piece of it was delivered
	size    int64  // of its pieces
	text    utf8Checker

	unread bool // next returns again what it did
	last   Part
}

// next is Parser.next. The part is valid until the next call; n does not tell whether there are more
// parts: see pending.
func (z *inflater) next(d *Parser, p []byte, part *Part) (n int, ok bool) {
	if z.unread {
		z.unread = false
		*part = z.last
		return 0, true
	}
	if !z.busy {
		if n, ok = d.next(p, part); !ok || !part.RSV1 {
			return n, ok
		}
		z.in, z.inEnd, z.busy = part.Payload, part.End, true
		if part.Start {
			z.begin(part.Op)
		}
	}
	return n, z.piece(d, part)
}

// pending reports whether next finds something without more input.
func (z *inflater) pending() bool { return z != nil && (z.busy || z.unread) }

// pushBack makes next return a part again. Its payload stays valid until then, or keep is called.
func (z *inflater) pushBack(part *Part) { z.last, z.unread = *part, true }

// keep copies what lies in the memory of the caller of next.
func (z *inflater) keep() {
	z.in = bytes.Clone(z.in)
	if z.unread {
		z.last.Payload = bytes.Clone(z.last.Payload)
	}
}

func (z *inflater) begin(op Opcode) {
	z.op, z.started, z.size, z.text = op, false, 0, utf8Checker{}
	switch {
	case z.decoder == nil:
		z.decoder = decoders.Get().(*inflate.Decoder)
		z.decoder.Reset(z.window, z.history)
	case z.alone:
		z.decoder.Reset(z.window, nil)
	}
}

// piece inflates what there is, as far as the decoder has room. A message appears as if its sender had
// fragmented it into the pieces: where frames began in what was compressed means nothing.
func (z *inflater) piece(d *Parser, part *Part) bool {
	out, n, more, err := z.decoder.Decode(z.in)
	z.in = z.in[n:]
	end := false
	if err == nil && !more {
		z.busy = false
		if end = z.inEnd; end && !z.decoder.Finish() {
			err = inflate.ErrCorrupt
		}
	}
	z.size += int64(len(out))
	switch limit := orDefault(d.MaxMessage, DefaultMaxMessage); {
	case limit >= 0 && z.size > limit:
		d.err = tooBig("compressed message of at least %d bytes, the limit is %d", z.size, limit)
	case z.op == OpText && (!z.text.valid(out) || end && err == nil && !z.text.complete()):
		d.err = &CloseError{Code: CloseInvalidPayload, Reason: "text message is not UTF-8"}
	case err != nil:
		d.err = &CloseError{Code: CloseInvalidPayload, Reason: "compressed message is corrupt"}
	}
	if d.err != nil {
		z.busy = false
		return false
	}
	if len(out) == 0 && !end {
		return false
	}
	*part = Part{
		Op: z.op, Payload: out, RSV1: true, Start: !z.started, End: end,
		FrameStart: true, FrameEnd: true, FrameFin: end, FrameOp: OpContinuation, FrameLength: int64(len(out)),
	}
	if !z.started {
		part.FrameOp = z.op
	}
	if z.started = true; end {
		z.op = 0
	}
	return true
}

// settle gives the decoder back between messages. It is for who is about to wait; parts of before are
// invalid then.
func (z *inflater) settle() {
	if z == nil || z.decoder == nil || z.op != 0 || z.pending() {
		return
	}
	if !z.alone {
		z.history = appendWindow(z.history[:0], z.decoder.History(), z.window)
	}
	z.release()
}

func (z *inflater) release() {
	if z != nil && z.decoder != nil {
		decoders.Put(z.decoder)
		z.decoder = nil
	}
}

// appendWindow appends p to history, of which it keeps the last window bytes, in no more memory.
func appendWindow(history, p []byte, window int) []byte {
	p = p[max(0, len(p)-window):]
	if drop := len(history) + len(p) - window; drop > 0 {
		history = history[:copy(history, history[drop:])]
	}
	if need := len(history) + len(p); need > cap(history) {
		history = append(make([]byte, 0, min(window, max(need, 2*cap(history)))), history...)
	}
	return append(history, p...)
}

// next is what all readers call in place of the parser.
func (c *Conn) next(p []byte, part *Part) (n int, ok bool) {
	if c.inflate != nil {
		return c.inflate.next(&c.parser, p, part)
	}
	return c.parser.next(p, part)
}

// partGap is the dead memory in front of each part of an inflated batch: what [Batch.Space] promises
// for a frame.
const partGap = 6

// runInflated is run with compression. The parts are copied to memory of their own, with as much room
// between them as headers would give them, and the handler is called once for each time that it is full.
func (b *Batch) runInflated(chunk []byte) error {
	z := b.c.inflate
	b.buf, b.next, b.err = chunk, rawio.Gap, nil
	mem := rawio.GetBuffer()
	defer func() {
		rawio.PutBuffer(mem)
		b.buf, b.mem, b.part = nil, nil, Part{}
	}()
	for {
		b.mem, b.at = mem[:], rawio.Gap
		if b.handlerErr = b.handle(b); b.handlerErr != nil {
			z.keep()
			b.c.rest = append(bytes.Clone(b.buf[b.next:]), b.c.rest...)
			return b.handlerErr
		}
		for b.Next() != nil {
		}
		switch {
		case b.err != nil:
			return b.err
		case b.next == len(b.buf) && !z.pending():
			z.settle()
			return nil
		}
	}
}

// nextInflated is Next with compression.
func (b *Batch) nextInflated() *Part {
	z := b.c.inflate
	for b.err == nil && (b.next < len(b.buf) || z.pending()) {
		n, ok := z.next(&b.c.parser, b.buf[b.next:], &b.part)
		b.next += n
		switch err := b.c.parser.err; {
		case err != nil:
			b.err = err
		case !ok:
		case b.part.Op.Control():
			b.err = b.c.control(&b.part)
		default:
			start := b.at
			if b.part.FrameStart && start > rawio.Gap {
				start += partGap
			}
			p := b.part.Payload
			if len(p) > len(b.mem)-start {
				z.pushBack(&b.part)
				return nil
			}
			b.at = start + copy(b.mem[start:], p)
			b.part.Payload = b.mem[start:b.at:b.at]
			b.c.kick()
			return &b.part
		}
	}
	b.c.kick()
	return nil
}
