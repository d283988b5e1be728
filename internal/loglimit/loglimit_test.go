package loglimit

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestKindsAreBoundedAndNothingElse(t *testing.T) {
	var out strings.Builder
	text := slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}})
	h := New(text, 2, "session refused", "http: TLS handshake error")
	start := time.Now()
	log := func(h slog.Handler, after time.Duration, message string) {
		t.Helper()
		if err := h.Handle(context.Background(), slog.NewRecord(start.Add(after), slog.LevelInfo, message, 0)); err != nil {
			t.Fatal(err)
		}
	}
	route := h.WithAttrs([]slog.Attr{slog.String("route", "/a")})
	for range 3 { // four at once
		log(h, 0, "session refused")
		log(route, 0, "session refused")
	}
	for range 6 {
		log(h, 0, "session started")
	}
	log(h, 0, "http: TLS handshake error from 192.0.2.1: EOF")
	log(h, time.Second, "session refused")
	log(h.WithGroup("g"), 2*time.Second, "session refused")

	want := strings.Repeat("msg=\"session refused\"\nmsg=\"session refused\" route=/a\n", 2) +
		strings.Repeat("msg=\"session started\"\n", 6) +
		"msg=\"http: TLS handshake error from 192.0.2.1: EOF\"\n" +
		"msg=\"session refused\" left_out=2\n" +
		"msg=\"session refused\"\n"
	if out.String() != want {
		t.Errorf("logged\n%swant\n%s", out.String(), want)
	}
}
