//go:build !linux

package rawio

// whenReadable waits for nothing: only Linux has a way to.
func whenReadable(any, func()) (key int32) { return 0 }

func forget(int32) {}

// CanSleep reports whether the reader of s can be a [Sleeper].
func CanSleep(any) bool { return false }
