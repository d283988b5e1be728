//go:build !linux

package rawio

import "net"

// Direct returns c: raw system calls are for Linux.
func Direct(c net.Conn) net.Conn { return c }
