//go:build !unix

package main

import (
	"os"
	"os/signal"
)

func ignoreSignals() { signal.Ignore(os.Interrupt) }
