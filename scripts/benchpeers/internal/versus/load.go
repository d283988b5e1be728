package versus

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// Report is what is known of one run: what we read of the JSON that wsload prints.
type Report struct {
	Rate float64 `json:"per_second"`
	CPU  struct {
		ServerPerM float64 `json:"server_s_per_million"`
		OtherPct   float64 `json:"other_pct"`
		StealPct   float64 `json:"steal_pct"`
	} `json:"cpu"`
	Memory struct {
		ServerRSSPerConn float64 `json:"server_rss_per_conn"`
		ServerPSSPerConn float64 `json:"server_pss_per_conn"`
		// BackendPSSPerConn is of the children of the server and of the backends.
		BackendPSSPerConn float64 `json:"backend_pss_per_conn"`
	} `json:"memory"`
}

// others returns the share of one processor, in per cent, that processes which
// took no part used, or that the hypervisor took away.
func (r *Report) others() float64 { return max(r.CPU.OtherPct, r.CPU.StealPct) }

// Rate is the measure of what a server gets done.
func Rate(unit string) Measure {
	return Measure{"rate", unit + "s/s", true, func(r *Report) float64 { return r.Rate }}
}

// CPU is the measure of what one unit of it costs.
func CPU(unit string) Measure {
	return Measure{"server CPU", "µs/" + unit, false, func(r *Report) float64 { return r.CPU.ServerPerM }}
}

// Memory is the measure of what an idle session holds.
var Memory = Measure{"server memory", "KiB/session", false, func(r *Report) float64 { return r.Memory.ServerRSSPerConn / 1024 }}

// Wsload runs the load generator on a server. command is its path, maybe with a
// command in front that runs it; backends are processes that work for the
// server and are not its children.
func Wsload(ctx context.Context, command, args []string, s *Server, backends ...*Server) (*Report, error) {
	args = append(append([]string{}, command...), args...)
	args = append(args, "-json", "-pid", strconv.Itoa(s.PID()))
	var pids []string
	for _, b := range backends {
		pids = append(pids, strconv.Itoa(b.PID()))
	}
	if len(pids) > 0 {
		args = append(args, "-backend-pids", strings.Join(pids, ","))
	}
	args = append(args, "ws://"+s.Address+"/"+s.Path)
	load := exec.CommandContext(ctx, args[0], args[1:]...)
	load.Stderr = os.Stderr
	out, err := load.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	rep := new(Report)
	if err := json.Unmarshal(out, rep); err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return rep, nil
}
