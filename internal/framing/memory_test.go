package framing

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/frametest"
	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/wsframe"
)

// This file puts Decoder and Encoder between bytes in memory.

type frame = frametest.Frame

var (
	text, bin, closing           = frametest.Text, frametest.Bin, frametest.Closing
	messages, join               = frametest.Messages, frametest.Join
	masked, messageIn, fragments = frametest.Masked, frametest.Message, frametest.Fragments
)

var noPings = wsframe.Options{PingInterval: -1}

// endOfTest is the Close frame that says that nothing more comes.
var endOfTest = frame{Fin: true, Op: wsframe.OpClose, Payload: "\x13\x87"} // 4999

// decode gives the pieces to a decoder, each one as what one read returned, and returns the frames that
// it sent and what its end said.
func decode(t testing.TB, o *Options, pieces ...string) (all []frame, whole bool) {
	t.Helper()
	return decodeStream(t, o, "", pieces...)
}

func decodeStream(t testing.TB, o *Options, stream string, pieces ...string) (all []frame, whole bool) {
	t.Helper()
	all, whole, err := tryDecode(o, stream, pieces)
	if err != nil {
		t.Fatal(err)
	}
	return all, whole
}

func tryDecode(o *Options, stream string, pieces []string) (all []frame, whole bool, err error) {
	nc := frametest.NewWire()
	c := wsframe.NewConn(nc, nil, wsframe.Server, "", &noPings)
	defer func() {
		c.CloseNow()
		<-c.Done()
	}()
	parse := frametest.Parse
	if o.Framing == Frames {
		parse = parseFrames
	}
	d := Decoder{Options: o, Conn: c, Stream: stream}
	for _, p := range pieces {
		chunk := make([]byte, rawio.Gap+len(p)) // not larger, so that a write behind it is found
		for i := range rawio.Gap {
			chunk[i] = 0xEE
		}
		copy(chunk[rawio.Gap:], p)
		d.Chunk(chunk)
	}
	whole = d.End()
	c.WriteClose(4999, "")
	// A Close frame that finds nothing to wait for is written by somebody else.
	for i := 0; ; i++ {
		all, err = parse(nc.Sent())
		if n := len(all); err == nil && n > 0 && all[n-1].Op == wsframe.OpClose {
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

// encode sends pieces of a connection through an encoder, as many reads bring them, and returns what
// the far side gets, and how the encoder wants the connection to be closed.
func encode(o *Options, pieces ...[]byte) (out string, end *wsframe.CloseError) {
	c := wsframe.NewConn(frametest.NewWire(pieces...), nil, wsframe.Server, "", &wsframe.Options{PingInterval: -1, MaxMessage: 1 << 24, MaxFrame: 1 << 24})
	defer func() {
		c.CloseNow()
		<-c.Done()
	}()
	e := Encoder{Options: o}
	var got strings.Builder
	err := c.Receive(func(b *wsframe.Batch) error {
		p, refusal := e.Encode(b)
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
	got.Write(e.End())
	return got.String(), end
}

// cut divides b after the given numbers of bytes.
func cut(b []byte, at ...int) (pieces [][]byte) {
	last := 0
	for _, i := range at {
		pieces = append(pieces, b[last:i])
		last = i
	}
	return append(pieces, b[last:])
}
