//go:build !linux

package rawio

// A Wait is a function that waits for a stream. The zero Wait is none.
type Wait struct{}

// WhenReadable calls f once, when s has something to read, has ended or has failed, so that whoever
// reads a quiet stream need not keep a goroutine for it. Only Linux has it; elsewhere it reports false
// and does nothing.
func WhenReadable(s any, f func()) (Wait, bool) { return Wait{}, false }

// CanWait reports whether WhenReadable works for s.
func CanWait(s any) bool { return false }

// Forget ends a wait.
func (Wait) Forget() {}
