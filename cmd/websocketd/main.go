// Command websocketd is a drop-in for the program of that name: the same
// options, defaults, exit codes, log lines and variables, on the engine of
// wspawn. What it does differently, and why, is in docs/websocketd.md.
package main

import (
	"io"
	"os"
	"runtime"
	"time"

	"github.com/wspawn/wspawn/spawner"
)

// guardArg makes the command the guard process of another one: see
// [spawner.GuardMain]. As the only argument it would be no use to anybody.
const guardArg = "--wspawn-guard"

func main() { os.Exit(command(os.Args, os.Stdout, os.Stderr)) }

// command is the whole command. It returns the exit code, unless a signal ended
// the server: then it ends the process by the same signal.
func command(argv []string, stdout, stderr io.Writer) int {
	if len(argv) == 2 && argv[1] == guardArg {
		spawner.GuardMain()
		return exitOK
	}
	c, err := parse(argv)
	if err != nil {
		s := err.(*stop)
		s.print(stdout, stderr)
		return s.code
	}
	if runtime.GOOS != "windows" {
		// Nothing of our environment may reach a program, by whatever way. The
		// time zone of the log is read from it at the first use.
		time.Now().AppendFormat(nil, "-0700")
		os.Clearenv()
	}
	log := newLogger(stdout, c.level)
	if c.console && (c.static != "" || c.cgi != "") {
		with := "--staticdir"
		if c.static == "" {
			with = "--cgidir"
		}
		log.scope().fatal("server", "Invalid parameters: --devconsole cannot be used with %s. Pick one.", with)
		return exitConflict
	}
	s, err := newServer(c, log)
	if err != nil {
		log.scope().fatal("server", "Can't start server: %v", err)
		return exitServe
	}
	return s.serve()
}
