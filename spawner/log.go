package spawner

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// maxQueue bounds the lines that wait for the log handler, in bytes with recordWeight for each.
	// One process may have half of it, so that a noisy one does not drown the others.
	maxQueue        = 1 << 20
	maxProcessQueue = maxQueue / 2
	recordWeight    = 64
	// flushTime is how long Finish waits for the handler.
	flushTime = time.Second
)

// logger is a bounded queue in front of a slog handler, so that a slow handler holds up neither the watcher
// nor, through a full stderr pipe, a program.
type logger struct {
	out    *slog.Logger
	level  slog.Level // of stderr lines
	wake   chan struct{}
	ending chan struct{}
	ended  chan struct{}

	mu      sync.Mutex // guards the fields below
	queue   []record
	spare   []record // the queue before, to be used again
	weight  int      // of queue
	added   uint64   // records ever queued
	written uint64   // records ever handed to the handler
	moved   chan struct{}
}

// record is one line of the log to be.
type record struct {
	at        time.Time
	level     slog.Level
	msg       string
	p         *Process // nil: none
	line      string   // stderr only
	truncated bool
	dropped   int
	err       error
}

func newLogger(out *slog.Logger, level slog.Level) *logger {
	return &logger{
		out:    out,
		level:  level,
		wake:   make(chan struct{}, 1),
		ending: make(chan struct{}),
		ended:  make(chan struct{}),
	}
}

func (l *logger) start() { go l.run() }

// stop ends the goroutine when the queue is empty. It waits for that as long as ctx allows, and a
// moment more; a handler that hangs keeps the goroutine for itself then.
func (l *logger) stop(ctx context.Context) {
	close(l.ending)
	select {
	case <-l.ended:
		return
	case <-ctx.Done():
	}
	t := time.NewTimer(flushTime)
	defer t.Stop()
	select {
	case <-l.ended:
	case <-t.C:
	}
}

func (l *logger) enabled(level slog.Level) bool {
	return l.out.Enabled(context.Background(), level)
}

// room reports whether the queue takes another line of p. Lines come from one goroutine at a time
// (stderrMu), so what is true stays true until its add.
func (l *logger) room(p *Process, n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n += recordWeight
	return l.weight+n <= maxQueue && int(p.logQueued)+n <= maxProcessQueue
}

// add queues r, whether there is room or not, and returns its number.
func (l *logger) add(r record) uint64 {
	w := recordWeight + len(r.line)
	l.mu.Lock()
	l.weight += w
	if r.p != nil {
		r.p.logQueued += int32(w)
	}
	l.added++
	n := l.added
	l.queue = append(l.queue, r)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return n
}

// error queues an error about p, or about no process if p is nil.
func (l *logger) error(p *Process, msg string, err error) {
	l.add(record{at: time.Now(), level: slog.LevelError, msg: msg, p: p, err: err})
}

func (l *logger) warn(p *Process, msg string, err error) {
	l.add(record{at: time.Now(), level: slog.LevelWarn, msg: msg, p: p, err: err})
}

// flush waits until record n went to the handler, at most flushTime.
func (l *logger) flush(n uint64) {
	var t *time.Timer
	for {
		l.mu.Lock()
		if l.written >= n {
			l.mu.Unlock()
			return
		}
		if l.moved == nil {
			l.moved = make(chan struct{})
		}
		moved := l.moved
		l.mu.Unlock()
		if t == nil {
			t = time.NewTimer(flushTime)
			defer t.Stop()
		}
		select {
		case <-moved:
		case <-t.C:
			return
		}
	}
}

func (l *logger) run() {
	defer close(l.ended)
	ending := false
	for {
		l.mu.Lock()
		batch := l.queue
		l.queue, l.spare, l.weight = l.spare, nil, 0
		for i := range batch {
			if p := batch[i].p; p != nil {
				p.logQueued = 0
			}
		}
		l.mu.Unlock()
		for i := range batch {
			l.emit(&batch[i])
			l.mu.Lock()
			l.written++
			if l.moved != nil {
				close(l.moved)
				l.moved = nil
			}
			l.mu.Unlock()
		}
		if len(batch) > 0 {
			if cap(batch) <= 1024 { // a burst is not kept for ever
				clear(batch)
				l.mu.Lock()
				l.spare = batch[:0]
				l.mu.Unlock()
			}
			continue
		}
		if ending {
			return
		}
		select {
		case <-l.wake:
		case <-l.ending:
			ending = true
		}
	}
}

func (l *logger) emit(r *record) {
	ctx := context.Background()
	if r.dropped > 0 && l.enabled(slog.LevelWarn) {
		rec := slog.NewRecord(r.at, slog.LevelWarn, "stderr lines dropped", 0)
		rec.AddAttrs(slog.Int("pid", r.p.Pid()), slog.Int("lines", r.dropped))
		rec.AddAttrs(r.p.label...)
		l.out.Handler().Handle(ctx, rec)
	}
	if r.msg == "" || !l.enabled(r.level) {
		return
	}
	rec := slog.NewRecord(r.at, r.level, r.msg, 0)
	if r.p != nil {
		rec.AddAttrs(slog.Int("pid", r.p.Pid()))
	}
	if r.err != nil {
		rec.AddAttrs(slog.Any("err", r.err))
	} else {
		rec.AddAttrs(slog.String("line", r.line))
	}
	if r.truncated {
		rec.AddAttrs(slog.Bool("truncated", true))
	}
	if r.p != nil {
		rec.AddAttrs(r.p.label...)
	}
	l.out.Handler().Handle(ctx, rec)
}
