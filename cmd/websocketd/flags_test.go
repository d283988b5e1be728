package main

import (
	"context"
	"errors"
	"flag"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestExits runs the command with lines that end it before it serves: exit
// code, and what goes to which stream.
func TestExits(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cert, key := certificate(t, dir, "server")
	const short = `(?s)Usage:.*websocketd --help`
	const fatal = `(?m)^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [-+]\d{4} \| FATAL  \| server     \|  \| `
	tests := []struct {
		name   string
		args   []string
		code   int
		stdout string // patterns; empty: nothing is written
		stderr string
	}{
		{"no arguments", nil, 1, `\ACommand line arguments are missing\.\n\z`, short},
		{"help", []string{"--help"}, 0, "", `(?s)websocketd wspawn-.*--passstderr.*--license`},
		{"short help", []string{"-h"}, 0, "", `--passstderr`},
		{"help with one dash", []string{"-help"}, 0, "", `--passstderr`},
		{"help shows the base name", []string{"--help"}, 0, "", `websocketd \[options\] COMMAND`},
		{"version", []string{"--version"}, 0, `\Awebsocketd wspawn-\S+ \(go\S+ \S+\)\n\z`, ""},
		{"version wins over all checks", []string{"--version", "--loglevel=bad", "--ssl", "--dir=/none", "cat"}, 0, `\Awebsocketd `, ""},
		{"license", []string{"--license"}, 0, `(?s)\Awebsocketd .*Redistribution and use`, ""},
		{"license wins over all checks", []string{"-license", "--loglevel", "bad"}, 0, `Redistribution`, ""},
		{"unknown flag", []string{"--nosuch"}, 2, "", `(?s)not defined: -nosuch.*Usage`},
		{"unparsable number", []string{"--port=x", "cat"}, 2, "", `invalid value "x" for flag -port`},
		{"unparsable bool", []string{"--ssl=perhaps", "cat"}, 2, "", `invalid boolean value`},
		{"negative closems", []string{"--closems=-1", "cat"}, 2, "", `invalid value "-1"`},
		{"negative pingms", []string{"--pingms=-1", "cat"}, 2, "", `invalid value "-1"`},
		{"flag without its value", []string{"--port"}, 2, "", `needs an argument: -port`},
		{"a bool flag takes no separate value", []string{"--binary", "no-such-value"}, 1, "", `COMMAND 'no-such-value'`},
		{"an unknown flag wins over version", []string{"--version", "--nosuch"}, 2, "", `nosuch`},
		{"bad log level", []string{"--loglevel=loud", "cat"}, 1, `\AIncorrect loglevel flag 'loud'\. Use --help to see allowed values\.\n\z`, short},
		{"log level in upper case", []string{"--loglevel=DEBUG", "cat"}, 1, `'DEBUG'`, short},
		{"the log level is checked before ssl", []string{"--loglevel=loud", "--ssl", "cat"}, 1, `loud`, short},
		{"ssl without certificate", []string{"--ssl", "cat"}, 1, "", `both --sslcert and --sslkey`},
		{"ssl without key", []string{"--ssl", "--sslcert=x", "cat"}, 1, "", `both --sslcert and --sslkey`},
		{"certificate without ssl", []string{"--sslcert=x", "cat"}, 1, "", `no --ssl option`},
		{"key without ssl", []string{"--sslkey=x", "cat"}, 1, "", `no --ssl option`},
		{"ssl is checked before binary", []string{"--ssl", "--binary", "--passstderr", "cat"}, 1, "", `sslcert`},
		{"binary and passstderr", []string{"--binary", "--passstderr", "cat"}, 1, "", `only one of --binary and --passstderr`},
		{"binary is checked before the command", []string{"--binary", "--passstderr"}, 1, "", `only one of --binary`},
		{"nothing to serve", []string{"--port=8080"}, 1, "", `(?s)Please specify COMMAND or provide --dir, --staticdir or --cgidir argument\.\n.*Usage`},
		{"the console alone is nothing to serve", []string{"--devconsole"}, 1, "", `Please specify COMMAND`},
		{"command not in PATH", []string{"no-such-command-at-all"}, 1, "", `(?s)Unable to locate specified COMMAND 'no-such-command-at-all' in OS path.*Usage`},
		{"command that is a directory", []string{dir}, 1, "", `Unable to locate`},
		{"command that is not executable", []string{file}, 1, "", `Unable to locate`},
		{"command and dir", []string{"--dir=" + dir, "cat"}, 1, "", `Ambiguous\. Provided COMMAND and --dir argument`},
		{"dir that is missing", []string{"--dir=" + dir + "/none"}, 1, "", `Could not find your script dir '.*/none'`},
		{"dir that is a file", []string{"--dir=" + file}, 1, "", `Did you mean to specify COMMAND instead of --dir`},
		{"cgidir that is missing", []string{"--cgidir=" + dir + "/none"}, 1, "", `Your CGI dir '.*/none' is not pointing to an accessible directory`},
		{"staticdir that is missing", []string{"--staticdir=" + dir + "/none"}, 1, "", `Your static dir '.*/none' is not pointing to an accessible directory`},
		{"staticdir that is a file", []string{"--staticdir=" + file}, 1, "", `Your static dir`},
		{"words after -- are the command", []string{"--", "--nosuch"}, 1, "", `COMMAND '--nosuch'`},
		{"console and staticdir", []string{"--devconsole", "--staticdir=" + dir}, 4, fatal + `Invalid parameters: --devconsole cannot be used with --staticdir`, ""},
		{"console and cgidir", []string{"--devconsole", "--cgidir=" + dir, executable()}, 4, fatal + `Invalid parameters: --devconsole cannot be used with --cgidir`, ""},
		{"console and cgidir, not logged", []string{"--devconsole", "--loglevel=none", "--cgidir=" + dir}, 4, "", ""},
		{"address that is not ours", []string{"--address=192.0.2.1", "--port=1", executable()}, 3, `(?s)Starting WebSocket server   : ws://192\.0\.2\.1:1/.*FATAL.*Can't start server: listen tcp 192\.0\.2\.1:1: bind`, ""},
		{"port that is none", []string{"--address=127.0.0.1", "--port=99999", executable()}, 3, fatal + `Can't start server: .*99999`, ""},
		{"IPv6 address without brackets", []string{"--address=::1", "--port=1", executable()}, 3, fatal + `Can't start server`, ""},
		{"missing certificate", []string{"--address=127.0.0.1", "--port=1", "--ssl", "--sslcert=" + dir + "/none", "--sslkey=" + key, executable()}, 3, `(?s)wss://127.0.0.1:1/.*FATAL.*no such file`, ""},
		{"key that does not fit", []string{"--address=127.0.0.1", "--port=1", "--ssl", "--sslcert=" + cert, "--sslkey=" + file, executable()}, 3, fatal + `Can't start server: tls:`, ""},
		{"missing CA", []string{"--address=127.0.0.1", "--port=1", "--ssl", "--sslcert=" + cert, "--sslkey=" + key, "--sslca=" + dir + "/none", executable()}, 3, fatal + `Can't start server: open .*none`, ""},
		{"CA file without a certificate", []string{"--address=127.0.0.1", "--port=1", "--ssl", "--sslcert=" + cert, "--sslkey=" + key, "--sslca=" + file, executable()}, 3, fatal + `Can't start server: .*no certificate`, ""},
		{"Unix socket that is a file", []string{"--unixsocket=" + file, executable()}, 3, `(?s)unix socket at .*FATAL.*bind`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := invoke(ctx, tt.args...)
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, s := range []struct{ name, got, want string }{{"stdout", stdout.String(), tt.stdout}, {"stderr", stderr.String(), tt.stderr}} {
				if s.want == "" && s.got != "" || !regexp.MustCompile(s.want).MatchString(s.got) {
					t.Errorf("%s does not match %s:\n%s", s.name, s.want, s.got)
				}
			}
		})
	}
	if b, err := os.ReadFile(file); err != nil || len(b) != 0 {
		t.Errorf("the file in place of a socket was touched: %v", err)
	}
}

