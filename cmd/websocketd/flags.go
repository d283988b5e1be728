package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/wspawn/wspawn/internal/license"
	"github.com/wspawn/wspawn/spawner"
)

// Exit codes.
const (
	exitOK       = 0
	exitUsage    = 1 // the command line makes no sense
	exitFlags    = 2 // the command line cannot be read
	exitServe    = 3 // cannot listen, or cannot use the certificate
	exitConflict = 4 // --devconsole with something it excludes
)

// config is a command line that was read and checked.
type config struct {
	name string // of this program

	level level

	addresses  []string // host parts of listeners; "" = all; none = no TCP
	port       int
	unixSocket string
	redirPort  int
	ssl        bool
	sslCert    string
	sslKey     string
	sslCA      string

	command []string // resolved program and its arguments; empty with dir
	dir     string
	static  string
	cgi     string
	console bool

	binary       bool
	passStderr   bool
	maxFrameSize int64
	ping         time.Duration

	sameOrigin bool
	origins    []string // nil: no list
	maxForks   int

	env           []string // of the own environment, for programs
	closeWait     time.Duration
	reverseLookup bool

	headers     http.Header // for all answers
	headersWS   http.Header // for answers that open a WebSocket
	headersHTTP http.Header // for others
}

// webSocket reports whether there is a program for WebSockets.
func (c *config) webSocket() bool { return len(c.command) > 0 || c.dir != "" }

// stop is an end before anything is served. Text that is empty is not
// printed.
type stop struct {
	code           int
	stdout, stderr string
}

func (s *stop) Error() string { return fmt.Sprintf("exit %d", s.code) }

func (s *stop) print(stdout, stderr io.Writer) {
	io.WriteString(stdout, s.stdout)
	io.WriteString(stderr, s.stderr)
}

// parse reads and checks the arguments, argv[0] first. The error is a [*stop].
// Which check comes first is part of the interface.
func parse(argv []string) (*config, error) {
	c := &config{name: "websocketd"}
	if len(argv) > 0 {
		c.name = filepath.Base(argv[0])
		argv = argv[1:]
	}
	short := usage(shortUsage, c.name)
	refuse := func(format string, args ...any) error {
		return &stop{code: exitUsage, stderr: fmt.Sprintf(format, args...) + "\n" + short}
	}
	if len(argv) == 0 {
		return nil, &stop{code: exitUsage, stdout: "Command line arguments are missing.\n", stderr: short}
	}

	f, words, err := parseFlags(c, argv)
	if err != nil {
		return nil, err
	}
	if f.version {
		return nil, &stop{code: exitOK, stdout: versionLine(c.name) + "\n"}
	}
	if f.license {
		return nil, &stop{code: exitOK, stdout: versionLine(c.name) + "\n\n" + license.Text}
	}
	var ok bool
	if c.level, ok = parseLevel(f.logLevel); !ok {
		return nil, &stop{
			code:   exitUsage,
			stdout: fmt.Sprintf("Incorrect loglevel flag '%s'. Use --help to see allowed values.\n", harmless(f.logLevel)),
			stderr: short,
		}
	}
	switch {
	case c.ssl && (c.sslCert == "" || c.sslKey == ""):
		return nil, &stop{code: exitUsage, stderr: "Please specify both --sslcert and --sslkey when requesting --ssl.\n"}
	case !c.ssl && (c.sslCert != "" || c.sslKey != ""):
		return nil, &stop{code: exitUsage, stderr: "You should not be using --ssl* flags when there is no --ssl option.\n"}
	case c.binary && c.passStderr:
		return nil, &stop{code: exitUsage, stderr: "Please specify only one of --binary and --passstderr.\n"}
	}
	c.listeners(f)
	c.origins = list(f.origin)
	c.closeWait, c.ping = milliseconds(f.closeMS), milliseconds(f.pingMS)
	c.env = passed(f.passEnv, os.Getenv)
	c.headers, c.headersWS, c.headersHTTP = headerLines(f.header), headerLines(f.headerWS), headerLines(f.headerHTTP)

	if len(words) == 0 && c.dir == "" && c.static == "" && c.cgi == "" {
		return nil, refuse("Please specify COMMAND or provide --dir, --staticdir or --cgidir argument.")
	}
	if len(words) > 0 {
		if c.dir != "" {
			return nil, refuse("Ambiguous. Provided COMMAND and --dir argument. Please only specify just one.")
		}
		path, err := spawner.Look(words[0], "")
		if err != nil {
			return nil, refuse("Unable to locate specified COMMAND '%s' in OS path.\n(%v)", harmless(words[0]), err)
		}
		if runtime.GOOS != "windows" && strings.Contains(words[0], "/") {
			path = words[0] // programs see it as the name they were called by, and so do readers of the log
		}
		c.command = append([]string{path}, words[1:]...)
	}
	if c.dir != "" {
		abs, err := filepath.Abs(c.dir)
		if err != nil {
			return nil, refuse("Could not resolve absolute path to dir '%s'.", c.dir)
		}
		c.dir = abs
		info, err := os.Stat(abs)
		if err != nil {
			return nil, refuse("Could not find your script dir '%s'.", abs)
		}
		if !info.IsDir() {
			return nil, refuse("Did you mean to specify COMMAND instead of --dir '%s'?", abs)
		}
	}
	if c.cgi != "" && !isDir(c.cgi) {
		return nil, refuse("Your CGI dir '%s' is not pointing to an accessible directory.", c.cgi)
	}
	if c.static != "" && !isDir(c.static) {
		return nil, refuse("Your static dir '%s' is not pointing to an accessible directory.", c.static)
	}
	return c, nil
}

