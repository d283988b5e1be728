package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The pages name no flag that does not exist, and what is said to people who write flags of websocketd names none either.
func TestPagesNameFlagsThatExist(t *testing.T) {
	known := map[string]bool{"--help": true, "--version": true}
	var all func(*cobra.Command)
	all = func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) { known["--"+f.Name] = true })
		for _, sub := range c.Commands() {
			all(sub)
		}
	}
	all(rootCommand())
	texts := map[string]string{}
	for _, page := range []string{"README.md", "examples/README.md", "docs/cgi.md", "docs/stdio.md", "docs/http2.md", "docs/security.md", "docs/changelog.md", "docs/websocketd.md", "docs/from-inspircd-and-node.md"} {
		text, err := os.ReadFile("../../" + page)
		if err != nil {
			t.Fatal(err)
		}
		texts[page] = string(text)
	}
	// Of this page the part about moving is meant, the right column of its table.
	var here strings.Builder
	for _, row := range regexp.MustCompile("(?m)^\\| `--[^|]*\\|([^|]*)\\|$").FindAllStringSubmatch(texts["docs/websocketd.md"], -1) {
		here.WriteString(row[1] + "\n")
	}
	texts["docs/websocketd.md"] = here.String()
	for flag, name := range fromWebsocketd {
		texts["--"+flag] = name
	}
	for page, text := range texts {
		flags := regexp.MustCompile(`--[a-z][a-z0-9-]+`).FindAllString(text, -1)
		if len(flags) == 0 && strings.HasSuffix(page, ".md") && page != "docs/security.md" && page != "docs/changelog.md" {
			t.Errorf("%s names no flags", page)
		}
		for _, flag := range flags {
			if !known[flag] {
				t.Errorf("%s: there is no %s", page, flag)
			}
		}
	}
}
