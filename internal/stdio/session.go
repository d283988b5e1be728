package stdio

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/internal/feed"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// A session joins one connection and one process: one goroutine for each direction, and none for a
// direction that is quiet.
type session struct {
	e       *Endpoint
	t       Target
	process *spawner.Process
	remote  string // the client, behind whatever proxies
	started time.Time
	open    []byte // the first line of the program, with Events or RequestMessage

	conn    *wsframe.Conn
	in      feed.Writer
	encoder framing.Encoder
	out     output
	err     *output       // stderr, with PassStderr
	outputs atomic.Int32  // how many have not ended
	torn    bool          // one of them ended inside a message; for outputEnded
	refused bool          // the client did something that ended the session: read on only for its Close
	stalled bool          // the program has missed some of its input, so it gets no more
	linger  atomic.Int32  // counts to 2: the program has ended, and its output is being read
	silent  atomic.Bool   // the output of the program has ended
	stuck   chan struct{} // closed when the program cannot be stopped

	outputDone chan struct{} // closed at the end of the output and the program
}

// An output is a stream of the program on its way to the client.
type output struct {
	framing.Decoder
	reader feed.Reader
}

// Abort stops the program of a session whose handshake failed. It does not wait for that; the Close
// of the Spawner does.
func (s *session) Abort() {
	go func() {
		err := s.process.Stop(context.Background())
		s.process.ClosePipes()
		s.ended(&wsframe.CloseError{Code: wsframe.CloseAbnormal, Reason: "handshake failed"}, err)
	}()
}

// Run runs the session to its end: the connection is closed and the process is gone.
func (s *session) Run(ctx context.Context, c *wsframe.Conn) error {
	ended := make(chan error, 1)
	s.Start(ctx, c, func(err error) { ended <- err })
	return <-ended
}

// Start runs the session without keeping a goroutine for a client or a program that is quiet.
func (s *session) Start(ctx context.Context, c *wsframe.Conn, done func(error)) {
	o := &s.e.Options
	s.conn, s.stuck = c, make(chan struct{})
	s.encoder.Options = &o.Options
	s.in.Init(s.process.Stdin, o.queue(), ctx.Done(), c.HungUp)
	s.begin()
	if s.open != nil {
		s.in.Write(s.open, o.stallTimeout())
		s.open = nil
	}
	s.outputDone = make(chan struct{})
	s.startOutput()
	c.ReceiveThen(s.receive, func(err error) {
		s.end(ctx, err)
		done(err)
	})
}

// end follows the end of the connection: the client has left, or has answered our Close frame. The
// program gets what is queued for it and the end of its input; then the ladder.
func (s *session) end(ctx context.Context, err error) {
	o := &s.e.Options
	var end *wsframe.CloseError
	if !errors.As(err, &end) {
		end = &wsframe.CloseError{Code: wsframe.CloseAbnormal, Reason: err.Error(), Err: err}
	}
	if !s.stalled {
		last := s.encoder.End()
		if o.Events {
			last = append(last, closeEvent(end)...)
		}
		s.in.Add(last)
	}
	wait := o.stallTimeout()
	if s.stalled {
		wait = 0 // it had its time
	}
	s.in.Finish(wait)
	s.process.Stdin.Close()
	stopErr := s.process.Stop(ctx)
	if stopErr != nil {
		s.cutOutput()
		close(s.stuck)
	}
	<-s.outputDone
	s.process.ClosePipes()
	s.ended(end, stopErr)
}

// receive is the direction from the client to the program.
func (s *session) receive(b *wsframe.Batch) error {
	if s.refused {
		return nil
	}
	p, refusal := s.encoder.Encode(b)
	if err := s.in.Write(p, s.e.Options.stallTimeout()); err != nil {
		s.stalled = true
		if refusal == nil {
			refusal = &wsframe.CloseError{Code: wsframe.CloseTryAgainLater, Reason: "the program does not read its input"}
		}
	}
	if refusal != nil {
		s.refused = true
		s.conn.WriteClose(refusal.Code, refusal.Reason)
	}
	return nil
}

