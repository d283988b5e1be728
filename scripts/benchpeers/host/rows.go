package main

import "github.com/wspawn/wspawn/scripts/benchpeers/internal/versus"

// A row is one kind of load.
type row struct {
	name   string
	args   []string // of wsload
	binary bool     // servers pass bytes on, not lines
	pinned bool     // load, server and programs share one processor
	wants  []versus.Want
}

// rows are the loads with what is wanted. Lines have 64 bytes, unless it says
// something else, and go through the same program in both servers.
func rows(seconds string) []row {
	echo := func(args ...string) []string { return append([]string{"echo", "-d", seconds}, args...) }
	wants := func(rate, cpu float64) []versus.Want {
		return []versus.Want{{Measure: versus.Rate("message"), Ratios: []float64{rate}}, {Measure: versus.CPU("message"), Ratios: []float64{cpu}}}
	}
	return []row{
		{
			name:   "1 connection, 1 in flight, one processor",
			args:   echo("-c", "1", "-w", "1"),
			pinned: true,
			wants:  wants(1.4, 0.6),
		},
		{
			name:  "64 connections, 1 in flight",
			args:  echo("-c", "64", "-w", "1"),
			wants: wants(1.3, 0.65),
		},
		{
			name:  "64 connections, 16 in flight",
			args:  echo("-c", "64", "-w", "16"),
			wants: wants(6, 0.12),
		},
		{
			name:  "64 connections, 16 in flight, 1 KiB",
			args:  echo("-c", "64", "-w", "16", "-s", "1024"),
			wants: wants(4.5, 0.2),
		},
		{
			name:   "16 connections, 4 in flight, 64 KiB, bytes",
			args:   echo("-c", "16", "-w", "4", "-s", "65536", "-stream", "-binary"),
			binary: true,
			wants:  wants(1.4, 0.7),
		},
		{
			name:  "connect, echo, close; 8 at once",
			args:  []string{"connect", "-d", seconds, "-c", "8"},
			wants: []versus.Want{{Measure: versus.Rate("session"), Ratios: []float64{1.1}}, {Measure: versus.CPU("session"), Ratios: []float64{0.7}}},
		},
		{
			name:  "1,000 idle sessions",
			args:  []string{"idle", "-c", "1000", "-hold", "5s"},
			wants: []versus.Want{{Measure: versus.Memory, Ratios: []float64{0.25}, Limit: 13}},
		},
	}
}
