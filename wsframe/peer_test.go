package wsframe

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wspawn/wspawn/internal/streamtest"
)

// This file has the far end of the connections that are tested. It encodes and judges frames by code
// of its own, so that a mistake of the package cannot hide in its test.

var maskKey = [4]byte{0x37, 0xFA, 0x21, 0x3D} // that of the examples in RFC 6455, section 5.7

// The first bytes of frames.
const (
	fin       = 0x80
	wireCont  = 0x0
	wireText  = 0x1
	wireBin   = 0x2
	wireClose = 0x8
	wirePing  = 0x9
	wirePong  = 0xA
)

// wire encodes a frame as a sender of the given role has to; first is the first byte.
func wire(sender Role, first byte, payload string) []byte {
	form := 0
	switch n := len(payload); {
	case n > 0xFFFF:
		form = 127
	case n > 125:
		form = 126
	}
	return wireForm(sender, first, form, uint64(len(payload)), payload)
}

// wireForm is wire with a length, and a form for it (0, 126 or 127), that need not be right.
func wireForm(sender Role, first byte, form int, length uint64, payload string) []byte {
	b := []byte{first, byte(length)}
	switch form {
	case 126:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(length))
	case 127:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, length)
	}
	if sender == Server {
		return append(b, payload...)
	}
	b[1] |= 0x80
	b = append(b, maskKey[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^maskKey[i%4])
	}
	return b
}

func closePayload(code int, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason
}

func other(r Role) Role { return 1 - r }

func (r Role) String() string { return [...]string{"server", "client"}[r] }

// A peer speaks frames with a Conn, and is strict with those that it gets.
type peer struct {
	t testing.TB
	net.Conn
	role Role // of the peer
	br   *bufio.Reader

	message byte // opcode of the one that is going on
	text    []byte
	deflate bool // takes RSV1, and does not look into what has it
	rsv1    bool // the message has it
	loose   bool // takes text that is cut inside a character
	closed  bool
	keys    []uint32
}

func newPeer(t testing.TB, nc net.Conn, role Role) *peer {
	t.Cleanup(func() { nc.Close() })
	return &peer{t: t, Conn: nc, role: role, br: bufio.NewReader(nc)}
}

// peerOf returns a Conn of the given role over loopback, and its peer.
func peerOf(t testing.TB, role Role, o *Options) (*Conn, *peer) {
	a, b := netPair(t)
	return connOn(t, a, role, o), newPeer(t, b, other(role))
}

// connOn makes a Conn that is closed when the test ends.
func connOn(t testing.TB, nc net.Conn, role Role, o *Options) *Conn {
	c := NewConn(nc, nil, role, "", o)
	t.Cleanup(func() {
		c.CloseNow()
		<-c.Done()
	})
	return c
}

func (p *peer) send(first byte, payload string) {
	p.t.Helper()
	p.write(wire(p.role, first, payload))
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Errorf("peer: %v", err)
	}
}

var errMalformed = errors.New("the Conn sent a frame that breaks RFC 6455")

// frame reads one frame and judges it. Its error is io.EOF only between frames.
func (p *peer) frame() (first byte, payload string, err error) {
	var h [8]byte
	if first, err = p.br.ReadByte(); err != nil {
		return 0, "", err
	}
	second, err := p.br.ReadByte()
	length := uint64(second & 0x7F)
	least := uint64(0)
	if n := map[uint64]int{126: 2, 127: 8}[length]; n > 0 && err == nil {
		least = map[int]uint64{2: 126, 8: 1 << 16}[n]
		_, err = io.ReadFull(p.br, h[8-n:])
		length = binary.BigEndian.Uint64(h[:])
	}
	var key [4]byte
	if second&0x80 != 0 && err == nil {
		_, err = io.ReadFull(p.br, key[:])
		p.keys = append(p.keys, binary.BigEndian.Uint32(key[:]))
	}
	switch {
	case err != nil:
	case length < least:
		err = fmt.Errorf("%w: length %d is not minimal", errMalformed, length)
	case length > 1<<30:
		err = fmt.Errorf("%w: length %d", errMalformed, length)
	case (second&0x80 != 0) != (p.role == Server):
		err = fmt.Errorf("%w: masked %v, to a %v", errMalformed, second&0x80 != 0, p.role)
	default:
		b := make([]byte, length)
		_, err = io.ReadFull(p.br, b)
		for i := range b {
			b[i] ^= key[i%4]
		}
		payload = string(b)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = p.judge(first, payload)
	}
	return first, payload, err
}

