//go:build unix

package main

import (
	"os"
	"syscall"
)

// hangup are the signals that make a server read its configuration again, or stop when it has no file of it.
var hangup = []os.Signal{syscall.SIGHUP}
