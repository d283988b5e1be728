package wsframe

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// An outcome is what came of a byte stream, in a form that does not depend on how it was cut.
type outcome struct {
	messages []string
	pings    []string
	code     CloseCode // of the error or of the peer's Close frame; 0: none
	remote   bool
	reason   string
}

// collector makes an outcome of what a Parser finds, and checks what each part says of itself.
type collector struct {
	outcome
	message  []byte
	frame    int64 // bytes of the frame that came
	inFrame  bool
	fragment bool // of a message that goes on
}

func (o *collector) take(p *Part) error {
	switch p.Op {
	case OpPing:
		o.pings = append(o.pings, string(p.Payload))
	case OpPong:
	case OpClose:
		code, reason, err := parseClosePayload(p.Payload)
		if err != nil {
			o.code, o.reason = err.Code, err.Reason
			return nil
		}
		o.code, o.reason, o.remote = code, reason, true
	default:
		return o.data(p)
	}
	if !p.Start || !p.End || !p.FrameStart || !p.FrameEnd || p.FrameOp != p.Op || p.FrameLength != int64(len(p.Payload)) {
		return fmt.Errorf("control frame in parts: %+v", p)
	}
	return nil
}

func (o *collector) data(p *Part) error {
	if p.FrameStart {
		o.frame = 0
	}
	o.frame += int64(len(p.Payload))
	o.message = append(o.message, p.Payload...)
	switch {
	case p.FrameStart == o.inFrame:
		return fmt.Errorf("FrameStart %v inside a frame: %v", p.FrameStart, o.inFrame)
	case p.FrameEnd != (o.frame == p.FrameLength):
		return fmt.Errorf("FrameEnd %v behind %d of %d bytes", p.FrameEnd, o.frame, p.FrameLength)
	case p.Start != (p.FrameStart && p.FrameOp != OpContinuation):
		return fmt.Errorf("Start %v of a %v frame", p.Start, p.FrameOp)
	case p.Start && o.fragment:
		return errors.New("start of a message inside of one")
	case p.Start && p.FrameOp != p.Op:
		return fmt.Errorf("frame of %v begins message of %v", p.FrameOp, p.Op)
	case p.End != (p.FrameEnd && p.FrameFin):
		return fmt.Errorf("End %v, FrameEnd %v, FrameFin %v", p.End, p.FrameEnd, p.FrameFin)
	case len(p.Payload) == 0 && p.FrameLength > 0:
		return errors.New("part without payload")
	}
	o.inFrame, o.fragment = !p.FrameEnd, !p.End
	if p.End {
		o.messages = append(o.messages, p.Op.String()+":"+string(o.message))
		o.message = nil
	}
	return nil
}

// parse runs chunks of a stream through a Parser. It works on a copy, since the Parser unmasks.
func parse(d *Parser, chunks ...[]byte) (outcome, error) {
	var o collector
	for _, chunk := range chunks {
		chunk = bytes.Clone(chunk)
		for len(chunk) > 0 {
			part, n, ok, err := d.Next(chunk)
			if n < 0 || n > len(chunk) || !ok && n != len(chunk) && err == nil {
				return o.outcome, fmt.Errorf("took %d of %d bytes, found something: %v", n, len(chunk), ok)
			}
			chunk = chunk[n:]
			if err != nil {
				e := err.(*CloseError)
				o.code, o.reason = e.Code, e.Reason
				break
			}
			if ok {
				if err := o.take(&part); err != nil {
					return o.outcome, err
				}
			}
		}
	}
	return o.outcome, nil
}

func (v *vector) parser(role Role) *Parser {
	return &Parser{Role: role, MaxFrame: v.o.MaxFrame, MaxMessage: v.o.MaxMessage, MaxFragments: v.o.MaxFragments}
}

func (v *vector) check(o outcome) error {
	switch {
	case !slices.Equal(o.messages, v.messages):
		return fmt.Errorf("messages %s, want %s", shortList(o.messages), shortList(v.messages))
	case !slices.Equal(o.pings, v.pongs):
		return fmt.Errorf("pings %s, want %s", shortList(o.pings), shortList(v.pongs))
	case int(o.code) != v.code || o.remote != v.remote:
		return fmt.Errorf("code %d, remote %v (%s); want %d, %v", o.code, o.remote, o.reason, v.code, v.remote)
	case v.remote && o.reason != v.reason:
		return fmt.Errorf("reason %q, want %q", o.reason, v.reason)
	}
	return nil
}

