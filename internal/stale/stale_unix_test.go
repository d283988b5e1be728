//go:build unix

package stale

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path("in use"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path("dead"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if err := os.WriteFile(path("file"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	other, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path("other kind"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	busy(t, path("busy"))
	some := errors.New("some error")
	for name, want := range map[string]error{"none": nil, "dead": nil, "in use": ErrInUse, "file": ErrNotSocket, "other kind": some, "busy": some} {
		err := Remove(path(name))
		if (err == nil) != (want == nil) || want != some && !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		if _, gone := os.Lstat(path(name)); (gone != nil) != (want == nil) {
			t.Errorf("%s: %v", name, gone)
		}
	}
}

// busy makes a socket whose server accepts nobody, with as many in its queue as that takes.
func busy(t *testing.T, path string) {
	t.Helper()
	socket := func() int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	fd, addr := socket(), &unix.SockaddrUnix{Name: path}
	if err := unix.Bind(fd, addr); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c := socket()
		if err := unix.SetNonblock(c, true); err != nil {
			t.Fatal(err)
		}
		if unix.Connect(c, addr) != nil {
			return
		}
	}
	t.Fatal("its queue does not get full")
}
