// Package loglimit bounds how many lines of a kind a log gets in a second. A flood of clients that are refused is
// then not a flood of lines as well, which would fill a disk and hide all others.
package loglimit

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// A Handler hands on records to another one, some kinds of them at a bounded rate. The first line of a kind after some that were
// left out says how many, as left_out. All methods may be called at the same time.
type Handler struct {
	slog.Handler
	kinds []*kind // those of handlers made of this one are the same
}

type kind struct {
	prefix  string
	allowed *rate.Limiter
	leftOut atomic.Uint64
}

// New returns a handler in front of next. A kind is what messages begin with; of each, perSecond lines pass in a
// second, and twice as many at once. All other records pass.
func New(next slog.Handler, perSecond int, kinds ...string) *Handler {
	h := &Handler{Handler: next}
	for _, prefix := range kinds {
		h.kinds = append(h.kinds, &kind{prefix: prefix, allowed: rate.NewLimiter(rate.Limit(perSecond), 2*perSecond)})
	}
	return h
}

// Handle hands a record on, or leaves it out.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	for _, k := range h.kinds {
		if !strings.HasPrefix(r.Message, k.prefix) {
			continue
		}
		if !k.allowed.AllowN(r.Time, 1) {
			k.leftOut.Add(1)
			return nil
		}
		if n := k.leftOut.Swap(0); n > 0 {
			r = r.Clone()
			r.AddAttrs(slog.Uint64("left_out", n))
		}
		break
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs returns a handler with the same bounds.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{h.Handler.WithAttrs(attrs), h.kinds}
}

// WithGroup returns a handler with the same bounds.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.Handler.WithGroup(name), h.kinds}
}