// startOutput starts the direction from the program to the client.
func (s *session) startOutput() {
	s.outputs.Store(1)
	if s.process.Stderr != nil {
		s.outputs.Store(2)
		s.out.Stream = "stdout"
		s.err = &output{Decoder: framing.Decoder{Stream: "stderr", Tap: s.t.Stderr}}
		s.err.start(s, s.process.Stderr)
	}
	s.out.start(s, s.process.Stdout)
	s.onExit(s.process)
}

func (o *output) start(s *session, pipe *os.File) {
	o.Options, o.Conn = &s.e.Options.Options, s.conn
	r := &o.reader
	r.Source, r.Stream = pipe, pipe
	// Once the output is cut, that is what a pipe holds at most: a client who is slow to take the output
	// of a program that has ended shall get all of it, and who writes on for ever shall not hold up the
	// session.
	r.Rest = max(1<<20, 2*s.t.Program.PipeSize)
	r.Handle = func(chunk []byte) error {
		o.Chunk(chunk)
		return nil
	}
	r.Done = func(error) { s.outputEnded(o) }
	r.Start()
}

// outputEnded follows the end of an output. The last one waits for the program.
func (s *session) outputEnded(o *output) {
	if !o.End() {
		s.torn = true
	}
	if s.outputs.Add(-1) > 0 {
		return
	}
	defer close(s.outputDone)
	if s.err != nil {
		s.out.Total += s.err.Total
	}
	s.silent.Store(true)
	select {
	case <-s.process.Done(): // a program may close its output and go on reading
	case <-s.stuck:
		s.conn.WriteClose(wsframe.CloseInternalError, "the program does not end")
		return
	}
	s.process.Finish()
	code, reason := s.closeCode()
	if s.torn {
		code, reason = wsframe.CloseInternalError, "the program ended inside a message"
	}
	s.conn.WriteClose(code, reason)
}

// onExit bounds how long others of the group may keep the output open after the program itself
// has ended: then they are killed, and who left the group is not listened to any more. It is called
// when the program has ended and when its output begins to be read, and starts the clock the second
// time.
func (s *session) onExit(p *spawner.Process) {
	if s.linger.Add(1) < 2 || s.silent.Load() {
		return
	}
	time.AfterFunc(p.Linger(), func() {
		if s.silent.Load() {
			return
		}
		p.Finish()
		time.AfterFunc(time.Second, s.cutOutput)
	})
}

// cutOutput ends reading where nothing is left to be read.
func (s *session) cutOutput() {
	s.out.reader.Cut()
	if s.err != nil {
		s.err.reader.Cut()
	}
}

// closeCode is what the exit of the program means to the client.
func (s *session) closeCode() (wsframe.CloseCode, string) {
	exit := s.process.ExitState()
	code, ok := s.e.Options.CloseCodes[exit.Code]
	switch {
	case ok:
	case exit.Success():
		code = wsframe.CloseNormal
	default:
		code = wsframe.CloseInternalError
	}
	return code, exit.String()
}

func (s *session) begin() {
	if s.t.Started != nil {
		s.t.Started(s.process.Pid())
	}
	if log := s.e.Log; log != nil && log.Enabled(context.Background(), slog.LevelInfo) {
		log.LogAttrs(context.Background(), slog.LevelInfo, "session started", s.attrs(
			slog.String("remote", s.remote), slog.Int("pid", s.process.Pid()))...)
	}
}

func (s *session) ended(end *wsframe.CloseError, stopErr error) {
	sum := Summary{
		Pid: s.process.Pid(), Exit: s.process.ExitState(), Close: *end,
		In: s.in.Written(), Out: s.out.Total, Duration: time.Since(s.started), StopErr: stopErr,
	}
	if s.t.Ended != nil {
		s.t.Ended(sum)
	}
	if log := s.e.Log; log != nil && log.Enabled(context.Background(), slog.LevelInfo) {
		log.LogAttrs(context.Background(), slog.LevelInfo, "session ended", s.attrs(
			slog.Int("pid", sum.Pid), slog.Int("code", int(end.Code)), slog.String("reason", end.Reason),
			slog.String("exit", sum.Exit.String()), slog.Duration("duration", sum.Duration),
			slog.Int64("in", sum.In), slog.Int64("out", sum.Out))...)
	}
}

func (s *session) attrs(more ...slog.Attr) []slog.Attr {
	return append(more, s.t.Attrs...)
}
