package client

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
	"golang.org/x/term"
)

// rawTerminal switches the console to single keys and escape sequences. Ctrl-C remains a signal.
func rawTerminal(in, out *os.File) (restore func(), err error) {
	old, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	hin, hout := windows.Handle(in.Fd()), windows.Handle(out.Fd())
	var inMode, outMode uint32
	restore = func() { term.Restore(int(in.Fd()), old) }
	if err = windows.GetConsoleMode(hin, &inMode); err == nil {
		err = windows.SetConsoleMode(hin, inMode|windows.ENABLE_PROCESSED_INPUT)
	}
	if err == nil {
		err = windows.GetConsoleMode(hout, &outMode)
	}
	if err == nil {
		err = windows.SetConsoleMode(hout, outMode|windows.ENABLE_PROCESSED_OUTPUT|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING)
	}
	if err != nil {
		restore()
		return nil, err
	}
	return func() {
		windows.SetConsoleMode(hout, outMode)
		restore()
	}, nil
}

// onResize does nothing: consoles do not tell by a signal.
func onResize(func()) (stop func()) { return func() {} }

func isBrokenPipe(err error) bool {
	return errors.Is(err, syscall.ERROR_BROKEN_PIPE) || errors.Is(err, windows.ERROR_NO_DATA) || errors.Is(err, io.ErrClosedPipe)
}
