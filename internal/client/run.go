package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// pingTimeout is how long a ping of Config.Ping may be on its way.
const pingTimeout = 10 * time.Second

// Run connects and moves messages until the connection ends. The package documentation says how that
// is; the error is an *[Error]. The end of ctx cuts the connection.
//
// Run changes the mode of the terminal and brings it back, so it should run once at a time.
func Run(ctx context.Context, c Config) error {
	checked, err := c.check()
	if err != nil {
		return usage(err)
	}
	n := &notes{w: checked.Stderr}
	conn, err := checked.dial(ctx, n)
	if err != nil {
		return err
	}
	s := &session{c: checked, conn: conn, notes: n}
	if err := s.open(); err != nil {
		conn.Close(wsframe.CloseGoingAway, "")
		return &Error{Status: StatusFailure, Err: err}
	}
	defer s.close()
	ctx, cancel := context.WithCancel(ctx)
	var pinger sync.WaitGroup
	if checked.Ping > 0 {
		pinger.Go(func() { s.ping(ctx) })
	}
	err = s.run(ctx)
	cancel()
	pinger.Wait()
	return err
}

// A session is one connection. Three goroutines work for it: one receives, one sends, and run, in
// the third, decides.
type session struct {
	c      *Config
	conn   *wsframe.Conn
	notes  *notes
	out    output
	editor *editor // nil in a pipe

	// activity changes when something arrives and when that has been written; it is odd between.
	activity atomic.Uint64

	// The following belong to run.
	input     *inputError // why no more is sent
	signalled bool
	waited    bool // the time after the end of the input is over
	closing   *time.Ticker
	silence   int    // ticks without activity
	seen      uint64 // activity at the last tick
}

// silentTicks is how many ticks of the closing ticker make a CloseTimeout.
const silentTicks = 5

func (s *session) open() error {
	stdin, in := s.c.Stdin.(*os.File)
	stdout, out := s.c.Stdout.(*os.File)
	switch {
	case in && out && editable(stdin, stdout):
		e, err := openEditor(stdin, stdout, s.c.HistoryFile)
		if err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
		s.editor = e
		s.notes.redirect(e.term)
		s.out = newRenderer(e.term, true, !s.c.NoColor)
	case out && isTerminal(stdout):
		s.out = newRenderer(stdout, false, false)
	default:
		s.out = &plain{w: s.c.Stdout, lines: !s.c.Binary}
	}
	return nil
}

func (s *session) close() {
	if s.closing != nil {
		s.closing.Stop()
	}
	if s.editor != nil {
		s.notes.redirect(s.c.Stderr)
		s.editor.close()
	}
}

// run is the life of the session.
func (s *session) run(ctx context.Context) error {
	received, sent := make(chan error, 1), make(chan error, 1)
	go func() { received <- s.receive() }()
	go func() { sent <- s.send() }()
	var wait, hard, tick <-chan time.Time
	for {
		if s.closing != nil {
			tick = s.closing.C
		}
		select {
		case err := <-received:
			return s.end(err)
		case err := <-sent:
			wait = s.inputEnded(err)
		case <-wait:
			s.waited = true
			s.hangUp(wsframe.CloseNormal, "")
		case sig := <-s.c.Signals:
			if s.signalled {
				return s.cut()
			}
			s.signalled = true
			hard = time.After(s.c.CloseTimeout)
			if sig == os.Interrupt {
				s.hangUp(wsframe.CloseNormal, "")
			} else {
				s.hangUp(wsframe.CloseGoingAway, "")
			}
		case <-hard:
			return s.cut()
		case <-tick:
			s.tick()
		case <-ctx.Done():
			return s.cut()
		}
	}
}

// receive writes what arrives until the connection ends, or there is no reason to go on.
func (s *session) receive() error {
	err := s.conn.Receive(func(b *wsframe.Batch) error {
		s.activity.Add(1)
		defer s.activity.Add(1)
		return s.out.write(b, s.c.One)
	})
	if _, closed := errors.AsType[*wsframe.CloseError](err); closed {
		if e := s.out.end(); e != nil && e != errNoReader {
			return e
		}
	}
	return err
}

func (s *session) send() error {
	op := wsframe.OpText
	if s.c.Binary {
		op = wsframe.OpBinary
	}
	switch {
	case s.editor != nil:
		return s.editor.send(s.conn, op)
	case s.c.Binary:
		return sendChunks(s.conn, s.c.Stdin)
	}
	return sendLines(s.conn, s.c.Stdin)
}

