//go:build !linux

package rawio

// HungUp reports whether the peer of a connection has closed its direction or is gone, even while
// data that it sent before is still unread. Only Linux can tell; elsewhere it is false.
func HungUp(any) bool { return false }
