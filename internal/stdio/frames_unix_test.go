//go:build unix

package stdio

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/wsframe"
)

var frames = Options{Options: framing.Options{Framing: framing.Frames}}

func part(op wsframe.Opcode, payload string) frame { return frame{Op: op, Payload: payload} }
func last(payload string) frame                    { return frame{Fin: true, Payload: payload} }

func TestProgramThatEchoesFrames(t *testing.T) {
	s := serve(t, sh("exec cat"), serviceOptions{Options: frames})
	c := s.connect()
	// Each comes back before the next one is sent: nothing waits for the end of a message.
	for _, tt := range []struct {
		sent []byte
		want frame
	}{
		{messageIn(opText, "whole"), text("whole")},
		{messageIn(opBin, "\xff"), bin("\xff")},
		{masked(false, opText, "a\xe2"), part(opText, "a\xe2")},
		{masked(true, wsframe.OpPing, "inside"), pong("inside")},
		{masked(false, 0, "\x82"), part(0, "\x82")},
		{masked(false, 0, ""), part(0, "")},
		{masked(true, 0, "\xac"), last("\xac")},
		{masked(false, opBin, strings.Repeat("x", 70000)), part(opBin, strings.Repeat("x", 70000))},
		{masked(true, 0, ""), last("")},
	} {
		c.Send(tt.sent)
		c.Expect(tt.want)
	}
	// All at once.
	c.Send(masked(false, opText, "1"), masked(false, 0, "2"), masked(true, 0, "3"), messageIn(opText, ""), messageIn(opBin, "4"))
	c.Expect(part(opText, "1"), part(0, "2"), last("3"), text(""), bin("4"))
	c.Leave()
	if sum := s.summary(0); !sum.Exit.Success() || sum.Close.Code != 1000 || sum.In != sum.Out {
		t.Errorf("%+v", sum)
	}
}

func TestFramesThatAProgramMayNotSend(t *testing.T) {
	for _, tt := range []struct {
		name, output string // of printf
		want         frame
	}{
		{"a continuation of nothing", `\200\0\0\0\0`, closing(1011, "the program sent a continuation frame outside of a message")},
		{"a ping", `\211\0\0\0\0`, closing(1011, "the program sent a frame with opcode 9: 0, 1 and 2 are allowed")},
		{"a reserved bit", `\301\0\0\0\0`, closing(1011, "the program sent a frame with a reserved bit set")},
		{"a frame that is too large", `\202\377\377\377\377`, closing(1009, "the program sent a message that is too large")},
		{"text that is not UTF-8", `\201\0\0\0\1\377`, closing(1007, "the program sent text that is not UTF-8")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, sh(`printf '\201\0\0\0\2ok`+tt.output+`\201\0\0\0\5never'; cat >/dev/null`), serviceOptions{Options: frames})
			c := s.connect()
			c.Expect(text("ok"))
			c.ExpectClose(tt.want)
			s.summary(0)
			eventually(t, "the log says why", func() bool { return strings.Contains(s.log.String(), `reason="`+tt.want.Payload[2:]+`"`) })
		})
	}
}

func TestProgramThatEndsInsideAFragmentedMessage(t *testing.T) {
	s := serve(t, sh(`printf '\1\0\0\0\1a'`), serviceOptions{Options: frames})
	c := s.connect()
	c.Expect(part(opText, "a"))
	c.ExpectClose(closing(1011, "the program ended inside a message"))
}

