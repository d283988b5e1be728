//go:build unix

package main

import (
	"os"
	"syscall"
)

// hangup are the signals that make a server read its configuration again.
var hangup = []os.Signal{syscall.SIGHUP}
