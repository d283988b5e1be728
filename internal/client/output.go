package client

import (
	"bytes"
	"encoding/hex"
	"io"

	"github.com/wspawn/wspawn/wsframe"
)

// An output takes what arrives. Both methods return errNoReader when nobody reads it any more.
type output interface {
	// write writes a batch before it returns, so that the peer feels how fast the output is. With
	// one set it returns errFirst after the end of a message.
	write(b *wsframe.Batch, one bool) error

	// end is called once, when nothing more comes. A message may be incomplete.
	end() error
}

// plain writes payloads as they are, for programs.
type plain struct {
	w     io.Writer
	lines bool // a newline follows each message
}

func (p *plain) write(b *wsframe.Batch, one bool) error {
	var ended error
	out := b.Space()
	for part := b.Next(); part != nil; part = b.Next() {
		out = append(out, part.Payload...)
		if part.End && p.lines {
			out = append(out, '\n')
		}
		if part.End && one {
			ended = errFirst
			break
		}
	}
	if err := writeTo(p.w, out); err != nil {
		return err
	}
	return ended
}

func (p *plain) end() error { return nil }

func writeTo(w io.Writer, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, err := w.Write(b)
	if err != nil && isBrokenPipe(err) {
		return errNoReader
	}
	return err
}

// maxRendered is how much of an unfinished line waits for its end, in bytes.
const maxRendered = 16 << 10

// A renderer writes messages for people: text with control characters made visible, binary as hex
// dump. The lines of a message are indented so that none of them looks like another message. It writes
// whole lines only, which is what the line editor needs to bring its own line back.
type renderer struct {
	w            io.Writer
	lead, indent string // in front of the first line of a message, and of the others

	buf    []byte
	split  []byte // the beginning of a character that the next part completes
	hex    io.WriteCloser
	inside bool // a message
	empty  bool // so far
}

// newRenderer returns a renderer that marks messages if they are between lines that are typed.
func newRenderer(w io.Writer, mark, color bool) *renderer {
	r := &renderer{w: w}
	if mark {
		r.lead, r.indent = "< ", "  "
		if color {
			r.lead = "\x1b[36m< \x1b[0m"
		}
	}
	return r
}

func (r *renderer) write(b *wsframe.Batch, one bool) error {
	for part := b.Next(); part != nil; part = b.Next() {
		r.part(part)
		if len(r.buf) >= maxRendered {
			if err := r.flush(); err != nil {
				return err
			}
		}
		if part.End && one {
			if err := r.flush(); err != nil {
				return err
			}
			return errFirst
		}
	}
	return r.flush()
}

func (r *renderer) part(p *wsframe.Part) {
	if p.Start {
		r.inside, r.empty = true, true
		r.buf = append(r.buf, r.lead...)
		r.hex = nil
		if p.Op == wsframe.OpBinary {
			r.hex = hex.Dumper(&dumpWriter{r: r, first: true})
		}
	}
	r.empty = r.empty && len(p.Payload) == 0
	if r.hex != nil {
		r.hex.Write(p.Payload) // ends up in buf
	} else {
		r.text(p.Payload)
	}
	if !p.End {
		return
	}
	r.inside = false
	switch {
	case r.hex == nil:
		r.buf = append(r.buf, '\n')
	case r.empty:
		r.buf = append(r.buf, "(no bytes)\n"...)
	default:
		r.hex.Close()
	}
}

func (r *renderer) text(p []byte) {
	if len(r.split) > 0 {
		p = append(r.split, p...)
	}
	cut := len(p) - wsframe.IncompleteRune(p)
	r.buf = escape(r.buf, p[:cut], r.indent)
	r.split = append([]byte(nil), p[cut:]...)
}

// flush writes the complete lines, and breaks one that has become too long.
func (r *renderer) flush() error {
	n := bytes.LastIndexByte(r.buf, '\n') + 1
	out, rest := r.buf[:n], r.buf[n:]
	if len(rest) >= maxRendered {
		out, rest = append(r.buf, '\n'), []byte(r.indent)
	}
	err := writeTo(r.w, out)
	r.buf = append(r.buf[:0], rest...)
	return err
}

func (r *renderer) end() error {
	if !r.inside {
		return nil
	}
	r.inside = false
	if r.hex != nil && !r.empty {
		r.hex.Close()
		r.buf = append(r.buf, r.indent...)
	}
	r.buf = append(r.buf, "[incomplete]\n"...)
	return r.flush()
}

// A dumpWriter indents the lines of a hex dump.
type dumpWriter struct {
	r     *renderer
	first bool // nothing was written: the lead is there already
	mid   bool // of a line
}

func (d *dumpWriter) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if !d.mid && !d.first {
			d.r.buf = append(d.r.buf, d.r.indent...)
		}
		d.r.buf = append(d.r.buf, line...)
		d.first, d.mid = false, line[len(line)-1] != '\n'
	}
	return len(p), nil
}
