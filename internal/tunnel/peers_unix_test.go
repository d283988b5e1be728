//go:build unix

package tunnel

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/wspawn/wspawn/fastcgi"
	"github.com/wspawn/wspawn/wsframe"
)

// run starts a server of others, waits until it accepts connections at the socket, and stops it at the end
// of the test.
func run(t *testing.T, socket, pattern string, args ...string) {
	t.Helper()
	path := ""
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin") {
		if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) > 0 {
			path = found[len(found)-1]
			break
		}
	}
	if path == "" {
		t.Fatalf("%s is missing: run scripts/setup", pattern)
	}
	var out bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to end its children too
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", path, &out)
		}
	})
	eventually(t, path+" listens", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tunnel")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The input of PHP ends at CONTENT_LENGTH, and its FastCGI fills each block that it reads: a page that wants
// messages as they come reads blocks of one byte.
const page = `<?php
while (ob_get_level() > 0) ob_end_flush();
$in = fopen('php://input', 'r');
stream_set_chunk_size($in, 1);
echo $_SERVER['WEBSOCKET_FRAMING'], "\n";
flush();
while (($line = fgets($in)) !== false) {
	echo strtoupper($line);
	flush();
}
echo "end";
`

func TestPHP(t *testing.T) {
	dir := shortDir(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir+"/page.php", page)
	writeFile(t, dir+"/fpm.conf", fmt.Sprintf("[global]\nerror_log = %[1]s/error.log\ndaemonize = no\n[www]\nuser = %[2]s\nlisten = %[1]s/s\npm = static\npm.max_children = 2\n", dir, me.Username))
	args := []string{"-n", "-F", "-y", dir + "/fpm.conf"}
	if me.Uid == "0" {
		args = append(args, "-R")
	}
	run(t, dir+"/s", "php-fpm*", args...)
	c := &fastcgi.Client{Backends: []string{"unix:" + dir + "/s"}}
	defer c.Close()
	e := &fastcgi.Endpoint{Client: c, Root: dir, SplitPath: []string{".php"}, Index: "page.php"}
	a := &Application{Open: e.Open, Vars: e.Script, ContentLength: 1 << 40}
	s := serve(t, a.Endpoint(Options{}), wsframe.Options{})
	client := s.connect(t)
	client.Expect(text("lines"))
	for range 3 {
		client.SendText("message €")
		client.Expect(text("MESSAGE €"))
	}
	client.NC.CloseWrite()
	client.Expect(text("end"), closing(1000, ""))
}
