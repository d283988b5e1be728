package listen

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// narrow returns a function for net.ListenConfig that lets nobody but the owner, and the owner only as far as mode does,
// connect to a Unix socket before its permissions are set: bind gives the file those of the socket, without what the umask takes.
func narrow(mode os.FileMode) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		e := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), uint32(mode&0o700)) })
		if e != nil {
			return e
		}
		return os.NewSyscallError("fchmod", err)
	}
}
