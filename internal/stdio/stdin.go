package stdio

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
)

// errStalled: the program takes no input and the queue is full.
var errStalled = errors.New("the program does not read its input")

const (
	// drainPiece is how much the queue gives to the program at once. Whether a program takes
	// anything at all is seen piece by piece, and a pipe gets free page by page.
	drainPiece = 4 << 10

	// patience is how long the reader of the connection waits before the queue is used. A program that
	// is a little slower than its client needs none then, nor the goroutine and the copies that go
	// with it, and a ping can wait that long.
	patience = 50 * time.Millisecond

	// stallTick is how often a waiter looks whether waiting is still worth while.
	stallTick = 200 * time.Millisecond
)

// A stdin writes to a program without ever holding up the reader of the connection, until a queue is
// full. As long as the program reads, there is no queue and no other goroutine; when it stops, one
// goroutine waits for it and empties the queue.
//
// write, add and finish are for one goroutine at a time.
type stdin struct {
	file  *os.File
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
	broken   bool // the program reads no more; what is written is dropped
	total    int64
}

func (w *stdin) init(file *os.File, limit int, cut <-chan struct{}, gone func() bool) {
	w.file, w.limit, w.cut, w.gone = file, limit, cut, gone
	w.out.Init(file)
}

// write writes or queues p. It waits only while the queue is full, and returns errStalled when that
// lasts: a part of p may have been written then. A program that closed its input, or ended, is no
// error: its output still counts.
func (w *stdin) write(p []byte, stall time.Duration) error {
	for p = w.try(p); !w.enqueue(p, w.limit); {
		if !w.waitMoved(stall) {
			return errStalled
		}
	}
	return nil
}

// add is write for a few last bytes, which go into the queue even if that is full.
func (w *stdin) add(p []byte) {
	const noLimit = int(^uint(0) >> 1)
	w.enqueue(w.try(p), noLimit)
}

// try writes what the program takes within moments and returns the rest.
func (w *stdin) try(p []byte) []byte {
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
func (w *stdin) enqueue(p []byte, limit int) bool {
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

// waitMoved waits until the queue became shorter. It reports false when the program takes nothing at
// all for too long, which is soon when the connection is over.
func (w *stdin) waitMoved(stall time.Duration) bool {
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
func (w *stdin) drain() {
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

// drainBlock waits for the program to take a block. Nobody else writes while draining is set.
func (w *stdin) drainBlock(p []byte) error {
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

func (w *stdin) signal() {
	select {
	case w.moved <- struct{}{}:
	default:
	}
}

// finish waits for the queue to be written, as long as the program goes on taking something within
// goneTimeout, but at most limit, and closes the stream.
func (w *stdin) finish(limit time.Duration) {
	if !w.busy() {
		w.file.Close()
		return
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
	w.file.Close() // wakes drain
}

func (w *stdin) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.draining
}

// written returns how many bytes were meant for the program.
func (w *stdin) written() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}
