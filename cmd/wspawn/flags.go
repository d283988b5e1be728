package main

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-multierror"
	"github.com/spf13/pflag"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// serveFlags is the command line of serve. Values that are no plain numbers or words are kept as
// written and read by config, which reports all that is wrong with them together.
type serveFlags struct {
	c         *config.Config
	port      int
	logLevel  string
	logFormat string

	framing, otherType, delimiters, invalidUTF8, longLine, stderr string
	maxLine, queue, maxFrame, maxMessage, fragment, pipe          string
	closeCodes, limits                                            []string
	umask, stop                                                   string
	maxBody, collectBody, maxResponseHeader                       string
	ping                                                          time.Duration
}

func newServeFlags() *serveFlags { return &serveFlags{c: config.Default()} }

func (f *serveFlags) register(fs *pflag.FlagSet) {
	c := f.c
	fs.StringArrayVarP(&c.Listen, "listen", "l", c.Listen, "`ADDRESS` to listen on: HOST:PORT or unix:PATH (repeatable)")
	fs.IntVarP(&f.port, "port", "p", 0, "listen on 127.0.0.1:`PORT`; 0 is any free port")
	fs.StringVar(&c.TLSCert, "tls-cert", "", "`FILE` with the certificate: speak TLS (wss)")
	fs.StringVar(&c.TLSKey, "tls-key", "", "`FILE` with the key of the certificate")
	fs.StringVar(&c.Dir, "dir", "", "serve the programs in `DIR`: the path of the URL names one")
	fs.StringVar(&c.Static, "static", "", "serve the files in `DIR` to ordinary requests")
	fs.BoolVar(&c.Listings, "static-listings", false, "show what is in directories that have no index.html")
	fs.BoolVar(&c.Dotted, "static-dot-files", false, "serve files whose names begin with a dot as well")
	fs.StringVar(&c.Console, "console", c.Console, "page for trying the service: auto (when listening on this machine only), on, off")
	fs.StringArrayVar(&c.Header, "header", nil, "`\"Name: value\"` for every answer (repeatable)")
	fs.StringArrayVar(&c.Origins, "origin", nil, "let pages of `ORIGIN` connect, as https://example.com or https://*.example.com; any lets all (repeatable)")
	fs.BoolVar(&c.RequireOrigin, "require-origin", false, "refuse clients that send no origin, which browsers always do")
	fs.StringArrayVar(&c.Subprotocols, "subprotocol", nil, "`NAME` of a subprotocol that the program speaks, best first (repeatable)")

	f.registerGateway(fs)

	fs.StringVar(&f.framing, "framing", "lines", "how messages lie in the program's streams: lines, null, length, json, raw")
	fs.BoolVar(&c.Stdio.Binary, "binary", false, "send binary messages instead of text")
	fs.StringVar(&f.otherType, "other-type", "default", "messages of the other type than --binary says: pass, refuse; default refuses binary ones only")
	fs.StringVar(&f.delimiters, "newlines", "pass", "newlines (NULs with --framing null) inside of client messages: pass, escape, refuse")
	fs.StringVar(&f.invalidUTF8, "invalid-utf8", "replace", "output that is not UTF-8, in text: replace, binary, refuse")
	fs.StringVar(&f.maxLine, "max-line", "1M", "largest message of the program that is collected, `SIZE` in bytes")
	fs.StringVar(&f.longLine, "long-line", "split", "larger ones: split (into fragments of one message), refuse")
	fs.StringVar(&f.stderr, "stderr", "log", "standard error of the program: log, client (JSON with both streams), inherit, discard")
	fs.BoolVar(&c.Stdio.Events, "events", false, "tell the program of the start and end of the session (with --framing json)")
	fs.StringArrayVar(&f.closeCodes, "close-code", nil, "`STATUS=CODE`: close code for an exit status of the program (repeatable)")
	fs.StringVar(&f.queue, "queue", "1M", "`SIZE` of what may wait for a program that does not read")
	fs.DurationVar(&c.Stdio.StallTimeout, "stall-timeout", 5*time.Minute, "how long it may then read nothing")

	fs.StringArrayVarP(&c.Env, "env", "e", nil, "`NAME=VALUE` for the program (repeatable)")
	fs.StringSliceVar(&c.PassEnv, "pass-env", c.PassEnv, "`NAMES` of variables that the program gets from here")
	fs.BoolVar(&c.Unbuffer, "unbuffer", false, "make the program write line by line (stdbuf, Python)")
	fs.BoolVar(&c.Watch, "watch", false, "close connections with 1012 when the file of the program changes, for development")
	fs.StringVar(&c.Program.Dir, "chdir", "", "working `DIR` of the program")
	fs.StringVar(&c.Program.User, "user", "", "`USER` to run the program as")
	fs.StringVar(&c.Program.Group, "group", "", "`GROUP` to run the program as")
	fs.StringVar(&f.umask, "umask", "", "`MASK` of permissions that its files do not get, octal")
	fs.IntVar(&c.Program.Nice, "nice", 0, "its priority, -20 to 19")
	fs.StringArrayVar(&f.limits, "limit", nil, "`NAME=SOFT[:HARD]`: resource limit, as nofile=64 or as=512M (repeatable)")
	fs.StringVar(&c.Program.Cgroup, "cgroup", "", "cgroup v2 `DIR` below which each process gets a cgroup of its own")
	fs.StringVar(&f.pipe, "pipe-size", "0", "`SIZE` of its pipes; 0 is the system's")
	fs.StringVar(&f.stop, "stop", "stdin,2s,TERM,3s,KILL", "how it is stopped: steps and the times between them")
	fs.IntVar(&c.MaxProcesses, "max-processes", c.MaxProcesses, "programs that may run at once; 0 is no limit")
	fs.Float64Var(&c.StartRate, "start-rate", 0, "programs that may be started in a second; 0 is no limit")

	fs.StringVar(&f.maxMessage, "max-message", "1M", "largest message of a client, `SIZE` in bytes; 0 is no limit")
	fs.StringVar(&f.maxFrame, "max-frame", "", "largest frame of a client, `SIZE` in bytes (default as --max-message)")
	fs.StringVar(&f.fragment, "fragment-size", "0", "send messages in fragments of `SIZE`; 0 is whole")
	fs.DurationVar(&f.ping, "ping", wsframe.DefaultPingInterval, "silence after which the client is pinged; 0 is never")
	fs.DurationVar(&c.Conn.PingGrace, "ping-grace", wsframe.DefaultPingGrace, "silence after the ping that ends the connection")
	fs.DurationVar(&c.Conn.CloseTimeout, "close-timeout", wsframe.DefaultCloseTimeout, "how long the client may take to answer a Close frame")
	fs.DurationVar(&c.Conn.WriteTimeout, "write-timeout", wsframe.DefaultWriteTimeout, "how long a client may take no data")
	fs.DurationVar(&c.Drain, "drain", c.Drain, "how long a stopping server waits for clients and programs")

	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn, error")
	fs.StringVar(&f.logFormat, "log-format", "auto", "auto, text, json")
}

