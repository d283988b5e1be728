package frametest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// A Wire is a network connection in memory: what is read comes piece by piece, what is written is kept.
type Wire struct {
	mu      sync.Mutex // guards the fields below
	pieces  [][]byte
	written []byte
}

// NewWire returns a wire with something to read.
func NewWire(pieces ...[]byte) *Wire { return &Wire{pieces: pieces} }

// Read returns the next piece, or what fits of it.
func (w *Wire) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, w.pieces[0])
	if w.pieces[0] = w.pieces[0][n:]; len(w.pieces[0]) == 0 {
		w.pieces = w.pieces[1:]
	}
	return n, nil
}

// Write keeps p.
func (w *Wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written = append(w.written, p...)
	return len(p), nil
}

// Sent returns all that was written.
func (w *Wire) Sent() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.written)
}

// The rest of net.Conn does nothing.

func (w *Wire) Close() error                     { return nil }
func (w *Wire) LocalAddr() net.Addr              { return new(net.TCPAddr) }
func (w *Wire) RemoteAddr() net.Addr             { return new(net.TCPAddr) }
func (w *Wire) SetDeadline(time.Time) error      { return nil }
func (w *Wire) SetReadDeadline(time.Time) error  { return nil }
func (w *Wire) SetWriteDeadline(time.Time) error { return nil }
