package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completeValues tells shells what the values of flags are: words to choose from, files, directories, or nothing that
// could be known. It does so for cmd and the commands below it.
func completeValues(cmd *cobra.Command) {
	words := map[string][]string{"log-level": {"debug", "info", "warn", "error"}, "log-format": {"auto", "text", "json"}}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if v, ok := f.Value.(lenient); ok {
			if c, ok := v.Value.(choice); ok {
				words[f.Name] = c.allowed
			}
		}
		values := cobra.NoFileCompletions
		switch placeholder, _ := pflag.UnquoteUsage(f); {
		case words[f.Name] != nil:
			values = cobra.FixedCompletions(words[f.Name], cobra.ShellCompDirectiveNoFileComp)
		case f.Name == "config":
			values = tomlFiles
		case placeholder == "DIR":
			values = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
		case placeholder == "FILE", placeholder == "PATH":
			return // any file, as without all this
		}
		if err := cmd.RegisterFlagCompletionFunc(f.Name, values); err != nil {
			panic(err) // it has been done already
		}
	})
	for _, sub := range cmd.Commands() {
		completeValues(sub)
	}
}

func tomlFiles(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{"toml"}, cobra.ShellCompDirectiveFilterFileExt
}
