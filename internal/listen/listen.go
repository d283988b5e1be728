// Package listen opens the addresses of a server.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/wspawn/wspawn/internal/clientip"
	"github.com/wspawn/wspawn/internal/stale"
)

// Options are what may be said about an address.
type Options struct {
	// Mode has the permissions of a Unix socket. 0 = the umask decides.
	Mode os.FileMode
	// Owner is who a Unix socket belongs to: USER, USER:GROUP or :GROUP, names or numbers. "" = the server.
	Owner string
	// Proxies are the peers that begin each connection with a PROXY protocol header, version 1 or 2, which says who
	// the client is. They must send one; a header of anybody else is no HTTP. nil = nobody does.
	Proxies *clientip.Peers
	// Refused is called when a connection of such a peer ends because it has no header. It may be called by many
	// goroutines at the same time. Optional.
	Refused func(peer net.Addr, err error)
	// From is a listener that Open returned for the same address, and that is closed soon. If it is one of TCP, the new
	// one has its socket: in between both accept connections, and none is lost. nil = a new socket.
	From net.Listener
}

// Open opens HOST:PORT, unix:PATH, or systemd:NAME: the socket that systemd has opened under that name
// (FileDescriptorName=). A socket file that nobody listens on any more is replaced; one that is in use, and any other file, is
// left alone.
func Open(addr string, o Options) (net.Listener, error) {
	ln, err := open(addr, o)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	if o.Proxies != nil {
		ln = newProxied(ln, *o.Proxies, o.Refused)
	}
	return ln, nil
}

func open(addr string, o Options) (net.Listener, error) {
	if ln := duplicate(o.From); ln != nil {
		return ln, nil
	}
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return openUnix(path, o)
	}
	if name, ok := strings.CutPrefix(addr, "systemd:"); ok {
		return inherited(name)
	}
	var lc net.ListenConfig
	if a, err := netip.ParseAddrPort(addr); err == nil && a.Addr().IsLoopback() {
		lc.KeepAlive = -1 // four system calls for each connection; clients on this machine cannot vanish without a word
	}
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, problem(err)
	}
	return ln, nil
}

// duplicate returns another listener with the same socket, or nil where that cannot be: those of Unix sockets have
// permissions, and a file that goes with the first one.
func duplicate(ln net.Listener) net.Listener {
	if p, ok := ln.(*proxied); ok {
		ln = p.Listener
	}
	t, ok := ln.(*net.TCPListener)
	if !ok {
		return nil
	}
	f, err := t.File()
	if err != nil {
		return nil // Windows
	}
	defer f.Close()
	if ln, err = net.FileListener(f); err != nil {
		return nil
	}
	return ln
}

func problem(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return errors.New("the port is in use: stop the other program or choose another port (0 is any free one)")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("permission denied: ports below 1024 need privileges, others do not")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return errors.New("this machine does not have that address: choose one that it has")
	case errors.Is(err, syscall.EINVAL):
		return errors.New("the system does not take that address: one of a link needs its interface, as [fe80::1%eth0]:8080")
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("the name %q has no address (%s): choose an address of this machine", dns.Name, dns.Err)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func unixProblem(path string, err error) error {
	const longest = 104 // of all systems
	switch dir := filepath.Dir(path); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no directory %s: make it, or choose another path", dir)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s is not a directory: choose another path", dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("permission denied: no file may be made in %s: choose another path", dir)
	case errors.Is(err, syscall.EINVAL) && len(path) >= longest:
		return fmt.Errorf("a path of %d bytes is too long for a Unix socket: it may have about a hundred, so choose a shorter one", len(path))
	}
	return problem(err)
}

func openUnix(path string, o Options) (_ net.Listener, err error) {
	if err := stale.Remove(path); err != nil {
		if o.From != nil && errors.Is(err, stale.ErrInUse) {
			return nil, errors.New("what a Unix socket is changes when the server is started anew, or with another path")
		}
		return nil, fmt.Errorf("%w: choose another path", err)
	}
	uid, gid, err := owner(o.Owner)
	if err != nil {
		return nil, err
	}
	ln, err := bindUnix(path, o.Mode)
	if err != nil {
		return nil, unixProblem(path, err)
	}
	defer func() {
		if err != nil {
			ln.Close()
		}
	}()
	if o.Owner != "" {
		if err := os.Chown(path, uid, gid); err != nil {
			return nil, err
		}
	}
	if o.Mode != 0 { // last, so that nobody gets in by the group that it had before
		if err := os.Chmod(path, o.Mode); err != nil {
			return nil, err
		}
	}
	return ln, nil
}

// bindUnix makes a socket to which others cannot connect before it has its permissions, if it shall have some.
func bindUnix(path string, mode os.FileMode) (net.Listener, error) {
	var lc net.ListenConfig
	if mode != 0 {
		lc.Control = narrow(mode)
	}
	return lc.Listen(context.Background(), "unix", path)
}

// owner looks names up; -1 is who is not named.
func owner(s string) (uid, gid int, err error) {
	uid, gid = -1, -1
	name, group, _ := strings.Cut(s, ":")
	if name != "" {
		if uid, err = strconv.Atoi(name); err != nil {
			u, err := user.Lookup(name)
			if err != nil {
				return 0, 0, fmt.Errorf("owner %q: there is no such user", s)
			}
			uid, _ = strconv.Atoi(u.Uid)
		}
	}
	if group != "" {
		if gid, err = strconv.Atoi(group); err != nil {
			g, err := user.LookupGroup(group)
			if err != nil {
				return 0, 0, fmt.Errorf("owner %q: there is no such group", s)
			}
			gid, _ = strconv.Atoi(g.Gid)
		}
	}
	return uid, gid, nil
}

// passed are the sockets of systemd by name. They can be had once.
var passed = sync.OnceValues(func() (map[string][]net.Listener, error) { return activation.ListenersWithNames() })

var passedMu sync.Mutex // guards the content of passed

// inherited returns a socket that systemd has opened.
func inherited(name string) (net.Listener, error) {
	all, err := passed()
	if err != nil {
		return nil, err
	}
	passedMu.Lock()
	defer passedMu.Unlock()
	list := all[name]
	if len(list) == 0 || list[0] == nil {
		var names []string
		for n := range all {
			names = append(names, n)
		}
		if len(names) == 0 {
			return nil, errors.New("systemd has passed no socket (LISTEN_FDS)")
		}
		return nil, fmt.Errorf("systemd has passed no socket of that name, or it is in use already: there is %s", strings.Join(names, ", "))
	}
	all[name] = list[1:]
	return list[0], nil
}

// Loopback reports whether only this machine can connect to the listener.
func Loopback(ln net.Listener) bool {
	switch a := ln.Addr().(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}
