package client

import (
	"errors"
	"fmt"
	"strings"

	"github.com/wspawn/wspawn/wsframe"
)

// Exit statuses of an [Error].
const (
	StatusFailure     = 1 // no connection, no message with One, or the output cannot be written
	StatusUsage       = 2 // what was asked for makes no sense, or input is not what it has to be
	StatusAbnormal    = 3 // the connection ended without a Close frame of the peer (1006)
	StatusClosed      = 4 // closed with 1001 by the peer, or with 1002 to 1015
	StatusApplication = 5 // closed with 3000 to 4999
)

// An Error tells how a run ended that did not end well. Its text is one line that is safe to print.
type Error struct {
	Status int    // for exit
	Hint   string // what to try next, a line, or ""
	Err    error  // the cause
}

func (e *Error) Error() string { return clean(e.Err.Error()) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func usage(err error) error { return &Error{Status: StatusUsage, Err: err} }

// Why a run ends, where it is not the peer's or the network's doing.
var (
	errFirst     = errors.New("first message has come")
	errNoReader  = errors.New("nobody reads the output")
	errNoMessage = errors.New("no message has come")
	errCut       = errors.New("stopped before the close handshake was complete")
)

// An inputError is that of reading the input, or of what it has.
type inputError struct {
	err     error
	status  int
	hint    string
	partial bool // the beginning of the message has been sent
}

func (e *inputError) Error() string { return e.err.Error() }

var codeNames = map[wsframe.CloseCode]string{
	wsframe.CloseGoingAway:          "going away",
	wsframe.CloseProtocolError:      "protocol error",
	wsframe.CloseUnsupported:        "unsupported data",
	wsframe.CloseNoStatus:           "no code given",
	wsframe.CloseAbnormal:           "no Close frame",
	wsframe.CloseInvalidPayload:     "invalid data",
	wsframe.ClosePolicy:             "policy violation",
	wsframe.CloseTooBig:             "message too big",
	wsframe.CloseMandatoryExtension: "extension missing",
	wsframe.CloseInternalError:      "internal error",
	wsframe.CloseServiceRestart:     "service restart",
	wsframe.CloseTryAgainLater:      "try again later",
	wsframe.CloseBadGateway:         "bad gateway",
}

// closedError is the Error for a connection that ended in this way, nil for an orderly end.
func closedError(e *wsframe.CloseError) error {
	status := StatusClosed
	switch {
	case e.Code == wsframe.CloseNormal, e.Code == wsframe.CloseGoingAway && !e.Remote:
		return nil
	case e.Code == wsframe.CloseAbnormal:
		status = StatusAbnormal
	case e.Code >= 3000:
		status = StatusApplication
	}
	var b strings.Builder
	b.WriteString("closed")
	if e.Remote && e.Code != wsframe.CloseAbnormal {
		b.WriteString(" by the peer")
	}
	fmt.Fprintf(&b, ": %d", e.Code)
	if name := codeNames[e.Code]; name != "" {
		fmt.Fprintf(&b, " (%s)", name)
	}
	if e.Reason != "" {
		fmt.Fprintf(&b, ": %s", e.Reason)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return &Error{Status: status, Hint: closeHint(e), Err: errors.New(b.String())}
}

func closeHint(e *wsframe.CloseError) string {
	switch {
	case e.Code == wsframe.CloseTooBig && !e.Remote:
		return "allow larger messages with --max-message"
	case e.Code == wsframe.CloseUnsupported && e.Remote:
		return "the server may want the other type of message: with --binary, or without"
	}
	return ""
}
