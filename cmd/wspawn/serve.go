package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/host"
	"github.com/wspawn/wspawn/internal/origin"
	"github.com/wspawn/wspawn/internal/watch"
)

func serveCommand() *cobra.Command {
	f := newServeFlags()
	cmd := &cobra.Command{
		Short: "Connect WebSockets to programs",
		Long: `wspawn connects each WebSocket to the standard streams of a program of its own:
a message to the server is a line on the program's standard input, a line of its
output is a message to the client.

It listens on this machine only, and lets pages of its own origin connect, until
told otherwise. A page for trying the service is printed at the start.

SIGTERM and SIGINT stop it in order, within --drain; a second one ends it at once.
SIGHUP reads the file of --config again, as does a change of it, and without a file
is like SIGTERM.

Exit status:
  0  stopped in order
  1  it could not listen, or was ended before all had ended
  2  wrong usage, or a mistake in the configuration`,
		Example: `  wspawn cat                                  echo
  wspawn --port 0 ./count.sh                  on any free port
  wspawn --static public ./chat.py            with web pages beside it
  wspawn --dir services                       the path names the program
  wspawn --framing raw --binary nc db 5432    bytes instead of lines
  wspawn --cgi ws_echo.py --upgrade           a program that speaks HTTP itself
  wspawn --fastcgi unix:/run/php.sock --root public --index index.php
  wspawn --tunnel 127.0.0.1:5900 --binary --static /usr/share/novnc
  wspawn --config wspawn.toml                 many routes, pools, backends`,
		Args:                  cobra.ArbitraryArgs,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && cmd.Flags().NFlag() == 0 {
				return usageError(errors.New("nothing to serve: give a program, for example: wspawn cat (see wspawn --help)"))
			}
			if cmd.Flags().Changed("config") {
				return f.serveFile(cmd, args)
			}
			c, err := f.config(cmd.Flags(), args)
			if err != nil {
				return usageError(err)
			}
			log, err := newLog(os.Stderr, f.log)
			if err != nil {
				return usageError(err)
			}
			if own := ownFlags(cmd.Flags(), args); len(own) > 0 {
				log.Info("flags behind the program are the program's own; those of wspawn stand in front of it", "flags", own)
			}
			s := server{c: c, place: f.place, log: log, out: cmd.OutOrStdout(), settings: origin.Settings{Allow: "--origin", Missing: "--require-origin"}}
			return s.run(cmd.Context())
		},
	}
	f.register(cmd.Flags())
	// The flags behind the program's name are the program's.
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().SortFlags = false
	return cmd
}

// serveFile serves what a configuration file says.
func (f *serveFlags) serveFile(cmd *cobra.Command, args []string) error {
	var others []string
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if !slices.Contains([]string{"config", "log-level", "log-format"}, flag.Name) {
			others = append(others, "--"+flag.Name)
		}
	})
	if others = append(others, args...); len(others) > 0 {
		return usageError(fmt.Errorf("--config excludes %s: say it in %s", strings.Join(others, " "), f.file))
	}
	if f.file == "" {
		return usageError(errors.New("--config: the name of the file is empty"))
	}
	file := configFile(f.file)
	c, source, err := config.Read(file)
	if err != nil {
		return usageError(err)
	}
	level := c.Log
	if cmd.Flags().Changed("log-level") {
		level.Level = f.log.Level
	}
	if cmd.Flags().Changed("log-format") {
		level.Format = f.log.Format
	}
	log, err := newLog(os.Stderr, level)
	if err != nil {
		return usageError(err)
	}
	s := server{c: c, source: source, place: source.Locate, file: file, log: log, out: cmd.OutOrStdout(), settings: origin.Settings{Allow: "origins", Missing: "require_origin"}}
	return s.run(cmd.Context())
}

// configFile returns the name of the file: a directory stands for the wspawn.toml in it.
func configFile(name string) string {
	if fi, err := os.Stat(name); err == nil && fi.IsDir() {
		return filepath.Join(name, defaultConfig)
	}
	return name
}

const defaultConfig = "wspawn.toml"

// A server runs until SIGINT or SIGTERM. A second signal ends the drain.
type server struct {
	c        *config.Config
	source   *config.Source    // nil: it comes from the command line
	place    func(error) error // says where in them it is
	file     string
	log      *slog.Logger
	out      io.Writer
	settings origin.Settings
	host     *host.Host
	problem  string          // of the last reload, "" = none
	warned   map[string]bool // what warn has said
}

func (s *server) run(ctx context.Context) error {
	o := host.Options{Log: s.log, Software: "wspawn/" + versionString(), OriginSettings: s.settings}
	if s.source == nil {
		o.HostsSetting = "--host"
	}
	if exe, err := os.Executable(); err == nil {
		o.Guard = []string{exe, guardCommand}
	}
	h, err := host.New(s.c, o)
	if err != nil {
		return s.place(err)
	}
	s.host = h
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	now, stopNow := context.WithCancel(context.Background())
	defer stopNow()
	drain := s.c.Drain.String()
	signals, hup := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	var terminal <-chan os.Signal // what the end of the terminal sends, when there is nothing to read again
	if s.source == nil {
		terminal = hup
	}
	if s.source != nil || !signal.Ignored(hangup[0]) { // nohup ignores it
		signal.Notify(hup, hangup...)
		defer signal.Stop(hup)
	}
	// Who reads the log may go away. Without this, the next line of the log would end the server.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		var sig os.Signal
		select {
		case sig = <-signals:
		case sig = <-terminal:
		case <-ctx.Done():
			return
		}
		// Nobody may be reading the log, so that a line of it waits without end: first what matters.
		stop()
		go func() {
			select {
			case sig := <-signals:
				stopNow()
				signal.Stop(signals) // a third one ends the process
				s.log.Warn("stopping now", "signal", sig.String())
			case <-now.Done():
			}
		}()
		s.log.Info("stopping", "signal", sig.String(), "drain", drain)
	}()
	var reloading sync.WaitGroup
	defer reloading.Wait()
	defer stop()
	s.warn()
	banner(s.out, s.c, h)
	if s.source != nil {
		reloading.Go(func() { s.reload(ctx, hup) })
	}
	if err = h.Run(ctx, now); errors.Is(err, context.Canceled) && now.Err() != nil {
		err = errors.New("a second signal ended the server before all sessions and programs had ended")
	}
	return err
}

