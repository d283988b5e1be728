package framing

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"time"
	"unicode/utf8"

	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/wsframe"
)

// A Decoder turns what the far side writes into messages to the client. Messages that came whole are
// framed into one buffer, or where they lie, and written together when the chunk is done. It is for one
// goroutine at a time; the zero value with Options and Conn is ready.
type Decoder struct {
	Options *Options
	Conn    *wsframe.Conn
	Stream  string    // wraps each line into an object with this as "stream"; "": as it is
	Tap     io.Writer // gets a copy of all that is read; nil: none
	Peer    string    // what the far side is called towards the client; "": program
	Total   int64     // bytes read so far

	buf    *[rawio.BufferSize]byte // from the pool, while a chunk is at work
	frames []byte                  // in buf: encoded, not written
	err    error                   // of the connection: from then on output is read and dropped
	lost   int64                   // bytes read and dropped

	// partial is the beginning of a message that is not complete, behind a gap for a header.
	// With splitting set, what came before it has been sent as fragments, or as lines with a stream.
	partial   []byte
	splitting bool
	left      int64 // Length: of the message, Frames: of the frame; partial starts with the prefix until it is known
	inMessage bool  // Length, Frames: left is known

	order frameOrder // Frames
}

// Chunk takes what one read returned: chunk[rawio.Gap:].
func (d *Decoder) Chunk(chunk []byte) {
	n := int64(len(chunk) - rawio.Gap)
	d.Total += n
	if d.Tap != nil {
		d.Tap.Write(chunk[rawio.Gap:])
	}
	if d.err != nil {
		// A far side that is being stopped may have more to say. One that never ends saying it need
		// not take a processor for that.
		if d.lost += n; d.lost > 1<<20 {
			time.Sleep(time.Millisecond)
		}
		return
	}
	switch d.Options.Framing {
	case Lines, JSON:
		d.delimited(chunk, '\n')
	case Null:
		d.delimited(chunk, 0)
	case Length, Frames:
		d.prefixed(chunk)
	case Raw:
		d.raw(chunk)
	case Base64:
		d.base64(chunk)
	}
	d.flush()
	if d.buf != nil {
		rawio.PutBuffer(d.buf)
		d.buf = nil
	}
}

// End takes the end of the stream: an unfinished last line is a message as well. It reports false
// when the far side ended in the middle of a message.
func (d *Decoder) End() (whole bool) {
	whole = true
	if d.err == nil && (d.pending() > 0 || d.splitting || d.inMessage || d.order.message != 0) {
		if d.Options.Framing == Length || d.Options.Framing == Frames {
			whole = false
		} else {
			d.complete(d.grow(0), rawio.Gap, rawio.Gap+d.pending())
		}
	}
	d.drop()
	d.flush()
	if d.buf != nil {
		rawio.PutBuffer(d.buf)
		d.buf = nil
	}
	return whole
}

func (d *Decoder) peer() string {
	if d.Peer == "" {
		return "the program"
	}
	return "the " + d.Peer
}

func (d *Decoder) pending() int { return max(len(d.partial)-rawio.Gap, 0) }

// grow makes room for n more bytes of a partial message. A large part is not worth while an
// allocation of its own, since the rest is about to come; a small one may wait for long.
func (d *Decoder) grow(n int) []byte {
	const large = 4 << 10
	switch {
	case d.partial != nil:
	case n < large:
		d.partial = make([]byte, rawio.Gap, rawio.Gap+n)
	default:
		d.partial = rawio.GetBuffer()[:rawio.Gap]
	}
	return d.partial
}

// drop forgets the partial message.
func (d *Decoder) drop() {
	if cap(d.partial) == rawio.BufferSize {
		rawio.PutBuffer((*[rawio.BufferSize]byte)(d.partial[:rawio.BufferSize]))
	}
	d.partial = nil
}

func (d *Decoder) delimited(chunk []byte, delimiter byte) {
	for start := rawio.Gap; d.err == nil; {
		n := bytes.IndexByte(chunk[start:], delimiter)
		if n < 0 {
			d.collect(chunk[start:])
			return
		}
		end := start + n
		if d.pending() > 0 {
			d.partial = append(d.partial, chunk[start:end]...)
			d.complete(d.partial, rawio.Gap, len(d.partial))
		} else {
			d.completeLast(chunk, start, end, end+1 == len(chunk))
		}
		d.drop()
		if start = end + 1; start == len(chunk) {
			return
		}
	}
}

// fragmentSize is how much of a message that is being split goes out at once, at least.
const fragmentSize = 32 << 10