func TestLimitsOfFrames(t *testing.T) {
	for _, tt := range []struct {
		name   string
		wire   wsframe.Options
		sent   [][]byte
		passed []frame
		want   frame
	}{
		{"one frame", wsframe.Options{MaxFrame: 2}, [][]byte{masked(false, opText, "ab"), masked(true, 0, "abc")}, []frame{part(opText, "ab")}, closing(1009, "frame of 3 bytes, the limit is 2")},
		{"all frames of a message", wsframe.Options{MaxMessage: 3}, [][]byte{masked(false, opText, "ab"), masked(true, 0, "cd")}, []frame{part(opText, "ab")}, closing(1009, "message of at least 4 bytes, the limit is 3")},
		{"text that is not UTF-8", wsframe.Options{}, [][]byte{masked(false, opText, "a\xe2"), masked(true, 0, "b")}, []frame{part(opText, "a\xe2")}, closing(1007, "text message is not UTF-8")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, sh("exec cat"), serviceOptions{Options: frames, wire: tt.wire})
			c := s.connect()
			for i, f := range tt.sent {
				c.Send(f)
				if i < len(tt.passed) {
					c.Expect(tt.passed[i])
				}
			}
			c.ExpectClose(tt.want)
		})
	}
}

// With compression, a frame of the program is still one frame: the first of a message says that it is compressed.
func TestFramesOfAProgramAreCompressedOneByOne(t *testing.T) {
	s := serve(t, sh(`printf '\1\0\0\0\5aaaaa\0\0\0\0\0\200\0\0\0\1b\202\0\0\0\1c'`), serviceOptions{Options: frames, wire: wsframe.Options{Compression: &wsframe.Compression{}}})
	c, resp := try(t, s.addr, "Sec-WebSocket-Extensions: permessage-deflate")
	if got := resp.Header.Get("Sec-WebSocket-Extensions"); !strings.HasPrefix(got, "permessage-deflate") {
		t.Fatalf("got %q", got)
	}
	var got []byte // the first bytes of frames
	for len(got) == 0 || got[len(got)-1] != 0x88 {
		c.NC.SetReadDeadline(time.Now().Add(bound))
		var head [2]byte
		if _, err := io.ReadFull(c.BR, head[:]); err != nil || head[1] > 125 {
			t.Fatalf("%x, %v", head, err)
		}
		got = append(got, head[0])
		if _, err := c.BR.Discard(int(head[1])); err != nil {
			t.Fatal(err)
		}
	}
	if want := []byte{0x41, 0x00, 0x80, 0x82, 0x88}; !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	c.Send(masked(true, wsframe.OpClose, "\x03\xe8"))
}

// What a client compresses comes in the frames that inflating makes, and means the same.
func TestCompressedMessagesForAProgramThatTakesFrames(t *testing.T) {
	o := wsframe.Options{Compression: &wsframe.Compression{}}
	s := serve(t, sh("exec cat"), serviceOptions{Options: frames, wire: o})
	c, _, err := wsframe.Dial(t.Context(), "ws://"+s.addr, &wsframe.DialOptions{Options: o})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(wsframe.CloseNormal, "")
	if c.Extensions() == "" {
		t.Fatal("no compression")
	}
	for _, m := range []string{"a", strings.Repeat("€", 100), strings.Repeat("abc", 300000)} {
		if err := c.WriteMessage(opText, []byte(m)); err != nil {
			t.Fatal(err)
		}
		if op, got, err := c.ReadMessage(nil); op != opText || string(got) != m || err != nil {
			t.Fatalf("%d bytes: got %v, %d bytes, %v", len(m), op, len(got), err)
		}
	}
}

// All frames that a client had under way reach the program, also those in front of its Close frame.
func TestFramesInFrontOfACloseFrame(t *testing.T) {
	name, _ := signalFile(t)
	s := serve(t, waiting(`cat > "$1"`, name), serviceOptions{Options: frames})
	c := s.connect()
	c.Send(slices.Concat(masked(false, opText, "a"), masked(true, wsframe.OpPing, ""), masked(true, 0, "b"), masked(false, opBin, ""), masked(true, wsframe.OpClose, "\x03\xe8")))
	c.NC.CloseWrite()
	s.summary(0)
	if got, want := readFile(t, name), "\x01\x00\x00\x00\x01a\x80\x00\x00\x00\x01b\x02\x00\x00\x00\x00"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
