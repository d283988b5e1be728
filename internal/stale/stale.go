// Package stale removes the files that Unix sockets leave behind.
package stale

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// The reasons why a file stays.
var (
	ErrInUse     = errors.New("the socket is in use by another program")
	ErrNotSocket = errors.New("a file of that name exists and is not a socket")
)

// wsaRefused is ECONNREFUSED on Windows.
const wsaRefused = syscall.Errno(10061)

// Remove removes a socket that nobody listens on any more, and nothing else: a socket that answers is [ErrInUse], and
// what is no socket is [ErrNotSocket]. It is no error if there is no such file. It may take a second.
func Remove(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return nil // who listens will hear what is wrong, if something is
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return ErrNotSocket
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return ErrInUse
	}
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, wsaRefused) {
		// Perhaps it is only busy, or not for us to connect to.
		return fmt.Errorf("the socket may be in use: %w", cause(err))
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("cannot remove the stale socket: %w", errors.Unwrap(err))
	}
	return nil
}

// cause leaves out what the caller knows.
func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
