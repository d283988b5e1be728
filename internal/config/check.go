package config

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/wspawn/wspawn/internal/origin"
	"github.com/wspawn/wspawn/spawner"
)

// A Problem is one thing that is wrong with a setting.
type Problem struct {
	Setting string // as the user knows it
	Err     error
}

func (p *Problem) Error() string { return p.Setting + ": " + p.Err.Error() }

// Unwrap returns the reason.
func (p *Problem) Unwrap() error { return p.Err }

// problems collects them.
type problems struct{ all *multierror.Error }

func (p *problems) add(setting string, err error) {
	if err != nil {
		p.all = multierror.Append(p.all, &Problem{setting, err})
	}
}

func (p *problems) addf(setting, format string, args ...any) {
	p.add(setting, fmt.Errorf(format, args...))
}

// Check finds everything that is wrong, missing files and programs included, and returns it as one
// *multierror.Error of *[Problem], or nil.
func (c *Config) Check() error {
	var p problems
	c.checkListen(&p)
	c.checkService(&p)
	c.checkGateway(&p)
	c.checkProgram(&p)
	p.add("framing and streams", c.Stdio.Check())
	for _, name := range c.Subprotocols {
		if !token(name) {
			p.addf("subprotocol", "%q is not a token (letters, digits and !#$%%&'*+-.^_`|~)", name)
		}
	}
	if c.Drain < 0 {
		p.addf("drain", "negative time %v", c.Drain)
	}
	return p.all.ErrorOrNil()
}

func (c *Config) checkListen(p *problems) {
	if len(c.Listen) == 0 {
		p.addf("listen", "no address: give HOST:PORT or unix:PATH")
	}
	for _, addr := range c.Listen {
		p.add("listen", checkAddress(addr))
	}
	for i, addr := range c.Listen {
		if slices.Contains(c.Listen[:i], addr) && !strings.HasSuffix(addr, ":0") {
			p.addf("listen", "%q is given twice", addr)
		}
	}
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		p.addf("tls-cert, tls-key", "a certificate needs its key and the other way round: give both")
	default:
		p.add("tls-cert", readable(c.TLSCert))
		p.add("tls-key", readable(c.TLSKey))
	}
	if !slices.Contains([]string{"auto", "on", "off"}, c.Console) {
		p.addf("console", "%q is none of auto, on, off", c.Console)
	}
	if _, err := c.Headers(); err != nil {
		p.add("header", err)
	}
	for _, o := range c.Origins {
		if o == "any" {
			if len(c.Origins) > 1 {
				p.addf("origin", `"any" makes the other origins meaningless: give one or the other`)
			}
			continue
		}
		if _, err := origin.Parse(o); err != nil {
			p.add("origin", err)
		}
	}
}

func checkAddress(addr string) error {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if path == "" {
			return errors.New(`"unix:" needs a path behind it`)
		}
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT or unix:PATH (IPv6 as [::1]:8080)", addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q has no port from 0 to 65535", addr)
	}
	return nil
}

func (c *Config) checkService(p *problems) {
	switch {
	case c.Gateway.Enabled(): // see checkGateway
	case len(c.Command) == 0 && c.Dir == "" && c.Static == "":
		p.addf("command", "nothing to serve: give a program, for example: wspawn cat")
	case len(c.Command) > 0 && c.Dir != "":
		p.addf("dir", "a program (%s) and a directory of programs exclude each other", c.Command[0])
	}
	if len(c.Command) > 0 {
		_, err := spawner.Look(c.Command[0], "")
		p.add("command", err)
	}
	p.add("dir", directory(c.Dir))
	p.add("static", directory(c.Static))
	if c.Dir != "" && c.Static != "" && same(c.Dir, c.Static) {
		p.addf("static", "it is the directory of programs as well: their source would be served")
	}
}

func (c *Config) checkProgram(p *problems) {
	for _, e := range c.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			p.addf("env", "%q is not NAME=VALUE", e)
		}
	}
	p.add("chdir", directory(c.Program.Dir))
	prog := c.Program
	prog.Path = "program"
	if err := prog.Check(); err != nil {
		p.addf("program", "%s", strings.TrimPrefix(err.Error(), `program "program": `))
	}
	if c.MaxProcesses < 0 || c.StartRate < 0 {
		p.addf("max-processes, start-rate", "negative limit")
	}
	if c.Watch && len(c.Command) == 0 && !c.Gateway.Enabled() {
		p.addf("watch", "needs a program to watch; with a directory of programs each connection starts the newest anyway")
	}
	if c.Unbuffer {
		if _, err := spawner.Look("stdbuf", ""); err != nil {
			p.addf("unbuffer", "needs the program stdbuf (GNU coreutils), which is not in PATH")
		}
	}
}

// Headers returns the lines of Header.
func (c *Config) Headers() (http.Header, error) {
	h := make(http.Header)
	for _, line := range c.Header {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) || strings.ContainsAny(value, "\r\n\x00") {
			return nil, fmt.Errorf("%q is not Name: value", line)
		}
		h.Add(name, strings.TrimSpace(value))
	}
	return h, nil
}

// Environ returns what every program gets besides the variables of the request.
func (c *Config) Environ() []string {
	var env []string
	for _, name := range c.PassEnv {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	if c.Unbuffer {
		env = append(env, "PYTHONUNBUFFERED=1")
	}
	return append(env, c.Env...)
}

// token reports whether s is one (RFC 9110, section 5.6.2).
func token(s string) bool {
	return s != "" && strings.Trim(strings.ToLower(s), "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

// readable and directory take "" for what is not set.
func readable(file string) error {
	if file == "" {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("%s: %w", file, errors.Unwrap(err))
	}
	return f.Close()
}

func directory(dir string) error {
	if dir == "" {
		return nil
	}
	switch fi, err := os.Stat(dir); {
	case err != nil:
		return fmt.Errorf("%s: %w", dir, errors.Unwrap(err))
	case !fi.IsDir():
		return fmt.Errorf("%s: not a directory", dir)
	}
	return nil
}

func same(a, b string) bool {
	x, errX := os.Stat(filepath.Clean(a))
	y, errY := os.Stat(filepath.Clean(b))
	return errX == nil && errY == nil && os.SameFile(x, y)
}
