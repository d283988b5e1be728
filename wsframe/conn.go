package wsframe

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
)

// Errors that calls return for what the caller did. Reads of an ended connection and writes to a
// broken one return a *[CloseError] instead.
var (
	ErrCloseSent   = errors.New("wsframe: a Close frame has been sent")
	ErrInvalidUTF8 = errors.New("wsframe: text is not UTF-8")
	ErrBadFrame    = errors.New("wsframe: frame breaks RFC 6455")
	ErrBadCode     = errors.New("wsframe: close code may not be sent")
)

// A Conn is one end of a WebSocket connection, made by [Accept], [Dial] or [NewConn].
//
// There are four ways to read: whole messages ([Conn.ReadMessage]), streamed messages
// ([Conn.NextReader]), single frames ([Conn.ReadFrame]) and all that one system call brought
// ([Conn.Receive]). Somebody must read at all times, since pings and the Close frame are answered
// by whoever reads; not reading is also how to hold the peer back.
//
// One goroutine may read while others write. Reads exclude each other. All methods that write may
// be called at the same time; messages and frames go out whole, one after the other, and control
// frames go out between them even where a slow peer holds up a message. Close, WriteClose, CloseNow
// and Ping may be called at any time, also from the handler of Receive, except that Close and Ping
// wait for the reader and so must not be called by it.
//
// The connection must be closed by [Conn.Close] or [Conn.CloseNow] in the end, whatever happened.
type Conn struct {
	nc       net.Conn
	o        *Options
	role     Role
	protocol string
	done     chan struct{} // closed with the network connection

	extensions string

	// Read state, owned by the holder of reading. The network connection is closed with reading
	// held, since on a raw descriptor Close waits for a reader that is inside its callback.
	reading sync.Mutex
	in      rawio.Reader
	parser  Parser
	rest    []byte    // bytes that were read and not parsed
	inflate *inflater // nil without compression
	batch   Batch
	current Part        // of the message that NextReader or ReadFrame is in
	readErr *CloseError // what all reads return from now on
	leaving bool        // somebody closes the network connection when all is said
	heard   bool        // something has arrived since the loop of Receive began

	sleeper rawio.Sleeper // asleep: nobody reads, because nothing arrives

	// Write state. writing is held for one write, sending for one message.
	sending sync.Mutex
	deflate *deflater // owned by the holder of sending; nil without compression
	writing sync.Mutex
	out     rawio.Writer

	mailbox mailbox

	clean   atomic.Bool // the peer's Close frame has come
	aborted atomic.Bool
	cause   atomic.Pointer[CloseError] // the first thing that ended the connection

	life keepalive
}

// NewConn makes a Conn of a connection whose handshake is done. Buffered is what arrived behind the
// handshake and was read already; o may be nil, and must not change as long as the Conn is in use.
// TCP and Unix connections should be given as such, not wrapped: see the package documentation. The
// connection has no compression.
func NewConn(nc net.Conn, buffered []byte, role Role, protocol string, o *Options) *Conn {
	return newConn(nc, buffered, role, protocol, o, nil)
}

func newConn(nc net.Conn, buffered []byte, role Role, protocol string, o *Options, agreed *deflateParams) *Conn {
	if o == nil {
		o = new(Options)
	}
	c := &Conn{nc: nc, o: o, role: role, protocol: protocol, done: make(chan struct{}), rest: buffered}
	c.in = rawio.NewReader(nc)
	c.out.Init(nc)
	c.out.Timeout = max(o.writeTimeout(), 0)
	c.parser = Parser{Role: role, MaxFrame: o.MaxFrame, MaxMessage: o.MaxMessage, MaxFragments: o.MaxFragments}
	if o.NewMeter != nil {
		c.parser.meter = o.NewMeter()
	}
	c.batch.c = c
	c.compress(agreed)
	c.startKeepalive()
	return c
}

// Subprotocol returns the subprotocol that the handshake agreed on, in the client's spelling, or "".
func (c *Conn) Subprotocol() string { return c.protocol }

// Role returns which end of the connection this is.
func (c *Conn) Role() Role { return c.role }

// FragmentSize returns Options.FragmentSize, for those who use [Conn.WriteEncoded] and so have to
// observe it themselves; 0 means that messages are not cut.
func (c *Conn) FragmentSize() int { return c.o.fragmentSize() }

