package spawner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

var cgroupCount atomic.Uint64

// newCgroup makes a fresh cgroup below parent and opens it. A cgroup is never used twice: after
// a write to cgroup.kill some kernels (6.18 for one) kill whatever is started in it later.
func newCgroup(parent string) (dir string, fd int, err error) {
	for {
		dir = filepath.Join(parent, "wspawn-"+strconv.Itoa(os.Getpid())+"-"+strconv.FormatUint(cgroupCount.Add(1), 10))
		if err = unix.Mkdir(dir, 0o755); err == nil {
			break
		}
		if err != unix.EEXIST { // left behind by a server with the same process id
			return "", -1, fmt.Errorf("cgroup %q: %w", parent, err)
		}
	}
	if _, err = os.Stat(filepath.Join(dir, "cgroup.kill")); errors.Is(err, fs.ErrNotExist) {
		unix.Rmdir(dir)
		return "", -1, fmt.Errorf("cgroup %q: it has no cgroup.kill: not a cgroup v2 directory, or a kernel before 5.14", parent)
	}
	if err == nil {
		fd, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		unix.Rmdir(dir)
		return "", -1, fmt.Errorf("cgroup %q: %w", parent, err)
	}
	return dir, fd, nil
}

// killCgroup kills everything in the cgroup of p, if it has one.
func (p *Process) killCgroup() {
	if dir := p.sys.cgroupDir; dir != "" {
		if err := writeKill(dir); err != nil {
			p.s.log.error(p, "cgroup not killed", err)
		}
	}
}

// removeCgroup removes the directory. It stays busy until the last of the killed has died, so this may
// go on in the background for a while.
func (p *Process) removeCgroup() {
	dir := p.sys.cgroupDir
	if dir == "" || unix.Rmdir(dir) == nil {
		return
	}
	p.s.later(func() {
		var err error
		for wait := time.Millisecond; wait < 2*time.Second; wait *= 2 {
			time.Sleep(wait)
			if err = unix.Rmdir(dir); err == nil || err == unix.ENOENT {
				return
			}
		}
		p.s.log.error(p, "cgroup not removed", fmt.Errorf("%s: %w", dir, err))
	})
}

// killAndRemoveCgroup is for the guard. It reports whether the cgroup is gone.
func killAndRemoveCgroup(dir string) bool {
	if errors.Is(writeKill(dir), fs.ErrNotExist) {
		return true
	}
	return unix.Rmdir(dir) == nil
}

func writeKill(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "cgroup.kill"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("1")
	return err
}
