// Package rawio reads and writes byte streams with as few costs as the platform allows.
//
// On Linux, descriptors that are in non-blocking mode (TCP and Unix sockets of package net, the
// pipes of package spawner) are read and written by raw system calls from inside the callbacks of
// [syscall.RawConn]. Compared with Read and Write this leaves out the handshake with the Go
// scheduler around each call, which is most of what a small message costs; deadlines, Close and
// the netpoller work as always. A reader takes a buffer only when there is something to read, so
// an idle stream holds none.
//
// Everything else (TLS, HTTP/2, Windows) goes through Read and Write with the same interface.
// Under the race detector the system calls are those of package syscall, which it knows.
package rawio

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Gap is the number of free bytes in front of what a [Reader] delivers: room for the largest frame
// header that a server sends, so that header and payload go out in one write.
const Gap = 16

// BufferSize is the capacity of the pooled buffers: one full default pipe with the gap and the
// frame header of a message of that size.
const BufferSize = 64<<10 + 64

var buffers = sync.Pool{New: func() any { return new([BufferSize]byte) }}

// yieldAfter is how many bytes of a stream are read before others may go on.
const yieldAfter = 4 * BufferSize

// GetBuffer takes a buffer from the pool that all readers share.
func GetBuffer() *[BufferSize]byte { return buffers.Get().(*[BufferSize]byte) }

// PutBuffer gives a buffer back.
func PutBuffer(b *[BufferSize]byte) { buffers.Put(b) }

// A Reader reads one stream. It is for one goroutine at a time, and must not be copied once it is in
// use.
type Reader struct {
	plain io.Reader
	raw   syscall.RawConn // nil: plain only
	step  func(fd uintptr) bool

	held  *[BufferSize]byte // of Next
	n     int               // bytes in it
	errno syscall.Errno
}

// NewReader returns a Reader of r. A descriptor must be in non-blocking mode.
func NewReader(r io.Reader) Reader { return Reader{plain: r, raw: rawConn(r)} }

// Loop reads until the end of the stream and calls handle for each piece that one read returned.
// The piece is chunk[Gap:]; the bytes before it are free for the handler, and all of chunk is
// invalid when handle returns. Loop returns nil at the end of the stream, the error of handle, or
// the error of the stream.
//
// While handle runs on a raw stream, a Close of the stream by anybody waits for it to return.
func (r *Reader) Loop(handle func(chunk []byte) error) error {
	if r.raw == nil {
		return r.loopPlain(handle)
	}
	var result error
	since := 0 // the last yield, in bytes
	err := r.raw.Read(func(fd uintptr) bool {
		buf := GetBuffer()
		for {
			// The scheduler sees no system calls here. Whoever sends without a pause would have a processor for
			// its 10 ms each time, and the others wait as long for each of such senders.
			if since >= yieldAfter {
				since = 0
				runtime.Gosched()
			}
			n, errno := read(fd, buf[Gap:])
			since += max(n, 0)
			switch {
			case n > 0:
				// Always back to read, never to waiting: the netpoller is edge-triggered, and
				// data and the end of the stream can arrive as one wake-up.
				if result = handle(buf[:Gap+n]); result == nil {
					continue
				}
			case errno == 0: // end of the stream
			case errno == syscall.EINTR:
				continue
			case errno == syscall.EAGAIN:
				PutBuffer(buf)
				return false
			default:
				result = errno
			}
			PutBuffer(buf)
			return true
		}
	})
	if err != nil {
		return err
	}
	return result
}

