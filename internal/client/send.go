package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/wspawn/wspawn/wsframe"
)

const (
	readSize = 64 << 10 // what one read of the input may bring

	// maxLine is how much of a line is collected so that it is one frame. Longer lines are sent as
	// fragments of one message.
	maxLine = 1 << 20
)

// sendChunks sends what each read brings as a binary message. It returns nil at the end of r, an
// *inputError, or the error of the connection.
func sendChunks(conn *wsframe.Conn, r io.Reader) error {
	buf := make([]byte, readSize)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := conn.WriteMessage(wsframe.OpBinary, buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return readError(err, false)
		}
	}
}

func readError(err error, partial bool) error {
	if err == io.EOF {
		return nil
	}
	return &inputError{err: fmt.Errorf("read input: %w", err), status: StatusFailure, partial: partial}
}

// sendLines sends each line as a text message, all complete lines of a read in one write. A last line
// without newline is one too. Errors are as with sendChunks.
func sendLines(conn *wsframe.Conn, r io.Reader) error {
	l := &lines{conn: conn, op: wsframe.OpText, number: 1}
	buf := make([]byte, 0, readSize)
	scanned := 0 // bytes of buf that have no newline
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		rest := buf
		for {
			i := bytes.IndexByte(rest[scanned:], '\n')
			if i < 0 {
				break
			}
			line := bytes.TrimSuffix(rest[:scanned+i], []byte("\r"))
			rest, scanned = rest[scanned+i+1:], 0
			if err := l.add(line, true); err != nil {
				return err
			}
		}
		if err == io.EOF && (len(rest) > 0 || l.partial()) {
			if err := l.add(rest, true); err != nil {
				return err
			}
			rest = nil
		}
		if len(rest) == cap(buf) && cap(buf) >= maxLine {
			tail := wsframe.IncompleteRune(rest)
			if tail == 0 && rest[len(rest)-1] == '\r' {
				tail = 1 // a newline may follow
			}
			if err := l.add(rest[:len(rest)-tail], false); err != nil {
				return err
			}
			rest = rest[len(rest)-tail:]
		}
		if err := l.flush(); err != nil {
			return err
		}
		if err != nil {
			return readError(err, l.partial())
		}
		scanned = len(rest)
		buf = room(buf, rest, l.partial())
	}
}

// room returns a buffer that begins with rest, which lies in buf, and can take a read. One that has
// grown is given up when the long line is over.
func room(buf, rest []byte, long bool) []byte {
	if len(rest) < cap(buf) {
		if cap(buf) > readSize && len(rest) <= readSize/2 && !long {
			buf = make([]byte, 0, readSize)
		}
		return append(buf[:0], rest...)
	}
	return append(make([]byte, 0, min(2*cap(buf), maxLine)), rest...)
}

// lines turns lines into frames.
type lines struct {
	conn   *wsframe.Conn
	op     wsframe.Opcode // of the next frame
	number int            // of the line
	frames []byte         // encoded, not written
}

// partial reports whether the beginning of a line has been sent.
func (l *lines) partial() bool { return l.op == wsframe.OpContinuation }

// add sends a line, or with end unset the next piece of one, which is not cut inside a character.
func (l *lines) add(line []byte, end bool) error {
	if !utf8.Valid(line) {
		if err := l.flush(); err != nil {
			return err
		}
		return &inputError{
			err:     fmt.Errorf("line %d of the input is not UTF-8 and was not sent", l.number),
			status:  StatusUsage,
			hint:    "send bytes with --binary",
			partial: l.partial(),
		}
	}
	f := wsframe.Frame{Op: l.op, Payload: line, Fin: end}
	if l.op = wsframe.OpContinuation; end {
		l.op = wsframe.OpText
		l.number++
	}
	if len(line) > readSize {
		// Too large to be copied for the sake of fewer writes.
		return errors.Join(l.flush(), l.conn.WriteFrame(f))
	}
	l.frames = wsframe.AppendFrame(l.frames, wsframe.Client, f)
	if len(l.frames) >= readSize {
		return l.flush()
	}
	return nil
}

func (l *lines) flush() error {
	if len(l.frames) == 0 {
		return nil
	}
	err := l.conn.WriteEncoded(l.frames)
	l.frames = l.frames[:0]
	return err
}
