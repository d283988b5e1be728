package client

import (
	"os"
	"os/signal"
	"syscall"
)

// Signals returns the signals that should end a [Run]: interrupt, SIGTERM and SIGHUP. Until stop is
// called they do not end the process by themselves, and neither does writing to a closed pipe
// (SIGPIPE), so that the connection can be closed properly in all these cases.
func Signals() (signals <-chan os.Signal, stop func()) {
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	return ch, func() {
		signal.Stop(ch)
		signal.Stop(pipe)
	}
}