// RemoteAddr returns the address of the peer of the network connection.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// LocalAddr returns the address of this end of the network connection.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// NetConn returns the network connection, for looking at its state. It must not be read, written
// or closed.
func (c *Conn) NetConn() net.Conn { return c.nc }

// Done returns a channel that is closed when the network connection is closed.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Ending reports whether a Close frame has been sent or the connection was cut. A handler of Receive
// that waits for something asks this to give up.
func (c *Conn) Ending() bool { return c.mailbox.closed.Load() || c.aborted.Load() }

// HungUp reports whether the connection is over, or the peer has left, also when what tells so lies behind data that
// nobody reads, where the system can tell.
func (c *Conn) HungUp() bool {
	nc := c.nc
	if wrapped, ok := nc.(interface{ NetConn() net.Conn }); ok { // TLS
		nc = wrapped.NetConn()
	}
	return c.Ending() || rawio.HungUp(nc)
}

// Err returns how the connection ended, as a *[CloseError], or nil while it has not.
func (c *Conn) Err() error {
	if cause := c.cause.Load(); cause != nil {
		return cause
	}
	return nil
}

// WriteClose sends a Close frame and does not wait: whoever reads sees the answer as the end of
// the connection, and after CloseTimeout the connection is cut. Code 0 and [CloseNoStatus] send a
// frame without a code; other codes that are not [CloseCode.Sendable] give ErrBadCode. The reason is
// cut to 123 bytes. Only the first Close counts; more of them return ErrCloseSent.
func (c *Conn) WriteClose(code CloseCode, reason string) error {
	if code != 0 && code != CloseNoStatus && !code.Sendable() {
		return ErrBadCode
	}
	if code == 0 {
		code = CloseNoStatus
	}
	if !c.sendClose(code, reason, &CloseError{Code: code, Reason: reason}) {
		return ErrCloseSent
	}
	c.awaitClose()
	return nil
}

// Close ends the connection in the orderly way: it sends a Close frame, unless one went out before,
// waits for the peer's, at most CloseTimeout, and closes the network connection. The error tells that
// the peer did not answer. A code that may not be sent, like the 1006 of another connection, does not
// keep this one open: the peer gets 1011 in its place, and ErrBadCode is returned.
//
// Messages that still arrive are discarded, unless another goroutine is inside of a read; as soon as
// it leaves, Close reads. Who wants to have them calls [Conn.WriteClose] and reads on.
func (c *Conn) Close(code CloseCode, reason string) error {
	bad := c.WriteClose(code, reason) == ErrBadCode
	if bad {
		c.WriteClose(CloseInternalError, reason)
	}
	c.awaitClose()
	if c.reading.TryLock() {
		c.drain()
	} else {
		go func() {
			c.reading.Lock()
			c.drain()
		}()
	}
	limit := time.NewTimer(c.o.closeTimeout() + time.Second)
	defer limit.Stop()
	select {
	case <-c.done:
	case <-limit.C:
		c.CloseNow()
	}
	if bad {
		return ErrBadCode
	}
	if !c.clean.Load() {
		return &CloseError{Code: CloseAbnormal, Reason: "no Close frame from the peer", Err: c.Err()}
	}
	return nil
}

// drain reads to the end and sees that the connection is closed. It needs reading, and unlocks it.
func (c *Conn) drain() {
	c.dropCurrent()
	for c.readErr == nil {
		var part Part
		c.nextPart(&part)
	}
	if !c.leaving { // the stream had ended before there was a Close frame to send
		c.leave(false)
	}
	c.unlockReading()
}

// CloseNow closes the network connection without a Close frame. A reader, or a handler of Receive,
// that is at work ends it when it returns.
func (c *Conn) CloseNow() error {
	c.abort(&CloseError{Code: CloseAbnormal, Reason: "connection cut", Err: net.ErrClosed})
	return nil
}

func (c *Conn) setCause(e *CloseError) { c.cause.CompareAndSwap(nil, e) }

// abort wakes everybody up; the network connection is closed by whoever holds reading last.
func (c *Conn) abort(cause *CloseError) {
	c.setCause(cause)
	c.aborted.Store(true)
	c.out.Stop()
	c.nc.SetReadDeadline(time.Unix(1, 0))
	c.tearDownIfAborted()
}

