// Package feed joins messages and a byte stream: it writes to the stream for a reader of messages that must
// not be held up, and reads it without keeping a goroutine while it is quiet.
package feed

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
)

// ErrStalled says that the far side takes nothing and the queue is full.
var ErrStalled = errors.New("the far side does not read its input")

const (
	// drainPiece is how much the queue gives to the far side at once. Whether that takes
	// anything at all is seen piece by piece, and a pipe gets free page by page.
	drainPiece = 4 << 10

	// patience is how long the reader of the connection waits before the queue is used. A program that
	// is a little slower than its client needs none then, nor the goroutine and the copies that go
	// with it, and a ping can wait that long.
	patience = 50 * time.Millisecond

	// stallTick is how often a waiter looks whether waiting is still worth while.
	stallTick = 200 * time.Millisecond

	// goneTimeout is how long the far side may take nothing when nobody is left to see that.
	goneTimeout = 2 * time.Second
)

// A Writer writes to a stream without ever holding up the reader of the messages, until a queue is full.
// As long as the far side reads, there is no queue and no other goroutine; when it stops, one goroutine
// waits for it and empties the queue.
//
// Write, Add and Finish are for one goroutine at a time. Written may be called at any time.
type Writer struct {
	limit int             // of the queue
	cut   <-chan struct{} // closed when there is no more time for anything
	gone  func() bool     // the connection is over, or as good as
	moved chan struct{}   // a block of the queue was written, or everything is over; nil before the first
	taken atomic.Int64    // bytes that drain has written

	mu       sync.Mutex // guards the fields below
	out      rawio.Writer
	queue    [][]byte // blocks; the first one belongs to drain
	queued   int      // bytes in queue
	draining bool
	broken   bool // the far side reads no more; what is written is dropped
	total    int64
}

// Init makes w write to a stream, with a queue of limit bytes. Nothing waits any more when cut is closed,
// and not for long when gone, which is asked now and then, reports that nobody is left who could see
// the effect.
func (w *Writer) Init(stream rawio.WriteStream, limit int, cut <-chan struct{}, gone func() bool) {
	w.limit, w.cut, w.gone = limit, cut, gone
	w.out.Init(stream)
}

// Write writes or queues p. It waits only while the queue is full, and returns ErrStalled when that
// lasts: a part of p may have been written then. A far side that closed its input, or ended, is no
// error: its output still counts.
func (w *Writer) Write(p []byte, stall time.Duration) error {
	for p = w.try(p); !w.enqueue(p, w.limit); {
		if !w.waitMoved(stall) {
			return ErrStalled
		}
	}
	return nil
}

// Add is Write for a few last bytes, which go into the queue even if that is full.
func (w *Writer) Add(p []byte) {
	const noLimit = int(^uint(0) >> 1)
	w.enqueue(w.try(p), noLimit)
}

// try writes what the far side takes within moments and returns the rest.
func (w *Writer) try(p []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.total += int64(len(p))
	if !w.draining && !w.broken {
		n, err := w.out.WriteWithin(p, patience)
		w.broken = err != nil
		p = p[n:]
	}
	return p
}

// enqueue reports false when the queue has no room for p. What is larger than the limit may go into an
// empty queue.
func (w *Writer) enqueue(p []byte, limit int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(p) == 0 || w.broken {
		return true
	}
	if w.queued > 0 && w.queued > limit-len(p) {
		return false
	}
	// Small pieces share a block, or the queue would take many times the memory that it counts.
	if n := len(w.queue); n > 1 && cap(w.queue[n-1])-len(w.queue[n-1]) >= len(p) {
		w.queue[n-1] = append(w.queue[n-1], p...)
	} else {
		w.queue = append(w.queue, append(newBlock(len(p)), p...))
	}
	w.queued += len(p)
	if w.moved == nil {
		w.moved = make(chan struct{}, 1)
	}
	if !w.draining {
		w.draining = true
		go w.drain()
	}
	return true
}

// waitMoved waits until the queue became shorter. It reports false when the far side takes nothing at
// all for too long, which is soon when the connection is over.
func (w *Writer) waitMoved(stall time.Duration) bool {
	tick := time.NewTicker(stallTick)
	defer tick.Stop()
	taken, since := w.taken.Load(), time.Now() // what it has taken, and when that was seen
	for gone := false; ; {
		select {
		case <-w.moved:
			return true
		case <-w.cut:
			return false
		case now := <-tick.C:
			if n := w.taken.Load(); n != taken {
				taken, since = n, now
			}
			if !gone && w.gone() {
				// A stall from before counts for the client that waited, not for this one.
				gone, since, stall = true, now, min(stall, goneTimeout)
			}
			if now.Sub(since) >= stall {
				return false
			}
		}
	}
}

// drain empties the queue and ends.
func (w *Writer) drain() {
	for {
		w.mu.Lock()
		if len(w.queue) == 0 || w.broken {
			w.queue, w.queued, w.draining = nil, 0, false
			w.mu.Unlock()
			w.signal()
			return
		}
		block := w.queue[0]
		size := len(block)
		w.mu.Unlock()
		err := w.drainBlock(block)
		freeBlock(block)
		w.mu.Lock()
		w.broken = w.broken || err != nil
		w.queue[0] = nil
		w.queue = w.queue[1:]
		w.queued -= size
		w.mu.Unlock()
		w.signal()
	}
}

// drainBlock waits for the far side to take a block. Nobody else writes while draining is set.
func (w *Writer) drainBlock(p []byte) error {
	for len(p) > 0 {
		n, err := w.out.Write(p[:min(len(p), drainPiece)])
		if err != nil {
			return err
		}
		w.taken.Add(int64(n))
		p = p[n:]
	}
	return nil
}

// newBlock returns an empty block of the queue with room for n bytes.
func newBlock(n int) []byte {
	if n > rawio.BufferSize/2 && n <= rawio.BufferSize {
		return rawio.GetBuffer()[:0]
	}
	return make([]byte, 0, max(n, drainPiece))
}

func freeBlock(block []byte) {
	if cap(block) == rawio.BufferSize {
		rawio.PutBuffer((*[rawio.BufferSize]byte)(block[:rawio.BufferSize]))
	}
}

func (w *Writer) signal() {
	select {
	case w.moved <- struct{}{}:
	default:
	}
}

// Finish waits for the queue to be written, as long as the far side goes on taking something within
// two seconds, but at most limit. It reports whether nothing is left. The caller ends the stream then,
// which also wakes whoever still writes.
func (w *Writer) Finish(limit time.Duration) bool {
	if !w.busy() {
		return true
	}
	tick := time.NewTicker(stallTick)
	defer tick.Stop()
	begin, taken := time.Now(), w.taken.Load()
	since := begin
	for open := limit > 0; open && w.busy(); {
		select {
		case <-w.moved:
		case <-w.cut:
			open = false
		case now := <-tick.C:
			if n := w.taken.Load(); n != taken {
				taken, since = n, now
			}
			open = now.Sub(since) < goneTimeout && now.Sub(begin) < limit
		}
	}
	return !w.busy()
}

func (w *Writer) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.draining
}

// Written returns how many bytes were meant for the far side.
func (w *Writer) Written() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}
