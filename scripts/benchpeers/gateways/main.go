// Command gateways compares wspawn with lighttpd as gateways to CGI programs and
// to SCGI and FastCGI backends, side by side on this machine: the same load, the
// same programs behind them, in turn. scripts/bench builds what it needs and
// runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"

	"github.com/wspawn/wspawn/scripts/benchpeers/internal/versus"
)

// programs are the paths of what is run.
type programs struct {
	wspawn, lighttpd, wsload, php string
	wsEcho, hello                 string // CGI programs
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "backend" {
		if err := serveBackend(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "gateways: backend:", err)
			os.Exit(1)
		}
		return
	}
	b := versus.Bench{Name: "gateways", Servers: []string{"wspawn", "lighttpd"}}
	var p programs
	flag.StringVar(&p.wspawn, "wspawn", "wspawn", "`path` of wspawn")
	flag.StringVar(&p.lighttpd, "lighttpd", "lighttpd", "`path` of lighttpd")
	flag.StringVar(&p.wsload, "wsload", "wsload", "`path` of the load generator")
	flag.StringVar(&p.php, "php-fpm", "php-fpm", "`path` of php-fpm")
	flag.StringVar(&p.wsEcho, "ws-echo", "ws_echo", "`path` of a CGI program that echoes WebSocket messages")
	flag.StringVar(&p.hello, "hello", "hello", "`path` of a CGI program that says hello")
	b.Flags()
	flag.Parse()

	runtime.GOMAXPROCS(1) // as wsload: the servers are to have the rest
	var list []versus.Row
	for _, r := range rows(b.Length) {
		list = append(list, versus.Row{Name: r.name, Wants: r.wants, Alone: r.alone, Run: func(ctx context.Context, server int) (*versus.Report, error) {
			return p.run(ctx, r, server == 0)
		}})
	}
	b.Main(list)
}

// run measures a server that is started for it, with a backend if it needs one.
func (p *programs) run(ctx context.Context, r row, wspawn bool) (*versus.Report, error) {
	site, err := os.MkdirTemp("", "gateways-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(site)
	if err := os.Mkdir(site+"/www", 0o755); err != nil {
		return nil, err
	}
	var backends []*versus.Server
	if r.kind.backend != nil {
		b, err := r.kind.backend(ctx, p, site)
		if err != nil {
			return nil, err
		}
		defer b.Stop()
		backends = append(backends, b)
	}
	if r.kind.files != nil {
		if err := r.kind.files(p, site); err != nil {
			return nil, err
		}
	}
	start := p.startLighttpd
	if wspawn {
		start = p.startWspawn
	}
	s, err := start(ctx, r.kind, site)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	s.Path = r.kind.path
	return r.load(ctx, p, s, backends)
}