// loopPlain keeps a small buffer while it waits and a large one only while data comes in bulk.
func (r *Reader) loopPlain(handle func(chunk []byte) error) error {
	small := make([]byte, Gap+4096)
	var large *[BufferSize]byte
	defer func() {
		if large != nil {
			PutBuffer(large)
		}
	}()
	for {
		buf := small
		if large != nil {
			buf = large[:]
		}
		n, err := r.plain.Read(buf[Gap:])
		if n > 0 {
			if err := handle(buf[:Gap+n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case n == len(small)-Gap && large == nil:
			large = GetBuffer()
		case n < len(small)-Gap && large != nil:
			PutBuffer(large)
			large = nil
		}
	}
}

// Next waits for data and returns it as Loop delivers it, or io.EOF. What it returned before is
// invalid from then on. Release gives the buffer back.
func (r *Reader) Next() (chunk []byte, err error) {
	r.n = 0
	if r.raw == nil {
		if r.held == nil {
			r.held = GetBuffer()
		}
		for r.n == 0 && err == nil { // nothing and no error is allowed, and means nothing
			r.n, err = r.plain.Read(r.held[Gap:])
		}
	} else {
		r.Release()
		if r.step == nil {
			r.step = r.readOnce // once, since a method value allocates
		}
		err = r.raw.Read(r.step)
		switch {
		case err != nil:
		case r.errno != 0:
			err = r.errno
		case r.n == 0:
			err = io.EOF
		}
	}
	if r.n > 0 {
		return r.held[:Gap+r.n], nil
	}
	r.Release()
	return nil, err
}

func (r *Reader) readOnce(fd uintptr) (done bool) {
	r.held = GetBuffer()
	for {
		r.n, r.errno = read(fd, r.held[Gap:])
		switch r.errno {
		case syscall.EINTR:
		case syscall.EAGAIN:
			r.Release()
			return false
		default:
			return true
		}
	}
}

// Release gives back the buffer of Next.
func (r *Reader) Release() {
	if r.held != nil {
		PutBuffer(r.held)
		r.held = nil
	}
}

// A hangUpper is a stream of another kind that knows what [HungUp] asks.
type hangUpper interface{ HungUp() bool }

// past is a deadline that wakes every waiter.
var past = time.Unix(1, 0)

// A WriteStream is what a Writer writes to.
type WriteStream interface {
	io.Writer
	SetWriteDeadline(time.Time) error
}

// A Writer writes one stream. Its methods are for one goroutine at a time, except Stop.
type Writer struct {
	// Timeout is the longest time that a write may be stuck, counted anew for each 64 KiB that
	// went out; 0 means no limit. The clock is looked at only when the stream is full, never on
	// the way of a write that succeeds.
	Timeout time.Duration

	stream WriteStream
	raw    syscall.RawConn // nil: plain only
	step   func(fd uintptr) bool

	left    []byte // of the write that is going on
	wait    bool   // until all is written
	armed   bool   // a deadline is set
	armedAt int    // len(left) when it was set
	errno   syscall.Errno
	stopped atomic.Bool
}

// Init makes w write to s. A descriptor must be in non-blocking mode.
func (w *Writer) Init(s WriteStream) {
	w.stream, w.raw = s, rawConn(s)
	if w.raw != nil {
		w.step = w.writeSome // once, since a method value allocates
	}
}

// Write writes all of p and waits where the stream is full.
func (w *Writer) Write(p []byte) (int, error) {
	if w.raw != nil {
		return w.run(p, true)
	}
	if w.stopped.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	if w.Timeout <= 0 {
		return w.stream.Write(p)
	}
	written := 0
	for {
		piece := p[written:min(len(p), written+64<<10)]
		w.arm()
		n, err := w.stream.Write(piece)
		written += n
		if err != nil || written == len(p) {
			w.stream.SetWriteDeadline(time.Time{})
			w.armed = false
			return written, err
		}
	}
}

// TryWrite writes what the stream takes at once, which may be nothing, and never waits. Streams
// that cannot say how much that is take nothing.
func (w *Writer) TryWrite(p []byte) (int, error) {
	if w.raw == nil {
		return 0, nil
	}
	return w.run(p, false)
}

// WriteWithin writes what the stream takes within d, and reports no error when that is not all.
func (w *Writer) WriteWithin(p []byte, d time.Duration) (int, error) {
	if w.raw == nil {
		return 0, nil
	}
	timeout := w.Timeout
	w.Timeout = d
	n, err := w.run(p, true)
	w.Timeout = timeout
	if errors.Is(err, os.ErrDeadlineExceeded) && !w.stopped.Load() {
		err = nil
	}
	return n, err
}

// Stop ends a waiting Write, and every later one, with an error. It may be called at any time.
func (w *Writer) Stop() {
	w.stopped.Store(true)
	w.stream.SetWriteDeadline(past)
}

func (w *Writer) run(p []byte, wait bool) (int, error) {
	w.left, w.wait, w.errno = p, wait, 0
	err := w.raw.Write(w.step)
	n := len(p) - len(w.left)
	w.left = nil
	if w.armed && !w.stopped.Load() {
		w.armed = false
		w.stream.SetWriteDeadline(time.Time{})
		if w.stopped.Load() { // Stop came between: its deadline must not be lost
			w.stream.SetWriteDeadline(past)
		}
	}
	if err == nil && w.errno != 0 {
		err = w.errno
	}
	return n, err
}

func (w *Writer) writeSome(fd uintptr) (done bool) {
	for len(w.left) > 0 {
		n, errno := write(fd, w.left)
		switch {
		case errno == 0:
			w.left = w.left[n:]
		case errno == syscall.EINTR:
		case errno == syscall.EAGAIN:
			if !w.wait {
				return true
			}
			if w.Timeout > 0 && (!w.armed || w.armedAt-len(w.left) >= 64<<10) {
				w.arm()
			}
			return false
		default:
			w.errno = errno
			return true
		}
	}
	return true
}

func (w *Writer) arm() {
	w.armed, w.armedAt = true, len(w.left)
	w.stream.SetWriteDeadline(time.Now().Add(w.Timeout))
	if w.stopped.Load() {
		w.stream.SetWriteDeadline(past)
	}
}
