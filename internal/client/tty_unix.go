//go:build unix

package client

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// rawTerminal switches the terminal to single keys, but leaves it to the kernel to turn Ctrl-C into
// SIGINT. Suspending and quitting by key are off, since the shell would find a raw terminal.
func rawTerminal(in, _ *os.File) (restore func(), err error) {
	fd := int(in.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	restore = func() { term.Restore(fd, old) }
	mode, err := unix.IoctlGetTermios(fd, getTermios)
	if err == nil {
		mode.Lflag |= unix.ISIG
		mode.Cc[unix.VSUSP] = disabledKey
		mode.Cc[unix.VQUIT] = disabledKey
		err = unix.IoctlSetTermios(fd, setTermios, mode)
	}
	if err != nil {
		restore()
		return nil, err
	}
	return restore, nil
}

// onResize calls f when the size of the terminal changes, until stop returns.
func onResize(f func()) (stop func()) {
	changed := make(chan os.Signal, 1)
	quit, done := make(chan struct{}), make(chan struct{})
	signal.Notify(changed, syscall.SIGWINCH)
	go func() {
		defer close(done)
		for {
			select {
			case <-changed:
				f()
			case <-quit:
				return
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		close(quit)
		<-done
	}
}

func isBrokenPipe(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}
