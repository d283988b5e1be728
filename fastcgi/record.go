package fastcgi

import (
	"encoding/binary"
	"fmt"
)

// A RecordType says what a record carries (specification, section 8).
type RecordType uint8

// The record types of FastCGI 1.0. The ones from GetValues to UnknownType are
// management records, with request id 0.
const (
	TypeBeginRequest    RecordType = 1
	TypeAbortRequest    RecordType = 2
	TypeEndRequest      RecordType = 3
	TypeParams          RecordType = 4
	TypeStdin           RecordType = 5
	TypeStdout          RecordType = 6
	TypeStderr          RecordType = 7
	TypeData            RecordType = 8
	TypeGetValues       RecordType = 9
	TypeGetValuesResult RecordType = 10
	TypeUnknownType     RecordType = 11

	// TypeWindow is an extension of this package, used between two sides that
	// agreed on it; see the package comment.
	TypeWindow RecordType = 87
)

var typeNames = [...]string{
	TypeBeginRequest: "BEGIN_REQUEST", TypeAbortRequest: "ABORT_REQUEST", TypeEndRequest: "END_REQUEST",
	TypeParams: "PARAMS", TypeStdin: "STDIN", TypeStdout: "STDOUT", TypeStderr: "STDERR", TypeData: "DATA",
	TypeGetValues: "GET_VALUES", TypeGetValuesResult: "GET_VALUES_RESULT", TypeUnknownType: "UNKNOWN_TYPE",
	TypeWindow: "WINDOW",
}

// String returns the name of the specification without its prefix.
func (t RecordType) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// A Role is what an application is asked to do (section 6).
type Role uint16

// The roles of FastCGI 1.0. This package knows responders and authorizers.
const (
	RoleResponder  Role = 1
	RoleAuthorizer Role = 2
	RoleFilter     Role = 3
)

// String returns the name in the way FCGI_ROLE has it.
func (r Role) String() string {
	switch r {
	case RoleResponder:
		return "RESPONDER"
	case RoleAuthorizer:
		return "AUTHORIZER"
	case RoleFilter:
		return "FILTER"
	}
	return fmt.Sprintf("role %d", uint16(r))
}

// A ProtocolStatus is how a request ended at the level of the protocol
// (section 5.5).
type ProtocolStatus uint8

// The protocol statuses of FastCGI 1.0.
const (
	StatusComplete    ProtocolStatus = 0
	StatusCantMpxConn ProtocolStatus = 1
	StatusOverloaded  ProtocolStatus = 2
	StatusUnknownRole ProtocolStatus = 3
)

// String says it in words.
func (s ProtocolStatus) String() string {
	switch s {
	case StatusComplete:
		return "request complete"
	case StatusCantMpxConn:
		return "cannot multiplex connections"
	case StatusOverloaded:
		return "overloaded"
	case StatusUnknownRole:
		return "unknown role"
	}
	return fmt.Sprintf("protocol status %d", uint8(s))
}

const (
	version = 1

	// HeaderLen is the length of every record header in bytes.
	HeaderLen = 8
	// MaxContent is the most that one record can carry in bytes.
	MaxContent = 65535

	// sentContent is the most that this package puts into one record: the
	// largest size that keeps records aligned without padding.
	sentContent = MaxContent &^ 7

	flagKeepConn = 1
)

// A ProtocolError is a violation of the protocol by the peer. The connection
// is of no use any more.
type ProtocolError struct {
	// Reason says what was wrong.
	Reason string
}

// Error returns the reason.
func (e *ProtocolError) Error() string { return "fastcgi: " + e.Reason }

func protocolError(format string, args ...any) error {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}

// A Header describes one record (section 3.3).
type Header struct {
	Type    RecordType
	ID      uint16 // of the request; 0 for management records
	Length  uint16 // of the content, bytes
	Padding uint8  // bytes behind the content that mean nothing
}

