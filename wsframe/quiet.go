package wsframe

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
)

// ReceiveThen is [Conn.Receive] for a server of many connections that are quiet most of the time. It
// returns at once, and calls done with what Receive would have returned, in a goroutine of its own.
// While nothing arrives, no goroutine waits, where the network connection and the system allow that.
func (c *Conn) ReceiveThen(handle func(*Batch) error, done func(error)) {
	go c.receiveThen(handle, done)
}

func (c *Conn) receiveThen(handle func(*Batch) error, done func(error)) {
	var wake func()
	if rawio.CanSleep(c.nc) {
		wake = func() { c.receiveThen(handle, done) }
	}
	err, quiet := c.receiveSafely(handle, wake)
	if !quiet {
		done(err)
	}
}

// A panicError is a panic of a handler in a goroutine that is not the handler's own.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("handler panicked: %v", e.value) }

func (c *Conn) receiveSafely(handle func(*Batch) error, wake func()) (err error, quiet bool) {
	c.reading.Lock()
	defer c.unlockReading()
	defer func() {
		if p := recover(); p != nil {
			err, quiet = &panicError{p, debug.Stack()}, false
			c.batch = Batch{c: c}
			c.setQuietDeadline(time.Time{})
		}
	}()
	return c.receiveUntil(handle, wake)
}

// receiveUntil receives until the end or, with wake, until it is quiet; then wake will be called for
// more. It needs reading.
func (c *Conn) receiveUntil(handle func(*Batch) error, wake func()) (err error, quiet bool) {
	if c.readErr != nil {
		return c.readErr, false
	}
	c.current = Part{}
	c.batch.handle = handle
	if err = c.receiveRest(); err == nil {
		c.life.waiting()
		err, quiet = c.loop(wake)
		if wake != nil {
			c.setQuietDeadline(time.Time{}) // it is not for whoever reads next
		}
		if quiet {
			return nil, true
		}
		c.life.received()
	}
	c.batch.handle = nil
	if e := c.batch.handlerErr; e != nil {
		c.batch.handlerErr = nil
		if c.batch.err != nil { // the handler had come to the end before it failed
			c.endRead(c.batch.err)
		}
		return e, false
	}
	return c.readFailed(err), false
}

func (c *Conn) loop(wake func()) (err error, quiet bool) {
	for {
		c.heard = false
		if wake != nil {
			c.setQuietDeadline(time.Now().Add(rawio.QuietAfter))
		}
		err = c.in.Loop(c.receive)
		switch {
		case err == nil:
			return io.EOF, false
		case wake == nil, c.batch.handlerErr != nil, c.aborted.Load(), !errors.Is(err, os.ErrDeadlineExceeded):
			return err, false
		case c.heard:
		case c.sleeper.Sleep(c.nc, wake): // reading is held, so the connection is not closed meanwhile
			return nil, true
		default: // it has to be waited for after all
			wake = nil
			c.setQuietDeadline(time.Time{})
		}
	}
}

// setQuietDeadline does not undo an abort that comes at the same moment.
func (c *Conn) setQuietDeadline(at time.Time) {
	c.nc.SetReadDeadline(at)
	if c.aborted.Load() {
		c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}
