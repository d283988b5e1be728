// Command wspawn connects WebSockets to programs.
//
// "wspawn COMMAND" serves a program; "wspawn --help" says the rest.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"unicode"

	"github.com/hashicorp/go-multierror"
	"github.com/spf13/cobra"

	"github.com/wspawn/wspawn/spawner"
)

// guardCommand is how the server starts the process that outlives its crash. It is not one of the
// commands that users see, and must come up quickly.
const guardCommand = "internal-guard"

// Exit statuses. Those of connect are its own.
const (
	exitFailure = 1
	exitUsage   = 2
)

// exitError ends the command with a status other than exitFailure.
type exitError struct {
	code int
	err  error // nil: all has been said
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageError(err error) error { return &exitError{exitUsage, err} }

func main() { os.Exit(run()) }

func run() int {
	if len(os.Args) == 2 && os.Args[1] == guardCommand {
		spawner.GuardMain()
		return 0
	}
	root := rootCommand()
	err := root.Execute()
	if err == nil {
		return 0
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{exitFailure, err}
	}
	if exit.err != nil {
		printError(exit.err, exit.code == exitUsage)
	}
	return exit.code
}

// printError prints one line for each thing that is wrong. serving says that a server would have been started.
func printError(err error, serving bool) {
	var many *multierror.Error
	if !errors.As(err, &many) {
		fmt.Fprintf(os.Stderr, "wspawn: %s\n", printable(err.Error()))
		return
	}
	for _, e := range many.Errors {
		fmt.Fprintf(os.Stderr, "wspawn: %s\n", printable(e.Error()))
	}
	if len(many.Errors) > 1 {
		what := ""
		if serving {
			what = "; nothing was started"
		}
		fmt.Fprintf(os.Stderr, "wspawn: %d problems%s\n", len(many.Errors), what)
	}
}

// printable replaces what a terminal could take for a command: names of files and answers of servers may have such things.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\t' || unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, s)
}

// version is set when releases are built (-ldflags "-X main.version=1.2.3").
var version string

func versionString() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func rootCommand() *cobra.Command {
	root := serveCommand()
	root.Use = "wspawn [flags] COMMAND [ARG...]"
	root.Version = versionString()
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetVersionTemplate("wspawn {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	serve := serveCommand()
	serve.Use = "serve [flags] COMMAND [ARG...]"
	serve.Short = "Serve a program (the default command)"
	serve.Example = strings.ReplaceAll(serve.Example, "  wspawn ", "  wspawn serve ")
	root.AddCommand(serve, checkCommand(), statusCommand(), connectCommand(), generateCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = helpTopic(root)
		case "completion": // without one of its own commands
			c.Args, c.RunE = cobra.ArbitraryArgs, func(*cobra.Command, []string) error {
				return usageError(errors.New("completion for which shell? use wspawn completion bash, zsh, fish or powershell"))
			}
		}
	}
	// What is no command may be the file of a program.
	root.ValidArgsFunction = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
	completeValues(root)
	return root
}

// helpTopic refuses what is no command: everything else could be the name of a program.
func helpTopic(root *cobra.Command) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		cmd, rest, err := root.Find(args)
		if err == nil && len(args) > 0 && (cmd == root || len(rest) > 0) {
			return usageError(fmt.Errorf("there is no command %q%s (see wspawn --help)", strings.Join(args, " "), otherCommand(args)))
		}
		return err
	}
}
