package clientip

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// element is what one proxy says in Forwarded.
type element struct{ node, proto, host string }

// fromForwarded walks over the lines of Forwarded.
func (s *Resolver) fromForwarded(lines []string) (what said, err error) {
	elements, err := parseForwarded(lines)
	if err != nil {
		return what, fmt.Errorf("header Forwarded: %w", err)
	}
	client, at, err := s.walk(len(elements), func(i int) (netip.AddrPort, error) { return parseNode(elements[i].node) })
	what.client = client
	var schemeErr, hostErr error
	e := elements[max(at, 0)]
	if e.proto != "" {
		what.scheme, schemeErr = parseScheme(e.proto)
	}
	if e.host != "" && s.host != "" {
		if hostErr = checkHost(e.host); hostErr == nil {
			what.host = e.host
		}
	}
	if err = cmp.Or(err, schemeErr, hostErr); err != nil {
		err = fmt.Errorf("header Forwarded: %w", err)
	}
	return what, err
}

var errForwarded = errors.New("not a list of parameters")

// parseForwarded reads RFC 7239, section 4: elements with commas between them, of pairs with semicolons between
// them, whose values are tokens or quoted strings. Unlike X-Forwarded-For it has a grammar, and a string
// that a client left open would swallow what proxies append. A line is parsed by itself, so that it
// swallows no more than its own. At least one element is returned.
func parseForwarded(lines []string) ([]element, error) {
	var all []element
	for _, line := range lines {
		var e element
		pairs := 0
		end := func() {
			if pairs > 0 {
				all = append(all, e)
			}
			e, pairs = element{}, 0
		}
		for line = strings.TrimLeft(line, " \t"); line != ""; line = strings.TrimLeft(line, " \t") {
			switch line[0] {
			case ',':
				end()
				line = line[1:]
				continue
			case ';':
				line = line[1:]
				continue
			}
			name, rest, ok := strings.Cut(line, "=")
			if !ok || !isToken(name) {
				return nil, errForwarded
			}
			value, rest, ok := parseValue(rest)
			if rest = strings.TrimLeft(rest, " \t"); !ok || rest != "" && rest[0] != ',' && rest[0] != ';' {
				return nil, errForwarded
			}
			field := (*string)(nil)
			switch strings.ToLower(name) {
			case "for":
				field = &e.node
			case "proto":
				field = &e.proto
			case "host":
				field = &e.host
			}
			if field != nil {
				if *field != "" {
					return nil, fmt.Errorf("%s occurs twice in one element", name)
				}
				*field = value
			}
			pairs++
			line = rest
		}
		end()
	}
	if len(all) == 0 {
		return nil, errors.New("empty")
	}
	return all, nil
}

// parseValue reads a token or a quoted string. Addresses with colons in a token are against the grammar and so
// common that they are taken.
func parseValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ",; \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], end > 0 && !strings.Contains(s[:end], `"`)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
