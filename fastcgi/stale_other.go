//go:build !unix

package fastcgi

import "net"

// stale cannot be told without reading; a request that goes out on a stale
// connection is sent again.
func stale(net.Conn) bool { return false }
