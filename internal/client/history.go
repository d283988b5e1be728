package client

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"unicode"
)

const (
	maxHistory      = 1000    // lines
	maxHistoryFile  = 1 << 20 // bytes that are read
	maxHistoryEntry = 4096    // bytes; longer lines are not kept
)

// HistoryFile returns where the lines that were typed are kept, for [Config.HistoryFile]: the file
// wspawn/connect_history in the directory for the state of applications, which is $XDG_STATE_HOME or
// ~/.local/state, on Windows %LocalAppData%.
func HistoryFile() (string, error) {
	state := os.Getenv("XDG_STATE_HOME")
	switch {
	case filepath.IsAbs(state):
	case runtime.GOOS == "windows":
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		state = cache
	default:
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "wspawn", "connect_history"), nil
}

// A history is the term.History of the editor: in memory, and behind that in a file if there is one.
// An editor may be closed while a line comes in.
type history struct {
	mu    sync.Mutex // guards the fields below
	lines []string   // the oldest first
	file  *os.File   // nil: none
}

// openHistory reads the file and keeps it open for what comes. Several programs may append to it.
func openHistory(path string) (*history, error) {
	h := &history{}
	if path == "" {
		return h, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	if err := h.read(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("history: %w", err)
	}
	h.file = f
	return h, nil
}

// read takes the end of the file, and shortens a file that has become large.
func (h *history) read(f *os.File) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	start := max(0, size-maxHistoryFile)
	in := bufio.NewScanner(io.NewSectionReader(f, start, size-start))
	in.Buffer(nil, maxHistoryFile+1)
	for first := true; in.Scan(); first = false {
		if start == 0 || !first { // the first may have lost its beginning
			h.remember(in.Text())
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	if size <= maxHistoryFile {
		return nil
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = io.WriteString(f, strings.Join(h.lines, "\n")+"\n")
	return err
}

// remember reports whether the line is worth it.
func (h *history) remember(line string) bool {
	switch {
	case line == "", len(line) > maxHistoryEntry, strings.ContainsFunc(line, unicode.IsControl),
		len(h.lines) > 0 && h.lines[len(h.lines)-1] == line:
		return false
	}
	if len(h.lines) >= maxHistory {
		h.lines = append(h.lines[:0], h.lines[1:]...)
	}
	h.lines = append(h.lines, line)
	return true
}

// Add implements term.History. A file that cannot be written any more is given up.
func (h *history) Add(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.remember(line) || h.file == nil {
		return
	}
	if _, err := h.file.WriteString(line + "\n"); err != nil {
		h.file.Close()
		h.file = nil
	}
}

// Len implements term.History.
func (h *history) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.lines)
}

// At implements term.History: 0 is the latest.
func (h *history) At(i int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lines[len(h.lines)-1-i]
}

func (h *history) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file != nil {
		h.file.Close()
		h.file = nil
	}
}
