package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-multierror"

	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/internal/stdio"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

func TestCheckNamesTheSettingAndTheReason(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   []string // "setting: part of the reason"
	}{
		{"what wspawn cat does is right", func(c *Config) {}, nil},
		{"nothing to serve", func(c *Config) { c.Command = nil }, []string{"command: nothing to serve"}},
		{"only files", func(c *Config) { c.Command, c.Static = nil, dir }, nil},
		{"a program and a directory", func(c *Config) { c.Dir = dir }, []string{"dir: a program (cat) and a directory"}},
		{"a missing program", func(c *Config) { c.Command = []string{"no such program"} }, []string{"command: program \"no such program\": not found in PATH"}},
		{"a file as directory", func(c *Config) { c.Static = file }, []string{"static: " + file + ": not a directory"}},
		{"programs served as files", func(c *Config) { c.Command, c.Dir, c.Static = nil, dir, dir+"/" }, []string{"static: it is the directory of programs as well"}},
		{"no address", func(c *Config) { c.Listen = nil }, []string{"listen: no address"}},
		{"bad addresses", func(c *Config) { c.Listen = []string{"8080", "h:x", "h:70000", "unix:", "::1:80"} },
			[]string{`listen: "8080" is not`, `listen: "h:x" has no port`, `listen: "h:70000" has no port`, `listen: "unix:" needs a path`, `listen: "::1:80" is not`}},
		{"the same address twice", func(c *Config) { c.Listen = []string{"[::1]:80", "[::1]:80"} }, []string{"listen: \"[::1]:80\" is given twice"}},
		{"any free port twice", func(c *Config) { c.Listen = []string{"[::1]:0", "[::1]:0"} }, nil},
		{"a certificate without key", func(c *Config) { c.TLSCert = file }, []string{"tls-cert, tls-key: a certificate needs its key"}},
		{"a missing key", func(c *Config) { c.TLSCert, c.TLSKey = file, dir+"/no" }, []string{"tls-key: " + dir + "/no: no such file"}},
		{"console", func(c *Config) { c.Console = "yes" }, []string{`console: "yes" is none of auto, on, off`}},
		{"headers", func(c *Config) { c.Header = []string{"X y"} }, []string{`header: "X y" is not Name: value`}},
		{"origins", func(c *Config) { c.Origins = []string{"any", "https://x.example"} }, []string{`origin: "any" makes the other origins meaningless`}},
		{"an origin with a path", func(c *Config) { c.Origins = []string{"https://x.example/y"} }, []string{"origin: "}},
		{"subprotocols", func(c *Config) { c.Subprotocols = []string{"a b"} }, []string{`subprotocol: "a b" is not a token`}},
		{"environment", func(c *Config) { c.Env = []string{"A=1", "B", "=2"} }, []string{`env: "B" is not NAME=VALUE`, `env: "=2" is not NAME=VALUE`}},
		{"limits of the program", func(c *Config) { c.Program.Limits = []spawner.Limit{{Name: "x"}} }, []string{`program: unknown limit "x"`}},
		{"contradictory streams", func(c *Config) { c.Stdio = stdio.Options{PassStderr: true, Options: framing.Options{Framing: framing.Raw}} }, []string{"framing and streams: passing stderr on"}},
		{"a close code nobody may send", func(c *Config) { c.Stdio.CloseCodes = map[int]wsframe.CloseCode{3: 1006} }, []string{"framing and streams: close code 1006"}},
		{"watching a directory", func(c *Config) { c.Command, c.Dir, c.Watch = nil, dir, true }, []string{"watch: needs a program"}},
		{"negative limits", func(c *Config) { c.MaxProcesses, c.Drain = -1, -1 }, []string{"max-processes, start-rate: negative", "drain: negative"}},
		{"three at once", func(c *Config) { c.Dir, c.Console, c.Env = dir+"/no", "", []string{"x"} },
			[]string{"console: ", "dir: a program", "dir: " + dir + "/no: no such file", "env: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Default()
			c.Command = []string{"cat"}
			test.change(c)
			err := c.Check()
			var many *multierror.Error
			var got []error
			if errors.As(err, &many) {
				got = many.Errors
			} else if err != nil {
				t.Fatalf("%T: %v", err, err)
			}
			for i, e := range got {
				if i >= len(test.want) || !strings.HasPrefix(e.Error(), test.want[i]) {
					t.Errorf("problem %d: %v", i, e)
				}
			}
			if len(got) < len(test.want) {
				t.Errorf("missing: %q", test.want[len(got):])
			}
		})
	}
}

func TestEnvironHasWhatIsListedAndNothingElse(t *testing.T) {
	t.Setenv("LISTED", "yes")
	t.Setenv("SECRET", "no")
	c := Default()
	c.PassEnv, c.Env = []string{"LISTED", "NOT_SET"}, []string{"MORE=1"}
	if got := c.Environ(); !slices.Equal(got, []string{"LISTED=yes", "MORE=1"}) {
		t.Errorf("%q", got)
	}
}
