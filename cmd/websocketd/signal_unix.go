//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// terminations returns a channel of the signals that ask the server to end.
// After stop they end it at once, as without us.
func terminations() (signals <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	var asked []os.Signal
	for _, s := range []os.Signal{syscall.SIGTERM, os.Interrupt, syscall.SIGHUP} {
		if !signal.Ignored(s) { // nohup
			asked = append(asked, s)
		}
	}
	if len(asked) == 0 { // to os/signal no signal at all means all of them
		return c, func() {}
	}
	signal.Notify(c, asked...)
	return c, func() { signal.Reset(asked...) }
}

// dieOf ends the process by the signal, so that whoever waits for it sees
// what websocketd would have shown.
func dieOf(sig os.Signal) {
	if n, ok := sig.(syscall.Signal); ok {
		syscall.Kill(syscall.Getpid(), n)
		select {} // it is on its way
	}
}
