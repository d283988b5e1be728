package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wspawn/wspawn/internal/config"
)

// top is the directory of the repository.
const top = "../.."

// isMissing is what is said about programs, files and users of examples that this machine does not have.
var isMissing = regexp.MustCompile(`(?m): no such file( or directory)?$|: not found in PATH$|: there is no user "www-data"`)

// pages returns what people read, by its path from the top of the repository.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"README.md", "docs/*.md", "examples/README.md", "examples/*/README.md"} {
		files, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(top, file)
			if err != nil {
				t.Fatal(err)
			}
			texts[filepath.ToSlash(name)] = string(text)
		}
	}
	return texts
}

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
	known["--lines"], known["--max-connections"] = true, true // of an example, of scgi-cgi
	texts := pages(t)
	// Of this page the part about moving is meant, the right column of its table.
	var here strings.Builder
	for _, row := range regexp.MustCompile("(?m)^\\| `--[^|]*\\|([^|]*)\\|$").FindAllStringSubmatch(texts["docs/websocketd.md"], -1) {
		here.WriteString(row[1] + "\n")
	}
	texts["docs/websocketd.md"] = here.String()
	for flag, name := range fromWebsocketd {
		texts["--"+flag] = name
	}
	found := 0
	for page, text := range texts {
		for _, flag := range regexp.MustCompile(`--[a-z][a-z0-9-]+`).FindAllString(text, -1) {
			if found++; !known[flag] {
				t.Errorf("%s: there is no %s", page, flag)
			}
		}
	}
	if found < 100 {
		t.Errorf("%d flags alone", found)
	}
}

// The commands that stand on lines of their own are understood. The programs and files that they name need not be there.
func TestCommandsOnPagesAreUnderstood(t *testing.T) {
	found := 0
	for page, text := range pages(t) {
		for _, line := range regexp.MustCompile(`(?m)^(?:    |\$ ).*\bwspawn .*$`).FindAllString(text, -1) {
			line, _, _ = strings.Cut(line, "  #")
			for _, m := range regexp.MustCompile(`\bwspawn ([^&|<>]*)`).FindAllStringSubmatch(line, -1) {
				if strings.TrimSpace(m[1]) == "" {
					continue // the last word of another command
				}
				found++
				cmd, args, err := rootCommand().Find(strings.Fields(m[1]))
				if err != nil {
					t.Errorf("%s: %s: %v", page, line, err)
					continue
				}
				if cmd.Name() != "wspawn" && cmd.Name() != "serve" {
					if err := cmd.ParseFlags(args); err != nil {
						t.Errorf("%s: %s: %v", page, line, err)
					}
					continue
				}
				f, fs := newServeFlags(), pflag.NewFlagSet("", pflag.ContinueOnError)
				fs.SetInterspersed(false)
				f.register(fs)
				if err := fs.Parse(args); err != nil {
					t.Errorf("%s: %s: %v", page, line, err)
				} else if f.file == "" {
					_, err := f.config(fs, fs.Args())
					for _, err := range each(err) {
						if !isMissing.MatchString(err.Error()) {
							t.Errorf("%s: %s: %v", page, line, err)
						}
					}
				}
			}
		}
	}
	if found < 30 {
		t.Errorf("%d commands alone", found)
	}
}