func (p *peer) judge(first byte, payload string) error {
	op, last := first&0xF, first&fin != 0
	bad := func(what string) error { return fmt.Errorf("%w: %s (first byte %#x)", errMalformed, what, first) }
	switch {
	case first&0x70 != 0 && !(p.deflate && first&0x70 == rsv1 && (op == wireText || op == wireBin)):
		return bad("reserved bit")
	case p.closed:
		return bad("frame behind a Close frame")
	case op >= 0x8:
		p.closed = op == wireClose
		switch {
		case op > wirePong:
			return bad("reserved opcode")
		case !last:
			return bad("fragmented control frame")
		case len(payload) > 125:
			return bad("long control frame")
		case p.closed && (len(payload) == 1 || !utf8.ValidString(payload[min(2, len(payload)):])):
			return bad("payload of the Close frame")
		}
		return nil
	case op > wireBin:
		return bad("reserved opcode")
	case (op == wireCont) != (p.message != 0):
		return bad("order of fragments")
	case op != wireCont:
		p.message, p.text, p.rsv1 = op, nil, first&rsv1 != 0
	}
	if p.message == wireText && !p.rsv1 {
		// Each frame is whole characters: that is stricter than the RFC, and promised for all but
		// WriteFrame and WriteEncoded.
		p.text = append(p.text, payload...)
		if (!p.loose || last) && !utf8.Valid(p.text) {
			return bad("text that is not UTF-8")
		}
	}
	if last {
		p.message = 0
	}
	return nil
}

// want reads a frame and compares it.
func (p *peer) want(first byte, payload string) {
	p.t.Helper()
	gotFirst, got, err := p.frame()
	if err != nil {
		p.t.Fatalf("peer: got %v, want frame %#x", err, first)
	}
	if gotFirst != first || got != payload {
		p.t.Fatalf("peer: got frame %#x %s, want %#x %s", gotFirst, short(got), first, short(payload))
	}
}

// wantClose reads a Close frame with the code, 1005 for none.
func (p *peer) wantClose(code int) (reason string) {
	p.t.Helper()
	first, payload, err := p.frame()
	if err != nil || first != fin|wireClose {
		p.t.Fatalf("peer: got frame %#x %s, %v; want a Close frame", first, short(payload), err)
	}
	got := 1005
	if len(payload) > 0 {
		got = int(binary.BigEndian.Uint16([]byte(payload)))
		reason = payload[2:]
	}
	if got != code {
		p.t.Fatalf("peer: got close code %d %q, want %d", got, reason, code)
	}
	return reason
}

// wantEOF expects nothing more.
func (p *peer) wantEOF() {
	p.t.Helper()
	if first, payload, err := p.frame(); err != io.EOF {
		p.t.Fatalf("peer: got frame %#x %s, %v; want the end of the stream", first, short(payload), err)
	}
}

func short(s string) string {
	if len(s) <= 60 {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q... (%d bytes)", s[:60], len(s))
}

// wantCloseError checks how a connection ended.
func wantCloseError(t testing.TB, err error, code CloseCode, remote bool) *CloseError {
	t.Helper()
	var e *CloseError
	if !errors.As(err, &e) || e.Code != code || e.Remote != remote {
		t.Fatalf("got error %v (remote %v), want code %d, remote %v", err, e != nil && e.Remote, code, remote)
	}
	return e
}

// A gate is a connection whose writes wait until they are let through. It hides what is below, so
// that the plain driver is used.
type gate struct {
	net.Conn
	entered chan struct{} // a write has begun
	open    chan struct{} // closed to let them through

	mu       sync.Mutex // guards the fields below
	deadline chan struct{}
}

func newGate(nc net.Conn) *gate {
	return &gate{Conn: nc, entered: make(chan struct{}, 1000), open: make(chan struct{}), deadline: make(chan struct{})}
}

func (g *gate) Write(p []byte) (int, error) {
	g.entered <- struct{}{}
	g.mu.Lock()
	deadline := g.deadline
	g.mu.Unlock()
	select {
	case <-g.open:
		return g.Conn.Write(p)
	case <-deadline:
		return 0, os.ErrDeadlineExceeded
	}
}

// SetWriteDeadline knows deadlines that are far away and such that are over.
func (g *gate) SetWriteDeadline(t time.Time) error {
	g.mu.Lock()
	if !t.IsZero() && time.Until(t) < 0 {
		select {
		case <-g.deadline:
		default:
			close(g.deadline)
		}
	}
	g.mu.Unlock()
	return g.Conn.SetWriteDeadline(t)
}

// plain hides the kind of a connection, so that the plain driver is used.
type plain struct{ net.Conn }

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 10000 {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("not within ten seconds: %s", what)
}

// tlsPair puts TLS on both ends of a connection.
func tlsPair(t testing.TB, a, b net.Conn) (server, client net.Conn) {
	t.Helper()
	s := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{streamtest.Certificate()}})
	c := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
	errs := make(chan error, 1)
	go func() { errs <- s.Handshake() }()
	if err := errors.Join(c.Handshake(), <-errs); err != nil {
		t.Fatal(err)
	}
	return s, c
}

// rawClose closes a connection without the words of TLS, which can take 5 s.
func rawClose(nc net.Conn) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	nc.Close()
}