// collect keeps the beginning of a message, or sends it on as a fragment once that is too much.
func (d *Decoder) collect(p []byte) {
	d.partial = append(d.grow(len(p)), p...)
	text, limit := d.partial[rawio.Gap:], d.Options.maxLine()
	if d.splitting && d.Stream == "" {
		limit = min(limit, fragmentSize)
	}
	held := 0 // what must stay: part of a character, or a CR that may belong to the line end
	if !d.Options.Binary {
		held = wsframe.IncompleteRune(text)
	}
	if d.endsCR(text) {
		held = 1
		limit++ // a line end does not count
	}
	if len(text) <= limit {
		return
	}
	if d.refusesLong() {
		d.tooLong()
		return
	}
	if end := len(d.partial) - held; end > rawio.Gap {
		d.fragment(d.partial, rawio.Gap, end, false)
		d.partial = append(d.partial[:rawio.Gap], d.partial[end:]...)
	}
}

func (d *Decoder) endsCR(line []byte) bool {
	return d.Options.Framing == Lines && len(line) > 0 && line[len(line)-1] == '\r'
}

func (d *Decoder) refusesLong() bool {
	return d.Options.LongLine == Refuse || d.Options.Framing == JSON || d.Options.Framing == Frames
}

func (d *Decoder) tooLong() {
	d.close(wsframe.CloseTooBig, d.peer()+" sent a message that is too large")
}

// complete is completeLast for a message behind which the chunk may go on.
func (d *Decoder) complete(buf []byte, start, end int) { d.completeLast(buf, start, end, false) }

// completeLast takes a whole message, or the last part of one that is being split: buf[start:end],
// with at least rawio.Gap dead bytes in front. Last says that nothing follows it in the chunk.
func (d *Decoder) completeLast(buf []byte, start, end int, last bool) {
	if d.endsCR(buf[start:end]) {
		end--
	}
	switch {
	case d.Options.Framing != Raw && end-start > d.Options.maxLine() && d.refusesLong():
		d.tooLong() // for one that need not be collected too: no matter how it was read
	case d.Options.Framing == JSON:
		if n, ok := plainText(buf[start:end]); ok {
			d.emit(buf, start+n, end-len(textTail), wsframe.OpText, true, last)
		} else {
			d.verb(buf[start:end])
		}
	case d.Options.Framing == Frames:
		d.frame(buf, start, end, last)
	case d.Stream != "":
		if !d.splitting || end > start {
			d.tagged(buf[start:end])
		}
		d.splitting = false
	case d.splitting:
		d.fragment(buf, start, end, true)
	default:
		op := d.Options.opcode()
		buf, start, end, op = d.valid(buf, start, end, op)
		d.emit(buf, start, end, op, true, last)
	}
}

// fragment sends a part of a message that is too large to be collected.
func (d *Decoder) fragment(buf []byte, start, end int, fin bool) {
	op := wsframe.OpContinuation
	if !d.splitting {
		op = d.Options.opcode()
	}
	d.splitting = !fin
	if d.Stream != "" { // JSON objects cannot be split: each piece is one
		d.tagged(buf[start:end])
		return
	}
	buf, start, end, _ = d.valid(buf, start, end, wsframe.OpContinuation)
	d.emit(buf, start, end, op, fin, true)
}

// valid applies InvalidUTF8 to a message or, with OpContinuation, to a part of one.
func (d *Decoder) valid(buf []byte, start, end int, op wsframe.Opcode) ([]byte, int, int, wsframe.Opcode) {
	if d.Options.Binary || utf8.Valid(buf[start:end]) {
		return buf, start, end, op
	}
	switch {
	case d.Options.InvalidUTF8 == Refuse:
		d.close(wsframe.CloseInvalidPayload, d.peer()+invalidText)
	case d.Options.InvalidUTF8 == AsBinary && op == wsframe.OpText:
		return buf, start, end, wsframe.OpBinary
	default:
		fixed := appendReplaced(make([]byte, rawio.Gap, rawio.Gap+end-start+64), buf[start:end])
		return fixed, rawio.Gap, len(fixed), op
	}
	return buf, start, end, op
}

const invalidText = " sent text that is not UTF-8"

// appendReplaced puts U+FFFD in the place of each byte that is not UTF-8, as encoding/json does: so a
// message is the same however it was cut.
func appendReplaced(dst, p []byte) []byte {
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		dst = utf8.AppendRune(dst, r)
		p = p[n:]
	}
	return dst
}

