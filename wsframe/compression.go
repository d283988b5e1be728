package wsframe

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Compression says how a connection uses permessage-deflate (RFC 7692). The zero value compresses with
// the lowest effort and remembers nothing between messages.
//
// Memory for compressing (about 1 MiB) and for inflating (56 KiB) is shared by all connections and
// taken only while a message is at work; the latter is also held while the rest of a compressed message
// that has begun is awaited. In between, a connection holds Window and PeerWindow bytes at most.
//
// Compressing what an attacker can choose together with a secret that is sent over TLS can tell the
// attacker the secret, by the length of the frames. A Window makes that easier.
type Compression struct {
	// Level is from 1, fast, to 9, small; 0 means 1. It is ignored where the peer has asked for a
	// window of less than 32 KiB.
	Level int

	// Window is how many of the bytes that were sent in compressed messages each connection remembers,
	// so that later messages can refer to them: 0 for none, 32768 at most. Small messages that are
	// alike shrink to a fraction with as little as 512 bytes. A message costs some 10 µs more for up to
	// 8192 bytes, and 80 µs for 32768. The peer may forbid it.
	Window int

	// PeerWindow is the same for what is received: how far the peer's messages may refer to earlier
	// ones. 0 asks for messages that can be inflated alone. Else it is a power of two from 512 to
	// 32768, or rounded down to one; peers that cannot be limited to it are asked for 0.
	PeerWindow int

	// MinSize is the size in bytes of the smallest message that is compressed. 0 means 128, a negative
	// value all. Messages that do not become smaller are sent as they are.
	MinSize int
}

const (
	deflateName = "permessage-deflate"

	defaultMinSize = 128
	minWindowBits  = 9 // that is asked for: zlib cannot do 8, which RFC 7692 allows
	maxWindowBits  = 15
)

func (o *Compression) window() int { return min(max(o.Window, 0), 1<<maxWindowBits) }

// peerBits returns PeerWindow as RFC 7692 has it, or 0 for none.
func (o *Compression) peerBits() int {
	if o.PeerWindow <= 0 {
		return 0
	}
	return min(max(bits.Len(uint(o.PeerWindow))-1, minWindowBits), maxWindowBits)
}

// deflateParams are the parameters of an offer, or those that were agreed on (RFC 7692, section 7.1).
type deflateParams struct {
	serverAlone, clientAlone bool // no_context_takeover
	serverBits, clientBits   int  // max_window_bits; 0: not there
	anyBits                  bool // client_max_window_bits is there without a value
}

// parseDeflate parses an element of Sec-WebSocket-Extensions, of an answer or an offer. It reports false
// for one that has to be declined.
func parseDeflate(e Extension, answer bool) (p deflateParams, ok bool) {
	if e.Name != deflateName {
		return p, false
	}
	for i, param := range e.Params {
		if slices.ContainsFunc(e.Params[:i], func(b ExtensionParam) bool { return b.Name == param.Name }) {
			return p, false
		}
		ok := param.Value == ""
		switch param.Name {
		case "server_no_context_takeover":
			p.serverAlone = true
		case "client_no_context_takeover":
			p.clientAlone = true
		case "server_max_window_bits":
			p.serverBits, ok = parseWindowBits(param.Value)
		case "client_max_window_bits":
			if p.anyBits = param.Value == "" && !answer; !p.anyBits {
				p.clientBits, ok = parseWindowBits(param.Value)
			}
		default:
			return p, false
		}
		if !ok {
			return p, false
		}
	}
	return p, true
}

func parseWindowBits(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 8 && n <= maxWindowBits && s == strconv.Itoa(n)
}

// String returns p as an element of Sec-WebSocket-Extensions.
func (p deflateParams) String() string {
	var b strings.Builder
	b.WriteString(deflateName)
	if p.serverAlone {
		b.WriteString("; server_no_context_takeover")
	}
	if p.clientAlone {
		b.WriteString("; client_no_context_takeover")
	}
	if p.serverBits > 0 {
		b.WriteString("; server_max_window_bits=" + strconv.Itoa(p.serverBits))
	}
	if p.clientBits > 0 {
		b.WriteString("; client_max_window_bits=" + strconv.Itoa(p.clientBits))
	}
	if p.anyBits {
		b.WriteString("; client_max_window_bits")
	}
	return b.String()
}

// choose returns what a server answers to the first offer that it can accept, or nil. A nil o declines
// all.
func (o *Compression) choose(offers []Extension) *deflateParams {
	if o == nil {
		return nil
	}
	for _, e := range offers {
		if offer, ok := parseDeflate(e, false); ok {
			return o.answer(offer)
		}
	}
	return nil
}

func (o *Compression) answer(offer deflateParams) *deflateParams {
	want := o.peerBits()
	a := &deflateParams{
		serverAlone: offer.serverAlone || o.window() == 0, // may be said without being asked
		clientAlone: offer.clientAlone || want == 0,
		serverBits:  offer.serverBits,
	}
	switch mayLimit := offer.anyBits || offer.clientBits > 0; {
	case a.clientAlone:
	case offer.clientBits > 0 && offer.clientBits <= want:
		a.clientBits = offer.clientBits
	case want == maxWindowBits:
	case mayLimit:
		a.clientBits = want
	default:
		a.clientAlone = true
	}
	return a
}

// offers returns what a client asks for, the best first.
func (o *Compression) offers() []deflateParams {
	want := o.peerBits()
	offer := deflateParams{serverAlone: want == 0, clientAlone: o.window() == 0, anyBits: true}
	if want == 0 || want == maxWindowBits {
		return []deflateParams{offer}
	}
	small, alone := offer, offer
	small.serverBits = want // a server that knows no limit must decline this
	alone.serverAlone = true
	return []deflateParams{small, alone}
}

// check reports whether an answer fits the offers.
func (o *Compression) check(a deflateParams) bool {
	want := o.peerBits()
	return a.serverAlone || want == maxWindowBits || want > 0 && a.serverBits > 0 && a.serverBits <= want
}

// compress switches compression on for a connection that has agreed on it.
func (c *Conn) compress(a *deflateParams) {
	if a == nil {
		return
	}
	c.extensions = a.String()
	sendAlone, sendBits, alone, bits := a.serverAlone, a.serverBits, a.clientAlone, a.clientBits
	if c.role == Client {
		sendAlone, sendBits, alone, bits = alone, bits, sendAlone, sendBits
	}
	if sendBits == 0 {
		sendBits = maxWindowBits
	}
	if bits == 0 {
		bits = maxWindowBits
	}
	o := c.o.Compression
	c.parser.RSV1 = true
	c.inflate = &inflater{alone: alone, window: 1 << max(bits, minWindowBits)}
	c.deflate = &deflater{level: min(max(o.Level, 1), 9), bits: sendBits, minSize: o.MinSize}
	if o.MinSize == 0 {
		c.deflate.minSize = defaultMinSize
	}
	if !sendAlone {
		c.deflate.window = min(o.window(), 1<<sendBits)
	}
}

// Extensions returns the extensions that the handshake agreed on, as in the header
// Sec-WebSocket-Extensions, or "".
func (c *Conn) Extensions() string { return c.extensions }
