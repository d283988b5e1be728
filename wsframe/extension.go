package wsframe

import (
	"errors"
	"fmt"
	"strings"
)

// maxListed bounds the protocols, the extensions and the parameters of one
// extension in a handshake. Real clients send a handful.
const maxListed = 64

// An Extension is one element of a Sec-WebSocket-Extensions header: an offer in
// a request, what was agreed on in an answer (RFC 6455, section 9.1).
type Extension struct {
	Name   string // a token, as sent
	Params []ExtensionParam
}

// An ExtensionParam is a parameter of an extension. Name is a token. Value is a
// token too, also where it was sent as a quoted string, or "" when there is none.
type ExtensionParam struct {
	Name, Value string
}

// String returns the extension as it is written in a header.
func (e Extension) String() string {
	var b strings.Builder
	b.WriteString(e.Name)
	for _, p := range e.Params {
		b.WriteString("; ")
		b.WriteString(p.Name)
		if p.Value != "" {
			b.WriteString("=")
			b.WriteString(p.Value)
		}
	}
	return b.String()
}

// parseExtensions parses all Sec-WebSocket-Extensions lines of a head, in order.
// Empty list elements are skipped. No lines give no extensions.
func parseExtensions(lines []string) ([]Extension, error) {
	var all []Extension
	for _, line := range lines {
		s := fieldScanner{rest: line}
		for {
			s.blanks()
			if s.accept(',') {
				continue
			}
			if s.rest == "" {
				break
			}
			if len(all) == maxListed {
				return nil, fmt.Errorf("more than %d extensions", maxListed)
			}
			e, err := s.extension()
			if err != nil {
				return nil, err
			}
			all = append(all, e)
			if s.rest != "" && !s.accept(',') {
				return nil, s.unexpected()
			}
		}
	}
	return all, nil
}

// A fieldScanner walks over one header line. Its methods for elements skip the
// blanks behind them.
type fieldScanner struct{ rest string }

func (s *fieldScanner) extension() (e Extension, err error) {
	if e.Name, err = s.token(); err != nil {
		return e, err
	}
	for s.accept(';') {
		if len(e.Params) == maxListed {
			return e, fmt.Errorf("more than %d parameters", maxListed)
		}
		s.blanks()
		var p ExtensionParam
		if p.Name, err = s.token(); err != nil {
			return e, err
		}
		if s.accept('=') {
			s.blanks()
			if p.Value, err = s.value(); err != nil {
				return e, err
			}
		}
		e.Params = append(e.Params, p)
	}
	return e, nil
}

func (s *fieldScanner) token() (string, error) {
	n := 0
	for n < len(s.rest) && tokenChar[s.rest[n]] {
		n++
	}
	if n == 0 {
		return "", s.unexpected()
	}
	t := s.rest[:n]
	s.rest = s.rest[n:]
	s.blanks()
	return t, nil
}

// value scans a token or a quoted string, whose content must be a token once the
// backslashes are gone.
func (s *fieldScanner) value() (string, error) {
	if !s.accept('"') {
		return s.token()
	}
	var b strings.Builder
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; c {
		case '"':
			s.rest = s.rest[i+1:]
			s.blanks()
			if !isToken(b.String()) {
				return "", fmt.Errorf("quoted value %q is not a token", b.String())
			}
			return b.String(), nil
		case '\\':
			if i++; i == len(s.rest) {
				return "", errors.New("quoted value does not end")
			}
			b.WriteByte(s.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("quoted value does not end")
}

func (s *fieldScanner) accept(c byte) bool {
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

func (s *fieldScanner) blanks() { s.rest = strings.TrimLeft(s.rest, " \t") }

func (s *fieldScanner) unexpected() error {
	if s.rest == "" {
		return errors.New("ends too early")
	}
	return fmt.Errorf("unexpected %q", s.rest[0])
}
