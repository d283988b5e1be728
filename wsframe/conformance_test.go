package wsframe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/wspawn/wspawn/internal/streamtest"
)

// The ways to read a Conn. Each returns the messages and the error of the end.
var readings = []struct {
	name string
	read func(c *Conn) ([]string, error)
}{
	{"ReadMessage", func(c *Conn) (all []string, err error) {
		var buf []byte
		for {
			var op Opcode
			if op, buf, err = c.ReadMessage(buf); err != nil {
				return all, err
			}
			all = append(all, op.String()+":"+string(buf))
		}
	}},
	{"NextReader", func(c *Conn) (all []string, err error) {
		for {
			op, r, err := c.NextReader()
			if err != nil {
				return all, err
			}
			p, err := io.ReadAll(r)
			if err != nil {
				return all, err
			}
			all = append(all, op.String()+":"+string(p))
		}
	}},
	{"ReadFrame", func(c *Conn) (all []string, err error) {
		var message []byte
		var op Opcode
		for {
			f, err := c.ReadFrame(nil)
			if err != nil {
				return all, err
			}
			if f.Op != OpContinuation {
				op, message = f.Op, nil
			}
			if message = append(message, f.Payload...); f.Fin {
				all = append(all, op.String()+":"+string(message))
			}
		}
	}},
	{"Receive", func(c *Conn) ([]string, error) {
		var o collector
		err := c.Receive(func(b *Batch) error {
			for part := b.Next(); part != nil; part = b.Next() {
				if err := o.data(part); err != nil {
					return err
				}
			}
			return nil
		})
		return o.messages, err
	}},
}

// The ways that bytes can come.
var deliveries = []struct {
	name  string
	pair  func(t testing.TB) (net.Conn, net.Conn)
	bytes int // in one write; 0: all
}{
	{"tcp", netPair, 0},
	{"tcp byte by byte", netPair, 1},
	{"unix", unixPair, 0},
	{"unix, 7 bytes at a time", unixPair, 7},
	{"pipe byte by byte", func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() }, 1},
}

func unixPair(t testing.TB) (net.Conn, net.Conn) { return streamtest.Unix(t) }

func TestConnOnVectors(t *testing.T) {
	for i, v := range vectors() {
		t.Run(v.name, func(t *testing.T) {
			for _, role := range v.roles() {
				in := v.bytes(other(role))
				for j, d := range deliveries {
					if d.bytes > 0 && len(in) > 3000 {
						continue // see TestParserOnVectors
					}
					// Each vector meets each delivery, and not always by the same way to read.
					r := readings[(i+j)%len(readings)]
					what := fmt.Sprintf("%s, %s, %s", role, d.name, r.name)
					if err := v.runConn(t, in, role, d.pair, d.bytes, r.read); err != nil {
						t.Errorf("%s: %v", what, err)
					}
				}
			}
		})
	}
}

func (v *vector) runConn(t testing.TB, in []byte, role Role, pair func(testing.TB) (net.Conn, net.Conn), size int, read func(*Conn) ([]string, error)) error {
	a, b := pair(t)
	o := v.o
	c := NewConn(a, nil, role, "", &o)
	p := &peer{t: t, Conn: b, role: other(role), br: bufio.NewReader(b)}
	defer b.Close()
	defer func() {
		c.CloseNow()
		<-c.Done()
	}()

	code, remote := v.code, v.remote
	if code == 0 {
		code, remote = 1000, true
		in = append(bytes.Clone(in), wire(p.role, fin|wireClose, closePayload(1000, ""))...)
	}
	writing := make(chan bool)
	go func() {
		defer close(writing)
		if size == 0 {
			b.Write(in)
			return
		}
		for chunk := range slices.Chunk(in, size) {
			if _, err := b.Write(chunk); err != nil {
				return // what the Conn does not want to have any more
			}
		}
	}()
	var messages []string
	var end error
	reading := make(chan bool)
	go func() {
		defer close(reading)
		messages, end = read(c)
	}()

	pongs, got, peerErr := p.untilClose()
	if _, halves := a.(interface{ CloseWrite() error }); role == Server && peerErr == nil && halves {
		// A server ends the TCP connection behind the Close frame (RFC 6455, section 7.1.1).
		if first, _, err := p.frame(); err == nil || errors.Is(err, errMalformed) {
			return fmt.Errorf("frame %#x behind the Close frame, %v", first, err)
		}
	}
	b.Close()
	<-writing
	<-reading
	<-c.Done()
	var e *CloseError
	switch {
	case peerErr != nil:
		return fmt.Errorf("peer: %w, after the pongs %s; the Conn: %v", peerErr, shortList(pongs), end)
	case got != code:
		return fmt.Errorf("close code %d on the wire, want %d", got, code)
	case !errors.As(end, &e):
		return fmt.Errorf("reading ended with %v", end)
	}
	check := *v
	check.code, check.remote = code, remote
	return check.check(outcome{messages: messages, pings: pongs, code: e.Code, remote: e.Remote, reason: e.Reason})
}

