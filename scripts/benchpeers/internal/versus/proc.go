package versus

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// The kernel counts the times of processes in ticks of 10 ms, whatever the
// frequency of its own timer.
const tick = 10 * time.Millisecond

// A Usage is what processes have used of the processors up to a moment.
type Usage struct {
	at time.Time
	// server is the process that is measured; part are it, its programs, the backends
	// and this process; all is everybody.
	server, part, all, steal time.Duration
}

// Sample reads the usage of a server and of its backends.
func Sample(s *Server, backends ...*Server) (Usage, error) {
	u := Usage{at: time.Now()}
	type process struct {
		parent      int
		own, reaped time.Duration
	}
	processes := map[int]process{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return u, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended
		}
		// The name, in parentheses, may contain anything.
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		ticks := func(i int) time.Duration { n, _ := strconv.Atoi(f[i]); return time.Duration(n) * tick }
		parent, _ := strconv.Atoi(f[1])
		processes[pid] = process{parent, ticks(11) + ticks(12), ticks(13) + ticks(14)}
	}
	ours := map[int]bool{os.Getpid(): true, s.PID(): true}
	for _, b := range backends {
		ours[b.PID()] = true
	}
	// What a process has used moves to its parent when it is reaped, so nothing gets lost.
	for pid, p := range processes {
		u.all += p.own + p.reaped
		for n := pid; n > 1; n = processes[n].parent {
			if ours[n] {
				u.part += p.own + p.reaped
				break
			}
		}
	}
	u.server = processes[s.PID()].own
	if u.server == 0 && processes[s.PID()].parent == 0 {
		return u, fmt.Errorf("the server is gone")
	}
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u, err
	}
	if f := strings.Fields(string(b)); len(f) > 8 { // cpu, user, nice, system, idle, iowait, irq, softirq, steal
		n, _ := strconv.Atoi(f[8])
		u.steal = time.Duration(n) * tick
	}
	return u, nil
}

// Since makes a report of what count requests have used since a sample.
func (u Usage) Since(before Usage, count int) *Report {
	d := u.at.Sub(before.at)
	percent := func(t time.Duration) float64 { return 100 * t.Seconds() / d.Seconds() }
	r := &Report{Rate: float64(count) / d.Seconds()}
	r.CPU.ServerPerM = float64((u.server - before.server).Microseconds()) / float64(count)
	r.CPU.OtherPct = percent(u.all - u.part - (before.all - before.part))
	r.CPU.StealPct = percent(u.steal - before.steal)
	return r
}
