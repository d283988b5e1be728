package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestLogLines(t *testing.T) {
	at := time.Date(2026, 11, 21, 1, 52, 16, 0, time.FixedZone("", 3600))
	const stamp = "Sat, 21 Nov 2026 01:52:16 +0100 | "
	tests := []struct {
		name string
		min  level
		log  func(l *logger)
		want string
	}{
		{"no associations", levelDebug, func(l *logger) { l.scope().info("server", "Serving %s", "x") }, "INFO   | server     |  | Serving x\n"},
		{"associations in order", levelDebug, func(l *logger) {
			l.scope().with("url", "http://h/").with("id", "1").access("session", "CONNECT")
		}, "ACCESS | session    | url:'http://h/' id:'1' | CONNECT\n"},
		{"with makes a copy", levelDebug, func(l *logger) {
			s := l.scope().with("url", "u")
			s.with("a", "1")
			s.with("b", "2").error("http", "x")
		}, "ERROR  | http       | url:'u' b:'2' | x\n"},
		{"debug", levelDebug, func(l *logger) { l.scope().debug("env", "x") }, "DEBUG  | env        |  | x\n"},
		{"fatal", levelFatal, func(l *logger) { l.scope().fatal("server", "x") }, "FATAL  | server     |  | x\n"},
		{"below the level", levelInfo, func(l *logger) { l.scope().access("http", "x") }, ""},
		{"none", levelNone, func(l *logger) { l.scope().fatal("server", "x") }, ""},
		{"a line end cannot forge a line", levelDebug, func(l *logger) {
			l.scope().with("url", "a\nb").error("stderr", "c\r\nd\x1b[31m\x7f")
		}, `ERROR  | stderr     | url:'a\x0ab' | c\x0d\x0ad\x1b[31m\x7f` + "\n"},
		{"neither can one of Unicode, nor bytes that are none", levelDebug, func(l *logger) { l.scope().error("stderr", "a\u2028b\u0085c\xffd\tä") }, "ERROR  | stderr     |  | a\\u2028b\\u0085c\\xffd\tä\n"},
		{"stderr line of a program", levelAccess, func(l *logger) {
			sc := l.scope().with("url", "u")
			l.slog().LogAttrs(t.Context(), slog.LevelInfo, "stderr", slog.Int("pid", 7), slog.String("line", "oops"), sc.attr())
		}, ""},
		{"stderr line of a program at its level", levelAccess, func(l *logger) {
			sc := l.scope().with("url", "u")
			l.slog().LogAttrs(t.Context(), stderrLevel, "stderr", slog.Int("pid", 7), slog.String("line", "oops"), sc.attr())
		}, "ERROR  | stderr     | url:'u' pid:'7' | oops\n"},
		{"other errors of our packages", levelAccess, func(l *logger) {
			l.slog().With("a", 1).WithGroup("g").Error("process did not stop", "pid", 7, "err", errors.New("bad"))
		}, "ERROR  | process    | pid:'7' | process did not stop a=1 err=bad\n"},
		{"what is worth less in our packages", levelDebug, func(l *logger) { l.slog().Info("x") }, "DEBUG  | process    |  | x\n"},
		{"stderr in pieces", levelDebug, func(l *logger) {
			w := &lineLogger{scope: l.scope()}
			for _, piece := range []string{"o", "ne\r\n\ntw", "", "o"} {
				w.Write([]byte(piece))
			}
			w.flush()
			w.flush()
		}, "ERROR  | stderr     |  | one\n" + stamp + "ERROR  | stderr     |  | \n" + stamp + "ERROR  | stderr     |  | two\n"},
		{"stderr lines that are too long are cut, however they come", levelDebug, func(l *logger) {
			w := &lineLogger{scope: l.scope()}
			w.Write([]byte(strings.Repeat("a", maxStderrLine)))
			w.Write([]byte("\n" + strings.Repeat("b", maxStderrLine+1) + "x"))
			w.Write([]byte("y\nz\n"))
		}, "ERROR  | stderr     |  | " + strings.Repeat("a", maxStderrLine) + "\n" + stamp + "ERROR  | stderr     |  | " + strings.Repeat("b", maxStderrLine) + "\n" + stamp + "ERROR  | stderr     |  | z\n"},
		{"only errors", levelDebug, func(l *logger) {
			only := slog.New(errorsOnly{l.slog().Handler()})
			only.Warn("no")
			only.Error("yes")
		}, "ERROR  | process    |  | yes\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			l := newLogger(&out, tt.min)
			l.now = func() time.Time { return at }
			tt.log(l)
			want := tt.want
			if want != "" {
				want = stamp + want
			}
			if out.String() != want {
				t.Errorf("got  %q\nwant %q", out.String(), want)
			}
		})
	}
}

func TestLevels(t *testing.T) {
	order := []string{"debug", "trace", "access", "info", "error", "fatal", "none"}
	for i, name := range order {
		lv, ok := parseLevel(name)
		if !ok || lv != level(i) {
			t.Errorf("%s is %d, %v", name, lv, ok)
		}
	}
	for _, name := range []string{"", "Debug", "warn", "ACCESS"} {
		if _, ok := parseLevel(name); ok {
			t.Errorf("%q is a level", name)
		}
	}
}
