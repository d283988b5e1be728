package spawner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPlaceholders(t *testing.T) {
	for name, env := range map[string]string{"unix": "SOCKET={socket}", "tcp": "PORT={port}"} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, PoolConfig{Program: helper(t, "worker", env), Scaling: Static, Max: 2})
			for range 2 {
				w := acquire(t, p)
				if got := ask(t, w, "hello"); got != "hello" {
					t.Error(got)
				}
				if network, _ := w.Address(); network != name {
					t.Error(network)
				}
				if name == "unix" { // one that died leaves its socket behind
					ask(t, w, "die")
					<-w.Done()
				}
				w.Release()
			}
			ready(t, p, 2)
		})
	}
}

func TestListenFDs(t *testing.T) {
	p := newPool(t, PoolConfig{Listen: Listen{ListenFDs: true, Network: "tcp"}, Max: 1})
	w := acquire(t, p)
	if got := ask(t, w, "pid"); got != strconv.Itoa(p.Workers()[0].Pid) {
		t.Error(got)
	}
	w.Release()
}

func TestOneSocketForAllWorkers(t *testing.T) {
	p := newPool(t, PoolConfig{Scaling: Static, Max: 3, Listen: Listen{Shared: true}})
	ready(t, p, 3)
	var first string
	for range 3 {
		w := acquire(t, p)
		_, address := w.Address()
		if first == "" {
			first = address
		}
		if address != first || ask(t, w, "hello") != "hello" {
			t.Error(address)
		}
		defer w.Release()
	}
}

func TestConfiguredSockets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	// A dead socket is in the way of the first worker, a living service in that of the second.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path + "-0", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	alive, err := net.Listen("unix", path+"-1")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := alive.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "not yours\n")
			c.Close()
		}
	}()
	p := newPool(t, PoolConfig{Scaling: Static, Max: 2, Listen: Listen{Path: path, Mode: 0o620}})
	ready(t, p, 2)
	fi, err := os.Lstat(path + "-0")
	if err != nil || fi.Mode().Perm() != 0o620 {
		t.Errorf("%v %v", fi, err)
	}
	own, adopted := acquire(t, p), acquire(t, p)
	if got := ask(t, own, "hello"); got != "hello" {
		t.Error(got)
	}
	if got := ask(t, adopted, "hello"); got != "not yours" {
		t.Error(got)
	}
	if i := p.Workers()[1]; !i.Adopted || i.Pid != 0 {
		t.Errorf("%+v", i)
	}
	own.Release()
	// When the service goes, a worker takes its place.
	alive.Close()
	adopted.Failed(errors.New("refused"))
	<-adopted.Done()
	eventually(t, "a worker of ours is in its place", func() bool {
		all := p.Workers()
		return len(all) == 2 && all[1].Pid != 0 && all[1].State == Ready
	})
	closePool(t, p)
	if n := entries(t, dir); n != 0 {
		t.Errorf("%d sockets are left", n)
	}
}

func TestSocketsOfAnotherUser(t *testing.T) {
	needRoot(t)
	path := filepath.Join(t.TempDir(), "s")
	p := newPool(t, PoolConfig{Scaling: Static, Max: 1, Listen: Listen{Path: path, Owner: "12345", Group: "54321"}})
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Uid != 12345 || st.Gid != 54321 || st.Mode&0o777 != 0o600 {
		t.Errorf("%d %d %o %v", st.Uid, st.Gid, st.Mode, err)
	}
	ready(t, p, 1)
}

func TestAWorkerOfAnotherUserMakesItsSocket(t *testing.T) {
	needRoot(t)
	// The test binary is not for everybody.
	exe := filepath.Join("/tmp", fmt.Sprintf("wspawn-test-%d", os.Getpid()))
	b, err := os.ReadFile(self(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, b, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(exe)
	prog := helper(t, "worker", "SOCKET={socket}")
	prog.Path, prog.User, prog.Group = exe, "12345", "12345"
	p := newPool(t, PoolConfig{Program: prog, Max: 1})
	w := acquire(t, p)
	if got := ask(t, w, "hello"); got != "hello" {
		t.Error(got)
	}
	w.Release()
	closePool(t, p)
}

func TestAFileThatIsNoSocketIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "s", "precious", 0o600)
	p, err := NewPool(PoolConfig{Spawner: newSpawner(t, Config{}), Program: helper(t, "worker"), Max: 1, Listen: Listen{Path: dir + "/s"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(dir + "/s"); string(b) != "precious" {
		t.Errorf("%q", b)
	}
	if err := p.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestConsecutivePorts(t *testing.T) {
	base := 0
	for range 20 { // three free ports in a row
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		base = ln.Addr().(*net.TCPAddr).Port
		free := base < 65000
		for i := 1; i < 3 && free; i++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+i))
			if free = err == nil; free {
				l.Close()
			}
		}
		ln.Close()
		if free {
			break
		}
	}
	p := newPool(t, PoolConfig{Scaling: Static, Max: 3, Listen: Listen{Port: base}})
	ready(t, p, 3)
	for i := range 3 {
		w := acquire(t, p)
		if _, address := w.Address(); address != fmt.Sprintf("127.0.0.1:%d", base+i) || ask(t, w, "hello") != "hello" {
			t.Error(address)
		}
		defer w.Release()
	}
}
