package client

import (
	"bytes"
	"io"
	"os"
	"sync"

	"golang.org/x/term"

	"github.com/wspawn/wspawn/wsframe"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

func editable(in, out *os.File) bool {
	return isTerminal(in) && isTerminal(out) && os.Getenv("TERM") != "dumb"
}

const prompt = "> "

// An editor reads lines from a terminal while others write to it.
type editor struct {
	term    *term.Terminal
	out     *os.File
	gate    *gate
	history *history

	restore    func()
	stopResize func()
}

// openEditor switches the terminal to reading single keys. Interrupts remain signals, so that they
// work also while nobody reads.
func openEditor(in, out *os.File, historyFile string) (*editor, error) {
	h, err := openHistory(historyFile)
	if err != nil {
		return nil, err
	}
	restore, err := rawTerminal(in, out)
	if err != nil {
		h.close()
		return nil, err
	}
	g := &gate{w: out}
	e := &editor{out: out, gate: g, history: h, restore: restore}
	e.term = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, g}, prompt)
	e.term.History = h
	e.term.SetBracketedPasteMode(true)
	g.last = []byte("\n")
	e.resize()
	e.stopResize = onResize(e.resize)
	return e, nil
}

func (e *editor) resize() {
	if width, height, err := term.GetSize(int(e.out.Fd())); err == nil && width > 0 && height > 0 {
		e.term.SetSize(width, height)
	}
}

// send sends typed lines until the user ends the input or the connection is gone.
func (e *editor) send(conn *wsframe.Conn, op wsframe.Opcode) error {
	for {
		line, err := e.term.ReadLine()
		if err != nil && err != term.ErrPasteIndicator {
			// Ctrl-D, or a terminal that has gone away. The prompt goes with the next message.
			e.term.SetPrompt("")
			return nil
		}
		if err := conn.WriteMessage(op, []byte(line)); err != nil {
			return err
		}
	}
}

// close leaves the cursor at the beginning of an empty line and the terminal as it was.
func (e *editor) close() {
	e.stopResize()
	e.gate.close("\x1b[?2004l") // end of bracketed paste mode
	e.restore()
	e.history.close()
}

// A gate is the terminal for those who write to it, until it is closed: somebody still waits for
// keys then, and might print a prompt into what others write. It knows what the line with the cursor
// looks like.
type gate struct {
	mu     sync.Mutex // guards the fields below
	w      io.Writer
	last   []byte // the last few bytes
	closed bool
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return len(p), nil
	}
	g.last = append(g.last, p...)
	g.last = append(g.last[:0], g.last[max(0, len(g.last)-8):]...)
	return g.w.Write(p)
}

// close writes the last words. A prompt without anything behind it is removed, a line that was begun
// stays.
func (g *gate) close(words string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	switch {
	case bytes.HasSuffix(g.last, []byte("\n"+prompt)), bytes.HasSuffix(g.last, []byte("\x1b[K")):
		words += "\r\x1b[K"
	case !bytes.HasSuffix(g.last, []byte("\n")):
		words += "\r\n"
	}
	io.WriteString(g.w, words)
}
