//go:build unix

package cgirun_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/scgi"
)

// script tells what it was asked, and how much of the body there was.
const script = `#!/bin/sh
n=$(head -c "$CONTENT_LENGTH" | wc -c)
printf 'Status: 201 Created\r\nContent-Type: text/plain\r\n\r\n%s %s %s %s' "$REQUEST_METHOD" "$n" "$QUERY_STRING" "$HTTP_X_TEST"
`

func need(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	t.Fatalf("no %s here: run scripts/setup", name)
	return ""
}

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// peer runs a server of somebody else until the end of the test. ready is asked until it says nil.
func peer(t *testing.T, stop os.Signal, ready func() error, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(stop)
		select {
		case <-ended:
		case <-time.After(patience):
			cmd.Process.Kill()
			<-ended
			t.Errorf("%s does not end", name)
		}
	})
	for end := time.Now().Add(patience); ready() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not start: %v", name, ready())
		}
	}
}

func reach(network, address string) func() error {
	return func() error {
		c, err := net.Dial(network, address)
		if err == nil {
			c.Close()
		}
		return err
	}
}

func ask3(t *testing.T, url string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	for _, size := range []int{0, 7, 1 << 20} {
		method := "POST"
		if size == 0 {
			method = "GET"
		}
		r, err := http.NewRequest(method, url+"?a=b", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Test", "t")
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprintf("%s %d a=b t", method, size); err != nil || resp.StatusCode != http.StatusCreated || string(body) != want {
			t.Errorf("got %s %q, %v, want %q", resp.Status, body, err, want)
		}
	}
}

func status(t *testing.T, url string) int {
	t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// lighttpd starts our commands itself and gives them the listening socket as descriptor 0.
func TestCommandsBehindLighttpd(t *testing.T) {
	lighttpd := need(t, "lighttpd")
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "../../cmd/scgi-cgi", "../../cmd/fcgi-cgi").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, mode := range map[string]os.FileMode{"prog.s": 0o755, "prog.f": 0o755, "plain.s": 0o644, "plain.f": 0o644} {
		write(t, filepath.Join(dir, name), script, mode)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // a free port; lighttpd cannot tell one that it has chosen
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	config := write(t, filepath.Join(dir, "conf"), fmt.Sprintf(`server.document-root = "%[1]s"
server.bind = "127.0.0.1"
server.port = %[2]d
server.errorlog = "%[1]s/errors"
server.modules = ( "mod_scgi", "mod_fastcgi" )
scgi.server = ( ".s" => (( "bin-path" => "%[1]s/scgi-cgi", "socket" => "%[1]s/s.sock", "max-procs" => 1 )))
fastcgi.server = ( ".f" => (( "bin-path" => "%[1]s/fcgi-cgi", "socket" => "%[1]s/f.sock", "max-procs" => 1 )))
`, dir, port), 0o600)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	peer(t, syscall.SIGTERM, reach("tcp", address), lighttpd, "-D", "-f", config)
	for _, kind := range []string{"s", "f"} {
		ask3(t, "http://"+address+"/prog."+kind)
		if got := status(t, "http://"+address+"/plain."+kind); got != http.StatusForbidden {
			t.Errorf("%s: a script that is not executable is answered with %d", kind, got)
		}
		ask3(t, "http://"+address+"/prog."+kind) // refusals leave nothing broken
	}
}

// Our gateway in front of uwsgi, which runs a CGI program.
func TestGatewayInFrontOfUWSGI(t *testing.T) {
	uwsgi := need(t, "uwsgi")
	dir := t.TempDir()
	program := write(t, filepath.Join(dir, "prog"), script, 0o755)
	sockets := map[scgi.Protocol]string{scgi.SCGI: filepath.Join(dir, "s"), scgi.UWSGI: filepath.Join(dir, "u")}
	peer(t, os.Interrupt, reach("unix", sockets[scgi.UWSGI]), uwsgi, "--plugins-dir", "/usr/lib/uwsgi/plugins", "--plugin", "0:cgi",
		"--scgi-socket", sockets[scgi.SCGI], "--uwsgi-socket", sockets[scgi.UWSGI], "--cgi", program)
	for p, socket := range sockets {
		t.Run(p.String(), func(t *testing.T) {
			e := &scgi.Endpoint{Backends: []string{"unix:" + socket}, Protocol: p}
			s := httptest.NewServer(e)
			defer s.Close()
			defer e.Shutdown(context.Background())
			ask3(t, s.URL+"/x")
		})
	}
}
