//go:build unix

package listen

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wspawn/wspawn/internal/clientip"
)

// With a name in the environment the test binary is a server that systemd has started.
func TestMain(m *testing.M) {
	if name := os.Getenv("LISTEN_TEST_NAME"); name != "" {
		serveInherited(name)
		return
	}
	goleak.VerifyTestMain(m)
}

func TestSocketFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := Open("unix:"+path, Options{Mode: 0o620})
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o620 {
		t.Errorf("permissions %v, %v", fi.Mode(), err)
	}
	if _, err := Open("unix:"+path, Options{}); err == nil || !strings.Contains(err.Error(), "in use by another program") {
		t.Errorf("a socket in use: %v", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	if ln, err = Open("unix:"+path, Options{Owner: fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())}); err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	if !Loopback(ln) {
		t.Error("a Unix socket is not for this machine only")
	}
	ln.Close()
	if _, err := Open("unix:"+path, Options{Owner: "no such user"}); err == nil || !strings.Contains(err.Error(), "no such user") {
		t.Errorf("a missing user: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("unix:"+path, Options{}); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("another file: %v", err)
	}
}

func TestAddressesThatCannotBeOpened(t *testing.T) {
	ln, err := Open("127.0.0.1:0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("file", nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		ln.Addr().String():                 "the port is in use: stop the other program or choose another port (0 is any free one)",
		"192.0.2.1:0":                      "this machine does not have that address: choose one that it has",
		"no name:0":                        `the name "no name" has no address (no such host): choose an address of this machine`,
		"[ff02::1%nowhere]:0":              "the system does not take that address: one of a link needs its interface, as [fe80::1%eth0]:8080",
		"systemd:web":                      "systemd has passed no socket (LISTEN_FDS)",
		"unix:/nonexistent/s":              "there is no directory /nonexistent: make it, or choose another path",
		"unix:file":                        "a file of that name exists and is not a socket: choose another path",
		"unix:file/s":                      "file is not a directory: choose another path",
		"unix:" + strings.Repeat("s", 200): "a path of 200 bytes is too long for a Unix socket: it may have about a hundred, so choose a shorter one",
	} {
		if _, err := Open(addr, Options{}); err == nil || err.Error() != "listen on "+addr+": "+want {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestProxiesSayWhoTheClientIs(t *testing.T) {
	for name, test := range map[string]struct {
		trusted, send, want string // the beginning of the client's address, "" for a refusal
		rest                string
	}{
		"version 1":             {"loopback", "PROXY TCP4 192.0.2.7 198.51.100.1 5000 80\r\nhello", "192.0.2.7:5000", "hello"},
		"version 1, IPv6":       {"127.0.0.0/8", "PROXY TCP6 2001:db8::1 2001:db8::2 5000 80\r\nhello", "[2001:db8::1]:5000", "hello"},
		"version 2":             {"loopback", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\x13\x88\x00\x50hello", "192.0.2.7:5000", "hello"},
		"none":                  {"loopback", "hello, this is no header\r\n", "", ""},
		"not trusted, a header": {"192.0.2.0/24", "PROXY TCP4 192.0.2.7 198.51.100.1 5000 80\r\n", "127.0.0.1", "PROXY TCP4 "},
		"not trusted":           {"192.0.2.0/24", "hello", "127.0.0.1", "hello"},
	} {
		t.Run(name, func(t *testing.T) {
			peers, err := clientip.ParsePeers([]string{test.trusted})
			if err != nil {
				t.Fatal(err)
			}
			refused := make(chan error, 2)
			ln, err := Open("127.0.0.1:0", Options{Proxies: &peers, Refused: func(_ net.Addr, err error) { refused <- err }})
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, test.send)
			nc, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(10 * time.Second))
			rest := make([]byte, len(test.rest))
			_, err = io.ReadFull(nc, rest)
			if test.want == "" {
				if _, err = nc.Read(make([]byte, 1)); err == nil {
					t.Error("taken without a header")
				}
				if len(refused) != 1 {
					t.Errorf("told %d times", len(refused))
				}
				return
			}
			if got := nc.RemoteAddr().String(); err != nil || string(rest) != test.rest || !strings.HasPrefix(got, test.want) {
				t.Errorf("client %s, %q, %v", got, rest, err)
			}
			// One direction ends, and not the other.
			if err := nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Error(err)
			}
			if n, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("client read %d bytes, %v", n, err)
			}
			io.WriteString(c, "more")
			more := make([]byte, len("more"))
			if _, err := io.ReadFull(nc, more); err != nil || len(refused) != 0 {
				t.Errorf("%q, %v, refused %d", more, err, len(refused))
			}
		})
	}
}

// serveInherited answers one connection of the socket that was passed.
func serveInherited(name string) {
	ln, err := Open("systemd:"+name, Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := Open("systemd:"+name, Options{}); err == nil {
		fmt.Println("it can be had twice")
		return
	}
	c, err := ln.Accept()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprintln(c, "hello from", name)
	c.Close()
}

func TestSocketOfSystemd(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), "LISTEN_TEST_NAME=web", "LISTEN_FDS=1", "LISTEN_FDNAMES=web")
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "hello from web\n" {
		t.Errorf("%q, %v", line, err)
	}
}