// rawFlags are the flags that do not go into a config as they are.
type rawFlags struct {
	addresses                    repeated
	passEnv, origin, logLevel    string
	closeMS, pingMS              uint
	header, headerWS, headerHTTP repeated
	version, license             bool
}

// repeated collects the values of a flag that may occur several times.
type repeated []string

func (r *repeated) String() string     { return "" }
func (r *repeated) Set(s string) error { *r = append(*r, s); return nil }

// parseFlags reads the flags up to the first word that is none, and returns
// the words from there on.
func parseFlags(c *config, argv []string) (*rawFlags, []string, error) {
	var f rawFlags
	var complaint strings.Builder
	fs := flagSet(c, &f)
	fs.SetOutput(&complaint)
	switch err := fs.Parse(argv); {
	case errors.Is(err, flag.ErrHelp):
		return nil, nil, &stop{code: exitOK, stderr: usage(longUsage, c.name)}
	case err != nil:
		return nil, nil, &stop{code: exitFlags, stderr: complaint.String() + usage(shortUsage, c.name)}
	}
	return &f, fs.Args(), nil
}

// flagSet defines all flags. What they mean is said in longUsage.
func flagSet(c *config, f *rawFlags) *flag.FlagSet {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.Usage = func() {}
	fs.Var(&f.addresses, "address", "")
	fs.IntVar(&c.port, "port", 0, "")
	fs.StringVar(&c.unixSocket, "unixsocket", "", "")
	fs.IntVar(&c.redirPort, "redirport", 0, "")
	fs.BoolVar(&c.ssl, "ssl", false, "")
	fs.StringVar(&c.sslCert, "sslcert", "", "")
	fs.StringVar(&c.sslKey, "sslkey", "", "")
	fs.StringVar(&c.sslCA, "sslca", "", "")

	fs.StringVar(&c.dir, "dir", "", "")
	fs.StringVar(&c.static, "staticdir", "", "")
	fs.StringVar(&c.cgi, "cgidir", "", "")
	fs.BoolVar(&c.console, "devconsole", false, "")

	fs.BoolVar(&c.binary, "binary", false, "")
	fs.BoolVar(&c.passStderr, "passstderr", false, "")
	fs.Int64Var(&c.maxFrameSize, "maxframesize", 1<<20, "")
	fs.UintVar(&f.pingMS, "pingms", 0, "")

	fs.BoolVar(&c.sameOrigin, "sameorigin", false, "")
	fs.StringVar(&f.origin, "origin", "", "")
	fs.IntVar(&c.maxForks, "maxforks", 1024, "")

	fs.StringVar(&f.passEnv, "passenv", defaultPassEnv(), "")
	fs.UintVar(&f.closeMS, "closems", 0, "")
	fs.BoolVar(&c.reverseLookup, "reverselookup", false, "")

	fs.Var(&f.header, "header", "")
	fs.Var(&f.headerWS, "header-ws", "")
	fs.Var(&f.headerHTTP, "header-http", "")

	fs.StringVar(&f.logLevel, "loglevel", "access", "")
	fs.BoolVar(&f.version, "version", false, "")
	fs.BoolVar(&f.license, "license", false, "")

	return fs
}

// listeners decides where to listen.
func (c *config) listeners(f *rawFlags) {
	if c.unixSocket != "" && c.port == 0 && len(f.addresses) == 0 && c.redirPort == 0 {
		return
	}
	c.addresses = f.addresses
	if len(c.addresses) == 0 {
		c.addresses = []string{""}
	}
	if c.port == 0 {
		c.port = 80
		if c.ssl {
			c.port = 443
		}
	}
}

// list splits a list at commas. An empty one is no list.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// milliseconds converts without overflow; a year is as good as for ever.
func milliseconds(n uint) time.Duration {
	const year = 365 * 24 * time.Hour
	if uint64(n) > uint64(year/time.Millisecond) {
		return year
	}
	return time.Duration(n) * time.Millisecond
}

// defaultPassEnv names the variables without which programs hardly run.
func defaultPassEnv() string {
	switch runtime.GOOS {
	case "darwin":
		return "PATH,DYLD_LIBRARY_PATH"
	case "windows":
		return "PATH,SystemRoot,COMSPEC,PATHEXT,WINDIR"
	default:
		return "PATH,LD_LIBRARY_PATH"
	}
}

// passed returns the listed variables that are set, as "NAME=value" on one
// line each. HTTPS would tell programs a lie.
func passed(names string, getenv func(string) string) []string {
	var env []string
	oneLine := strings.NewReplacer("\n", " ", "\r", " ")
	for _, name := range list(names) {
		if name == "" || name == "HTTPS" || strings.ContainsAny(name, "=\x00") {
			continue
		}
		if value := strings.TrimSpace(oneLine.Replace(getenv(name))); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// headerLines reads "Name: value" lines. A line without a colon is a header
// without a value.
func headerLines(lines []string) http.Header {
	h := make(http.Header)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		h.Add(name, strings.TrimLeft(value, " \t"))
	}
	return h
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}