// config reads what was written, and returns everything that is wrong with it.
func (f *serveFlags) config(fs *pflag.FlagSet, args []string) (*config.Config, error) {
	c := f.c
	var problems *multierror.Error
	check := func(flag string, err error) {
		if err != nil {
			problems = multierror.Append(problems, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	size := func(flag, value string) int64 {
		n, err := parseSize(value)
		check(flag, err)
		return n
	}
	choice := func(flag, value string, allowed ...framing.Choice) framing.Choice {
		if !fs.Changed(flag) {
			return framing.Default
		}
		v, err := framing.ParseChoice("value", value, allowed...)
		check(flag, err)
		return v
	}
	c.Command = args
	if fs.Changed("port") {
		if f.port < 0 || f.port > 65535 {
			check("port", fmt.Errorf("%d is not from 0 to 65535", f.port))
		}
		addr := "127.0.0.1:" + strconv.Itoa(f.port)
		if fs.Changed("listen") {
			c.Listen = append(c.Listen, addr)
		} else {
			c.Listen = []string{addr}
		}
	}
	var err error
	c.Stdio.Framing, err = framing.Parse(f.framing)
	check("framing", err)
	c.Stdio.OtherType = choice("other-type", f.otherType, framing.Default, framing.Pass, framing.Refuse)
	c.Stdio.Delimiters = choice("newlines", f.delimiters, framing.Pass, framing.Escape, framing.Refuse)
	c.Stdio.InvalidUTF8 = choice("invalid-utf8", f.invalidUTF8, framing.Replace, framing.AsBinary, framing.Refuse)
	c.Stdio.LongLine = choice("long-line", f.longLine, framing.Split, framing.Refuse)
	c.Stdio.MaxLine = size("max-line", f.maxLine)
	c.Stdio.Queue = size("queue", f.queue)
	c.Stdio.CloseCodes, err = parseCloseCodes(f.closeCodes)
	check("close-code", err)
	switch f.stderr {
	case "log":
	case "client":
		c.Stdio.PassStderr = true
	case "inherit":
		c.Program.Stderr = spawner.StderrInherit
	case "discard":
		c.Program.Stderr = spawner.StderrDiscard
	default:
		check("stderr", fmt.Errorf("unknown value %q: use log, client, inherit or discard", f.stderr))
	}
	if f.umask != "" {
		mask, err := strconv.ParseInt(f.umask, 8, 0)
		if err != nil {
			check("umask", fmt.Errorf("%q is not an octal number like 027", f.umask))
		} else if c.Program.Umask = int(mask); mask == 0 {
			c.Program.Umask = -1
		}
	}
	c.Program.Limits, err = parseLimits(f.limits)
	check("limit", err)
	c.Program.PipeSize = int(size("pipe-size", f.pipe))
	c.Program.Stop, err = parseLadder(f.stop)
	check("stop", err)

	unlimited := func(n int64) int64 {
		if n == 0 {
			return -1
		}
		return n
	}
	c.Conn.MaxMessage = unlimited(size("max-message", f.maxMessage))
	c.Conn.MaxFrame = c.Conn.MaxMessage
	if f.maxFrame != "" {
		c.Conn.MaxFrame = unlimited(size("max-frame", f.maxFrame))
	}
	c.Conn.FragmentSize = int(size("fragment-size", f.fragment))
	if c.Conn.PingInterval = f.ping; f.ping == 0 {
		c.Conn.PingInterval = -1
	}
	g := &c.Gateway
	g.MaxBody = size("max-body", f.maxBody)
	g.CollectBody = size("collect-body", f.collectBody)
	g.MaxHeader = int(size("max-response-header", f.maxResponseHeader))
	for _, d := range []*time.Duration{&g.ReadTimeout, &g.WriteTimeout, &g.ClientTimeout} {
		if *d == 0 {
			*d = -1 // which is how a library is told that there is no limit
		}
	}
	if err := c.Check(); err != nil {
		for _, e := range err.(*multierror.Error).Errors {
			problems = multierror.Append(problems, e)
		}
	}
	return c, problems.ErrorOrNil()
}

// parseSize reads a number of bytes with an optional K, M or G (2^10, 2^20, 2^30).
func parseSize(s string) (int64, error) {
	digits, shift := s, 0
	if len(s) > 0 {
		if i := strings.IndexByte("KMG", s[len(s)-1]&^0x20); i >= 0 {
			digits, shift = s[:len(s)-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is not a size like 4096, 64K or 1M", s)
	}
	return n << shift, nil
}

func parseCloseCodes(values []string) (map[int]wsframe.CloseCode, error) {
	if len(values) == 0 {
		return nil, nil
	}
	codes := make(map[int]wsframe.CloseCode)
	for _, v := range values {
		status, code, _ := strings.Cut(v, "=")
		s, err1 := strconv.Atoi(status)
		if status == "signal" {
			s, err1 = -1, nil
		}
		n, err2 := strconv.ParseUint(code, 10, 16)
		if err1 != nil || err2 != nil || s < -1 || s > 255 {
			return nil, fmt.Errorf("%q is not STATUS=CODE like 3=4003 or signal=1011", v)
		}
		codes[s] = wsframe.CloseCode(n)
	}
	return codes, nil
}

func parseLimits(values []string) ([]spawner.Limit, error) {
	var limits []spawner.Limit
	for _, v := range values {
		name, value, ok := strings.Cut(v, "=")
		soft, hard, two := strings.Cut(value, ":")
		if !two {
			hard = soft
		}
		s, err1 := parseLimit(soft)
		h, err2 := parseLimit(hard)
		if !ok || err1 != nil || err2 != nil {
			return nil, fmt.Errorf("%q is not NAME=SOFT[:HARD] like nofile=64 or as=512M:unlimited", v)
		}
		limits = append(limits, spawner.Limit{Name: name, Soft: s, Hard: h})
	}
	return limits, nil
}

func parseLimit(s string) (uint64, error) {
	if s == "unlimited" {
		return spawner.Unlimited, nil
	}
	n, err := parseSize(s)
	return uint64(n), err
}

var signalNames = map[string]os.Signal{
	"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM, "KILL": os.Kill,
}

// parseLadder reads "stdin,2s,TERM,3s,KILL".
func parseLadder(s string) (spawner.Ladder, error) {
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
				return nil, fmt.Errorf("%q is no step: use stdin, HUP, INT, QUIT, TERM, KILL, or a time like 2s", word)
			}
			step.Signal = sig
		}
		ladder, after = append(ladder, step), 0
	}
	return ladder, nil
}