func (c *Conn) unlockReading() {
	c.reading.Unlock()
	c.tearDownIfAborted()
}

// tearDownIfAborted closes the network connection, once. When somebody is reading it leaves that
// to the reader: either TryLock succeeds here, or the reader's own call comes after our Store.
func (c *Conn) tearDownIfAborted() {
	if c.aborted.Load() && c.reading.TryLock() {
		c.tearDown()
		c.reading.Unlock()
	}
}

// tearDown needs reading.
func (c *Conn) tearDown() {
	select {
	case <-c.done:
		return
	default:
	}
	c.life.stop()
	c.out.Stop()     // after this nobody waits in a write
	c.sleeper.Wake() // before the descriptor can be another one's; the reader has to wait for us
	if t, ok := c.nc.(*tls.Conn); ok && c.aborted.Load() {
		t.NetConn().Close() // Close of t would try for 5 s to tell a peer who may not read
	}
	c.nc.Close()
	c.dropCurrent()
	c.inflate.release()
	c.in.Release()
	c.rest = nil
	if c.readErr == nil {
		c.readErr = c.endCause()
	}
	c.mailbox.failPings()
	close(c.done)
}

func (c *Conn) endCause() *CloseError {
	c.setCause(&CloseError{Code: CloseAbnormal, Reason: "connection lost", Remote: true, Err: io.ErrUnexpectedEOF})
	return c.cause.Load()
}

// endRead records that nothing more can be read and ends the connection the way the cause wants.
// It needs reading, and must not be called from inside a callback of the descriptor.
func (c *Conn) endRead(e *CloseError) {
	switch {
	case c.readErr != nil:
		return
	case e.Code != CloseAbnormal && !e.Remote:
		// A violation: say so, and keep the peer from losing that to a reset of the connection.
		c.setCause(e)
		c.readErr = c.cause.Load()
		c.sendClose(e.Code, e.Reason, nil)
		c.rest = nil
		c.leave(true)
	case e.Code != CloseAbnormal:
		// The peer's Close, as answer to ours or to be answered (RFC 6455, section 5.5.1).
		c.clean.Store(true)
		c.setCause(e)
		c.readErr = c.cause.Load()
		c.sendClose(e.Code, "", nil)
		c.rest = nil
		c.leave(c.role == Client)
	default:
		// The peer may still read, so what ends here is only this direction.
		c.setCause(e)
		c.readErr = c.cause.Load()
		if c.mailbox.closed.Load() {
			c.leave(false)
		}
	}
}

// leave ends an ended connection for good, in the background where that may take time: until the
// Close frame is sent and, with discard, until the peer has ended its stream, because it may still
// be sending or is the one to close first. It needs reading.
func (c *Conn) leave(discard bool) {
	c.leaving = true
	if _, ok := c.nc.(interface{ CloseWrite() error }); !ok && c.role == Server {
		discard = false // HTTP/2: no reset overtakes what was sent, and the end of the stream is all that can be said
	}
	if discard || !c.mailbox.empty() {
		go c.linger(discard)
	} else {
		c.tearDown()
	}
}

// linger discards while the Close frame is being sent: a peer whose own write is stuck reads only
// when that is through. The timer of the close handshake ends both.
func (c *Conn) linger(discard bool) {
	c.awaitClose()
	said := make(chan struct{})
	go func() {
		defer close(said)
		c.writing.Lock()
		c.flushMail(true)
		c.unlockWriting()
		if h, ok := c.nc.(interface{ CloseWrite() error }); ok && c.role == Server {
			h.CloseWrite()
		}
	}()
	c.reading.Lock()
	defer c.reading.Unlock()
	if discard {
		c.in.Loop(func([]byte) error {
			if c.aborted.Load() {
				return net.ErrClosed
			}
			return nil
		})
	}
	<-said
	c.tearDown()
}

// networkError makes the cause of an error of the network.
func networkError(err error) *CloseError {
	e := &CloseError{Code: CloseAbnormal, Reason: "connection lost", Remote: true, Err: err}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		e.Reason, e.Remote = "peer does not read", false
	case err == io.EOF:
		e.Err = io.ErrUnexpectedEOF
	}
	return e
}
