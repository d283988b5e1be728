// Command fcgi-cgi runs CGI programs behind a FastCGI socket.
//
// "fcgi-cgi --help" says how.
package main

import (
	"log/slog"
	"net"
	"net/http"
	"os"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/fastcgi"
	"github.com/wspawn/wspawn/internal/cgirun"
)

// version is set when releases are built (-ldflags "-X main.version=1.2.3").
var version string

func main() {
	command := cgirun.Command{
		Name:     "fcgi-cgi",
		Protocol: "FastCGI",
		Version:  version,
		New: func(h *cgirun.Handler, log *slog.Logger) cgirun.Server {
			h.Variables = func(r *http.Request) cgi.List { return fastcgi.Params(r.Context()) }
			h.Stderr = fastcgi.Stderr
			h.End = func(conn net.Conn, status int) { fastcgi.EndRequest(conn, uint32(status)) }
			return &fastcgi.Server{Handler: h, Log: log}
		},
	}
	os.Exit(command.Main())
}
