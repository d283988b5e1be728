// Command host compares wspawn with websocketd, side by side on this machine:
// the same load, the same program behind them, in turn. scripts/bench builds
// what it needs and runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/wspawn/wspawn/scripts/benchpeers/internal/versus"
)

// programs are the paths of what is run.
type programs struct {
	wspawn, websocketd, wsload string
	program                    string
}

func main() {
	b := versus.Bench{Name: "host", Servers: []string{"wspawn", "websocketd"}}
	var p programs
	flag.StringVar(&p.wspawn, "wspawn", "wspawn", "`path` of wspawn")
	flag.StringVar(&p.websocketd, "websocketd", "websocketd", "`path` of websocketd")
	flag.StringVar(&p.wsload, "wsload", "wsload", "`path` of the load generator")
	flag.StringVar(&p.program, "program", "cat", "`path` of the program behind the servers: it echoes")
	ours := flag.String("ours", "wspawn", "wspawn, or websocketd to compare that with itself and see the noise")
	b.Flags()
	flag.Parse()

	start := [2]start{p.startWspawn, p.startWebsocketd}
	switch *ours {
	case "wspawn":
	case "websocketd":
		start[0] = start[1]
		b.Servers[0] = "websocketd"
	default:
		fmt.Fprintf(os.Stderr, "host: -ours is wspawn or websocketd, not %q\n", *ours)
		os.Exit(2)
	}
	var list []versus.Row
	for _, r := range rows(b.Length.String()) {
		list = append(list, versus.Row{Name: r.name, Wants: r.wants, Run: func(ctx context.Context, server int) (*versus.Report, error) {
			return p.run(ctx, r, start[server])
		}})
	}
	b.Main(list)
}

// run measures a server that is started for it.
func (p *programs) run(ctx context.Context, r row, start start) (*versus.Report, error) {
	var prefix []string
	if r.pinned {
		cpu, err := lastProcessor()
		if err != nil {
			return nil, err
		}
		prefix = []string{"taskset", "-c", cpu}
	}
	s, err := start(ctx, r.binary, prefix)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	// taskset becomes the server, so its process is the server's.
	return versus.Wsload(ctx, append(prefix, p.wsload), r.args, s)
}

// lastProcessor returns the number of the last processor that we may use.
func lastProcessor() (string, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "", err
	}
	_, rest, found := strings.Cut(string(status), "Cpus_allowed_list:")
	if !found {
		return "", errors.New("/proc/self/status does not say which processors there are")
	}
	list, _, _ := strings.Cut(rest, "\n")
	list = strings.TrimSpace(list)
	return list[strings.LastIndexAny(list, ",-")+1:], nil
}
