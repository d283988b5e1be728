package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

func (g *Program) check(p *problems, at string) {
	if len(g.Command) > 0 {
		p.add(at+".command", look(g.Command))
	}
	for _, name := range keys(g.Env) {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(g.Env[name], "\x00") {
			p.addf(join(at+".env", name), "not the name of a variable")
		}
	}
	for i, name := range g.PassEnv {
		if name == "" || strings.ContainsAny(name, "= \x00") {
			p.addf(item(at+".pass_env", i), "%q is not the name of a variable; a variable with a value goes into env", name)
		}
	}
	p.add(at+".directory", directory(g.Directory))
	_, err := parseLimits(g.Limits)
	p.add(at+".limits", err)
	_, err = parseLadder(g.Stop)
	p.add(at+".stop", err)
	if g.Unbuffer {
		if _, err := spawner.Look("stdbuf", ""); err != nil {
			p.addf(at+".unbuffer", "needs the program stdbuf (GNU coreutils), which is not in PATH")
		}
	}
	pattern, _ := g.Pattern()
	pattern.Path = "program"
	err = pattern.Check()
	for _, one := range []struct {
		key  string
		part spawner.Program
	}{
		{"umask", spawner.Program{Umask: pattern.Umask}}, {"nice", spawner.Program{Nice: pattern.Nice}},
		{"limits", spawner.Program{Limits: pattern.Limits}}, {"cgroup", spawner.Program{Cgroup: pattern.Cgroup}},
		{"pipe_size", spawner.Program{PipeSize: pattern.PipeSize}}, {"no_new_privileges", spawner.Program{NoNewPrivileges: pattern.NoNewPrivileges}},
	} {
		one.part.Path = pattern.Path
		if e := one.part.Check(); e != nil {
			p.addf(at+"."+one.key, "%s", strings.TrimPrefix(e.Error(), `program "program": `))
			err = nil // it is that, or will be found when that is right
		}
	}
	if err != nil {
		p.addf(at, "%s", strings.TrimPrefix(err.Error(), `program "program": `))
		return
	}
	p.add(at+".cgroup", directory(g.Cgroup))
	p.add(at+".user", checkUser(g.User))
	p.add(at+".group", checkGroup(g.Group))
}

// look finds out whether there is a program to run.
func look(command []string) error {
	_, err := spawner.Look(command[0], "")
	if err != nil && strings.ContainsAny(command[0], "|&;<>$~`") {
		return fmt.Errorf("%w; no shell reads it, so that such characters mean themselves: for a shell, run sh with -c and the text", err)
	}
	if program, _, more := strings.Cut(command[0], " "); err != nil && more {
		if _, e := spawner.Look(program, ""); e == nil {
			return fmt.Errorf("%w; write the program and each of its arguments apart", err)
		}
	}
	return err
}

// checkUser and checkGroup find names that the system does not know. A number needs no entry.
func checkUser(name string) error {
	if _, err := strconv.ParseUint(name, 10, 32); name == "" || err == nil {
		return nil
	}
	if _, err := user.Lookup(name); err != nil {
		return fmt.Errorf("there is no user %q on this machine", name)
	}
	return nil
}

func checkGroup(name string) error {
	if _, err := strconv.ParseUint(name, 10, 32); name == "" || err == nil {
		return nil
	}
	if _, err := user.LookupGroup(name); err != nil {
		return fmt.Errorf("there is no group %q on this machine", name)
	}
	return nil
}

// Pattern returns everything but the command.
func (g *Program) Pattern() (spawner.Program, error) {
	limits, err1 := parseLimits(g.Limits)
	stop, err2 := parseLadder(g.Stop)
	s := spawner.Program{
		Dir: string(g.Directory), Env: g.Environ(), User: g.User, Group: g.Group, NoNewPrivileges: g.NoNewPrivileges,
		Nice: g.Nice, Limits: limits, Cgroup: string(g.Cgroup), PipeSize: int(g.PipeSize), Stop: stop,
	}
	if bits, set := g.Umask.Bits(); set {
		s.Umask = int(bits)
		if bits == 0 {
			s.Umask = -1
		}
	}
	switch g.Stderr {
	case "inherit":
		s.Stderr = spawner.StderrInherit
	case "discard":
		s.Stderr = spawner.StderrDiscard
	}
	if s.Dir != "" {
		s.Dir, _ = filepath.Abs(s.Dir)
	}
	return s, errors.Join(err1, err2)
}

// Run returns the program with a command. Its name is relative to where the server runs, not to the
// directory of the program.
func (g *Program) Run(command []string) (spawner.Program, error) {
	s, err := g.Pattern()
	if path, e := filepath.Abs(command[0]); e == nil && strings.ContainsRune(filepath.ToSlash(command[0]), '/') {
		command = append([]string{path}, command[1:]...)
	}
	s.Path, s.Args = command[0], command[1:]
	if g.Unbuffer {
		s.Path, s.Args = "stdbuf", append([]string{"-oL"}, command...)
	}
	return s, err
}

