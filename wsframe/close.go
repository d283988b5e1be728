package wsframe

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// A CloseCode says why a connection ends (RFC 6455, section 7.4, and the IANA registry).
type CloseCode uint16

// The registered close codes.
const (
	CloseNormal             CloseCode = 1000
	CloseGoingAway          CloseCode = 1001 // server shutting down, page left
	CloseProtocolError      CloseCode = 1002
	CloseUnsupported        CloseCode = 1003 // a type of message that is not accepted here
	CloseNoStatus           CloseCode = 1005 // never sent: the Close frame carried no code
	CloseAbnormal           CloseCode = 1006 // never sent: the connection ended without a Close frame
	CloseInvalidPayload     CloseCode = 1007 // text that is not UTF-8
	ClosePolicy             CloseCode = 1008
	CloseTooBig             CloseCode = 1009
	CloseMandatoryExtension CloseCode = 1010
	CloseInternalError      CloseCode = 1011
	CloseServiceRestart     CloseCode = 1012
	CloseTryAgainLater      CloseCode = 1013
	CloseBadGateway         CloseCode = 1014
	CloseTLSHandshake       CloseCode = 1015 // never sent: the TLS handshake failed
)

// Sendable reports whether a Close frame may carry the code: 1000 to 1003, 1007 to 1014, 3000 to
// 4999. All others are reserved or only for local use.
func (c CloseCode) Sendable() bool {
	return c >= 1000 && c <= 1003 || c >= 1007 && c <= 1014 || c >= 3000 && c <= 4999
}

// MaxCloseReason is how many bytes of reason fit into a Close frame.
const MaxCloseReason = MaxControlPayload - 2

// A CloseError tells how a connection ended. Every read of an ended connection returns one.
type CloseError struct {
	Code   CloseCode // CloseNoStatus and CloseAbnormal where there was no code or no Close frame
	Reason string    // the peer's words, or ours
	Remote bool      // the peer's doing; false: ended by this side, for the reason given
	Err    error     // with CloseAbnormal: the error of the network, where there was one
}

func (e *CloseError) Error() string {
	who := "closed"
	if e.Remote {
		who = "closed by peer"
	}
	if e.Reason == "" {
		return fmt.Sprintf("%s: %d", who, e.Code)
	}
	return fmt.Sprintf("%s: %d %s", who, e.Code, e.Reason)
}

// Unwrap returns the error of the network.
func (e *CloseError) Unwrap() error { return e.Err }

func violation(reason string) *CloseError {
	return &CloseError{Code: CloseProtocolError, Reason: reason}
}

// appendClosePayload appends the payload of a Close frame. Code 0 and CloseNoStatus give an empty
// one; a reason that is too long is cut between two characters, invalid UTF-8 in it replaced.
func appendClosePayload(dst []byte, code CloseCode, reason string) []byte {
	if code == 0 || code == CloseNoStatus {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	room := MaxCloseReason
	for _, r := range reason {
		if room -= utf8.RuneLen(r); room < 0 {
			break
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// parseClosePayload judges the payload of a received Close frame (RFC 6455, sections 5.5.1, 7.4).
func parseClosePayload(p []byte) (CloseCode, string, *CloseError) {
	if len(p) == 0 {
		return CloseNoStatus, "", nil
	}
	if len(p) == 1 {
		return 0, "", violation("close frame with a payload of one byte")
	}
	code := CloseCode(binary.BigEndian.Uint16(p))
	if !code.Sendable() {
		return 0, "", violation(fmt.Sprintf("close frame with the illegal code %d", code))
	}
	if !utf8.Valid(p[2:]) {
		return 0, "", &CloseError{Code: CloseInvalidPayload, Reason: "close reason is not UTF-8"}
	}
	return code, string(p[2:]), nil
}