// inputEnded decides what follows the end of the input, and returns the end of the wait, if any.
func (s *session) inputEnded(err error) (wait <-chan time.Time) {
	if in, ok := errors.AsType[*inputError](err); ok {
		s.input = in
		if in.partial {
			s.hangUp(wsframe.CloseInternalError, "message could not be completed")
		} else {
			s.hangUp(wsframe.CloseNormal, "")
		}
		return nil
	}
	switch {
	case err != nil:
		// The connection ended. The receiver finds out how, but not while the peer is silent.
		s.watch()
	case s.c.Wait > 0:
		return time.After(s.c.Wait)
	case s.c.Wait < 0, s.c.One:
	default:
		s.hangUp(wsframe.CloseNormal, "")
	}
	return nil
}

// hangUp begins the close handshake.
func (s *session) hangUp(code wsframe.CloseCode, reason string) {
	if s.conn.WriteClose(code, reason) == nil && s.c.Verbose {
		s.notes.printf("* sent close %d", code)
	}
	s.watch()
}

// watch makes sure that the peer comes to an end: from now on it may not be silent for CloseTimeout.
func (s *session) watch() {
	if s.closing == nil {
		s.closing = time.NewTicker(max(s.c.CloseTimeout/silentTicks, 1))
	}
}

// tick counts silence. While the output takes its time the peer is not to blame.
func (s *session) tick() {
	now := s.activity.Load()
	if now != s.seen || now%2 == 1 {
		s.seen, s.silence = now, 0
		return
	}
	if s.silence++; s.silence >= silentTicks {
		s.conn.CloseNow()
	}
}

// cut ends everything at once. The receiver may hang in a write of the output and is not waited for.
func (s *session) cut() error {
	s.conn.CloseNow()
	return &Error{Status: StatusAbnormal, Err: errCut}
}

// end completes the close handshake and judges. The receiver has returned err.
func (s *session) end(err error) error {
	limit := time.AfterFunc(s.c.CloseTimeout, func() { s.conn.CloseNow() })
	defer limit.Stop()
	how, closed := errors.AsType[*wsframe.CloseError](err)
	if !closed {
		s.hangUp(wsframe.CloseNormal, "")
	}
	closeErr := s.conn.Close(wsframe.CloseNormal, "")
	if s.c.Verbose {
		s.verboseEnd(how, closeErr == nil)
	}
	switch {
	case s.input != nil:
		return &Error{Status: s.input.status, Err: s.input, Hint: s.input.hint}
	case errors.Is(err, errFirst), errors.Is(err, errNoReader):
		return nil
	case !closed:
		return &Error{Status: StatusFailure, Err: fmt.Errorf("write output: %w", err)}
	}
	if !how.Remote && closeErr != nil && (how.Code == wsframe.CloseNormal || how.Code == wsframe.CloseGoingAway) {
		how = &wsframe.CloseError{Code: wsframe.CloseAbnormal, Reason: "no answer to the Close frame"}
	}
	if err := closedError(how); err != nil {
		return err
	}
	if s.c.One && !s.signalled {
		if s.waited {
			return &Error{Status: StatusFailure, Err: fmt.Errorf("%w within %v", errNoMessage, s.c.Wait)}
		}
		return &Error{Status: StatusFailure, Err: fmt.Errorf("%w before the connection was closed", errNoMessage)}
	}
	return nil
}

// verboseEnd tells of the peer's Close frame. Of an answer the code is not known.
func (s *session) verboseEnd(e *wsframe.CloseError, clean bool) {
	switch {
	case e != nil && e.Remote && e.Code != wsframe.CloseAbnormal:
		s.notes.printf("* received close %d %s", e.Code, e.Reason)
	case clean:
		s.notes.printf("* close answered")
	}
}

// ping measures round-trip times.
func (s *session) ping(ctx context.Context) {
	every := time.NewTicker(s.c.Ping)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.conn.Done():
			return
		case <-every.C:
		}
		limited, cancel := context.WithTimeout(ctx, pingTimeout)
		rtt, err := s.conn.Ping(limited)
		cancel()
		switch {
		case err == nil:
			s.notes.printf("ping: %v", rtt.Round(time.Microsecond))
		case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			s.notes.printf("ping: no answer within %v", pingTimeout)
		}
	}
}
