//go:build !linux

package rawio

// HungUp reports whether the peer of a connection has closed its direction or is gone, even while
// data that it sent before is still unread. Of sockets only Linux can tell; elsewhere it is false.
func HungUp(conn any) bool {
	h, ok := conn.(hangUpper)
	return ok && h.HungUp()
}