// What is written as `key = value` is a key of the configuration file.
func TestPagesNameKeysThatExist(t *testing.T) {
	var schema any
	if err := json.Unmarshal([]byte(config.Schema()), &schema); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if properties, ok := v["properties"].(map[string]any); ok {
				for key := range properties {
					known[key] = true
				}
			}
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	walk(schema)
	texts := pages(t)
	delete(texts, "docs/config.md") // made of the same types
	found := 0
	for page, text := range texts {
		for _, code := range regexp.MustCompile("`[^`\n]*`").FindAllString(text, -1) {
			for _, m := range regexp.MustCompile("(?:^`|[{,] *)([a-z_]+) = ").FindAllStringSubmatch(code, -1) {
				if found++; !known[m[1]] {
					t.Errorf("%s: %s: there is no key %s", page, code, m[1])
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("%d keys alone", found)
	}
}

// The blocks of TOML are configurations, and so is what stands beside those of other programs. What they refer to need not be there.
func TestConfigurationsOnPagesAreRead(t *testing.T) {
	found := 0
	for page, text := range pages(t) {
		for i, m := range regexp.MustCompile("(?ms)^```(toml)?\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
			block := m[2]
			if m[1] == "" {
				block = rightColumn(block)
			}
			if block == "" {
				continue
			}
			found++
			file := filepath.Join(t.TempDir(), fmt.Sprint(i, ".toml"))
			if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, err := config.Read(file)
			for _, err := range each(err) {
				if !isMissing.MatchString(err.Error()) {
					t.Errorf("%s: %v", page, err)
				}
			}
		}
	}
	if found < 4 {
		t.Errorf("%d configurations alone", found)
	}
}

// rightColumn returns what is beside the configuration of another program, if that is in front.
func rightColumn(block string) string {
	first, _, _ := strings.Cut(block, "\n")
	at := strings.LastIndex(first, "  ") + 2
	if at == 1 {
		return ""
	}
	var column strings.Builder
	for line := range strings.Lines(block) {
		column.WriteString(strings.TrimSpace(line[min(at, len(line)):]) + "\n")
	}
	return column.String()
}

// Links lead to files of the repository and to headings on their pages.
func TestLinksOnPagesLeadSomewhere(t *testing.T) {
	texts, found := pages(t), 0
	for page, text := range texts {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]*)\)`).FindAllStringSubmatch(withoutBlocks(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			found++
			file, anchor, hasAnchor := strings.Cut(m[1], "#")
			target := page
			if file != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(page), filepath.FromSlash(file)))
			}
			if _, err := os.Stat(filepath.Join(top, target)); err != nil {
				t.Errorf("%s: (%s): %v", page, m[1], err)
			} else if hasAnchor && !slices.Contains(anchors(texts[target]), anchor) {
				t.Errorf("%s: (%s): %s has no such heading, it has %s", page, m[1], target, anchors(texts[target]))
			}
		}
	}
	if found < 100 {
		t.Errorf("%d links alone", found)
	}
}

// anchors returns the names that GitHub gives to the headings of a page.
func anchors(text string) (names []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(withoutBlocks(text), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		names = append(names, name)
	}
	return names
}

func withoutBlocks(text string) string {
	return regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
}

// Files and directories that are named, in commands as well, are there. What is in build is made by commands.
func TestPagesNameFilesThatExist(t *testing.T) {
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	first := map[string]bool{}
	for _, e := range entries {
		first[e.Name()] = e.IsDir() && e.Name() != "build" && e.Name()[0] != '.'
	}
	found := 0
	for page, text := range pages(t) {
		for _, path := range regexp.MustCompile("(?m)[`\\s(]\\.?/?([a-z]+/[\\w./-]*\\w)").FindAllStringSubmatch(text, -1) {
			if dir, _, _ := strings.Cut(path[1], "/"); !first[dir] {
				continue
			}
			found++
			if _, err := os.Stat(filepath.Join(top, path[1])); err != nil {
				t.Errorf("%s: there is no %s", page, path[1])
			}
		}
	}
	if found < 50 {
		t.Errorf("%d files alone, in %v", found, slices.Sorted(maps.Keys(first)))
	}
}

// Who wants to change something finds every package.
func TestContributorsFindEveryPackage(t *testing.T) {
	page := pages(t)["docs/contributing.md"]
	dirs, err := os.ReadDir(filepath.Join(top, "internal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if !regexp.MustCompile("`(internal/)?" + dir.Name() + "`").MatchString(page) {
			t.Errorf("internal/%s is not on docs/contributing.md", dir.Name())
		}
	}
}
