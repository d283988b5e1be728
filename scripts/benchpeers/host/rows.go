package main

// A row is one kind of load.
type row struct {
	name   string
	args   []string // of wsload
	binary bool     // servers pass bytes on, not lines
	pinned bool     // load, server and programs share one processor
	wants  []want
}

// A want is a measure with the wanted ratio of ours to theirs: at least, where
// more is better, and at most, where less is.
type want struct {
	measure measure
	ratio   float64
	limit   float64 // for ours alone; 0: none
}

// A measure is a number that a run of wsload reports.
type measure struct {
	name     string
	unit     string
	moreGood bool
	of       func(*report) float64
}

// report is what we read of the JSON that wsload prints.
type report struct {
	Rate float64 `json:"per_second"`
	CPU  struct {
		ServerPerM float64 `json:"server_s_per_million"`
		OtherPct   float64 `json:"other_pct"`
		StealPct   float64 `json:"steal_pct"`
	} `json:"cpu"`
	Memory struct {
		ServerRSSPerConn float64 `json:"server_rss_per_conn"`
	} `json:"memory"`
}

// others returns the share of one processor, in per cent, that processes which
// took no part used, or that the hypervisor took away.
func (r *report) others() float64 { return max(r.CPU.OtherPct, r.CPU.StealPct) }

var (
	messageRate = measure{"rate", "messages/s", true, func(r *report) float64 { return r.Rate }}
	messageCPU  = measure{"server CPU", "µs/message", false, func(r *report) float64 { return r.CPU.ServerPerM }}
	connectRate = measure{"rate", "sessions/s", true, func(r *report) float64 { return r.Rate }}
	connectCPU  = measure{"server CPU", "µs/session", false, func(r *report) float64 { return r.CPU.ServerPerM }}
	memory      = measure{"server memory", "KiB/session", false, func(r *report) float64 { return r.Memory.ServerRSSPerConn / 1024 }}
)

// rows are the loads with what is wanted. Lines have 64 bytes, unless it says
// something else, and go through the same program in both servers.
func rows(seconds string) []row {
	echo := func(args ...string) []string { return append([]string{"echo", "-d", seconds}, args...) }
	wants := func(rate, cpu float64) []want {
		return []want{{messageRate, rate, 0}, {messageCPU, cpu, 0}}
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
			wants: []want{{connectRate, 1.1, 0}, {connectCPU, 0.7, 0}},
		},
		{
			name:  "1,000 idle sessions",
			args:  []string{"idle", "-c", "1000", "-hold", "5s"},
			wants: []want{{memory, 0.25, 13}},
		},
	}
}
