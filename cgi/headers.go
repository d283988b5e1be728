package cgi

import (
	"net/http"
	"slices"
	"strings"
)

// Headers returns the protocol-specific meta-variables of a request (RFC 3875
// section 4.1.18): its header fields as HTTP_*, sorted by name. HTTP_HOST is
// among them although [http.Request] keeps it apart.
//
// Fields that occur several times are joined with ", ", Cookie with "; " (RFC
// 9110 section 5.3, RFC 6265 section 5.4). A field that is present and empty
// gives a variable that is present and empty.
//
// Left out are Proxy, names with other characters than letters, digits and
// "-", and what has a meta-variable of its own (Content-Length,
// Content-Type). The error is a [*RequestError].
func Headers(r *http.Request) (List, error) {
	names := make([]string, 0, len(r.Header)+1)
	for name := range r.Header {
		if !strings.EqualFold(name, "Host") {
			names = append(names, name)
		}
	}
	slices.Sort(names) // makes the error below the same every time

	list := make(List, 0, len(names)+1)
	if r.Host != "" {
		list = append(list, Var{"HTTP_HOST", r.Host})
	}
	taken := make(map[string]string, len(names)+1)
	taken["HTTP_HOST"] = "Host"
	for _, name := range names {
		variable, clean := headerVariable(name)
		if other, ok := taken[variable]; ok {
			return nil, &RequestError{Field: name, Reason: "and " + other + " would both become " + variable}
		}
		taken[variable] = name
		if !clean || separate[variable] {
			continue
		}
		value, ok := joined(variable, r.Header[name])
		if ok {
			list = append(list, Var{variable, value})
		}
	}
	slices.SortFunc(list, func(a, b Var) int { return strings.Compare(a.Name, b.Name) })
	if err := list.check(); err != nil {
		return nil, err
	}
	return list, nil
}

// separate lists the names that [Headers] never returns. The first is the
// "httpoxy" one: programs take HTTP_PROXY for a setting of their own. The
// others have meta-variables without HTTP_ and must not be there twice (RFC
// 3875 section 4.1.18).
var separate = map[string]bool{
	"HTTP_PROXY":          true,
	"HTTP_CONTENT_LENGTH": true,
	"HTTP_CONTENT_TYPE":   true,
}

// headerVariable maps a field name. Every byte that is no letter and no digit
// becomes "_"; clean is false when that was needed for anything but "-". The
// name is mapped all the same, so that collisions with clean names are seen.
func headerVariable(name string) (variable string, clean bool) {
	b := make([]byte, 0, len("HTTP_")+len(name))
	b = append(b, "HTTP_"...)
	clean = name != ""
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-':
			c = '_'
		default:
			clean = false
			c = '_'
		}
		b = append(b, c)
	}
	return string(b), clean
}

// joined makes one value of the lines of a field. A field without any line,
// which only a hand-made header map can have, is no field.
func joined(variable string, lines []string) (value string, ok bool) {
	if len(lines) == 0 {
		return "", false
	}
	if variable == "HTTP_COOKIE" {
		return strings.Join(lines, "; "), true
	}
	return strings.Join(lines, ", "), true
}

// contentType returns the one Content-Type of the request. Two that differ
// are refused: which of them a program obeys must not be a matter of luck.
func contentType(h http.Header) (value string, ok bool, err error) {
	lines := h.Values("Content-Type")
	if len(lines) == 0 {
		return "", false, nil
	}
	for _, line := range lines[1:] {
		if line != lines[0] {
			return "", false, &RequestError{Field: "Content-Type", Reason: "occurs twice with different values"}
		}
	}
	return lines[0], true, nil
}
