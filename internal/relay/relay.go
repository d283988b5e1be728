// Package relay joins two byte streams: a client's connection and whatever is on the far side.
//
// Nothing is looked at and nothing is changed. Each direction ends by itself, with a half close; a
// direction that is blocked holds one buffer and stops reading, so that back-pressure passes
// through; an idle tunnel holds no buffer.
package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
)

// DefaultHalf is a good value of [Options].Half: long enough for everything that still answers.
const DefaultHalf = 10 * time.Second

// A Far is the other side of a [Tunnel]. A read deadline that ends a Read is the end of the stream.
type Far interface {
	io.ReadWriter
	CloseWrite() error // the client has ended its direction
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// An Unwrapper is a [Far] that lets its bytes pass unchanged: they may be read from r and written to w
// instead, which is faster if those are descriptors.
type Unwrapper interface {
	Unwrap() (r io.Reader, w rawio.WriteStream)
}

// Options are what a [Tunnel] needs to know.
type Options struct {
	// FromClient and FromFar were read before; they go first.
	FromClient, FromFar []byte

	// Idle ends a tunnel that was silent in both directions for so long, and at most twice so long. 0 = never.
	Idle time.Duration
	// Life ends it in any case. 0 = never.
	Life time.Duration
	// Expires ends it in any case, too: what allowed it is good until then. Zero = never.
	Expires time.Time
	// Half ends it when one direction has ended and the other one was silent for so long, and at most
	// twice so long. 0 = never.
	Half time.Duration
}

// An End is the reason why a tunnel ended.
type End int32

// The reasons.
const (
	EndClosed  End = iota + 1 // both directions ended
	EndClient                 // the connection of the client broke
	EndFar                    // the far side broke
	EndIdle                   // Options.Idle
	EndLife                   // Options.Life
	EndHalf                   // Options.Half
	EndAborted                // Abort
	EndExpired                // Options.Expires
)

func (e End) String() string {
	return [...]string{"", "closed", "client is gone", "far side is gone", "idle", "life time is over", "silent half", "aborted", "the login has expired"}[e]
}

// A Result tells how a tunnel was.
type Result struct {
	ToFar, ToClient int64 // bytes
	End             End
}

// A Tunnel joins two streams: New, Run.
type Tunnel struct {
	client net.Conn
	far    Far
	farIn  io.Reader
	farOut rawio.WriteStream
	o      Options

	up, down atomic.Int64 // bytes that went to the far side and to the client
	end      atomic.Int32
	half     atomic.Bool // one direction has ended

	mu    sync.Mutex // guards the fields below
	clock *time.Timer
	seen  int64 // bytes when the clock struck last
	over  bool  // Run is returning
	life  *time.Timer
}

// New makes a tunnel. Nothing moves before Run.
func New(client net.Conn, far Far, o Options) *Tunnel {
	t := &Tunnel{client: client, far: far, farIn: far, farOut: far, o: o}
	if u, ok := far.(Unwrapper); ok {
		t.farIn, t.farOut = u.Unwrap()
	}
	return t
}

// Run moves bytes until both directions have ended, or something else ends the tunnel. It closes the client's
// connection. Closing the far side is up to the caller, who knows whether it ended well.
func (t *Tunnel) Run() Result {
	t.mu.Lock()
	if left, why := t.o.lifetime(); left > 0 {
		t.life = time.AfterFunc(left, func() { t.stop(why) })
	}
	if t.o.Idle > 0 {
		t.clock = time.AfterFunc(t.o.Idle, t.strike)
	}
	t.mu.Unlock()

	var other sync.WaitGroup
	other.Go(t.runUp)
	t.runDown()
	other.Wait()

	t.mu.Lock()
	t.over = true
	if t.clock != nil {
		t.clock.Stop()
	}
	if t.life != nil {
		t.life.Stop()
	}
	t.mu.Unlock()
	t.client.Close()
	t.end.CompareAndSwap(0, int32(EndClosed))
	return Result{ToFar: t.up.Load(), ToClient: t.down.Load(), End: End(t.end.Load())}
}

// lifetime is the time that is left at most, and what is over then. 0 = no end.
func (o *Options) lifetime() (left time.Duration, why End) {
	left, why = max(o.Life, 0), EndLife
	if o.Expires.IsZero() {
		return left, why
	}
	if until := max(time.Until(o.Expires), 1); left == 0 || until < left {
		left, why = until, EndExpired
	}
	return left, why
}

// Abort ends the tunnel at once. It may be called at any time, also before Run.
func (t *Tunnel) Abort() { t.stop(EndAborted) }

var past = time.Unix(1, 0)

// stop wakes whatever waits. Nothing is closed here, since a close would wait for a handler of
// package rawio that waits for the other side.
func (t *Tunnel) stop(why End) {
	t.end.CompareAndSwap(0, int32(why))
	t.far.SetReadDeadline(past)
	t.far.SetWriteDeadline(past)
	t.client.SetDeadline(past)
}

func (t *Tunnel) stopped() bool { return t.end.Load() != 0 }

// errStopped leaves a loop.
var errStopped = errors.New("stopped")

// runUp moves what the client sends.
func (t *Tunnel) runUp() {
	var w rawio.Writer
	w.Init(t.farOut)
	deaf := false // the far side reads no more; its own words may still come
	send := func(p []byte) {
		if deaf || len(p) == 0 {
			return
		}
		n, err := w.Write(p)
		t.up.Add(int64(n))
		if deaf = err != nil; deaf && !t.stopped() {
			t.halfEnded() // from now on only the other direction counts as life
		}
	}
	send(t.o.FromClient)
	t.o.FromClient = nil
	r := rawio.NewReader(t.client)
	err := r.Loop(func(chunk []byte) error {
		if t.stopped() {
			return errStopped
		}
		send(chunk[rawio.Gap:])
		return nil
	})
	if err != nil {
		t.stop(EndClient)
		return
	}
	t.far.CloseWrite()
	t.halfEnded()
}

// runDown moves what the far side sends.
func (t *Tunnel) runDown() {
	var w rawio.Writer
	w.Init(t.client)
	broken := false
	send := func(p []byte) error {
		n, err := w.Write(p)
		t.down.Add(int64(n))
		broken = err != nil
		return err
	}
	err := send(t.o.FromFar)
	t.o.FromFar = nil
	if err == nil {
		r := rawio.NewReader(t.farIn)
		err = r.Loop(func(chunk []byte) error {
			if t.stopped() {
				return errStopped
			}
			return send(chunk[rawio.Gap:])
		})
	}
	switch {
	case broken:
		t.stop(EndClient)
		return
	case t.stopped():
		return
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		t.stop(EndFar)
		return
	}
	c, ok := t.client.(interface{ CloseWrite() error })
	if !ok || c.CloseWrite() != nil {
		t.stop(EndClosed)
		return
	}
	t.halfEnded()
}

// halfEnded notes that one direction is at its end.
func (t *Tunnel) halfEnded() {
	if t.half.Swap(true) || t.o.Half <= 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	t.seen = t.up.Load() + t.down.Load()
	if t.clock == nil {
		t.clock = time.AfterFunc(t.o.Half, t.strike)
		return
	}
	t.clock.Reset(t.patience())
}

// patience is the time after which silence is looked at again.
func (t *Tunnel) patience() time.Duration {
	if t.half.Load() && t.o.Half > 0 && (t.o.Idle <= 0 || t.o.Half < t.o.Idle) {
		return t.o.Half
	}
	return t.o.Idle
}

// strike is called by the clock. No time is taken per message that way.
func (t *Tunnel) strike() {
	moved := t.up.Load() + t.down.Load()
	t.mu.Lock()
	silent := moved == t.seen
	t.seen = moved
	if !silent && !t.over {
		t.clock.Reset(t.patience())
	}
	over := t.over
	half := t.patience() == t.o.Half && t.half.Load()
	t.mu.Unlock()
	switch {
	case over || !silent:
	case half:
		t.stop(EndHalf)
	default:
		t.stop(EndIdle)
	}
}
