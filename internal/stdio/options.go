package stdio

import (
	"fmt"
	"slices"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// A Framing says how messages lie in the byte streams of a program.
type Framing uint8

// The framings. What a program may send is read leniently, what it gets is always the same.
const (
	// Lines: a message is a line. To the program it ends with LF, from the program with LF or CRLF.
	Lines Framing = iota
	// Null: a message ends with a NUL byte, so it may contain newlines.
	Null
	// Length: in front of each message stands its length, four bytes, big-endian.
	Length
	// JSON: a message is a JSON object on a line, with the type of the message; see docs/stdio.md.
	JSON
	// Raw: there are no messages. The program gets the payloads one behind the other, and each
	// piece that a read of its output returns becomes a message.
	Raw
)

var framingNames = []string{"lines", "null", "length", "json", "raw"}

// String returns the name of the framing, as settings have it.
func (f Framing) String() string {
	if int(f) >= len(framingNames) {
		return fmt.Sprintf("framing %d", f)
	}
	return framingNames[f]
}

// ParseFraming is the reverse of String.
func ParseFraming(name string) (Framing, error) {
	f, err := parse("framing", framingNames, name)
	return Framing(f), err
}

func parse(what string, names []string, name string) (int, error) {
	for i, n := range names {
		if n == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("unknown %s %q: use one of %q", what, name, names)
}

// A Choice says what happens to data that does not fit a service. Which values a setting takes, and
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
)

var choiceNames = []string{"default", "pass", "refuse", "escape", "replace", "binary", "split"}

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
	Framing Framing

	// Binary makes the messages to the client binary ones. JSON says it for each message.
	Binary bool

	// OtherType is for messages of the other type than Binary says: Pass or Refuse (1003). The
	// default is Refuse for binary messages to a text service, and Pass for text to a binary one.
	OtherType Choice

	// Delimiters is for messages from the client that contain the delimiter of Lines or Null: Pass
	// (the program sees several messages; the default), Escape (a backslash becomes two, the
	// delimiter a backslash and n or 0) or Refuse (1008; since nothing is collected, the program may
	// have got the beginning of the message, without an end).
	Delimiters Choice

	// InvalidUTF8 is for text from the program that is not UTF-8: Replace (U+FFFD, the default),
	// AsBinary (not for the rest of a message that is being split: replaced there) or Refuse (1007).
	// JSON cannot send it as binary.
	InvalidUTF8 Choice

	// MaxLine is the largest message from the program that is collected, in bytes without a line end;
	// 0 = 1 MiB. LongLine is for larger ones: Split (in several fragments, with flat memory; the
	// default) or Refuse (1009). JSON always refuses. With PassStderr, each piece of a split line is
	// an object of its own.
	MaxLine  int64
	LongLine Choice

	// PassStderr sends the lines of both output streams as JSON objects with "stream" and "data".
	// It works with Lines only and needs programs with [spawner.StderrPipe]. The session then ends
	// when both streams and the program have ended.
	PassStderr bool

	// Events tells the program about the session: with JSON, an "open" object with the request
	// comes first, and a "close" object with code and reason last.
	Events bool

	// Queue is how many bytes wait for a program that does not read its input, so that pings and a
	// Close frame behind them are seen; 0 = 1 MiB. When it is full, the client is held back.
	Queue int64

	// StallTimeout is how long the program may then take nothing at all, before the session ends
	// with 1013; 0 = 5 min. It is 2 s once the client has left.
	StallTimeout time.Duration

	// CloseCodes are the close codes for exit statuses: -1 stands for a signal. The default for 0
	// is 1000, for all others 1011.
	CloseCodes map[int]wsframe.CloseCode
}

const goneTimeout = 2 * time.Second

func (o *Options) maxLine() int {
	if o.MaxLine <= 0 {
		return 1 << 20
	}
	return int(o.MaxLine)
}

func (o *Options) queue() int {
	if o.Queue <= 0 {
		return 1 << 20
	}
	return int(o.Queue)
}

func (o *Options) stallTimeout() time.Duration {
	if o.StallTimeout <= 0 {
		return 5 * time.Minute
	}
	return o.StallTimeout
}

// refuses reports whether a message of the type is not taken.
func (o *Options) refuses(op wsframe.Opcode) bool {
	if o.Framing == JSON {
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
	case o.Framing > Raw:
		return fmt.Errorf("unknown framing %d", o.Framing)
	case o.PassStderr && o.Framing != Lines:
		return fmt.Errorf("passing stderr on works with the framing lines only, not with %v", o.Framing)
	case o.PassStderr && o.Binary:
		return fmt.Errorf("passing stderr on sends JSON in text messages, so it excludes binary")
	case o.Delimiters != Default && o.Framing != Lines && o.Framing != Null:
		return fmt.Errorf("delimiters are for the framings lines and null, not for %v", o.Framing)
	case o.Framing == JSON && (o.LongLine == Split || o.InvalidUTF8 == AsBinary):
		return fmt.Errorf("an object of the framing json can be neither split nor sent as binary")
	case o.Events && o.Framing != JSON:
		return fmt.Errorf("events need the framing json, not %v", o.Framing)
	case o.MaxLine < 0 || o.Queue < 0 || o.StallTimeout < 0:
		return fmt.Errorf("negative limit")
	}
	for _, c := range []struct {
		what    string
		choice  Choice
		allowed []Choice
	}{
		{"other type", o.OtherType, []Choice{Default, Pass, Refuse}},
		{"delimiters", o.Delimiters, []Choice{Default, Pass, Escape, Refuse}},
		{"invalid UTF-8", o.InvalidUTF8, []Choice{Default, Replace, AsBinary, Refuse}},
		{"long lines", o.LongLine, []Choice{Default, Split, Refuse}},
	} {
		if !slices.Contains(c.allowed, c.choice) {
			return fmt.Errorf("%v cannot be the choice for %s", c.choice, c.what)
		}
	}
	for status, code := range o.CloseCodes {
		if !code.Sendable() {
			return fmt.Errorf("close code %d for exit status %d may not be sent: use 1000, 1001, 1011 or 3000 to 4999", code, status)
		}
	}
	return nil
}
