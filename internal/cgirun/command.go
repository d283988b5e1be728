package cgirun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wspawn/wspawn/internal/stale"
	"github.com/wspawn/wspawn/spawner"
)

// A Server accepts requests and has a Handler answer them.
type Server interface {
	Serve(net.Listener) error // returns soon after Shutdown has begun
	Shutdown(context.Context) error
	Close() error
}

// Command is the command line of a program that runs CGI programs behind a socket.
type Command struct {
	Name     string // of the command
	Protocol string // as it is written: "SCGI"
	// Flags, if not nil, adds flags of its own.
	Flags func(*pflag.FlagSet)
	// New makes the server. It completes h for its protocol.
	New func(h *Handler, log *slog.Logger) Server
	// Version is that of a release; "" = that of the module.
	Version string
}

// guardCommand starts the process that kills the programs when this one dies in an accident.
const guardCommand = "internal-guard"

// usage marks errors of the command line.
type usage struct{ error }

// Main runs the command with the arguments of the process and returns its exit status: 0 after a
// graceful stop, 1 when something failed, and 2 for a command line that is wrong.
func (c *Command) Main() int {
	if len(os.Args) == 2 && os.Args[1] == guardCommand {
		spawner.GuardMain()
		return 0
	}
	cmd := c.command()
	err := cmd.Execute()
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", c.Name, err)
	if _, ok := errors.AsType[usage](err); ok {
		return 2
	}
	return 1
}

func (c *Command) command() *cobra.Command {
	var listen, binary string
	var most, queue int
	cmd := &cobra.Command{
		Use:   c.Name + " [flags] [PROGRAM [ARG...]]",
		Short: "Run CGI programs behind " + c.Protocol,
		Long: fmt.Sprintf(`%[1]s answers %[2]s requests by running CGI programs, one for each request.

Which one, a request says: the file in its variable SCRIPT_FILENAME, run by the
program in INTERPRETER if it has one. --binary names an interpreter for all of
them, and PROGRAM a command that answers every request.

A request that asks for an upgrade (HTTP_UPGRADE) gets an input that stays open,
so that programs can speak WebSocket; so does a session (WEBSOCKET_FRAMING), whose
program reads and writes messages.

It listens on --listen, or on the socket it finds as descriptor 0. The first
SIGTERM, SIGINT or SIGHUP makes it stop when all programs have ended, the second
one at once.`, c.Name, c.Protocol),
		Example: fmt.Sprintf(`  %[1]s --listen 127.0.0.1:4000
  %[1]s --listen unix:/run/cgi.sock --binary /usr/bin/php-cgi
  %[1]s --listen 127.0.0.1:4000 examples/ws_echo/ws_echo.py`, c.Name),
		Version:       c.version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case most < 1:
				return usage{fmt.Errorf("--max-connections %d: at least 1", most)}
			case queue < 0:
				return usage{fmt.Errorf("--queue %d: not below 0", queue)}
			case binary != "" && len(args) > 0:
				return usage{errors.New("--binary and PROGRAM are two ways to say the same, use one")}
			}
			if queue == 0 {
				queue = -1 // what Handler takes for none
			}
			return c.run(listen, &Handler{Program: args, Interpreter: binary, Max: most, Queue: queue})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.SetInterspersed(false) // what follows PROGRAM is for it
	flags.StringVarP(&listen, "listen", "l", "", "`ADDRESS` to listen on, HOST:PORT or unix:PATH; without it, descriptor 0")
	flags.StringVarP(&binary, "binary", "b", "", "`PROGRAM` that interprets all scripts")
	flags.IntVarP(&most, "max-connections", "c", DefaultMax, "`NUMBER` of programs that may run at once")
	flags.IntVarP(&queue, "queue", "q", DefaultQueue, "`NUMBER` of requests that may wait for their turn; more are answered with 503")
	if c.Flags != nil {
		c.Flags(flags)
	}
	cmd.SetVersionTemplate(c.Name + " {{.Version}}\n")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return usage{fmt.Errorf("%w (see %s --help)", err, c.Name)}
	})
	return cmd
}

func (c *Command) version() string {
	if c.Version != "" {
		return c.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// run serves until it is told to stop.
func (c *Command) run(address string, h *Handler) error {
	for _, name := range append([]string{h.Interpreter}, h.Program[:min(len(h.Program), 1)]...) {
		if name == "" {
			continue
		}
		if _, err := spawner.Look(name, ""); err != nil {
			return usage{err}
		}
	}
	l, err := open(address)
	if err != nil {
		return err
	}
	defer l.Close()
	h.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	var guard []string
	if self, err := os.Executable(); err == nil {
		guard = []string{self, guardCommand}
	}
	h.Spawner = spawner.New(spawner.Config{Guard: guard, Log: h.Log})
	server := c.New(h, h.Log)

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if address != "" {
		fmt.Fprintf(os.Stderr, "%s: listening on %s\n", c.Name, l.Addr())
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()

	var problem error
	select {
	case <-signals:
	case problem = <-failed:
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-signals
		cancel()
	}()
	// The server first: what it has accepted is answered.
	err = server.Shutdown(ctx)
	err = errors.Join(err, h.Shutdown(ctx))
	if err != nil && problem == nil {
		problem = errors.New("stopped at once, programs were killed")
	}
	h.Spawner.Close(ctx) // before the server: it waits for the requests of programs that still run
	server.Close()
	return problem
}

// open opens the listening socket.
func open(address string) (net.Listener, error) {
	if address == "" {
		l, err := net.FileListener(os.Stdin)
		if err != nil {
			return nil, usage{errors.New("descriptor 0 is not a listening socket: say where to listen with --listen")}
		}
		return l, nil
	}
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
		if err := stale.Remove(path); err != nil {
			return nil, fmt.Errorf("listen on unix:%s: %w", path, err)
		}
	}
	l, err := net.Listen(network, address)
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = fmt.Errorf("listen on %s: %w", address, op.Err)
	}
	return l, err
}
