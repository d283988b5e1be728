package stdio

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// A session joins one connection and one process: one goroutine for each direction.
type session struct {
	e       *Endpoint
	t       *Target
	process *spawner.Process
	started time.Time
	open    []byte // the first line of the program, with Events

	conn    *wsframe.Conn
	in      stdin
	encoder encoder
	out     decoder
	refused bool        // the client did something that ended the session: read on only for its Close
	cut     atomic.Bool // what is still read from the program does not count any more
	silent  atomic.Bool // the output of the program has ended
}

// Abort stops the program of a session whose handshake failed.
func (s *session) Abort() {
	s.process.Stop(context.Background())
	s.process.ClosePipes()
	s.ended(&wsframe.CloseError{Code: wsframe.CloseAbnormal, Reason: "handshake failed"}, nil)
}

// Run runs the session to its end: the connection is closed and the process is gone.
func (s *session) Run(ctx context.Context, c *wsframe.Conn) error {
	o := &s.e.Options
	s.conn = c
	s.encoder.o = o
	s.out = decoder{o: o, conn: c}
	s.in.init(s.process.Stdin, o.queue(), func() bool { return c.Ending() || rawio.HungUp(c.NetConn()) })
	s.begin(c)
	if s.open != nil {
		s.in.write(s.open, o.stallTimeout())
		s.open = nil
	}
	outputDone := make(chan struct{})
	go func() {
		s.pumpOutput()
		close(outputDone)
	}()

	err := c.Receive(s.receive)

	// The client has left, or has answered our Close frame. The program gets what is queued for it
	// and the end of its input; then the ladder.
	var end *wsframe.CloseError
	if !errors.As(err, &end) {
		end = &wsframe.CloseError{Code: wsframe.CloseAbnormal, Reason: err.Error(), Err: err}
	}
	if o.Events {
		s.in.write(closeEvent(end), 0)
	}
	if ctx.Err() == nil {
		s.in.finish(o.stallTimeout())
	}
	stopErr := s.process.Stop(ctx)
	if stopErr != nil {
		s.cutOutput(s.process)
	}
	<-outputDone
	s.process.ClosePipes()
	s.ended(end, stopErr)
	return err
}

// receive is the direction from the client to the program.
func (s *session) receive(b *wsframe.Batch) error {
	if s.refused {
		return nil
	}
	p, refusal := s.encoder.encode(b)
	if err := s.in.write(p, s.e.Options.stallTimeout()); err != nil && refusal == nil {
		refusal = closeError(wsframe.CloseTryAgainLater, err.Error())
	}
	if refusal != nil {
		s.refused = true
		s.conn.WriteClose(refusal.Code, refusal.Reason)
	}
	return nil
}

// pumpOutput is the direction from the program to the client. It ends when the program has.
func (s *session) pumpOutput() {
	var stderr chan struct{}
	if s.process.Stderr != nil {
		s.out.stream = "stdout"
		stderr = make(chan struct{})
		go func() {
			defer close(stderr)
			d := decoder{o: &s.e.Options, conn: s.conn, stream: "stderr"}
			s.read(rawio.NewReader(s.process.Stderr), &d)
			d.end()
		}()
	}
	s.read(rawio.NewReader(s.process.Stdout), &s.out)
	whole := s.out.end()
	if stderr != nil {
		<-stderr
	}
	s.silent.Store(true)
	<-s.process.Done() // a program may close its output and go on reading
	s.process.Finish()
	code, reason := s.closeCode()
	if !whole {
		code, reason = wsframe.CloseInternalError, "the program ended inside a message"
	}
	s.conn.WriteClose(code, reason)
}

func (s *session) read(r rawio.Reader, d *decoder) {
	r.Loop(func(chunk []byte) error {
		if s.cut.Load() {
			return context.Canceled
		}
		d.chunk(chunk)
		return nil
	})
}

// onExit bounds how long others of the group may keep the output open after the program itself
// has ended: then they are killed, and who left the group is not listened to any more.
func (s *session) onExit(p *spawner.Process) {
	if s.silent.Load() {
		return
	}
	time.AfterFunc(p.Linger(), func() {
		if s.silent.Load() {
			return
		}
		p.Finish()
		time.AfterFunc(time.Second, func() { s.cutOutput(p) })
	})
}

func (s *session) cutOutput(p *spawner.Process) {
	s.cut.Store(true)
	p.Stdout.SetReadDeadline(time.Unix(1, 0))
	if p.Stderr != nil {
		p.Stderr.SetReadDeadline(time.Unix(1, 0))
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

func (s *session) begin(c *wsframe.Conn) {
	if s.t.Started != nil {
		s.t.Started(s.process.Pid())
	}
	if log := s.e.Log; log != nil && log.Enabled(context.Background(), slog.LevelInfo) {
		log.LogAttrs(context.Background(), slog.LevelInfo, "session started", s.attrs(
			slog.String("remote", c.RemoteAddr().String()), slog.Int("pid", s.process.Pid()))...)
	}
}

func (s *session) ended(end *wsframe.CloseError, stopErr error) {
	sum := Summary{
		Pid: s.process.Pid(), Exit: s.process.ExitState(), Close: *end,
		In: s.in.written(), Out: s.out.total, Duration: time.Since(s.started), StopErr: stopErr,
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
