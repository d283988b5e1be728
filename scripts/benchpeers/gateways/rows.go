package main

import (
	"context"
	"time"

	"github.com/wspawn/wspawn/scripts/benchpeers/internal/versus"
)

// A row is one kind of load on one kind of gateway.
type row struct {
	name  string
	kind  *kind
	alone bool // lighttpd cannot do it
	wants []versus.Want
	load  func(ctx context.Context, p *programs, s *versus.Server, backends []*versus.Server) (*versus.Report, error)
}

// rows are the loads with what is wanted. Messages have 64 bytes, unless it says
// something else.
func rows(length time.Duration) []row {
	echo := func(name string, k *kind, rate, cpu float64, args ...string) row {
		args = append([]string{"echo", "-d", length.String()}, args...)
		return row{
			name: name, kind: k,
			wants: []versus.Want{{Measure: versus.Rate("message"), Ratios: []float64{rate}}, {Measure: versus.CPU("message"), Ratios: []float64{cpu}}},
			load: func(ctx context.Context, p *programs, s *versus.Server, backends []*versus.Server) (*versus.Report, error) {
				return versus.Wsload(ctx, []string{p.wsload}, args, s, backends...)
			},
		}
	}
	requests := func(name string, k *kind, rate float64, conns int) row {
		return row{
			name: name, kind: k,
			wants: []versus.Want{{Measure: versus.Rate("request"), Ratios: []float64{rate}}, {Measure: versus.CPU("request")}},
			load: func(ctx context.Context, _ *programs, s *versus.Server, backends []*versus.Server) (*versus.Report, error) {
				return ask(ctx, s, backends, conns, length)
			},
		}
	}
	tunnel := echo("FastCGI upgrade, 64 connections, 16 in flight", fastcgiEcho, 0, 0, "-c", "64", "-w", "16")
	tunnel.alone = true // until version 1.4.74
	return []row{
		echo("CGI upgrade, 64 connections, 1 in flight", cgiEcho, 1, 1.1, "-c", "64", "-w", "1"),
		echo("CGI upgrade, 64 connections, 16 in flight", cgiEcho, 1, 1.1, "-c", "64", "-w", "16"),
		echo("CGI upgrade, 16 connections, 4 in flight, 64 KiB", cgiEcho, 1.1, 1, "-c", "16", "-w", "4", "-s", "65536", "-binary"),
		requests("CGI requests, 8 at once", cgiHello, 1, 8),
		requests("FastCGI requests to php-fpm, 16 at once", phpHello, 1.3, 16),
		requests("SCGI requests, 16 at once", scgiHello, 1, 16),
		tunnel,
	}
}