// TestParse checks what becomes of flags.
func TestParse(t *testing.T) {
	t.Setenv("WSD_A", " a\r\nb\n")
	t.Setenv("WSD_EMPTY", "")
	t.Setenv("WSD_BLANK", " \n")
	t.Setenv("HTTPS", "on")
	exe := executable()
	dir := t.TempDir()
	t.Chdir(filepath.Dir(dir))
	tests := []struct {
		name string
		args []string
		get  func(*config) any
		want any
	}{
		{"level", []string{exe}, func(c *config) any { return c.level }, levelAccess},
		{"level none", []string{"--loglevel", "none", exe}, func(c *config) any { return c.level }, levelNone},
		{"default port", []string{exe}, func(c *config) any { return c.port }, 80},
		{"default port with TLS", []string{"--ssl", "--sslcert=a", "--sslkey=b", exe}, func(c *config) any { return c.port }, 443},
		{"port 0 is the default port", []string{"--port=0", exe}, func(c *config) any { return c.port }, 80},
		{"all addresses", []string{exe}, func(c *config) any { return c.addresses }, []string{""}},
		{"several addresses", []string{"--address=a", "--address", "[::1]", exe}, func(c *config) any { return c.addresses }, []string{"a", "[::1]"}},
		{"a Unix socket alone", []string{"--unixsocket=s", exe}, func(c *config) any { return len(c.addresses) }, 0},
		{"a Unix socket and a port", []string{"--unixsocket=s", "--port=1", exe}, func(c *config) any { return c.addresses }, []string{""}},
		{"a Unix socket and an address", []string{"--unixsocket=s", "--address=a", exe}, func(c *config) any { return c.addresses }, []string{"a"}},
		{"a Unix socket and a redirect", []string{"--unixsocket=s", "--redirport=1", exe}, func(c *config) any { return c.addresses }, []string{""}},
		{"CA without TLS is ignored", []string{"--sslca=none", exe}, func(c *config) any { return c.ssl }, false},
		{"words after the command are its own", []string{"--port=1", exe, "--port=2", "-h"}, func(c *config) any { return c.command }, []string{exe, "--port=2", "-h"}},
		{"one dash", []string{"-port", "3", exe}, func(c *config) any { return c.port }, 3},
		{"forks", []string{exe}, func(c *config) any { return c.maxForks }, 1024},
		{"frame size", []string{exe}, func(c *config) any { return c.maxFrameSize }, int64(1 << 20)},
		{"no origins", []string{exe}, func(c *config) any { return c.origins == nil }, true},
		{"origins", []string{"--origin=a,b:1", exe}, func(c *config) any { return c.origins }, []string{"a", "b:1"}},
		{"closems", []string{"--closems=5", exe}, func(c *config) any { return c.closeWait }, 5 * time.Millisecond},
		{"closems without end", []string{"--closems=18446744073709551615", exe}, func(c *config) any { return c.closeWait }, 365 * 24 * time.Hour},
		{"pingms", []string{"--pingms=5", exe}, func(c *config) any { return c.ping }, 5 * time.Millisecond},
		{"a passed variable is one line", []string{"--passenv=WSD_A", exe}, func(c *config) any { return c.env }, []string{"WSD_A=a  b"}},
		{"empty and unknown variables are not passed", []string{"--passenv=WSD_EMPTY,WSD_BLANK,WSD_NONE,,WSD_A", exe}, func(c *config) any { return c.env }, []string{"WSD_A=a  b"}},
		{"HTTPS is never passed", []string{"--passenv=HTTPS", exe}, func(c *config) any { return len(c.env) }, 0},
		{"nothing to pass", []string{"--passenv=", exe}, func(c *config) any { return len(c.env) }, 0},
		{"dir is made absolute", []string{"--dir=" + filepath.Base(dir)}, func(c *config) any { return c.dir }, dir},
		{"staticdir is not", []string{"--staticdir=" + filepath.Base(dir)}, func(c *config) any { return c.static }, filepath.Base(dir)},
		{"staticdir alone serves no WebSockets", []string{"--staticdir=."}, func(c *config) any { return c.webSocket() }, false},
		{"headers", []string{"--header=x-a:  1", "--header", "X-A: 2", "--header=X-B", exe}, func(c *config) any { return c.headers }, http.Header{"X-A": {"1", "2"}, "X-B": {""}}},
		{"a value may have colons", []string{"--header-ws=a:b:c", exe}, func(c *config) any { return c.headersWS }, http.Header{"A": {"b:c"}}},
		{"other headers", []string{"--header-http=a:", exe}, func(c *config) any { return c.headersHTTP }, http.Header{"A": {""}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parse(append([]string{"x"}, tt.args...))
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.get(c); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	if c, err := parse([]string{"/a/b/other-name", exe}); err != nil || c.name != "other-name" {
		t.Errorf("the name is %q, %v", c.name, err)
	}
}

// TestFlagsAreExplained compares the flags with the help text and with the
// page for people who come from websocketd.
func TestFlagsAreExplained(t *testing.T) {
	page, err := os.ReadFile("../../docs/websocketd.md")
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]bool{"help": true}
	flagSet(new(config), new(rawFlags)).VisitAll(func(f *flag.Flag) {
		flags[f.Name] = true
		if !strings.Contains(longUsage, "--"+f.Name) {
			t.Errorf("--%s is not in the help text", f.Name)
		}
		if !strings.Contains(string(page), "--"+f.Name) {
			t.Errorf("--%s is not in docs/websocketd.md", f.Name)
		}
	})
	for _, name := range regexp.MustCompile(`(?m)^  --([a-z-]+)`).FindAllStringSubmatch(longUsage, -1) {
		if !flags[name[1]] {
			t.Errorf("the help text explains --%s, which does not exist", name[1])
		}
	}
}
