package host

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/wsframe"
)

// What the key says arrives at the programs of all kinds of routes.
func TestProgramsWithoutNewPrivileges(t *testing.T) {
	script := filepath.Join(t.TempDir(), "status.cgi")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho; grep NoNewPrivs /proc/self/status\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	own, err := exec.Command("grep", "NoNewPrivs", "/proc/self/status").Output() // 1 in some containers
	if err != nil {
		t.Fatal(err)
	}
	for bit, want := range map[bool]string{false: strings.TrimSpace(string(own)), true: "NoNewPrivs:\t1"} {
		c := pooled(t, "", func(*config.Pool) {})
		c.Program["worker"].NoNewPrivileges = bit
		bare := config.New[config.Program]()
		bare.NoNewPrivileges = bit
		c.Program["bare"] = bare
		one := stdioRoute("/own", "grep", "NoNewPrivs", "/proc/self/status")
		one.Stdio.Program = "bare"
		ahead := stdioRoute("/spare", "sh", "-c", "read go; grep NoNewPrivs /proc/self/status")
		ahead.Stdio.Program, ahead.Stdio.Spare = "bare", 1
		program := config.New[config.Route]()
		program.Path, program.CGI = "/cgi", config.New[config.CGI]()
		program.CGI.Path, program.CGI.Program = config.Path(script), "bare"
		c.Route = append(c.Route, one, ahead, program)
		h, stop := run(t, c)

		own, spare, worker := dial(t, h, "/own", nil), dial(t, h, "/spare", nil), dial(t, h, "/", nil)
		if got := read(t, own); got != want {
			t.Errorf("stdio: %q, want %q", got, want)
		}
		if got := ask(t, spare, "go"); got != want {
			t.Errorf("spare: %q, want %q", got, want)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%s/status", ask(t, worker, "pid")))
		if err != nil || !strings.Contains(string(status), want+"\n") {
			t.Errorf("pool: not %q, %v", want, err)
		}
		resp, err := http.Get(strings.TrimSuffix(h.URLs("http")[0], "/") + "/cgi")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := string(body); got != want+"\n" {
			t.Errorf("cgi: %q, want %q", got, want)
		}
		for _, c := range []*wsframe.Conn{own, spare, worker} {
			c.Close(wsframe.CloseNormal, "")
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// A server does not begin with programs that it may not start, nor does it go on with them.
func TestProgramsThatTheServerMayNotStart(t *testing.T) {
	wanting := func(change func(*config.Program)) *config.Config {
		c := settings("cat")
		change(c.Program["p"])
		return c
	}
	h, _ := run(t, wanting(func(*config.Program) {}))

	// Capabilities are those of a thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var all [2]unix.CapUserData
	if err := unix.Capget(&header, &all[0]); err != nil {
		t.Fatal(err)
	}
	none := all
	none[0].Effective, none[1].Effective = 0, 0
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
	defer unix.Capset(&header, &all[0])
	for want, c := range map[string]*config.Config{
		"program.p.user: the server may not change to user \"4242\"": wanting(func(p *config.Program) { p.User, p.Group = "4242", "4242" }),
		"program.p.group: the server may not change to user \"\"":    wanting(func(p *config.Program) { p.Group = "4242" }),
		"program.p.nice: nice -20: the server may not go below ":     wanting(func(p *config.Program) { p.Nice = -20 }),
		"program.p.limits: limit nofile: the server's own is ":       wanting(func(p *config.Program) { p.Limits = map[string]string{"nofile": "1000000000000"} }),
	} {
		_, err := New(c, Options{Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("start: %v, want %q", err, want)
		}
		if err := h.Reload(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("reload: %v, want %q", err, want)
		}
	}
}
