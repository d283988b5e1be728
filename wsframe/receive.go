package wsframe

import (
	"bytes"
	"net"

	"github.com/wspawn/wspawn/internal/rawio"
)

// Receive reads until the connection ends and calls handle with what each system call brought:
// usually all messages that the peer had in flight. It is the way to handle many messages at the
// cost of one, and holds no buffer while there is nothing to read.
//
// Receive returns the *[CloseError] of the end, or the error of handle; after the latter the
// connection can be read on. Data that came before a Close frame is handled before that is
// answered. A handler that blocks holds the peer back, and pings and the Close frame behind what
// it handles wait as well.
func (c *Conn) Receive(handle func(*Batch) error) error {
	c.reading.Lock()
	defer c.unlockReading()
	err, _ := c.receiveUntil(handle, nil)
	return err
}

// receiveRest handles what was read before Receive was called.
func (c *Conn) receiveRest() error {
	for len(c.rest) > 0 || c.inflate.pending() {
		buf := rawio.GetBuffer()
		n := copy(buf[rawio.Gap:], c.rest)
		c.rest = c.rest[n:]
		err := c.batch.run(buf[:rawio.Gap+n])
		rawio.PutBuffer(buf)
		if err != nil {
			return err
		}
	}
	c.in.Release()
	c.rest = nil
	return nil
}

// receive is called from inside the callback of the descriptor.
func (c *Conn) receive(chunk []byte) error {
	if c.aborted.Load() {
		return net.ErrClosed
	}
	c.heard = true
	c.life.received()
	err := c.batch.run(chunk)
	c.life.waiting()
	return err
}

// readFailed ends reading with an error of the parser or of the network.
func (c *Conn) readFailed(err error) error {
	e, ok := err.(*CloseError)
	if !ok {
		e = networkError(err)
	}
	c.endRead(e)
	return c.readErr
}

// A Batch is what one read of a connection brought: parts of messages, in order. It is valid
// during the call of the handler that got it.
type Batch struct {
	c          *Conn
	handle     func(*Batch) error
	handlerErr error

	buf  []byte // the chunk, with a gap of dead bytes in front
	next int    // where in buf the unparsed bytes begin
	mem  []byte // with compression: the parts, as far as at
	at   int
	part Part
	err  *CloseError
}

// Next returns the next part of a data message, or nil when there is no more of this batch. The
// part and its payload are valid until the next call. A message that is whole in the batch is one
// part with Start and End set. Control frames are handled on the way.
//
// A compressed message comes in inflated pieces, as if the peer had fragmented it so; a small one is
// usually one piece. All limits are applied to them, and text is checked. One read may inflate to more
// than a batch has room for: then the handler is called again for the rest.
func (b *Batch) Next() *Part {
	if b.c.inflate != nil {
		return b.nextInflated()
	}
	for b.err == nil && b.next < len(b.buf) {
		n, ok := b.c.parser.next(b.buf[b.next:], &b.part)
		b.next += n
		if err := b.c.parser.err; err != nil {
			b.err = err
			break
		}
		if !ok {
			continue
		}
		if !b.part.Op.Control() {
			b.c.kick()
			return &b.part
		}
		b.err = b.c.control(&b.part)
	}
	b.c.kick()
	return nil
}

// Space returns an empty slice of the memory in front of the current part, all of which has been
// parsed. A handler may append to it the payloads of the batch, in order, and to each frame up to
// six bytes of its own, and eight more for the batch (from a [Client]: two for each frame): so
// payloads are compacted where they lie, with delimiters or headers between them, and leave in one
// write.
func (b *Batch) Space() []byte {
	if b.c.inflate != nil {
		return b.mem[:0]
	}
	return b.buf[:0]
}

// InPlace returns the payload of the current part where it lies. The payloads of the parts that follow
// may be appended, with nothing of the handler's own between them.
func (b *Batch) InPlace() []byte {
	buf, end := b.buf, b.next
	if b.c.inflate != nil {
		buf, end = b.mem, b.at
	}
	return buf[end-len(b.part.Payload) : end]
}

// run hands a chunk to the handler and sees that all of it is parsed.
func (b *Batch) run(chunk []byte) error {
	if b.c.inflate != nil {
		return b.runInflated(chunk)
	}
	b.buf, b.next, b.err = chunk, rawio.Gap, nil
	if b.handlerErr = b.handle(b); b.handlerErr != nil {
		b.c.rest = append(bytes.Clone(b.buf[b.next:]), b.c.rest...)
		b.buf = nil
		return b.handlerErr
	}
	for b.Next() != nil {
	}
	b.buf, b.part = nil, Part{}
	if b.err != nil {
		return b.err
	}
	return nil
}

// control handles a control frame. A Close frame is returned as the error that ends reading.
func (c *Conn) control(part *Part) *CloseError {
	switch part.Op {
	case OpPing:
		if c.o.OnPing != nil && c.o.OnPing(part.Payload) {
			return nil
		}
		c.mailbox.post(c.role, Frame{Fin: true, Op: OpPong, Payload: part.Payload})
	case OpPong:
		c.pong(part.Payload)
		if c.o.OnPong != nil {
			c.o.OnPong(part.Payload)
		}
	case OpClose:
		code, reason, err := parseClosePayload(part.Payload)
		if err != nil {
			return err
		}
		return &CloseError{Code: code, Reason: reason, Remote: true}
	}
	return nil
}
