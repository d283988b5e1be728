package cgi

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/spawner"
)

// executeBits says whether files have bits that make them programs.
const executeBits = runtime.GOOS != "windows"

// execution is the Exchange with a program of its own.
type execution struct {
	e       *Endpoint
	p       *spawner.Process // set before anybody reads or writes
	release func()           // called when the program has ended

	mu       sync.Mutex // guards the fields below
	ended    bool       // the program has; others of its group may still write, until linger
	linger   time.Time
	deadline time.Time // for reads, as it was set
	closed   bool
}

// exited is called when the program has ended, maybe before Start has returned. What others of its group
// hold open must not hold up the response.
func (x *execution) exited(p *spawner.Process) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ended = true
	x.linger = time.Now().Add(p.Linger())
	p.Stdout.SetReadDeadline(x.earlier())
}

// earlier returns the read deadline that counts. The caller holds mu.
func (x *execution) earlier() time.Time {
	if x.ended && (x.deadline.IsZero() || x.linger.Before(x.deadline)) {
		return x.linger
	}
	return x.deadline
}

// Read reads the standard output.
func (x *execution) Read(p []byte) (int, error) {
	n, err := x.p.Stdout.Read(p)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.ended && !time.Now().Before(x.linger) {
			return 0, io.EOF
		}
	}
	return n, err
}

// Write writes to the standard input.
func (x *execution) Write(p []byte) (int, error) { return x.p.Stdin.Write(p) }

// CloseWrite closes the standard input.
func (x *execution) CloseWrite() error { return x.p.CloseStdin() }

// Unwrap lets tunnels use the pipes themselves. The read deadline of exited ends them, too.
func (x *execution) Unwrap() (io.Reader, rawio.WriteStream) { return x.p.Stdout, x.p.Stdin }

// SetReadDeadline sets the time at which reads end.
func (x *execution) SetReadDeadline(t time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.deadline = t
	return x.p.Stdout.SetReadDeadline(x.earlier())
}

// SetWriteDeadline sets the time at which writes end.
func (x *execution) SetWriteDeadline(t time.Time) error { return x.p.Stdin.SetWriteDeadline(t) }

// Close closes the pipes and sees to it that the program ends.
func (x *execution) Close() error {
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		return nil
	}
	x.closed = true
	ended := x.ended
	x.mu.Unlock()
	// Output first: what the program says to the end of its input is not part of the response any more.
	x.p.Stdout.Close()
	x.p.CloseStdin()
	if ended {
		x.p.Finish()
		x.release()
		return nil
	}
	// Most programs end at once when their output is complete; the others are stopped by the
	// ladder, and have their place until then.
	x.e.stopping.Go(func() {
		x.p.Stop(context.Background()) // the spawner logs what is stuck
		x.release()
	})
	return nil
}
