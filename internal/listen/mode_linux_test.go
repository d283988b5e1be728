package listen

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What is seen here is what others could see between the moment when the socket is there and the one when its permissions are set.
func TestASocketIsNeverOpenToMoreThanItWillBe(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	for mode, want := range map[os.FileMode]os.FileMode{0o660: 0o600, 0o666: 0o600, 0o222: 0o200, 0o070: 0, 0o777: 0o700, 0: 0o777} {
		path := filepath.Join(t.TempDir(), "s")
		ln, err := bindUnix(path, mode)
		if err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode().Perm(); got != want {
			t.Errorf("mode %o: it is there with %o, want %o", mode, got, want)
		}
		ln.Close()
	}

	// The umask does not take from what is asked for.
	unix.Umask(0o077)
	path := filepath.Join(t.TempDir(), "s")
	ln, err := Open("unix:"+path, Options{Mode: 0o666})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o666 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
}
