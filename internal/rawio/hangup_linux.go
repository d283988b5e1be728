package rawio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// HungUp reports whether the peer of a connection has closed its direction or is gone, even while
// data that it sent before is still unread. It is for readers that cannot read on, and false where
// that cannot be told.
func HungUp(conn any) bool {
	if h, ok := conn.(hangUpper); ok {
		return h.HungUp()
	}
	c, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var fds [1]unix.PollFd
	raw.Control(func(fd uintptr) {
		fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLRDHUP}
		unix.Poll(fds[:], 0)
	})
	return fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}
