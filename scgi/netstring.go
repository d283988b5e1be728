package scgi

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/wspawn/wspawn/cgi"
)

// The head of an SCGI request is a netstring, "LENGTH:...,", of names and values that each end in
// NUL. CONTENT_LENGTH comes first and SCGI=1 is among them (https://python.ca/scgi/protocol.txt).

func appendNetstring(dst []byte, l cgi.List) ([]byte, error) {
	length, ok := l.Lookup("CONTENT_LENGTH")
	if !ok || !isLength(length) {
		return dst, fmt.Errorf("meta-variable \"CONTENT_LENGTH\": must be a number, is %q", length)
	}
	if v, ok := l.Lookup("SCGI"); ok && v != "1" {
		return dst, fmt.Errorf("meta-variable \"SCGI\": must be 1, is %q", v)
	}
	size := len("CONTENT_LENGTH") + len(length) + len("SCGI") + len("1") + 4
	for _, v := range l {
		if !fixed(v.Name) {
			size += len(v.Name) + len(v.Value) + 2
		}
	}
	dst = slices.Grow(dst, size+len("2147483647:,")) // at once, not in steps
	dst = strconv.AppendInt(dst, int64(size), 10)
	dst = append(dst, ':')
	dst = appendPair(dst, cgi.Var{Name: "CONTENT_LENGTH", Value: length})
	dst = appendPair(dst, cgi.Var{Name: "SCGI", Value: "1"})
	for _, v := range l {
		if !fixed(v.Name) {
			dst = appendPair(dst, v)
		}
	}
	return append(dst, ','), nil
}

// fixed are the variables whose place is always the same.
func fixed(name string) bool { return name == "CONTENT_LENGTH" || name == "SCGI" }

func appendPair(dst []byte, v cgi.Var) []byte {
	dst = append(dst, v.Name...)
	dst = append(dst, 0)
	dst = append(dst, v.Value...)
	return append(dst, 0)
}

func readNetstring(r *bufio.Reader, max int) (cgi.List, error) {
	n, err := readNetstringLength(r, max)
	if err != nil {
		return nil, err
	}
	b, err := readFull(r, n)
	if err != nil {
		return nil, err
	}
	switch c, err := r.ReadByte(); {
	case err != nil:
		return nil, err
	case c != ',':
		return nil, syntax("%q where the comma should be", c)
	}
	return parsePairs(b)
}

func readNetstringLength(r *bufio.Reader, max int) (int, error) {
	n := 0
	for digits := 0; ; digits++ {
		c, err := r.ReadByte()
		switch {
		case err != nil:
			return 0, err
		case c == ':' && digits > 0:
			return n, nil
		case c < '0' || c > '9':
			return 0, syntax("%q in the length", c)
		case digits > 0 && n == 0:
			return 0, syntax("the length begins with 0")
		}
		n = n*10 + int(c-'0')
		if n > max {
			return 0, fmt.Errorf("%w (limit %d bytes)", ErrTooLarge, max)
		}
	}
}

func parsePairs(b []byte) (cgi.List, error) {
	if len(b) == 0 || b[len(b)-1] != 0 {
		return nil, syntax("the last value does not end in NUL")
	}
	if bytes.Count(b, []byte{0})%2 != 0 {
		return nil, syntax("a name without a value")
	}
	l := make(cgi.List, 0, 32)
	seen := make(map[string]struct{}, 32)
	for s := string(b); s != ""; {
		var v cgi.Var
		v.Name, s = cutNUL(s)
		v.Value, s = cutNUL(s)
		if err := checkVar(v, seen); err != nil {
			return nil, syntax("%q: %v", v.Name, err)
		}
		l = append(l, v)
	}
	if l[0].Name != "CONTENT_LENGTH" || !isLength(l[0].Value) {
		return nil, syntax("%q=%q is not CONTENT_LENGTH with a number", l[0].Name, l[0].Value)
	}
	if v, _ := l.Lookup("SCGI"); v != "1" {
		return nil, syntax("SCGI is %q, not 1", v)
	}
	return l, nil
}

// cutNUL splits s, which has a NUL, around the first one.
func cutNUL(s string) (before, after string) {
	for i := range len(s) {
		if s[i] == 0 {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// isLength reports whether s is a number of bytes: digits alone, no sign, in the range of int64.
func isLength(s string) bool {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return false
	}
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}
