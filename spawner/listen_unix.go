//go:build unix

package spawner

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func canHandOver() error { return nil }

// listen makes the listening socket of pl and returns it with its address. It is not made by package net,
// whose sockets are non-blocking: the worker shares that flag, and programs with an accept loop of
// their own do not expect it.
func (pl *place) listen() (*os.File, string, error) {
	var to unix.Sockaddr = &unix.SockaddrUnix{Name: pl.address}
	family := unix.AF_UNIX
	if pl.network == "tcp" {
		at, err := netip.ParseAddrPort(pl.address)
		if err != nil {
			return nil, "", err
		}
		if at.Addr().Is4() {
			family, to = unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
		} else {
			family, to = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
		}
	}
	// Not every system can have it close-on-exec from birth.
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, "", os.NewSyscallError("socket", err)
	}
	address, err := pl.bind(fd, to)
	if err != nil {
		unix.Close(fd)
		return nil, "", err
	}
	return os.NewFile(uintptr(fd), address), address, nil
}

func (pl *place) bind(fd int, to unix.Sockaddr) (string, error) {
	if pl.network == "tcp" {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return "", os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, to); err != nil {
		return "", os.NewSyscallError("bind", err)
	}
	address := pl.address
	if pl.network == "tcp" {
		name, err := unix.Getsockname(fd)
		if err != nil {
			return "", os.NewSyscallError("getsockname", err)
		}
		switch a := name.(type) {
		case *unix.SockaddrInet4:
			address = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
		case *unix.SockaddrInet6:
			address = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)).String()
		}
	} else if err := pl.permit(); err != nil {
		os.Remove(address)
		return "", err
	}
	// Before this nobody can connect, whatever the mode was.
	if err := unix.Listen(fd, pl.l.Backlog); err != nil {
		return "", os.NewSyscallError("listen", err)
	}
	return address, nil
}

// hangUp closes the connections that wait to be accepted when there is no worker to do that: who made them would
// wait for ever. Of a socket that is shared nobody knows.
func (pl *place) hangUp() {
	if pl.l.Shared {
		return
	}
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if pl.socket == nil {
		return
	}
	fd := int(pl.socket.Fd())
	waits := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} // the socket is blocking
	for range pl.l.Backlog + 1 {
		if n, err := unix.Poll(waits, 0); n != 1 || err != nil {
			return
		}
		if c, _, err := unix.Accept(fd); err == nil {
			unix.Close(c)
		}
	}
}

// permit sets mode and owner of the socket file.
func (pl *place) permit() error {
	if err := os.Chmod(pl.address, pl.l.Mode); err != nil {
		return err
	}
	return chown(pl.address, pl.l.Owner, pl.l.Group)
}

// chown gives path to user and group, "" = as it is.
func chown(path, user, group string) error {
	c, err := credential(&Program{User: user, Group: group})
	if err != nil || c == nil {
		return err
	}
	return os.Lchown(path, int(c.Uid), int(c.Gid))
}

// dialable returns why a path cannot be that of a socket.
func dialable(network, address string) error {
	if most := len(unix.RawSockaddrUnix{}.Path) - 1; network == "unix" && len(address) > most {
		return fmt.Errorf("socket path %q is longer than %d bytes", address, most)
	}
	return nil
}
