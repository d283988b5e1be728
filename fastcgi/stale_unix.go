//go:build unix

package fastcgi

import (
	"net"
	"syscall"
)

// stale reports whether an idle connection has ended, or has something to say
// that nobody asked for.
func stale(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, err := syscall.Read(int(fd), b[:])
		quiet = err == syscall.EAGAIN || err == syscall.EINTR
		return true
	})
	return err != nil || !quiet
}
