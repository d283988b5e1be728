package cgirun

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/spawner"
)

const (
	halfTimeout  = 60 * time.Second
	stallTimeout = 5 * time.Minute
	writeTimeout = 5 * time.Minute        // of a gateway that does not read
	probeTime    = time.Second            // how often a program that does not read is a reason to look for the gateway
	closeTime    = 500 * time.Millisecond // for what is on its way when all is said
)

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// session joins the connection of one request to one program.
type session struct {
	h       *Handler
	conn    net.Conn
	in      *bufio.Reader // of conn
	proc    *spawner.Process
	left    int64 // bytes of the body; negative: up to the end of the input
	upgrade bool  // the input goes on behind the body, to its own end

	abort sync.Once
	stops sync.WaitGroup

	mu     sync.Mutex // guards the fields below and the read deadline of the program's output
	half   bool       // the input has ended in a way that may mean that the gateway is gone
	exited bool       // the program has ended, others may still hold its output open
}

// run returns when the program has ended and the connection is closed.
func (s *session) run(ctx context.Context) {
	defer context.AfterFunc(ctx, s.gone)()
	over := make(chan struct{})
	var helpers sync.WaitGroup
	helpers.Go(func() { s.awaitExit(over) })
	var feeder sync.WaitGroup
	feeder.Go(s.feed)
	var complaints sync.WaitGroup
	if s.proc.Stderr != nil {
		complaints.Go(func() { s.complain(s.h.Stderr(ctx)) })
	}

	if s.drain() {
		if s.proc.Stderr != nil { // the request must not end before they are told
			s.proc.Stderr.SetReadDeadline(time.Now().Add(closeTime))
			complaints.Wait()
		}
		s.hangUp(&feeder)
	} else {
		s.gone()
	}
	s.proc.Stop(context.Background())
	s.proc.Finish()
	s.conn.Close()
	s.proc.ClosePipes()
	close(over)
	helpers.Wait()
	feeder.Wait()
	complaints.Wait()
	s.stops.Wait()
}

// gone stops the program because nobody is there any more.
func (s *session) gone() {
	s.abort.Do(func() {
		s.stops.Go(func() {
			if err := s.proc.Stop(context.Background()); err != nil && s.h.Log != nil {
				s.h.Log.Error("program does not end", "pid", s.proc.Pid(), "err", err)
			}
		})
		s.conn.Close()
	})
}

// feed moves the input to the program, and notices when the gateway goes.
func (s *session) feed() {
	b := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(b)
	source := io.Reader(s.in)
	body := &io.LimitedReader{R: s.in, N: s.left}
	if s.left >= 0 && !s.upgrade {
		source = body
	}
	wanted := true // by the program
	for {
		n, err := source.Read(b[:])
		if n > 0 && wanted {
			wanted = s.give(b[:n])
		}
		if err == io.EOF {
			break
		} else if err != nil {
			s.gone()
			return
		}
	}
	s.proc.CloseStdin()
	switch {
	case s.upgrade:
		s.halve()
		return
	case source == body && body.N > 0: // in the middle of the body
		s.gone()
		return
	}
	for {
		if _, err := s.in.Read(b[:]); err != nil {
			if err != io.EOF || s.h.EndIsGone {
				s.gone()
			}
			return
		}
	}
}

// give writes p to the program. It returns false when that does not read any more, which is no reason
// not to hear what it says.
func (s *session) give(p []byte) bool {
	stall := s.h.StallTimeout
	if stall <= 0 {
		stall = stallTimeout
	}
	began := time.Now()
	for {
		s.proc.Stdin.SetWriteDeadline(time.Now().Add(min(probeTime, stall)))
		n, err := s.proc.Stdin.Write(p)
		if p = p[n:]; !errors.Is(err, os.ErrDeadlineExceeded) {
			return err == nil
		}
		if n > 0 {
			began = time.Now()
		}
		// The end of a connection stays invisible where what comes before it does not fit into the
		// buffers of the system.
		if time.Since(began) >= stall {
			s.gone()
			return false
		}
		if rawio.HungUp(s.conn) {
			if !s.upgrade {
				s.gone()
				return false
			}
			s.halve()
		}
	}
}

// halve gives a program whose input has ended some time between its outputs.
func (s *session) halve() {
	s.mu.Lock()
	if !s.half {
		s.half = true
		s.setDeadline()
	}
	s.mu.Unlock()
}

// setDeadline needs mu.
func (s *session) setDeadline() {
	if s.half && !s.exited {
		d := s.h.HalfTimeout
		if d <= 0 {
			d = halfTimeout
		}
		s.proc.Stdout.SetReadDeadline(time.Now().Add(d))
	}
}

// awaitExit ends the output some time after the program itself has ended: what it left behind must not
// hold the connection open.
func (s *session) awaitExit(over <-chan struct{}) {
	select {
	case <-over:
	case <-s.proc.Done():
		s.mu.Lock()
		s.exited = true
		s.proc.Stdout.SetReadDeadline(time.Now().Add(s.proc.Linger()))
		s.mu.Unlock()
	}
}

// drain moves the output to the gateway. It returns true when all of it is there.
func (s *session) drain() bool {
	b := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(b)
	for {
		n, err := s.proc.Stdout.Read(b[:])
		if n > 0 {
			s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := s.conn.Write(b[:n]); err != nil {
				return false
			}
		}
		s.mu.Lock()
		exited := s.exited
		s.setDeadline()
		s.mu.Unlock()
		switch {
		case err == nil:
		case err != io.EOF && !exited:
			return false // half and silent for too long
		default:
			return true
		}
	}
}

// complain passes on what the program says on its standard error.
func (s *session) complain(to io.Writer) {
	b := make([]byte, 4096)
	for {
		n, err := s.proc.Stderr.Read(b)
		if n > 0 {
			to.Write(b[:n]) // for a gateway that is gone there is nothing to be done
		}
		if err != nil {
			return
		}
	}
}

// hangUp ends the connection in good order. A program that goes on without its output is not waited
// for.
func (s *session) hangUp(feeder *sync.WaitGroup) {
	if h, ok := s.conn.(interface{ CloseWrite() error }); ok {
		// With input on its way that nobody reads, Close would become a reset and destroy what the
		// gateway has not read yet. The feeder reads until then.
		if h.CloseWrite() == nil {
			s.proc.CloseStdin() // it may be stuck there
			s.conn.SetReadDeadline(time.Now().Add(closeTime))
			feeder.Wait()
		}
	} else {
		// The exit status may be worth a moment.
		t := time.NewTimer(closeTime)
		defer t.Stop()
		select {
		case <-s.proc.Done():
			if s.h.End != nil {
				s.h.End(s.conn, s.proc.ExitState().Code)
			}
		case <-t.C:
		}
	}
	s.conn.Close()
}
