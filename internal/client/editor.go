package client

import (
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

// An editor reads lines from a terminal while others write to it.
type editor struct {
	term    *term.Terminal
	in, out *os.File
	history *history
	ended   bool // the user is done: guarded by sent

	restore    func()
	stopResize func()
	sent       sync.Mutex
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
	e := &editor{in: in, out: out, history: h, restore: restore}
	e.term = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, "> ")
	e.term.History = h
	e.term.SetBracketedPasteMode(true)
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
			// Ctrl-D, or a terminal that has gone away.
			e.term.SetPrompt("")
			e.sent.Lock()
			e.ended = true
			e.sent.Unlock()
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
	e.term.SetBracketedPasteMode(false)
	e.sent.Lock()
	ended := e.ended
	e.sent.Unlock()
	if ended {
		io.WriteString(e.out, "\r\x1b[K")
	} else {
		io.WriteString(e.out, "\r\n")
	}
	e.restore()
	e.history.close()
}
