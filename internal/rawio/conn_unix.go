//go:build unix

package rawio

import (
	"net"
	"os"
	"syscall"
)

// rawConn returns the raw access to s where it is one of the kinds whose descriptor is known to be
// non-blocking. A type that merely embeds one of them (TLS, a counting wrapper) is not.
func rawConn(s any) syscall.RawConn {
	var c syscall.Conn
	switch s := s.(type) {
	case *net.TCPConn:
		c = s
	case *net.UnixConn:
		c = s
	case interface{ rawConn() syscall.RawConn }: // of Direct
		return s.rawConn()
	case *os.File:
		c = s
	default:
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