// AppendHeader appends h in its wire form.
func AppendHeader(dst []byte, h Header) []byte {
	return append(dst, version, byte(h.Type), byte(h.ID>>8), byte(h.ID), byte(h.Length>>8), byte(h.Length), h.Padding, 0)
}

// ParseHeader decodes the first [HeaderLen] bytes of b, which must be there. A
// version other than 1 is a [*ProtocolError]. All else is allowed here: what a
// type or an id may be depends on the state of the connection.
func ParseHeader(b []byte) (Header, error) {
	_ = b[HeaderLen-1]
	if b[0] != version {
		return Header{}, protocolError("record of version %d, want 1", b[0])
	}
	return Header{
		Type:    RecordType(b[1]),
		ID:      binary.BigEndian.Uint16(b[2:]),
		Length:  binary.BigEndian.Uint16(b[4:]),
		Padding: b[6],
	}, nil
}

// AppendStream appends content as records of a stream type (PARAMS, STDIN,
// STDOUT, STDERR), as many as are needed. Empty content gives nothing, because
// an empty record ends a stream; for that see [AppendRecord].
func AppendStream(dst []byte, t RecordType, id uint16, content []byte) []byte {
	for len(content) > 0 {
		n := min(len(content), sentContent)
		dst = AppendRecord(dst, t, id, content[:n])
		content = content[n:]
	}
	return dst
}

// AppendRecord appends one record without padding. Content over [MaxContent]
// bytes makes it panic.
func AppendRecord(dst []byte, t RecordType, id uint16, content []byte) []byte {
	if len(content) > MaxContent {
		panic("fastcgi: content does not fit into one record")
	}
	dst = AppendHeader(dst, Header{Type: t, ID: id, Length: uint16(len(content))})
	return append(dst, content...)
}

// AppendBegin appends a BEGIN_REQUEST record (section 5.1).
func AppendBegin(dst []byte, id uint16, role Role, keepConn bool) []byte {
	var flags byte
	if keepConn {
		flags = flagKeepConn
	}
	return AppendRecord(dst, TypeBeginRequest, id, []byte{byte(role >> 8), byte(role), flags, 0, 0, 0, 0, 0})
}

// ParseBegin decodes the content of a BEGIN_REQUEST record.
func ParseBegin(content []byte) (role Role, keepConn bool, err error) {
	if len(content) != 8 {
		return 0, false, protocolError("BEGIN_REQUEST of %d bytes, want 8", len(content))
	}
	return Role(binary.BigEndian.Uint16(content)), content[2]&flagKeepConn != 0, nil
}

// AppendEnd appends an END_REQUEST record (section 5.5).
func AppendEnd(dst []byte, id uint16, appStatus uint32, status ProtocolStatus) []byte {
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], appStatus)
	b[4] = byte(status)
	return AppendRecord(dst, TypeEndRequest, id, b[:])
}

// ParseEnd decodes the content of an END_REQUEST record.
func ParseEnd(content []byte) (appStatus uint32, status ProtocolStatus, err error) {
	if len(content) != 8 {
		return 0, 0, protocolError("END_REQUEST of %d bytes, want 8", len(content))
	}
	return binary.BigEndian.Uint32(content), ProtocolStatus(content[4]), nil
}

// appendUnknown appends the answer to a management record of an unknown type
// (section 4.2).
func appendUnknown(dst []byte, t RecordType) []byte {
	return AppendRecord(dst, TypeUnknownType, 0, []byte{byte(t), 0, 0, 0, 0, 0, 0, 0})
}

// appendWindow appends a WINDOW record.
func appendWindow(dst []byte, id uint16, n int) []byte {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(n))
	return AppendRecord(dst, TypeWindow, id, b[:])
}

func parseWindow(content []byte) (int, error) {
	if len(content) != 4 {
		return 0, protocolError("WINDOW of %d bytes, want 4", len(content))
	}
	n := binary.BigEndian.Uint32(content)
	if n == 0 || n > maxWindow {
		return 0, protocolError("WINDOW of %d", n)
	}
	return int(n), nil
}
