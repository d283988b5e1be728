//go:build !unix

package main

import (
	"os"
	"os/signal"
)

// terminations returns a channel of the signals that ask the server to end.
// After stop they end it at once, as without us.
func terminations() (signals <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt)
	return c, func() { signal.Reset(os.Interrupt) }
}

// dieOf ends the process as an interrupt does without us.
func dieOf(os.Signal) { os.Exit(2) }
