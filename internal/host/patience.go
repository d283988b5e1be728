package host

import (
	"bufio"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	answerTimeout = time.Minute            // of a client, for each piece of an answer
	answerPiece   = 256 << 10              // what the system copies of a file at once
	discardTime   = 500 * time.Millisecond // of a client, for the rest of a body that nobody reads
)

// patient bounds the time that a client has for an answer, and for a body that nobody reads. Without that net/http
// waits for both without end: an HTTP/1.1 client announces a body and does not send it, an HTTP/2 client opens no window for an
// answer. Endpoints that read bodies or set deadlines have bounds of their own, and are left alone.
func (h *Host) patient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Err() != nil {
			return // a stream of HTTP/2 that was reset at once
		}
		p := &patientWriter{ResponseWriter: w, rc: http.NewResponseController(w), gone: r.Context().Done()}
		if w = p; r.ProtoMajor == 1 {
			p.unread.Store(r.ContentLength != 0)
			w = patientHijacker{p}
		}
		h.shared.memory.Changed()
		next.ServeHTTP(w, r)
		h.shared.memory.Changed()
		p.begin() // net/http answers for a handler that did not
		if r.ProtoMajor == 2 && r.Context().Err() != nil {
			p.rc.SetWriteDeadline(time.Time{}) // one that was set while the stream was reset would keep it
		}
	})
}

// A patientWriter sets the deadlines. Its methods are for the handler; those that set deadlines may be called by whoever reads
// the body at the same time.
type patientWriter struct {
	http.ResponseWriter
	rc     *http.ResponseController // of ResponseWriter
	gone   <-chan struct{}          // the client has left
	begun  bool
	unread atomic.Bool // there is a body, and the handler has not said that it cares
	own    atomic.Bool // the handler sets the deadlines for the answer
}

// Unwrap is for http.ResponseController, as are the methods that follow.
func (p *patientWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// EnableFullDuplex is called by those who read the body beside the answer.
func (p *patientWriter) EnableFullDuplex() error {
	p.unread.Store(false)
	return p.rc.EnableFullDuplex()
}

func (p *patientWriter) SetReadDeadline(t time.Time) error {
	p.unread.Store(false)
	return p.rc.SetReadDeadline(t)
}

func (p *patientWriter) SetWriteDeadline(t time.Time) error {
	p.own.Store(true)
	return p.setWriteDeadline(t)
}

// setWriteDeadline leaves a stream of HTTP/2 alone that was reset: net/http would keep it until then.
func (p *patientWriter) setWriteDeadline(t time.Time) error {
	select {
	case <-p.gone:
		if time.Until(t) > 0 {
			return nil
		}
	default:
	}
	return p.rc.SetWriteDeadline(t)
}

func (p *patientWriter) FlushError() error {
	p.begin()
	return p.rc.Flush()
}

// begin comes before the head of the answer.
func (p *patientWriter) begin() {
	if p.begun {
		return
	}
	p.begun = true
	p.piece()
	if p.unread.Load() {
		// net/http would first wait for the body, which may come late or never.
		p.rc.EnableFullDuplex()
		p.rc.SetReadDeadline(time.Now().Add(discardTime))
		if h := p.Header(); h["Connection"] == nil {
			h.Set("Connection", "close")
		}
	}
}

// piece gives the client its time for the next piece of the answer.
func (p *patientWriter) piece() {
	if !p.own.Load() {
		p.setWriteDeadline(time.Now().Add(answerTimeout))
	}
}

func (p *patientWriter) WriteHeader(status int) {
	if status >= http.StatusOK {
		p.begin()
	}
	p.ResponseWriter.WriteHeader(status)
}

func (p *patientWriter) Write(b []byte) (int, error) {
	p.begin()
	p.piece()
	return p.ResponseWriter.Write(b)
}

// ReadFrom lets the system copy a file, in parts, so that a slow client is told from one that takes nothing.
func (p *patientWriter) ReadFrom(r io.Reader) (n int64, err error) {
	from, ok := r.(*io.LimitedReader) // below which the system finds the file
	if !ok {
		from = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	p.begin()
	for from.N > 0 {
		p.piece()
		m, err := io.CopyN(p.ResponseWriter, from.R, min(from.N, answerPiece))
		n += m
		from.N -= m
		if errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
	return n, nil
}

// A patientHijacker is a patientWriter of HTTP/1, which can be told by that.
type patientHijacker struct{ *patientWriter }

func (p patientHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := p.rc.Hijack()
	if err == nil {
		p.begun = true
	}
	return c, rw, err
}
