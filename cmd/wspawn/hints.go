package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wspawn/wspawn/internal/config"
)

// valueNames say what a flag wants. What pflag says of these is about functions of Go.
var valueNames = map[string]string{
	"bool": "true or false", "int": "a whole number", "float64": "a number", "duration": "a time like 30s, 500ms or 1h30m",
}

// fromWebsocketd says what has become of the flags of websocketd that have other names here.
var fromWebsocketd = map[string]string{
	"address": "--listen ADDRESS:PORT", "unixsocket": "--listen unix:PATH", "ssl": "--tls-cert and --tls-key",
	"sslcert": "--tls-cert", "sslkey": "--tls-key", "sslca": "--tls-client-ca",
	"redirport": "redirect of a [[listener]] in a configuration file", "staticdir": "--static", "cgidir": "--cgi",
	"devconsole": "--console on", "sameorigin": "the default", "passstderr": "--stderr client", "maxframesize": "--max-message",
	"maxforks": "--max-processes", "pingms": "--ping", "closems": "--stop", "passenv": "--pass-env", "loglevel": "--log-level",
	"header-ws": "handshake_headers of a route in a configuration file", "header-http": "--header, for all answers",
}

// flagError says what is wrong with a flag, and which one may have been meant.
func flagError(cmd *cobra.Command, err error) error {
	hint := ""
	var invalid *pflag.InvalidValueError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		if what, ok := valueNames[f.Value.Type()]; ok {
			err = fmt.Errorf("--%s: %q is not %s", f.Name, invalid.GetValue(), what)
		}
	case errors.As(err, &unknown):
		hint = otherFlag(cmd, unknown.GetSpecifiedName())
	}
	for _, arg := range os.Args[1:] {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if !strings.HasPrefix(arg, "-") || len(name) < 2 {
			continue
		}
		if cmd.Flags().Lookup(name) != nil {
			hint = "; names of more than a letter have two dashes: --" + name
		} else if fromWebsocketd[name] != "" {
			hint = otherFlag(cmd, name)
		}
	}
	return usageError(fmt.Errorf("%w%s (see %s --help)", err, hint, cmd.CommandPath()))
}

// otherFlag names the flag that is meant by one that does not exist, if that can be guessed.
func otherFlag(cmd *cobra.Command, name string) string {
	if here := fromWebsocketd[name]; here != "" && cmd.Flags().Lookup("static") != nil {
		return "; what it is for websocketd is " + here + " here"
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near, far := config.Nearest(name, names); far <= max(1, len(name)/3) {
		return "; did you mean --" + near + "?"
	}
	return ""
}

// otherCommand names the command of wspawn that is meant by a program that does not exist, if one is like it.
func otherCommand(program []string) string {
	var names []string
	for _, c := range rootCommand().Commands() {
		names = append(names, c.Name())
	}
	if len(program) > 0 && !strings.Contains(program[0], "/") {
		if near, far := config.Nearest(program[0], names); far <= len(program[0])/3 {
			return "; did you mean wspawn " + near + "?"
		}
	}
	return ""
}

// ownFlags returns the flags of wspawn among the arguments of a program, which gets them, unless "--" says that this is meant.
func ownFlags(flags *pflag.FlagSet, args []string) []string {
	var own []string
	if flags.ArgsLenAtDash() < 0 && len(args) > 0 {
		for _, arg := range args[1:] {
			name, _, _ := strings.Cut(arg, "=")
			if long, ok := strings.CutPrefix(name, "--"); ok && flags.Lookup(long) != nil {
				own = append(own, name)
			}
		}
	}
	return own
}
