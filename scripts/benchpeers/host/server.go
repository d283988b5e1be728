package main

import (
	"context"
	"slices"

	"github.com/wspawn/wspawn/scripts/benchpeers/internal/versus"
)

// start starts a server. With binary it passes bytes on, not lines.
type start func(ctx context.Context, binary bool, prefix []string) (*versus.Server, error)

func (p *programs) startWspawn(ctx context.Context, binary bool, prefix []string) (*versus.Server, error) {
	// The programs of both servers get the same environment: with the locale that wspawn passes on by
	// default, the C library of each cat reads a dozen files more.
	args := append(slices.Clone(prefix), p.wspawn, "--port", "0", "--log-level", "error", "--max-processes", "0", "--pass-env", "PATH,LD_LIBRARY_PATH")
	if binary {
		args = append(args, "--framing", "raw", "--binary")
	}
	return versus.StartWspawn(ctx, append(args, p.program))
}

func (p *programs) startWebsocketd(ctx context.Context, binary bool, prefix []string) (*versus.Server, error) {
	return versus.StartOn(ctx, func(host, port string) ([]string, error) {
		args := append(slices.Clone(prefix), p.websocketd, "--address="+host, "--port="+port, "--loglevel=fatal", "--maxforks=0")
		if binary {
			args = append(args, "--binary")
		}
		return append(args, p.program), nil
	})
}
