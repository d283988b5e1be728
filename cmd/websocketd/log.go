package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// level orders the log levels of websocketd.
type level int8

const (
	levelDebug level = iota
	levelTrace
	levelAccess
	levelInfo
	levelError
	levelFatal
	levelNone // nothing is logged
)

var levelNames = [...]string{"DEBUG", "TRACE", "ACCESS", "INFO", "ERROR", "FATAL", "NONE"}

// parseLevel accepts the names in lower case only, as websocketd does.
func parseLevel(s string) (level, bool) {
	for i, name := range levelNames {
		if s == strings.ToLower(name) {
			return level(i), true
		}
	}
	return 0, false
}

// logger writes the log lines of websocketd to one stream:
//
//	time | LEVEL  | category   | key:'value' key:'value' | message
//
// It may be used concurrently; every line is one write.
type logger struct {
	min level
	now func() time.Time

	mu  sync.Mutex // guards the fields below
	out io.Writer
	buf []byte
}

func newLogger(out io.Writer, min level) *logger {
	return &logger{min: min, now: time.Now, out: out}
}

// scope is a logger with the associations of a request. It does not change;
// with makes a new one.
type scope struct {
	log    *logger
	assocs string // as written
}

func (l *logger) scope() scope { return scope{log: l} }

// with returns the scope with one association more.
func (s scope) with(key, value string) scope {
	a := key + ":'" + harmless(value) + "'"
	if s.assocs != "" {
		a = s.assocs + " " + a
	}
	s.assocs = a
	return s
}

// withPid names the process. It comes last, when there is one.
func (s scope) withPid(pid int) scope { return s.with("pid", strconv.Itoa(pid)) }

func (s scope) debug(category, format string, args ...any) {
	s.print(levelDebug, category, format, args...)
}

func (s scope) access(category, format string, args ...any) {
	s.print(levelAccess, category, format, args...)
}

func (s scope) info(category, format string, args ...any) {
	s.print(levelInfo, category, format, args...)
}

func (s scope) error(category, format string, args ...any) {
	s.print(levelError, category, format, args...)
}

func (s scope) fatal(category, format string, args ...any) {
	s.print(levelFatal, category, format, args...)
}

func (s scope) enabled(lv level) bool { return lv >= s.log.min }

func (s scope) print(lv level, category, format string, args ...any) {
	if !s.enabled(lv) {
		return
	}
	message := harmless(fmt.Sprintf(format, args...))
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = l.now().AppendFormat(l.buf[:0], time.RFC1123Z)
	l.buf = fmt.Appendf(l.buf, " | %-6s | %-10s | %s | %s\n", levelNames[lv], category, s.assocs, message)
	l.out.Write(l.buf) // nobody is left who could be told about an error
}

// harmless makes sure that what others chose (URLs, output of programs) can
// neither start a line of its own nor steer a terminal.
func harmless(s string) string {
	clean := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' && c != '\t' || c >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r < ' ' && r != '\t', r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case 0x80 <= r && r < 0xa0, r == '\u2028', r == '\u2029':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// scopeKey is the attribute under which a request's scope travels through
// the packages that log with slog.
const scopeKey = "scope"

// attr returns the scope for slog.
func (s scope) attr() slog.Attr { return slog.Any(scopeKey, s) }

// slogHandler makes log lines of what our packages say with slog. What they
// tell about a request goes to the scope it carries.
type slogHandler struct {
	log   *logger
	attrs []slog.Attr
}

// slog returns a slog logger that writes to l.
func (l *logger) slog() *slog.Logger { return slog.New(slogHandler{log: l}) }

func (h slogHandler) Enabled(_ context.Context, lv slog.Level) bool {
	return slogLevel(lv) >= h.log.min
}

// slogLevel maps levels. What is worth an Info line in our packages,
// websocketd says in lines of its own, or not at all; it has no warnings.
func slogLevel(lv slog.Level) level {
	switch {
	case lv >= slog.LevelWarn:
		return levelError
	default:
		return levelDebug
	}
}

func (h slogHandler) Handle(_ context.Context, r slog.Record) error {
	sc := h.log.scope()
	var pid, line string
	var rest strings.Builder
	each := func(a slog.Attr) bool {
		switch a.Key {
		case scopeKey:
			if s, ok := a.Value.Any().(scope); ok {
				sc = s
			}
		case "pid":
			pid = a.Value.String()
		case "line":
			line = a.Value.String()
		default:
			fmt.Fprintf(&rest, " %s=%v", a.Key, a.Value)
		}
		return true
	}
	for _, a := range h.attrs {
		each(a)
	}
	r.Attrs(each)
	if pid != "" {
		sc = sc.with("pid", pid)
	}
	if r.Message == "stderr" {
		sc.error("stderr", "%s", line)
		return nil
	}
	sc.print(slogLevel(r.Level), "process", "%s%s", r.Message, rest.String())
	return nil
}

func (h slogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)
	return h
}

func (h slogHandler) WithGroup(string) slog.Handler { return h }

// errorsOnly drops what is no error.
type errorsOnly struct{ slog.Handler }

func (h errorsOnly) Enabled(ctx context.Context, lv slog.Level) bool {
	return lv >= slog.LevelError && h.Handler.Enabled(ctx, lv)
}

// maxStderrLine is where lines of stderr are cut in the log, in bytes.
const maxStderrLine = 4096

// lineLogger logs what is written to it line by line, as stderr of a program.
type lineLogger struct {
	scope scope
	line  []byte // the beginning of a line whose end was not written yet
	skip  bool   // it was too long and has been logged; the rest of it is dropped
}

func (l *lineLogger) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		piece, rest, ended := bytes.Cut(p, []byte("\n"))
		p = rest
		if !l.skip {
			room := maxStderrLine - len(l.line)
			l.line = append(l.line, piece[:min(len(piece), room)]...)
			if l.skip = len(piece) > room; l.skip || ended {
				l.print()
			}
		}
		if ended {
			l.skip = false
		}
	}
	return n, nil
}

// flush logs a last line that has no end.
func (l *lineLogger) flush() {
	if len(l.line) > 0 {
		l.print()
	}
}

func (l *lineLogger) print() {
	l.scope.error("stderr", "%s", bytes.TrimSuffix(l.line, []byte("\r")))
	l.line = nil
}
