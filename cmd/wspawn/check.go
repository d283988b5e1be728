package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/go-multierror"
	"github.com/spf13/cobra"

	"github.com/wspawn/wspawn/internal/config"
)

// checkCommand reads a configuration file and says what is wrong with it.
func checkCommand() *cobra.Command {
	var file string
	var show bool
	cmd := &cobra.Command{
		Use:   "check [flags] [FILE]",
		Short: "Check a configuration file",
		Long: `wspawn check reads a configuration file, wspawn.toml if none is named, and everything that it
refers to, and prints all that is wrong, each with its place, and warnings of what may not be meant. Nothing is
started. Its exit status is 0 when all is well, with warnings too, and 1 when not.`,
		Example: `  wspawn check                    wspawn.toml in this directory
  wspawn check --print site.toml  and show every setting that holds`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError(fmt.Errorf("check takes one file, not %s; include in a file names others", strings.Join(args, " ")))
			}
			return nil
		},
		ValidArgsFunction: tomlFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if file != "" {
					return usageError(fmt.Errorf("the file is given twice: --config %s and %s", file, args[0]))
				}
				file = args[0]
			}
			if file == "" {
				file = defaultConfig
			}
			file = configFile(file)
			c, source, err := config.Read(file)
			if err != nil {
				return err
			}
			for _, e := range each(source.Warnings(c)) {
				fmt.Fprintf(cmd.ErrOrStderr(), "wspawn: warning: %s\n", printable(e.Error()))
			}
			for _, e := range each(source.Locate(c.Rights())) {
				fmt.Fprintf(cmd.ErrOrStderr(), "wspawn: warning: a server that you start does not start: %s\n", printable(e.Error()))
			}
			if show {
				return config.Print(cmd.OutOrStdout(), c)
			}
			routes := "1 route"
			if n := len(c.Route); n != 1 {
				routes = fmt.Sprint(n, " routes")
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: all is well: %s\n", file, routes)
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "the configuration `FILE`")
	cmd.Flags().BoolVar(&show, "print", false, "print the configuration with every default")
	return cmd
}

// each returns the errors that are in one; none in nil.
func each(err error) []error {
	if err == nil {
		return nil
	}
	var many *multierror.Error
	if errors.As(err, &many) {
		return many.Errors
	}
	return []error{err}
}
