package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/wspawn/wspawn/scripts/benchpeers/internal/versus"
)

// A server is one that is measured.
type server struct {
	*versus.Server
	// forks says that it has a process for each tunnel. Such a one, websockify, waits with select, and
	// has two descriptors for each tunnel: 500 are too many for it.
	forks bool
}

// start starts a server in front of a backend. site is a directory for its files.
type start func(ctx context.Context, backend, site string) (*server, error)

func (p *programs) startWspawn(ctx context.Context, backend, _ string) (*server, error) {
	s, err := versus.StartWspawn(ctx, []string{p.wspawn, "--port", "0", "--log-level", "warn", "--tunnel", backend, "--binary"})
	return &server{Server: s}, err
}

// It logs no requests unless told to.
const configuration = `server.modules = ("mod_wstunnel")
server.document-root = "%[1]s"
server.errorlog = "%[1]s/errors"
server.bind = "%[2]s"
server.port = %[3]s
server.max-fds = 8192
server.max-connections = 4096
wstunnel.frame-type = "binary"
wstunnel.server = ("/" => (("host" => "%[4]s", "port" => "%[5]s")))
`

func (p *programs) startLighttpd(ctx context.Context, backend, site string) (*server, error) {
	to, toPort, err := net.SplitHostPort(backend)
	if err != nil {
		return nil, err
	}
	s, err := versus.StartOn(ctx, func(host, port string) ([]string, error) {
		config := fmt.Appendf(nil, configuration, site, host, port, to, toPort)
		if err := os.WriteFile(site+"/lighttpd.conf", config, 0o600); err != nil {
			return nil, err
		}
		return []string{p.lighttpd, "-D", "-f", site + "/lighttpd.conf"}, nil
	})
	return &server{Server: s}, err
}

// startWebsockify keeps what it says of each tunnel in a file: not even --log-file makes it silent.
func (p *programs) startWebsockify(ctx context.Context, backend, site string) (*server, error) {
	s, err := versus.StartOn(ctx, func(host, port string) ([]string, error) {
		return []string{"sh", "-c", `exec 2>"$0"; exec "$@"`, site + "/log", p.websockify, net.JoinHostPort(host, port), backend}, nil
	})
	return &server{Server: s, forks: true}, err
}