// untilClose reads pongs and the Close frame.
func (p *peer) untilClose() (pongs []string, code int, err error) {
	for {
		first, payload, err := p.frame()
		switch {
		case err != nil:
			return pongs, 0, err
		case first == fin|wirePong:
			pongs = append(pongs, payload)
		case first == fin|wireClose && payload == "":
			return pongs, 1005, nil
		case first == fin|wireClose:
			return pongs, int(payload[0])<<8 | int(payload[1]), nil
		default:
			return pongs, 0, fmt.Errorf("unexpected frame %#x", first)
		}
	}
}

// What came glued to the handshake goes the same way.
func TestBufferedBytesComeFirst(t *testing.T) {
	for _, r := range readings {
		t.Run(r.name, func(t *testing.T) {
			in := append(wire(Client, wireText, x(70000)), wire(Client, fin|wireCont, "y")...)
			in = append(in, wire(Client, fin|wireClose, "")...)
			for _, cut := range []int{0, 1, 5, 100, 66000, len(in) - 1, len(in)} {
				a, b := netPair(t)
				p := newPeer(t, b, Client)
				go p.Write(in[cut:])
				c := NewConn(a, bytes.Clone(in[:cut]), Server, "", nil)
				got, err := r.read(c)
				wantCloseError(t, err, CloseNoStatus, true)
				if len(got) != 1 || got[0] != "text:"+x(70000)+"y" {
					t.Errorf("cut at %d: got %s", cut, shortList(got))
				}
				p.wantClose(1005)
				<-c.Done()
			}
		})
	}
}

// DESIGN, rule 2: what came before a Close frame is handled before that is answered.
func TestDataIsHandledBeforeTheCloseIsAnswered(t *testing.T) {
	c, p := peerOf(t, Server, nil)
	p.write(slices.Concat(wire(Client, fin|wireText, "one"), wire(Client, fin|wireBin, "two"), wire(Client, fin|wireClose, closePayload(1000, ""))))
	p.Conn.(*net.TCPConn).CloseWrite() // and the answer comes though the peer has ended its stream
	wantCloseError(t, echo(c), CloseNormal, true)
	p.want(fin|wireText, "one")
	p.want(fin|wireBin, "two")
	p.wantClose(1000)
	p.wantEOF()
}

func TestPingHooks(t *testing.T) {
	var seen []string
	c, p := peerOf(t, Server, &Options{
		OnPing: func(b []byte) bool { seen = append(seen, "ping "+string(b)); return string(b) == "quiet" },
		OnPong: func(b []byte) { seen = append(seen, "pong "+string(b)) },
	})
	p.write(slices.Concat(wire(Client, fin|wirePing, "quiet"), wire(Client, fin|wirePong, "x"), wire(Client, fin|wirePing, "loud"), wire(Client, fin|wireClose, "")))
	if _, _, err := c.ReadMessage(nil); err == nil {
		t.Fatal("no end")
	}
	p.want(fin|wirePong, "loud")
	p.wantClose(1005)
	if want := []string{"ping quiet", "pong x", "ping loud"}; !slices.Equal(seen, want) {
		t.Errorf("hooks saw %q", seen)
	}
}