// emit sends a frame. A large one, and one that is alone, goes out from where it lies, with its
// header in the dead bytes in front of it; others are copied into the buffer of frames.
func (d *Decoder) emit(buf []byte, start, end int, op wsframe.Opcode, fin, last bool) {
	const large = 8 << 10
	if d.err != nil {
		return
	}
	n := end - start
	if size := d.Conn.FragmentSize(); size > 0 && fin && op != wsframe.OpContinuation && (n > size || d.Stream != "") {
		// With two streams all messages go this way, or one would come between the fragments of another.
		d.flush()
		d.err = d.Conn.WriteMessage(op, buf[start:end])
		return
	}
	if n >= large || last && len(d.frames) == 0 {
		d.flush()
		h := wsframe.PutHeader(buf[:start], op, fin, int64(n))
		d.write(buf[h:end])
		return
	}
	if d.buf == nil {
		d.buf = rawio.GetBuffer()
		d.frames = d.buf[:0]
	}
	if cap(d.frames)-len(d.frames) < n+wsframe.MaxHeader {
		d.flush()
	}
	d.frames = wsframe.AppendHeader(d.frames, op, fin, int64(n))
	d.frames = append(d.frames, buf[start:end]...)
}

func (d *Decoder) flush() {
	if len(d.frames) > 0 && d.err == nil {
		d.write(d.frames)
	}
	d.frames = d.frames[:0]
}

func (d *Decoder) write(frames []byte) {
	if d.err == nil {
		d.err = d.Conn.WriteEncoded(frames)
	}
}

// close ends the session for something that the far side sent, behind all that came before.
func (d *Decoder) close(code wsframe.CloseCode, reason string) {
	if d.err == nil {
		d.flush()
		d.Conn.WriteClose(code, reason)
		d.err = wsframe.ErrCloseSent
	}
}

// prefixed takes messages with a length of four bytes in front, or frames with one byte more.
func (d *Decoder) prefixed(chunk []byte) {
	size := 4
	if d.Options.Framing == Frames {
		size = framePrefix
	}
	for start := rawio.Gap; d.err == nil && (start < len(chunk) || d.inMessage && d.left == 0); {
		if !d.inMessage {
			n := min(size-d.pending(), len(chunk)-start)
			prefix := chunk[start : start+n]
			if start += n; n < size {
				d.partial = append(d.grow(size), prefix...)
				prefix = d.partial[rawio.Gap:]
			}
			if len(prefix) == size {
				d.left, d.inMessage = int64(binary.BigEndian.Uint32(prefix[size-4:])), true
				if size == framePrefix {
					d.beginFrame(prefix[0])
				}
				d.drop()
				if d.left > int64(d.Options.maxLine()) && d.refusesLong() {
					d.tooLong()
				}
			}
			continue
		}
		end := start + int(min(d.left, int64(len(chunk)-start)))
		d.left -= int64(end - start)
		switch {
		case d.left > 0:
			d.collect(chunk[start:end])
		case d.pending() > 0:
			d.partial = append(d.partial, chunk[start:end]...)
			d.complete(d.partial, rawio.Gap, len(d.partial))
		default:
			d.completeLast(chunk, start, end, end == len(chunk))
		}
		if start = end; d.left == 0 {
			d.inMessage = false
			d.drop()
		}
	}
}

// raw sends the chunk as it is, for text without the beginning of a character at its end, which
// goes into the gap of the next one.
func (d *Decoder) raw(chunk []byte) {
	start, end := rawio.Gap, len(chunk)
	if !d.Options.Binary {
		n := d.pending()
		start -= copy(chunk[rawio.Gap-n:], d.partial[len(d.partial)-n:])
		d.partial = d.partial[:len(d.partial)-n] // kept: text of many bytes a character is cut again and again
		if held := wsframe.IncompleteRune(chunk[start:]); held > 0 {
			end -= held
			d.partial = append(d.grow(held), chunk[end:]...)
		}
	}
	if end > start {
		d.completeLast(chunk, start, end, true)
	}
}

// tagged sends a line with the name of its stream.
func (d *Decoder) tagged(line []byte) {
	b, _ := json.Marshal(struct {
		Stream string `json:"stream"`
		Data   string `json:"data"`
	}{d.Stream, string(line)})
	d.own(wsframe.OpText, b)
}

// own sends a message that lies in memory of its own.
func (d *Decoder) own(op wsframe.Opcode, p []byte) {
	buf := append(make([]byte, rawio.Gap, rawio.Gap+len(p)), p...)
	d.emit(buf, rawio.Gap, len(buf), op, true, false)
}