// Environ returns what the program gets besides the variables of the request.
func (g *Program) Environ() []string {
	names := g.PassEnv
	if names == nil {
		names = DefaultPassEnv()
	}
	var env []string
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	if g.Unbuffer {
		env = append(env, "PYTHONUNBUFFERED=1")
	}
	for _, name := range keys(g.Env) {
		env = append(env, name+"="+g.Env[name])
	}
	return env
}

func (l *Pool) check(c *Config, p *problems, at string) {
	known(p, at+".program", "program", l.Program, c.Program)
	command := l.Command
	if g := c.Program[l.Program]; g != nil {
		if len(command) == 0 {
			command = g.Command
		}
	}
	if len(command) == 0 {
		if l.Program == "" || c.Program[l.Program] != nil {
			p.addf(at+".command", "nothing to run: give a command, or a program that has one")
		}
	} else {
		p.add(at+".command", look(command))
	}
	if l.Scaling == "dynamic" {
		switch {
		case l.Min > l.Max:
			p.addf(at+".min", "%d is more than max = %d", l.Min, l.Max)
		case l.MinSpare > l.MaxSpare:
			p.addf(at+".min_spare", "%d is more than max_spare = %d", l.MinSpare, l.MaxSpare)
		case l.MinSpare > l.Max:
			p.addf(at+".min_spare", "%d is more than max = %d", l.MinSpare, l.Max)
		}
	}
	if l.Address != "" {
		p.add(at+".address", CheckAddress(l.Address))
	}
	if l.Owner != "" && strings.Count(l.Owner, ":") > 1 {
		p.addf(at+".owner", "%q is not USER or USER:GROUP", l.Owner)
	}
	if l.Shared && (l.Scaling != "static" || l.RecycleSessions+int(l.RecycleAge)+int(l.RecycleMemory) > 0) {
		p.addf(at+".shared", "a shared socket needs the scaling static and no recycling: which process has which session is not known")
	}
}

// ParseInterpreter reads ".SUFFIX=PROGRAM", as the command line has it.
func ParseInterpreter(s string) (suffix, program string, err error) {
	suffix, program, ok := strings.Cut(s, "=")
	if !ok || suffix == "" {
		return "", "", fmt.Errorf("%q is not .SUFFIX=PROGRAM like .py=python3", s)
	}
	return suffix, program, nil
}

// checkCGI says what is wrong with a CGI program or directory.
func checkCGI(path Path, interpreters map[string]string) error {
	info, err := os.Stat(string(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: no such file or directory", path)
	case err != nil:
		return fmt.Errorf("%s: %w", path, errors.Unwrap(err))
	case info.IsDir():
		return nil
	}
	for suffix, program := range interpreters {
		if program != "" && strings.HasSuffix(string(path), suffix) {
			return nil
		}
	}
	abs, err := filepath.Abs(string(path)) // a name without a slash is a file here, too
	if err == nil {
		_, err = spawner.Look(abs, "")
	}
	return err
}

func parseLimits(values map[string]string) ([]spawner.Limit, error) {
	var limits []spawner.Limit
	for _, name := range keys(values) {
		soft, hard, two := strings.Cut(values[name], ":")
		if !two {
			hard = soft
		}
		s, err1 := parseLimit(soft)
		h, err2 := parseLimit(hard)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf(`%s = %q is not SOFT or SOFT:HARD like "64" or "512M:unlimited"`, name, values[name])
		}
		limits = append(limits, spawner.Limit{Name: name, Soft: s, Hard: h})
	}
	return limits, nil
}

func parseLimit(s string) (uint64, error) {
	if s == "unlimited" {
		return spawner.Unlimited, nil
	}
	n, err := ParseSize(s)
	return uint64(n), err
}

// parseLadder reads "stdin,2s,TERM,3s,KILL".
func parseLadder(s string) (spawner.Ladder, error) {
	if s == "" {
		return nil, nil
	}
	if s == "websocketd" {
		return spawner.WebsocketdLadder(0), nil
	}
	ladder := spawner.Ladder{}
	var after time.Duration
	for word := range strings.SplitSeq(s, ",") {
		if d, err := time.ParseDuration(word); err == nil && d >= 0 {
			after += d
			continue
		}
		step := spawner.Step{After: after}
		if word != "stdin" {
			sig, ok := signalNames[strings.TrimPrefix(strings.ToUpper(word), "SIG")]
			if !ok {
				return nil, fmt.Errorf("%q is no step: use stdin, %s, or a time like 2s", word, strings.Join(keys(signalNames), ", "))
			}
			step.Signal = sig
		}
		ladder, after = append(ladder, step), 0
	}
	return ladder, nil
}

// closeCode reads `3 = 4003` and `signal = 1011`. A signal is the status -1.
func closeCode(status string, code int) (int, wsframe.CloseCode, error) {
	n := -1
	if status != "signal" {
		var err error
		if n, err = strconv.Atoi(status); err != nil || n < 0 || n > 255 {
			return 0, 0, fmt.Errorf("%q is neither an exit status from 0 to 255 nor signal", status)
		}
	}
	if code < 0 || code > 65535 || !wsframe.CloseCode(code).Sendable() {
		return 0, 0, fmt.Errorf("close code %d may not be sent: use 1000, 1001, 1011 or 3000 to 4999", code)
	}
	return n, wsframe.CloseCode(code), nil
}
