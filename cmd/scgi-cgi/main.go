// Command scgi-cgi runs CGI programs behind an SCGI socket.
//
// "scgi-cgi --help" says how.
package main

import (
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"github.com/wspawn/wspawn/internal/cgirun"
	"github.com/wspawn/wspawn/scgi"
)

// version is set when releases are built (-ldflags "-X main.version=1.2.3").
var version string

func main() {
	uwsgi := false
	command := cgirun.Command{
		Name:     "scgi-cgi",
		Protocol: "SCGI",
		Version:  version,
		Flags: func(flags *pflag.FlagSet) {
			flags.BoolVar(&uwsgi, "uwsgi", false, "speak the uwsgi protocol instead of SCGI")
		},
		New: func(h *cgirun.Handler, log *slog.Logger) cgirun.Server {
			h.Variables, h.EndIsGone = scgi.Variables, true
			s := &scgi.Server{Handler: h, Log: log}
			if uwsgi {
				s.Protocol = scgi.UWSGI
			}
			return s
		},
	}
	os.Exit(command.Main())
}