func shortList(l []string) string {
	s := ""
	for _, m := range l {
		s += short(m) + " "
	}
	return s
}

// roles returns those that the vector is for.
func (v *vector) roles() []Role {
	switch v.role {
	case "server":
		return []Role{Server}
	case "client":
		return []Role{Client}
	}
	return []Role{Server, Client}
}

func TestParserOnVectors(t *testing.T) {
	for _, v := range vectors() {
		for _, role := range v.roles() {
			t.Run(fmt.Sprintf("%s/%s", v.name, role), func(t *testing.T) {
				in := v.bytes(other(role))
				run := func(how string, chunks ...[]byte) {
					o, err := parse(v.parser(role), chunks...)
					if err == nil {
						err = v.check(o)
					}
					if err != nil {
						t.Fatalf("%s: %v", how, err)
					}
				}
				run("whole", in)
				if !raceEnabled || len(in) < 10_000 {
					run("byte by byte", slices.Collect(slices.Chunk(in, 1))...)
				}
				for i := range splits(len(in)) {
					run(fmt.Sprintf("cut at %d of %d", i, len(in)), in[:i], in[i:])
				}
			})
		}
	}
}

// splits yields all positions of a short input, and of a long one those near its ends and some more.
func splits(n int) func(yield func(int) bool) {
	near, some := 300, 20
	switch {
	case raceEnabled && n > 10_000:
		near, some = 2, 2
	case raceEnabled || n > 10_000:
		near = 20
	}
	return func(yield func(int) bool) {
		step := 1
		for i := 0; i <= n; i += step {
			step = 1
			if n > 3*near && i >= near && i < n-near {
				step = max(1, min((n-2*near)/some, n-near-i))
			}
			if !yield(i) {
				return
			}
		}
	}
}

func TestParserUnmasksInPlaceAndCopiesNothing(t *testing.T) {
	in := wire(Client, fin|wireBin, x(1000))
	d := Parser{Role: Server}
	part, n, ok, err := d.Next(in)
	if !ok || err != nil || n != len(in) {
		t.Fatal(n, ok, err)
	}
	if &part.Payload[0] != &in[len(in)-1000] || cap(part.Payload) != 1000 {
		t.Errorf("payload of capacity %d does not lie in the input", cap(part.Payload))
	}
	if string(part.Payload) != x(1000) {
		t.Error("payload is not unmasked")
	}
}

func TestParserErrorsAreFinal(t *testing.T) {
	d := Parser{Role: Server}
	_, _, _, first := d.Next([]byte{0xFF, 0xFF})
	for _, in := range [][]byte{nil, {0x81}, wire(Client, fin|wireText, "x")} {
		_, n, ok, err := d.Next(in)
		if ok || err != first || n != len(in) {
			t.Errorf("then: %d, %v, %v", n, ok, err)
		}
	}
}

func TestParserTakesEverythingBehindAClose(t *testing.T) {
	d := Parser{Role: Client}
	d.Next(wire(Server, fin|wireClose, ""))
	for _, in := range []string{"", "\xFF", "\xFF\xFF", x(1000)} {
		if _, n, ok, err := d.Next([]byte(in)); n != len(in) || ok || err != nil {
			t.Errorf("%s: %d, %v, %v", short(in), n, ok, err)
		}
	}
}

func TestParserWithoutInputFindsNothing(t *testing.T) {
	d := Parser{Role: Client}
	for _, in := range []string{"", "\x81", "", "\x02", "", "a", "", "b"} {
		part, n, ok, err := d.Next([]byte(in))
		if n != len(in) || err != nil || ok != (in == "a" || in == "b") {
			t.Fatalf("%q: %+v %d %v %v", in, part, n, ok, err)
		}
	}
}

// The limits of time and memory of a peer that sends a frame without an end.
func TestParserKeepsNothingOfAnEndlessFrame(t *testing.T) {
	d := Parser{Role: Client, MaxFrame: -1, MaxMessage: -1}
	d.Next(wireForm(Server, fin|wireBin, 127, 1<<62, ""))
	chunk := make([]byte, 64<<10)
	n := testing.AllocsPerRun(1000, func() {
		if part, _, ok, err := d.Next(chunk); !ok || err != nil || len(part.Payload) != len(chunk) || part.End {
			t.Fatal(part.End, ok, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
