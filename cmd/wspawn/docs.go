package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/manpage"
)

// generateCommand writes what packages bring beside the program. All of it comes from the commands
// and flags themselves, and is the same for the same source.
func generateCommand() *cobra.Command {
	generate := &cobra.Command{
		Use:    "generate",
		Short:  "Write manual pages, shell completions or the schema of the configuration",
		Hidden: true,
		Args:   cobra.ArbitraryArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError(errors.New("generate what? use wspawn generate man DIR, completion DIR, or schema DIR"))
		},
	}
	for _, what := range []struct {
		name, short string
		write       func(dir string) error
	}{
		{"man", "Write manual pages into DIR", writeManual},
		{"completion", "Write shell completions into DIR", writeCompletion},
		{"schema", "Write the schema of the configuration file into DIR, for editors", writeSchema},
	} {
		generate.AddCommand(&cobra.Command{
			Use:   what.name + " DIR",
			Short: what.short,
			Args: func(_ *cobra.Command, args []string) error {
				if len(args) != 1 {
					return usageError(fmt.Errorf("generate %s takes one directory", what.name))
				}
				return nil
			},
			RunE: func(_ *cobra.Command, args []string) error { return what.write(args[0]) },
		})
	}
	return generate
}

// writeManual writes wspawn.1 and a page for each command.
func writeManual(dir string) error {
	root := rootCommand()
	for _, cmd := range manpage.Pages(root) {
		write := func(w io.Writer) error { return manpage.Write(w, cmd) }
		if err := writeFile(dir, manpage.Name(cmd)+".1", write); err != nil {
			return err
		}
	}
	return nil
}

// writeCompletion writes a file for each shell, under the name that the shell looks for.
func writeCompletion(dir string) error {
	root := rootCommand()
	for _, shell := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{"wspawn.bash", func(w io.Writer) error { return root.GenBashCompletionV2(w, true) }},
		{"_wspawn", root.GenZshCompletion},
		{"wspawn.fish", func(w io.Writer) error { return root.GenFishCompletion(w, true) }},
		{"wspawn.ps1", root.GenPowerShellCompletionWithDesc},
	} {
		if err := writeFile(dir, shell.name, shell.write); err != nil {
			return err
		}
	}
	return nil
}

// writeSchema writes the JSON Schema of the configuration file, for editors.
func writeSchema(dir string) error {
	return writeFile(dir, "wspawn.schema.json", func(w io.Writer) error {
		_, err := io.WriteString(w, config.Schema())
		return err
	})
}

func writeFile(dir, name string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644)
}
