package main

import "github.com/wspawn/wspawn/scripts/benchpeers/internal/versus"

// A row is one kind of load.
type row struct {
	name  string
	args  []string // of wsload
	wants []versus.Want
	few   []string // further arguments, for a server that cannot serve so many
}

// rows are the loads with what is wanted beside lighttpd and beside websockify.
// Messages are binary ones, the only kind that all servers send, and have 64
// bytes, unless it says something else. Where one ends and the next begins
// is nothing that a tunnel keeps.
func rows(length string) []row {
	load := func(scenario string, args ...string) []string {
		return append([]string{scenario, "-binary", "-stream"}, args...)
	}
	wants := func(unit string, lighttpd, websockify float64) []versus.Want {
		return []versus.Want{
			{Measure: versus.Rate(unit), Ratios: []float64{lighttpd, websockify}},
			{Measure: versus.CPU(unit)},
		}
	}
	return []row{
		{
			name:  "64 connections, 1 in flight",
			args:  load("echo", "-d", length, "-c", "64", "-w", "1"),
			wants: wants("message", 1, 6),
		},
		{
			name:  "64 connections, 16 in flight",
			args:  load("echo", "-d", length, "-c", "64", "-w", "16"),
			wants: wants("message", 1, 15),
		},
		{
			name:  "16 connections, 4 in flight, 64 KiB",
			args:  load("echo", "-d", length, "-c", "16", "-w", "4", "-s", "65536"),
			wants: wants("message", 1.2, 4),
		},
		{
			name:  "connect, echo, close; 8 at once",
			args:  load("connect", "-d", length, "-c", "8"),
			wants: wants("tunnel", 0.85, 40),
		},
		{
			name:  "1,000 idle tunnels (websockify: 400)",
			args:  load("idle", "-c", "1000", "-hold", "5s"),
			few:   []string{"-c", "400"},
			wants: []versus.Want{{Measure: versus.Memory, Ratios: []float64{0.7, 0.01}}},
		},
	}
}
