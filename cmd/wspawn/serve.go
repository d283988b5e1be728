package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/host"
)

func serveCommand() *cobra.Command {
	f := newServeFlags()
	cmd := &cobra.Command{
		Short: "Connect WebSockets to programs",
		Long: `wspawn connects each WebSocket to the standard streams of a program of its own:
a message to the server is a line on the program's standard input, a line of its
output is a message to the client.

It listens on this machine only, and lets pages of its own origin connect, until
told otherwise. A page for trying the service is printed at the start.`,
		Example: `  wspawn cat                                  echo
  wspawn --port 0 ./count.sh                  on any free port
  wspawn --static public ./chat.py            with web pages beside it
  wspawn --dir services                       the path names the program
  wspawn --framing raw --binary nc db 5432    bytes instead of lines
  wspawn --cgi ws_echo.py --upgrade           a program that speaks HTTP itself
  wspawn --fastcgi unix:/run/php.sock --root public --index index.php`,
		Args:                  cobra.ArbitraryArgs,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && cmd.Flags().NFlag() == 0 {
				return usageError(errors.New("nothing to serve: give a program, for example: wspawn cat (see wspawn --help)"))
			}
			c, err := f.config(cmd.Flags(), args)
			if err != nil {
				return usageError(err)
			}
			log, err := newLog(os.Stderr, f.logLevel, f.logFormat)
			if err != nil {
				return usageError(err)
			}
			return serve(cmd.Context(), c, log, cmd.OutOrStdout())
		},
	}
	f.register(cmd.Flags())
	// The flags behind the program's name are the program's.
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().SortFlags = false
	return cmd
}

// serve runs a server until SIGINT or SIGTERM. A second signal ends the drain.
func serve(ctx context.Context, c *config.Config, log *slog.Logger, out io.Writer) error {
	o := host.Options{Log: log, Software: "wspawn/" + versionString()}
	if exe, err := os.Executable(); err == nil {
		o.Guard = []string{exe, guardCommand}
	}
	h, err := host.New(c, o)
	if err != nil {
		return err
	}
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	now, stopNow := context.WithCancel(context.Background())
	defer stopNow()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		select {
		case s := <-signals:
			log.Info("stopping", "signal", s.String(), "drain", c.Drain)
			stop()
		case <-ctx.Done():
			return
		}
		select {
		case s := <-signals:
			log.Warn("stopping now", "signal", s.String())
			stopNow()
		case <-now.Done():
		}
	}()
	banner(out, c, h)
	return h.Run(ctx, now)
}

// banner says what was started. It is the one thing on standard output, and its first word on
// each line never changes, for scripts that read it.
func banner(out io.Writer, c *config.Config, h *host.Host) {
	var b strings.Builder
	switch {
	case len(c.Command) > 0:
		fmt.Fprintf(&b, "serving    %s\n", strings.Join(c.Command, " "))
	case c.Dir != "":
		fmt.Fprintf(&b, "serving    programs in %s\n", c.Dir)
	case c.Gateway.CGI != "":
		fmt.Fprintf(&b, "serving    %s by CGI\n", c.Gateway.CGI)
	case c.Gateway.Enabled():
		protocol, backends := c.Gateway.Backends()
		fmt.Fprintf(&b, "serving    %s by %s\n", strings.Join(backends, " "), protocol)
	}
	if c.Static != "" {
		fmt.Fprintf(&b, "files      %s\n", c.Static)
	}
	for _, url := range h.URLs("ws") {
		fmt.Fprintf(&b, "listening  %s\n", url)
	}
	if path := h.ConsolePath(); path != "" {
		for _, url := range h.URLs("http") {
			if base, ok := strings.CutSuffix(url, "/"); ok {
				fmt.Fprintf(&b, "console    %s%s\n", base, path)
				break
			}
		}
	}
	io.WriteString(out, b.String())
}

func newLog(w *os.File, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: unknown level %q: use debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	terminal := term.IsTerminal(int(w.Fd()))
	switch {
	case format == "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	case format == "auto" && terminal:
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: l, TimeFormat: time.TimeOnly, NoColor: os.Getenv("NO_COLOR") != ""})), nil
	case format == "auto", format == "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	}
	return nil, fmt.Errorf("--log-format: unknown format %q: use auto, text or json", format)
}
