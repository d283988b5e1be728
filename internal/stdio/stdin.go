package stdio

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
)

// errStalled: the program takes no input and the queue is full.
var errStalled = errors.New("the program does not read its input")

// A stdin writes to a program without ever holding up the reader of the connection, until a queue is
// full. As long as the program reads, there is no queue and no other goroutine; when it stops, one
// goroutine waits for it and empties the queue.
type stdin struct {
	file  *os.File
	limit int           // of the queue
	gone  func() bool   // the connection is over, or as good as
	moved chan struct{} // something of the queue was written, or everything is over

	mu       sync.Mutex // guards the fields below
	out      rawio.Writer
	queue    [][]byte
	queued   int // bytes in queue
	draining bool
	broken   bool // the program reads no more; what is written is dropped
	total    int64
}

func (w *stdin) init(file *os.File, limit int, gone func() bool) {
	w.file, w.limit, w.gone = file, limit, gone
	w.moved = make(chan struct{}, 1)
	w.out.Init(file)
}

// write writes or queues p. It waits only while the queue is full, and returns errStalled when that
// lasts. A program that closed its input, or ended, is no error: its output still counts.
func (w *stdin) write(p []byte, stall time.Duration) error {
	w.mu.Lock()
	w.total += int64(len(p))
	if !w.draining && !w.broken {
		n, err := w.out.TryWrite(p)
		w.broken = err != nil
		p = p[n:]
	}
	if len(p) == 0 || w.broken {
		w.mu.Unlock()
		return nil
	}
	for {
		if w.broken {
			w.mu.Unlock()
			return nil
		}
		// A piece that is larger than the limit may go into an empty queue.
		if w.queued == 0 || w.queued+len(p) <= w.limit {
			break
		}
		w.mu.Unlock()
		if !w.waitMoved(stall) {
			return errStalled
		}
		w.mu.Lock()
	}
	w.queue = append(w.queue, append([]byte(nil), p...))
	w.queued += len(p)
	if !w.draining {
		w.draining = true
		go w.drain()
	}
	w.mu.Unlock()
	return nil
}

// waitMoved waits until the queue became shorter. It reports false when that takes too long, which
// is soon when the connection is over.
func (w *stdin) waitMoved(stall time.Duration) bool {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	begin := time.Now()
	var left time.Time // since when the connection is over
	for {
		select {
		case <-w.moved:
			return true
		case now := <-tick.C:
			if now.Sub(begin) >= stall {
				return false
			}
			switch {
			case !left.IsZero():
				if now.Sub(left) >= goneTimeout {
					return false
				}
			case w.gone():
				left = now
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
		p := w.queue[0]
		w.mu.Unlock()
		_, err := w.out.Write(p) // nobody else writes while draining is set
		w.mu.Lock()
		w.broken = w.broken || err != nil
		w.queue = w.queue[1:]
		w.queued -= len(p)
		w.mu.Unlock()
		w.signal()
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
	end := time.NewTimer(limit)
	defer end.Stop()
	for w.busy() {
		quiet := time.NewTimer(goneTimeout)
		select {
		case <-w.moved:
			quiet.Stop()
			continue
		case <-quiet.C:
		case <-end.C:
			quiet.Stop()
		}
		break
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
