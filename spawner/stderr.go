package spawner

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// lineState is the stderr of one process between two reads.
type lineState struct {
	partial []byte // beginning of a line whose end was not read yet
	skip    bool   // the line was cut; what comes up to its end is dropped
	dropped int32  // lines the queue did not take and nobody was told about
	last    uint64 // number of the last record in the log queue
}

// addLines logs the lines in b, the next piece of p's stderr. The caller holds stderrMu.
func (s *Spawner) addLines(p *Process, b []byte) {
	now := time.Now()
	st, limit := &p.lines, p.prog.maxStderrLine()
	for len(b) > 0 {
		piece, rest, ended := bytes.Cut(b, []byte("\n"))
		b = rest
		if st.skip {
			st.skip = !ended
			continue
		}
		switch {
		case len(st.partial)+len(piece) > limit:
			st.partial = append(st.partial, piece[:limit-len(st.partial)]...)
			s.logLine(p, now, trimRune(st.partial), true)
			st.partial, st.skip = nil, !ended
		case !ended:
			st.partial = append(st.partial, piece...)
		case len(st.partial) == 0:
			s.logLine(p, now, piece, false)
		default:
			s.logLine(p, now, append(st.partial, piece...), false)
			st.partial = nil // an idle process holds no buffer
		}
	}
}

// endLines logs an unfinished last line and what was dropped at the end. It returns the number
// of the last record about p. The caller holds stderrMu.
func (s *Spawner) endLines(p *Process) uint64 {
	st := &p.lines
	if len(st.partial) > 0 {
		s.logLine(p, time.Now(), st.partial, false)
		st.partial = nil
	}
	if st.dropped > 0 {
		st.last = s.log.add(record{at: time.Now(), p: p, dropped: int(st.dropped)})
		st.dropped = 0
	}
	return st.last
}

func (s *Spawner) logLine(p *Process, at time.Time, line []byte, truncated bool) {
	level := s.c.StderrLevel
	if !s.log.enabled(level) {
		return
	}
	if !s.log.room(p, len(line)) { // before the work of making a record in vain
		p.lines.dropped++
		return
	}
	r := record{at: at, level: level, msg: "stderr", p: p, line: harmless(line), truncated: truncated, dropped: int(p.lines.dropped)}
	p.lines.last, p.lines.dropped = s.log.add(r), 0
}

// trimRune cuts an incomplete UTF-8 sequence off the end of a line that was cut itself.
func trimRune(b []byte) []byte {
	for i := 1; i <= utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

// harmless returns a line as text that cannot forge other lines or steer a terminal, whatever the
// handler does with it: control characters, what Unicode treats as line ends or uses to change the
// direction of writing, and bytes that are not UTF-8 are shown escaped.
func harmless(line []byte) string {
	line = bytes.TrimSuffix(line, []byte("\r"))
	clean := true
	for _, c := range line {
		if c < ' ' && c != '\t' || c >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return string(line)
	}
	var out strings.Builder
	for len(line) > 0 {
		r, n := utf8.DecodeRune(line)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&out, `\x%02x`, line[0])
		case r == '\t':
			out.WriteByte('\t')
		case r < 0x80 && unicode.IsControl(r):
			fmt.Fprintf(&out, `\x%02x`, r)
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029', r == '\ufeff':
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.Write(line[:n])
		}
		line = line[n:]
	}
	return out.String()
}
