// Package framing turns WebSocket messages into a byte stream and back.
//
// An [Encoder] takes the messages of a client and a [Decoder] what the far side says, a program, a
// socket or an application behind a gateway. Neither copies more than it must, waits for anything but
// the connection of the client, or allocates for a message. Where the streams come from and go to is
// the business of an endpoint.
package framing

import (
	"fmt"
	"slices"

	"github.com/wspawn/wspawn/wsframe"
)

// A Kind says how messages lie in a byte stream.
type Kind uint8

// The framings. What the far side may send is read leniently, what it gets is always the same.
const (
	// Lines: a message is a line. To the far side it ends with LF, from there with LF or CRLF.
	Lines Kind = iota
	// Null: a message ends with a NUL byte, so it may contain newlines.
	Null
	// Length: in front of each message stands its length, four bytes, big-endian.
	Length
	// JSON: a message is a JSON object on a line, with the type of the message; see docs/stdio.md.
	JSON
	// Raw: there are no messages. The far side gets the payloads one behind the other, and each
	// piece that a read returns becomes a message.
	Raw
	// Frames: there are no messages but the data frames of the connection, each as it is, with its first byte (RFC 6455,
	// section 5.2) and its length in four bytes, big-endian, in front; see docs/stdio.md.
	Frames
	// Base64 is Raw for clients that take text only: each message, both ways, is the base64 form of
	// bytes. The subprotocol "base64" of websockify means that. It is for tunnels.
	Base64
)

var kindNames = []string{"lines", "null", "length", "json", "raw", "frames", "base64"}

// String returns the name of the framing, as settings have it.
func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return fmt.Sprintf("framing %d", k)
	}
	return kindNames[k]
}

// Parse is the reverse of String.
func Parse(name string) (Kind, error) {
	k, err := parse("framing", kindNames, name)
	return Kind(k), err
}

func parse(what string, names []string, name string) (int, error) {
	for i, n := range names {
		if n == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("unknown %s %q: use one of %q", what, name, names)
}

// A Choice says what happens to data that does not fit. Which values a setting takes, and
// which is its default, is said there.
type Choice uint8

// The choices.
const (
	Default  Choice = iota
	Pass            // as it is
	Refuse          // close the connection
	Escape          // make it fit in a reversible way
	Replace         // make it fit, with a loss
	AsBinary        // send it as a binary message
	Split           // send it as several fragments of one message
	Strip           // leave it out
)

var choiceNames = []string{"default", "pass", "refuse", "escape", "replace", "binary", "split", "strip"}

// String returns the name of the choice, as settings have it.
func (c Choice) String() string {
	if int(c) >= len(choiceNames) {
		return fmt.Sprintf("choice %d", c)
	}
	return choiceNames[c]
}

// ParseChoice is the reverse of String, for the given choices only.
func ParseChoice(what, name string, allowed ...Choice) (Choice, error) {
	names := make([]string, len(allowed))
	for i, c := range allowed {
		names[i] = c.String()
	}
	i, err := parse(what, names, name)
	if err != nil {
		return 0, err
	}
	return allowed[i], nil
}

// Options say how messages and streams are turned into each other. The zero value is text in lines.
type Options struct {
	Framing Kind

	// Binary makes the messages to the client binary ones. JSON says it for each message, Frames for each frame.
	Binary bool

	// OtherType is for messages of the other type than Binary says: Pass or Refuse (1003). The
	// default is Refuse for binary messages to a text service, and Pass for text to a binary one.
	OtherType Choice

	// Delimiters is for messages from the client that contain the delimiter of Lines or Null: Pass
	// (the far side sees several messages; the default), Escape (a backslash becomes two, the
	// delimiter a backslash and n or 0), Strip (each is left out, and with Lines each CR too: FOO, CR, LF, BAR becomes
	// FOOBAR, so that nobody can write a line more) or Refuse (1008; since nothing is collected, the far side may
	// have got the beginning of the message, without an end).
	Delimiters Choice

	// InvalidUTF8 is for text from the far side that is not UTF-8: Replace (U+FFFD, the default),
	// AsBinary (not for the rest of a message that is being split: replaced there) or Refuse (1007).
	// JSON cannot send it as binary, and Frames always refuses.
	InvalidUTF8 Choice

	// MaxLine is the largest message from the far side that is collected, in bytes without a line end;
	// 0 = 1 MiB. LongLine is for larger ones: Split (in several fragments, with flat memory; the
	// default) or Refuse (1009). JSON always refuses, and Frames, where it is about frames.
	MaxLine  int64
	LongLine Choice
}

func (o *Options) maxLine() int {
	if o.MaxLine <= 0 {
		return 1 << 20
	}
	return int(o.MaxLine)
}

// refuses reports whether a message of the type is not taken.
func (o *Options) refuses(op wsframe.Opcode) bool {
	if o.Framing == JSON || o.Framing == Frames || o.Framing == Base64 {
		return false
	}
	if binary := op == wsframe.OpBinary; binary == o.Binary {
		return false
	}
	if o.OtherType == Default {
		return !o.Binary
	}
	return o.OtherType == Refuse
}

func (o *Options) opcode() wsframe.Opcode {
	if o.Binary {
		return wsframe.OpBinary
	}
	return wsframe.OpText
}

// Check returns what is contradictory in the options.
func (o *Options) Check() error {
	switch {
	case o.Framing > Base64:
		return fmt.Errorf("unknown framing %d", o.Framing)
	case o.Delimiters != Default && o.Framing != Lines && o.Framing != Null:
		return fmt.Errorf("delimiters are for the framings lines and null, not for %v", o.Framing)
	case o.Framing == JSON && (o.LongLine == Split || o.InvalidUTF8 == AsBinary):
		return fmt.Errorf("an object of the framing json can be neither split nor sent as binary")
	case o.Framing == Frames && (o.Binary || o.OtherType != Default):
		return fmt.Errorf("with the framing frames each frame has its type: neither binary nor other type can be chosen")
	case o.Framing == Frames && (o.LongLine == Split || o.InvalidUTF8 == Replace || o.InvalidUTF8 == AsBinary):
		return fmt.Errorf("a frame of the framing frames can be neither split nor changed, only refused")
	case o.MaxLine < 0:
		return fmt.Errorf("negative limit")
	}
	for _, c := range []struct {
		what    string
		choice  Choice
		allowed []Choice
	}{
		{"other type", o.OtherType, []Choice{Default, Pass, Refuse}},
		{"delimiters", o.Delimiters, []Choice{Default, Pass, Escape, Strip, Refuse}},
		{"invalid UTF-8", o.InvalidUTF8, []Choice{Default, Replace, AsBinary, Refuse}},
		{"long lines", o.LongLine, []Choice{Default, Split, Refuse}},
	} {
		if !slices.Contains(c.allowed, c.choice) {
			return fmt.Errorf("%v cannot be the choice for %s", c.choice, c.what)
		}
	}
	return nil
}
