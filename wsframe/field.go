package wsframe

import (
	"fmt"
	"iter"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/wspawn/wspawn/internal/stream"
)

// Header lines of the handshake in the spelling of RFC 6455. Lookups in an
// http.Header need the canonical form of net/textproto; what is sent has this
// one, because some peers compare names exactly.
const (
	fieldKey        = "Sec-WebSocket-Key"
	fieldAccept     = "Sec-WebSocket-Accept"
	fieldVersion    = "Sec-WebSocket-Version"
	fieldProtocol   = "Sec-WebSocket-Protocol"
	fieldExtensions = "Sec-WebSocket-Extensions"
	fieldReason     = "X-WebSocket-Reject-Reason"
)

// tokenChar tells which bytes a token may have (RFC 9110, section 5.6.2).
var tokenChar = func() (ok [256]bool) {
	for c := range ok {
		ok[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
			c < 0x80 && strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return ok
}()

func isToken(s string) bool {
	for i := range len(s) {
		if !tokenChar[s[i]] {
			return false
		}
	}
	return s != ""
}

// isFieldValue reports whether s can be sent as a header value as it is: no
// control characters but the tab, no blanks around it (RFC 9110, section 5.5).
func isFieldValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return s == trimBlanks(s)
}

func trimBlanks(s string) string { return strings.Trim(s, " \t") }

// listed iterates over the elements of a list that may be spread over several
// header lines. Empty elements are skipped, as RFC 9110, section 5.6.1.2, asks.
// It does not know quoted strings.
func listed(lines []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range lines {
			for item := range strings.SplitSeq(line, ",") {
				if item = trimBlanks(item); item != "" && !yield(item) {
					return
				}
			}
		}
	}
}

// lists reports whether a token is an element of the list, in any case.
func lists(lines []string, token string) bool {
	for item := range listed(lines) {
		if equalFold(item, token) {
			return true
		}
	}
	return false
}

// equalFold compares with a token without regard to the case of ASCII letters. In Unicode "ſ" is an s in another
// case, and is longer.
func equalFold(s, token string) bool { return len(s) == len(token) && strings.EqualFold(s, token) }

// values returns the lines of a header field.
func values(h http.Header, field string) []string {
	return h[textproto.CanonicalMIMEHeaderKey(field)]
}

// checkFields refuses header lines that cannot be sent with a handshake: names
// that are reserved, names and values that would break the head.
func checkFields(h http.Header) error {
	for name, values := range h {
		switch {
		case !isToken(name):
			return fmt.Errorf("header name %q is not a token", name)
		case stream.Reserved(name):
			return fmt.Errorf("header %s belongs to the handshake", name)
		}
		for _, v := range values {
			if !isFieldValue(v) {
				return fmt.Errorf("header %s: value %q cannot be sent", name, v)
			}
		}
	}
	return nil
}
