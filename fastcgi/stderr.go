package fastcgi

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
)

// maxStderrLine is what a line of STDERR may have before it is broken up,
// bytes.
const maxStderrLine = 4096

// stderrLines hands STDERR to the log line by line. What it holds is bounded by
// one line.
type stderrLines struct {
	log  *slog.Logger // nil: nothing is kept
	path string
	rest []byte // an unfinished line
}

func (s *stderrLines) write(p []byte) {
	if s.log == nil {
		return
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		n := i + 1
		if i < 0 {
			i, n = len(p), len(p)
		}
		if room := maxStderrLine - len(s.rest); i > room {
			i, n = room, room
		}
		ended := n > i || len(s.rest)+i == maxStderrLine
		switch {
		case !ended:
			s.rest = append(s.rest, p[:i]...)
		case len(s.rest) > 0:
			s.line(append(s.rest, p[:i]...))
			s.rest = s.rest[:0]
		default:
			s.line(p[:i])
		}
		p = p[n:]
	}
}

// end logs what is left of an unfinished line.
func (s *stderrLines) end() {
	if len(s.rest) > 0 {
		s.line(s.rest)
		s.rest = nil
	}
}

func (s *stderrLines) line(b []byte) {
	if text := strings.ToValidUTF8(string(bytes.TrimSuffix(b, []byte("\r"))), "\uFFFD"); text != "" {
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "stderr", slog.String("path", s.path), slog.String("line", text))
	}
}
