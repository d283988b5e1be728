// Command tunnels compares wspawn with lighttpd's mod_wstunnel and with
// websockify as tunnels to a TCP server that echoes, side by side on this
// machine: the same load, in turn. scripts/bench builds what it needs and runs
// it.
package main

import (
	"context"
	"flag"
	"os"
	"slices"

	"github.com/wspawn/wspawn/scripts/benchpeers/internal/versus"
)

// programs are the paths of what is run.
type programs struct {
	wspawn, lighttpd, websockify string
	wsload, echo                 string
}

func main() {
	b := versus.Bench{Name: "tunnels", Servers: []string{"wspawn", "lighttpd", "websockify"}}
	var p programs
	flag.StringVar(&p.wspawn, "wspawn", "wspawn", "`path` of wspawn")
	flag.StringVar(&p.lighttpd, "lighttpd", "lighttpd", "`path` of lighttpd")
	flag.StringVar(&p.websockify, "websockify", "websockify", "`path` of websockify")
	flag.StringVar(&p.wsload, "wsload", "wsload", "`path` of the load generator")
	flag.StringVar(&p.echo, "echo", "echo-accept", "`path` of the backend, which echoes bytes")
	b.Flags()
	flag.Parse()

	start := []start{p.startWspawn, p.startLighttpd, p.startWebsockify}
	var list []versus.Row
	for _, r := range rows(b.Length.String()) {
		list = append(list, versus.Row{Name: r.name, Wants: r.wants, Run: func(ctx context.Context, server int) (*versus.Report, error) {
			return p.run(ctx, r, start[server])
		}})
	}
	b.Main(list)
}

// run measures a server that is started for it, with a backend.
func (p *programs) run(ctx context.Context, r row, start start) (*versus.Report, error) {
	site, err := os.MkdirTemp("", "tunnels-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(site)
	backend, err := versus.StartOn(ctx, func(_, port string) ([]string, error) { return []string{p.echo, "tcp:" + port}, nil })
	if err != nil {
		return nil, err
	}
	defer backend.Stop()
	s, err := start(ctx, backend.Address, site)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	args := r.args
	if s.forks {
		args = slices.Concat(args, r.few)
	}
	rep, err := versus.Wsload(ctx, []string{p.wsload}, args, s.Server, backend)
	for range 2 {
		if err == nil || !s.forks || ctx.Err() != nil {
			break
		}
		// Now and then, on a busy machine, websockify leaves a handshake without an answer.
		rep, err = versus.Wsload(ctx, []string{p.wsload}, args, s.Server, backend)
	}
	if err == nil && s.forks {
		// What its processes use is not told apart from what the backend does. That
		// counts for time, but not for memory.
		rep.CPU.ServerPerM = 0
		rep.Memory.ServerRSSPerConn = rep.Memory.ServerPSSPerConn + rep.Memory.BackendPSSPerConn
	}
	return rep, err
}
