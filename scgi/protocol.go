package scgi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/wspawn/wspawn/cgi"
)

// Protocol is how the meta-variables of a request are written on the connection. What comes behind
// them, body and response, is the same for both.
type Protocol uint8

// The protocols.
const (
	SCGI  Protocol = iota // a netstring of names and values that end in NUL
	UWSGI                 // the uwsgi protocol: four bytes of header, counted names and values
)

// String returns "scgi" or "uwsgi".
func (p Protocol) String() string {
	switch p {
	case SCGI:
		return "scgi"
	case UWSGI:
		return "uwsgi"
	}
	return fmt.Sprintf("Protocol(%d)", p)
}

// DefaultMaxHead is how many bytes of meta-variables [Protocol.Read] takes if nothing else is said. It
// is more than the header lines that net/http accepts by default.
const DefaultMaxHead = 2 << 20

var (
	// ErrTooLarge is the error for meta-variables that do not fit: into the 65535 bytes that the
	// uwsgi protocol has for them, or into the limit of who reads them. As an answer it is 431.
	ErrTooLarge = errors.New("meta-variables are too large")
	// ErrSyntax is the error of what is not a head in the expected protocol.
	ErrSyntax = errors.New("malformed head")
)

func syntax(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSyntax, fmt.Sprintf(format, args...))
}

// Append appends the meta-variables of a request to dst. When it fails dst is returned as it was.
//
// With [SCGI], CONTENT_LENGTH is written first and must be there, and SCGI=1 is added. Errors are
// [ErrTooLarge], and those of names and values that cannot be carried: empty names, names with "="
// and NUL bytes, which no list made by [cgi.Variables] has, and names that occur twice.
func (p Protocol) Append(dst []byte, l cgi.List) ([]byte, error) {
	if err := check(l); err != nil {
		return dst, err
	}
	if p == UWSGI {
		return appendBlock(dst, l)
	}
	return appendNetstring(dst, l)
}

// Read reads the meta-variables of one request from r, and not a byte more than belongs to them
// out of r's buffer: the body is what r yields next. max bounds their size in bytes; 0 means
// [DefaultMaxHead]. Memory grows with what has really come, not with the length that a peer claims.
//
// It is strict. A head that Append could not have written is [ErrSyntax], except that the order of
// names is free where the protocol says so, and SCGI=1 may stand anywhere but in front. io.EOF means that the connection
// ended before the first byte; io.ErrUnexpectedEOF, later.
func (p Protocol) Read(r *bufio.Reader, max int) (cgi.List, error) {
	if max <= 0 {
		max = DefaultMaxHead
	}
	if _, err := r.Peek(1); err != nil {
		return nil, err
	}
	var l cgi.List
	var err error
	if p == UWSGI {
		l, err = readBlock(r, max)
	} else {
		l, err = readNetstring(r, max)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("%v head: %w", p, err)
	}
	return l, nil
}

// check refuses what the other side could not read, or would read as something else.
func check(l cgi.List) error {
	seen := make(map[string]struct{}, len(l))
	for _, v := range l {
		if err := checkVar(v, seen); err != nil {
			return fmt.Errorf("meta-variable %q: %w", v.Name, err)
		}
	}
	return nil
}

// checkVar also notes the name of v in seen.
func checkVar(v cgi.Var, seen map[string]struct{}) error {
	if v.Name == "" || strings.IndexByte(v.Name, '=') >= 0 || strings.IndexByte(v.Name, 0) >= 0 {
		return errors.New("not a name")
	}
	if strings.IndexByte(v.Value, 0) >= 0 {
		return errors.New("a NUL byte in the value")
	}
	if _, twice := seen[v.Name]; twice {
		return errors.New("occurs twice")
	}
	seen[v.Name] = struct{}{}
	return nil
}

// readFull reads n bytes. What a peer only claims to send takes no memory.
func readFull(r *bufio.Reader, n int) ([]byte, error) {
	const step = 16 << 10
	b := make([]byte, 0, min(n, step))
	for len(b) < n {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)] // doubles
		}
		got, err := r.Read(b[len(b):min(cap(b), n)])
		b = b[:len(b)+got]
		if err != nil && len(b) < n {
			return nil, err
		}
	}
	return b, nil
}