// warn says what may not be meant in the configuration, each thing once.
func (s *server) warn() {
	if s.warned == nil {
		s.warned = make(map[string]bool)
	}
	for _, e := range each(s.source.Warnings(s.c)) {
		p := e.(*config.Located)
		if !s.warned[p.Problem.Error()] {
			s.warned[p.Problem.Error()] = true
			setting := s.settings.Allow // warnings are about origins and certificates
			if strings.HasSuffix(p.Setting, ".certificate") {
				setting = "--tls-cert"
			}
			if s.source != nil {
				setting = p.At.String() + ": " + p.Setting
			}
			s.log.Warn("the configuration may not be what is meant", "setting", setting, "warning", p.Err)
		}
	}
}

// reload reads the configuration again after SIGHUP, and when one of its files changes.
func (s *server) reload(ctx context.Context, hup <-chan os.Signal) {
	for s.source.Piped() {
		select {
		case <-hup:
			s.log.Warn("the configuration came through a pipe and cannot be read again", "file", s.file)
		case <-ctx.Done():
			return
		}
	}
	why, again := s.file+" has changed", true // maybe, since it was read for the start
	for ctx.Err() == nil {
		files := s.files()
		changed, stop := s.watch(ctx, files)
		// It is read when it is watched already, so that no change comes in between; once more if it has
		// other files now.
		s.reloadNow(why, again)
		if again = !slices.Equal(files, s.files()); again {
			stop()
			continue
		}
		select {
		case <-hup:
			why = "SIGHUP"
		case files := <-changed:
			why = files[0] + " has changed"
		case <-ctx.Done():
		}
		stop()
	}
}

// files returns everything that the configuration consists of.
func (s *server) files() []string { return slices.Concat(s.source.Files(), s.c.Files()) }

// watch reports changes until stop is called.
func (s *server) watch(ctx context.Context, files []string) (changed <-chan []string, stop func()) {
	w, err := watch.New(files...)
	if err != nil {
		s.log.Warn("the configuration is not watched: SIGHUP reads it again", "err", err)
		return nil, func() {}
	}
	if w.Unwatched != nil {
		s.log.Warn("a part of the configuration is not watched: SIGHUP reads it again", "err", w.Unwatched)
	}
	ctx, cancel := context.WithCancel(ctx)
	reports, done := make(chan []string), make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx, func(files []string) {
			select {
			case reports <- files:
			case <-ctx.Done():
			}
		})
	}()
	return reports, func() { cancel(); <-done }
}

func (s *server) reloadNow(why string, again bool) {
	c, source, err := config.Read(s.file)
	s.source = source // which may have other files now
	if err == nil {
		if again && s.problem == "" && reflect.DeepEqual(c, s.c) {
			return
		}
		err = source.Locate(s.host.Reload(c))
	}
	if err == nil {
		s.c, s.problem = c, ""
		s.log.Info("configuration reloaded", "file", s.file, "because", why, "routes", len(c.Route))
		s.warn()
		return
	}
	if again && err.Error() == s.problem {
		return // it has been said
	}
	s.problem = err.Error()
	for _, e := range each(err) {
		s.log.Error("configuration not reloaded", "file", s.file, "because", why, "err", e)
	}
}

// banner says what was started. It is the one thing on standard output, and its first word on
// each line never changes, for scripts that read it.
func banner(out io.Writer, c *config.Config, h *host.Host) {
	var b strings.Builder
	for _, r := range c.Route {
		where := ""
		if len(c.Route) > 1 || r.Path != "/" || len(r.Host) > 0 {
			where = "  at " + r.Title()
		}
		if len(r.Listeners) > 0 {
			where += "  on " + strings.Join(r.Listeners, ", ")
		}
		switch kind, what := r.Serves(c); kind {
		case "files":
		case "stdio":
			fmt.Fprintf(&b, "serving    %s%s\n", what, where)
		default:
			fmt.Fprintf(&b, "serving    %s by %s%s\n", what, kindNames[kind], where)
		}
		if r.Files != nil {
			fmt.Fprintf(&b, "files      %s%s\n", r.Files.Root, where)
		}
	}
	for _, url := range h.URLs("ws") {
		fmt.Fprintf(&b, "listening  %s\n", url)
	}
	if url := h.AdminURL(); url != "" {
		fmt.Fprintf(&b, "status     %s\n", url)
	}
	if url := h.ConsoleURL(); url != "" {
		fmt.Fprintf(&b, "console    %s\n", url)
	}
	io.WriteString(out, printable(b.String()))
}

// kindNames are the names of protocols as people write them.
var kindNames = map[string]string{
	"cgi": "CGI", "scgi": "SCGI", "uwsgi": "uwsgi", "fastcgi": "FastCGI", "tunnel": "tunnel", "proxy": "HTTP",
}

func newLog(w *os.File, c config.Log) (*slog.Logger, error) {
	level, format := c.Level, c.Format
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
