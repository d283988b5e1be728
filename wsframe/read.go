package wsframe

import (
	"io"

	"github.com/wspawn/wspawn/internal/rawio"
)

// nextPart waits for the next part of a data message. On an error it sets readErr. It needs
// reading.
func (c *Conn) nextPart(part *Part) error {
	for c.readErr == nil {
		if len(c.rest) == 0 && !c.inflate.pending() {
			c.kick()
			c.inflate.settle()
			c.life.waiting()
			chunk, err := c.in.Next()
			c.life.received()
			if err != nil {
				return c.readFailed(err)
			}
			c.rest = chunk[rawio.Gap:]
		}
		n, ok := c.next(c.rest, part)
		c.rest = c.rest[n:]
		if len(c.rest) == 0 {
			c.rest = nil
		}
		if err := c.parser.err; err != nil {
			return c.readFailed(err)
		}
		if !ok {
			continue
		}
		if !part.Op.Control() {
			c.kick()
			return nil
		}
		if err := c.control(part); err != nil {
			return c.readFailed(err)
		}
	}
	return c.readErr
}

// ReadMessage waits for a whole message and returns it appended to buf[:0], so that a loop that
// passes the slice back in does not allocate. What is left of a message that was begun in another
// way is skipped.
func (c *Conn) ReadMessage(buf []byte) (Opcode, []byte, error) {
	c.reading.Lock()
	defer c.unlockReading()
	var part Part
	err := c.beginMessage(&part)
	for buf = buf[:0]; err == nil; err = c.nextPart(&part) {
		buf = append(buf, part.Payload...)
		if part.End {
			return part.Op, buf, nil
		}
	}
	return 0, nil, err
}

// NextReader waits for the next message and returns a reader of its payload, which arrives as the
// peer sends it: nothing is collected. It ends with io.EOF, or with the *[CloseError] of a
// connection that ended inside the message. Text that turns out not to be UTF-8 ends the connection
// where that is found, so its beginning may have been delivered. The reader is valid until the next
// message is asked for; what was not read of it is then skipped.
func (c *Conn) NextReader() (Opcode, io.Reader, error) {
	c.reading.Lock()
	defer c.unlockReading()
	var part Part // nothing of what ends the connection may be taken for the message
	if err := c.beginMessage(&part); err != nil {
		return 0, nil, err
	}
	c.current = part
	return part.Op, (*messageReader)(c), nil
}

// beginMessage waits for the first part of a message. What is left of the one before is skipped.
func (c *Conn) beginMessage(part *Part) error {
	c.current = Part{}
	for {
		if err := c.nextPart(part); err != nil || part.Start {
			return err
		}
	}
}

// dropCurrent takes the memory away from the reader of a message, who gets an error in place of the
// rest. It needs reading.
func (c *Conn) dropCurrent() {
	if len(c.current.Payload) > 0 {
		c.current.Payload, c.current.End = nil, false
	}
}

// A messageReader is a Conn seen as the reader of its current message.
type messageReader Conn

func (r *messageReader) Read(p []byte) (int, error) {
	c := (*Conn)(r)
	c.reading.Lock()
	defer c.unlockReading()
	for len(c.current.Payload) == 0 {
		if c.current.End || c.current.Op == 0 {
			return 0, io.EOF
		}
		var part Part
		if err := c.nextPart(&part); err != nil {
			return 0, err
		}
		c.current = part
	}
	n := copy(p, c.current.Payload)
	c.current.Payload = c.current.Payload[n:]
	return n, nil
}

// ReadFrame waits for a whole data frame and returns it as it came, with its payload appended to
// buf[:0]: the fragments of a message are not put together. Control frames are handled as always,
// and text is checked as always.
// Compressed messages come in inflated pieces, as if the peer had fragmented them so.
func (c *Conn) ReadFrame(buf []byte) (Frame, error) {
	c.reading.Lock()
	defer c.unlockReading()
	buf = buf[:0]
	c.current = Part{}
	for {
		var part Part
		if err := c.nextPart(&part); err != nil {
			return Frame{}, err
		}
		buf = append(buf, part.Payload...)
		if part.FrameEnd {
			return Frame{Fin: part.End, Op: part.FrameOp, Payload: buf}, nil
		}
	}
}
