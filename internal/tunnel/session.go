package tunnel

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/internal/feed"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/wsframe"
)

// A session joins one connection and one stream: one goroutine for each direction, and none for a
// direction that is quiet.
type session struct {
	e       *Endpoint
	stream  Stream
	options *framing.Options
	remote  string // the client, behind whatever proxies
	attrs   []slog.Attr
	started time.Time

	conn    *wsframe.Conn
	in      feed.Writer
	encoder framing.Encoder
	out     framing.Decoder
	reader  feed.Reader
	refused bool          // the client did something that ended the session: read on only for its Close
	stalled bool          // the far side has missed some of its input, so it gets no more
	chunks  atomic.Uint32 // counts when one comes from the far side, and when it is delivered
	ended   chan struct{} // closed when the far side has ended
}

// Abort closes the stream of a session whose handshake failed.
func (s *session) Abort() { s.stream.Close() }

// Run runs the session to its end: the connection and the stream are closed.
func (s *session) Run(ctx context.Context, c *wsframe.Conn) error {
	ended := make(chan error, 1)
	s.Start(ctx, c, func(err error) { ended <- err })
	return <-ended
}

// Start runs the session without keeping a goroutine for a quiet direction.
func (s *session) Start(ctx context.Context, c *wsframe.Conn, done func(error)) {
	s.conn, s.ended = c, make(chan struct{})
	s.encoder.Options = s.options
	s.out = framing.Decoder{Options: s.options, Conn: c, Peer: "backend"}
	var r io.Reader = s.stream
	var w rawio.WriteStream = s.stream
	if u, ok := s.stream.(unwrapper); ok {
		r, w = u.Unwrap()
	}
	s.in.Init(w, s.e.queue(), ctx.Done(), c.HungUp)
	s.log("session started", slog.String("remote", s.remote))
	s.reader.Source, s.reader.Stream, s.reader.Handle, s.reader.Done = r, s.stream, s.output, s.farEnded
	if e, ok := s.stream.(interface{ Early() []byte }); ok {
		s.reader.Early = e.Early()
	}
	s.reader.Start()
	c.ReceiveThen(s.receive, func(err error) {
		s.end(ctx, err)
		done(err)
	})
}

// receive is the direction from the client to the far side.
func (s *session) receive(b *wsframe.Batch) error {
	if s.refused {
		return nil
	}
	p, refusal := s.encoder.Encode(b)
	if len(p) > 0 && s.in.Write(p, s.e.stallTimeout()) != nil {
		s.stalled = true
		if refusal == nil {
			refusal = &wsframe.CloseError{Code: wsframe.CloseTryAgainLater, Reason: "the backend does not read its input"}
		}
	}
	if refusal != nil {
		s.refused = true
		s.conn.WriteClose(refusal.Code, refusal.Reason)
	}
	return nil
}

// output is the direction from the far side to the client.
func (s *session) output(chunk []byte) error {
	s.chunks.Add(1)
	s.out.Chunk(chunk)
	s.chunks.Add(1)
	return nil
}

// farEnded tells the client how the stream has ended.
func (s *session) farEnded(err error) {
	defer close(s.ended)
	whole := s.out.End()
	code, reason := wsframe.CloseNormal, ""
	var crash error
	if c, ok := s.stream.(interface{ Crashed() error }); ok && err == nil {
		crash = c.Crashed()
	}
	switch {
	case err == feed.ErrCut: // who reads this has ended its direction of TCP
		code, reason = wsframe.CloseGoingAway, "the backend was silent for too long"
	case crash != nil:
		code, reason = wsframe.CloseInternalError, "the backend failed"
	case err != nil:
		code, reason = wsframe.CloseInternalError, "the connection to the backend broke"
	case !whole:
		code, reason = wsframe.CloseInternalError, "the backend ended inside a message"
	}
	s.conn.WriteClose(code, reason)
}

const (
	// lingerTime is how long a far side is listened to for its end when nobody is left to hear it. To
	// close a socket with something unread resets the connection, and what was sent last may be lost.
	lingerTime = 2 * time.Second

	endTick = 100 * time.Millisecond
)

// end follows the end of the connection: the client has left, or has answered our Close frame. The far
// side gets what is queued for it and the end of its input; then it may end as well.
func (s *session) end(ctx context.Context, err error) {
	end, ok := errors.AsType[*wsframe.CloseError](err)
	if !ok {
		end = &wsframe.CloseError{Code: wsframe.CloseAbnormal, Reason: err.Error(), Err: err}
	}
	wait := s.e.stallTimeout()
	if s.stalled {
		wait = 0 // it had its time
	} else {
		s.in.Add(s.encoder.End())
	}
	if s.in.Finish(wait) && ctx.Err() == nil {
		s.stream.CloseWrite()
		s.awaitEnd(ctx)
	}
	s.reader.Cut()
	s.stream.Close()
	<-s.ended
	s.log("session ended", slog.Int("code", int(end.Code)), slog.String("reason", end.Reason),
		slog.Duration("duration", time.Since(s.started)), slog.Int64("in", s.in.Written()), slog.Int64("out", s.out.Total))
}

// awaitEnd waits for the end of the far side: long for one whose words can still reach the client.
func (s *session) awaitEnd(ctx context.Context) {
	tick := time.NewTicker(endTick)
	defer tick.Stop()
	since, chunks, gone := time.Now(), s.chunks.Load(), false
	for limit := s.e.halfTimeout(); ; {
		select {
		case <-s.ended:
			return
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if s.conn.Ending() {
				if !gone {
					gone, since, limit = true, now, min(limit, lingerTime)
				}
			} else if n := s.chunks.Load(); n != chunks || n%2 == 1 { // the client may be slow
				since, chunks = now, n
			}
			if now.Sub(since) >= limit {
				return
			}
		}
	}
}

func (s *session) log(message string, attrs ...slog.Attr) {
	log := s.e.Log
	if log == nil || !log.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	if b, ok := s.stream.(interface{ ID() string }); ok {
		attrs = append(attrs, slog.String("backend", b.ID()))
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, message, append(attrs, s.attrs...)...)
}
