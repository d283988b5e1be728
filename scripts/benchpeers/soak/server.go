package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The server trusts what this machine says of the client, so that attackers and the well-behaved client have
// different addresses: the limits for each address do not hold for those of this machine.
const configuration = `
listen = ["127.0.0.1:0"]
log = { level = "warn" }
client = { trusted_proxies = ["loopback"] }

[[listener]]
address = "127.0.0.1:0"
self_signed = true

[program.cat]
command = ["cat"]
env = { SOAK = "%[1]s" }

[program.flood]
command = ["yes"]
env = { SOAK = "%[1]s" }

[program.cgi]
env = { SOAK = "%[1]s" }

[[route]]
path = "/echo"
stdio = { program = "cat" }

[[route]]
path = "/deflate"
websocket = { compression = { window = "32K", peer_window = "32K" } }
stdio = { program = "cat" }

[[route]]
path = "/flood"
stdio = { program = "flood" }

[[route]]
path = "/cgi"
cgi = { path = "%[2]s/cgi", program = "cgi" }

[[route]]
path = "/large"
cgi = { path = "%[2]s/large", program = "cgi" }

[[route]]
path = "/files/"
files = { root = "%[2]s/files" }

[[route]]
path = "/tunnel-echo"
tunnel = { servers = ["%[3]s"] }

[[route]]
path = "/tunnel-flood"
tunnel = { servers = ["%[4]s"] }
`

// cgiPrograms are those of the routes /cgi and /large.
var cgiPrograms = map[string]string{
	"cgi":   "#!/bin/sh\necho Content-Type: text/plain\necho\nexec cat\n",
	"large": "#!/bin/sh\necho Content-Type: text/plain\necho\nexec head -c 100000000 /dev/zero\n",
}

// A process is a server.
type process struct {
	cmd     *exec.Cmd
	program string // its file
	dir     string
	mark    string // in the environment of its programs
	address string // without TLS
	secure  string // with TLS
	ended   chan struct{}

	backends []net.Listener
}

var listening = regexp.MustCompile(`(wss?)://(127\.0\.0\.1:\d+)/`)

// start starts a server with so many descriptors, 0 is as many as there may be.
func start(program string, descriptors int) (_ *process, err error) {
	p := &process{mark: rand.Text(), ended: make(chan struct{})}
	if p.program, err = filepath.Abs(program); err != nil {
		return nil, err
	}
	if p.dir, err = os.MkdirTemp("", "soak"); err != nil {
		return nil, err
	}
	config, err := p.configure()
	if err != nil {
		return nil, err
	}
	limit := "ulimit -n \"$(ulimit -Hn)\""
	if descriptors > 0 {
		limit = "ulimit -n " + strconv.Itoa(descriptors)
	}
	p.cmd = exec.Command("sh", "-c", limit+` && exec "$@"`, "sh", p.program, "--config", config)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	found := make(chan struct{})
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			m := listening.FindStringSubmatch(lines.Text())
			switch {
			case m == nil || p.address != "" && p.secure != "":
				continue
			case m[1] == "wss":
				p.secure = m[2]
			default:
				p.address = m[2]
			}
			if p.address != "" && p.secure != "" {
				close(found)
			}
		}
		p.cmd.Wait()
		close(p.ended)
	}()
	select {
	case <-found:
		return p, nil
	case <-p.ended:
		err = errors.New("it ended")
	case <-time.After(30 * time.Second):
		err = errors.New("no address in its output")
	}
	return nil, errors.Join(fmt.Errorf("start %s: %w: %s", program, err, p.log()), p.stop())
}

// configure starts the backends and writes all that the server has to read.
func (p *process) configure() (file string, err error) {
	for _, use := range []func(net.Conn){
		func(c net.Conn) { io.Copy(c, c) },
		func(c net.Conn) {
			for b, err := make([]byte, 32<<10), error(nil); err == nil; {
				_, err = c.Write(b)
			}
		},
	} {
		l, err := backend(use)
		if err != nil {
			return "", err
		}
		p.backends = append(p.backends, l)
	}
	if err := os.Mkdir(filepath.Join(p.dir, "files"), 0o700); err != nil {
		return "", err
	}
	for name, text := range cgiPrograms {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o700); err != nil {
			return "", err
		}
	}
	large := filepath.Join(p.dir, "files", "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		return "", err
	}
	if err := os.Truncate(large, 100_000_000); err != nil {
		return "", err
	}
	file = filepath.Join(p.dir, "wspawn.toml")
	text := fmt.Appendf(nil, configuration, p.mark, p.dir, p.backends[0].Addr(), p.backends[1].Addr())
	return file, os.WriteFile(file, text, 0o600)
}

// log is the end of what the server has logged.
func (p *process) log() string {
	b, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return string(b[max(0, len(b)-2000):])
}

// A usage is what a server takes.
type usage struct {
	memory, highest int64 // bytes
	descriptors     int
	programs        int
}

func (p *process) usage() (u usage, err error) {
	select {
	case <-p.ended:
		return u, errors.New("it has ended")
	default:
	}
	pid := p.cmd.Process.Pid
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			switch f[0] {
			case "VmHWM:":
				u.highest = n << 10
			case "VmRSS:":
				u.memory = n << 10
			}
		}
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return u, err
	}
	u.descriptors, u.programs = len(fds), len(p.programs())
	return u, nil
}

// programs are the processes that the server has started, wherever they are now.
func (p *process) programs() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == p.cmd.Process.Pid {
			continue
		}
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		child := len(f) > 1 && f[1] == strconv.Itoa(p.cmd.Process.Pid) // its guard too, and those it has not reaped
		if child || bytes.Contains(env, []byte("SOAK="+p.mark)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stop ends the server, and with force what it has left over: that is an error.
func (p *process) stop() error {
	programs := p.programs() // its guard has no mark
	p.cmd.Process.Signal(syscall.SIGTERM)
	var errs []error
	select {
	case <-p.ended:
		if state := p.cmd.ProcessState; !state.Success() {
			errs = append(errs, fmt.Errorf("the server ended with %s: %s", state, p.log()))
		}
	case <-time.After(30 * time.Second):
		errs = append(errs, errors.New("the server does not stop"))
		p.cmd.Process.Kill()
		<-p.ended
	}
	for try := 0; ; try++ {
		left := p.programs()
		for _, pid := range programs {
			if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); exe == p.program {
				left = append(left, pid)
			}
		}
		if len(left) == 0 {
			break
		}
		if try == 20 {
			errs = append(errs, fmt.Errorf("%d programs are left over", len(left)))
			for _, pid := range p.programs() { // those with our mark
				syscall.Kill(pid, syscall.SIGKILL)
			}
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, l := range p.backends {
		l.Close()
	}
	os.RemoveAll(p.dir)
	return errors.Join(errs...)
}
