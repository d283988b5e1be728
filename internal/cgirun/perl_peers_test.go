//go:build unix

package cgirun_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/fastcgi"
	"github.com/wspawn/wspawn/internal/streamtest"
	"github.com/wspawn/wspawn/scgi"
)

// perl is the system's, which has the modules that scripts/setup installs.
func perl(t *testing.T, module string) string {
	t.Helper()
	path := need(t, "perl")
	if _, err := os.Stat("/usr/bin/perl"); err == nil {
		path = "/usr/bin/perl"
	}
	if err := exec.Command(path, "-M"+module, "-e", "1").Run(); err != nil {
		t.Fatalf("no Perl module %s here: run scripts/setup", module)
	}
	return path
}

// Our gateway in front of an application of the Perl module SCGI.
func TestGatewayInFrontOfPerlSCGI(t *testing.T) {
	program := perl(t, "SCGI")
	socket := filepath.Join(t.TempDir(), "s")
	peer(t, syscall.SIGTERM, reach("unix", socket), program, "testdata/app.scgi.pl", socket)
	e := &scgi.Endpoint{Backends: []string{"unix:" + socket}, Options: cgi.Options{Upgrade: true}}
	s := httptest.NewServer(e)
	defer s.Close()
	defer e.Shutdown(context.Background())
	ask3(t, s.URL+"/x")
}

// Our gateway in front of an application of the Perl module FCGI, by kept connections.
func TestGatewayInFrontOfPerlFCGI(t *testing.T) {
	program := perl(t, "FCGI")
	socket := filepath.Join(t.TempDir(), "s")
	peer(t, syscall.SIGKILL, reach("unix", socket), program, "testdata/app.fcgi.pl", socket)
	log := overFastCGISocket(t, socket, "/x", 3)
	if n := strings.Count(log, "a word for the log"); n != 9 {
		t.Errorf("%d lines in the log:\n%s", n, log)
	}
}

// uwsgi, which runs a CGI program, speaks FastCGI as well.
func TestFastCGIGatewayInFrontOfUWSGI(t *testing.T) {
	uwsgi := need(t, "uwsgi")
	dir := t.TempDir()
	program, socket := write(t, filepath.Join(dir, "prog"), script, 0o755), filepath.Join(dir, "f")
	peer(t, os.Interrupt, reach("unix", socket), uwsgi, "--plugins-dir", "/usr/lib/uwsgi/plugins", "--plugin", "0:cgi",
		"--fastcgi-socket", socket, "--cgi", program)
	overFastCGISocket(t, socket, "/x", 3)
}

// overFastCGISocket asks the backend at a socket, also for upgrades that it knows nothing of, and returns the log.
func overFastCGISocket(t *testing.T, socket, path string, times int) string {
	t.Helper()
	var log streamtest.Buffer
	client := &fastcgi.Client{Backends: []string{"unix:" + socket}, Log: slog.New(slog.NewTextHandler(&log, nil))}
	defer client.Close()
	e := &fastcgi.Endpoint{Client: client, Gateway: cgi.Gateway{Options: cgi.Options{Upgrade: true}}}
	s := httptest.NewServer(e)
	defer s.Close()
	defer e.Shutdown(context.Background())
	for range times {
		ask3(t, s.URL+path)
	}
	return log.String()
}
