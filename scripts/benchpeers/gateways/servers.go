package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/wspawn/wspawn/scripts/benchpeers/internal/versus"
)

func (p *programs) startWspawn(ctx context.Context, k *kind, site string) (*versus.Server, error) {
	args := []string{p.wspawn, "--port", "0", "--log-level", "warn"}
	for _, flag := range k.flags {
		args = append(args, strings.ReplaceAll(flag, "SITE", site))
	}
	return versus.StartWspawn(ctx, args)
}

// configuration is what all gateways of lighttpd have in common. It logs no
// requests unless told to. Tunnels need no setting; for ordinary answers,
// passing them on as they come cost lighttpd nothing, and is what wspawn does.
// Connections are kept for as many requests as lighttpd can count.
const configuration = `server.document-root = "SITE/www"
server.errorlog = "SITE/errors"
server.bind = "%s"
server.port = %s
server.max-fds = 4096
server.max-connections = 1024
server.max-keep-alive-requests = 65535
server.stream-request-body = 2
server.stream-response-body = 2
`

func (p *programs) startLighttpd(ctx context.Context, k *kind, site string) (*versus.Server, error) {
	return versus.StartOn(ctx, func(host, port string) ([]string, error) {
		text := strings.ReplaceAll(fmt.Sprintf(configuration, host, port)+k.lighttpd, "SITE", site)
		if err := os.WriteFile(site+"/lighttpd.conf", []byte(text), 0o600); err != nil {
			return nil, err
		}
		return []string{p.lighttpd, "-D", "-f", site + "/lighttpd.conf"}, nil
	})
}
