package client

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
)

// Notes are the lines for people, on Stderr or, while lines are edited, between them. Rules: one line
// each, lower case, no full stop. "> " and "< " are lines of the handshake, "* " is what else -v shows,
// "ping: " a round-trip time, "wspawn: " a warning. What comes from the peer is made safe to look at.
type notes struct {
	mu sync.Mutex // guards the fields below
	w  io.Writer
}

// redirect changes where notes go.
func (n *notes) redirect(w io.Writer) {
	n.mu.Lock()
	n.w = w
	n.mu.Unlock()
}

func (n *notes) printf(format string, args ...any) {
	line := clean(fmt.Sprintf(format, args...)) + "\n"
	n.mu.Lock()
	defer n.mu.Unlock()
	io.WriteString(n.w, line) // nobody to tell when it fails
}

// clean makes text of the peer one line without anything that steers a terminal.
func clean(s string) string {
	s = strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ").Replace(strings.TrimSpace(s))
	return string(escape(nil, []byte(s), ""))
}

// escape appends text, with control characters made visible. They could move the cursor, forge lines,
// set titles or make the terminal type (RFC 6455, section 10.1, only knows peers that we trust). Line
// breaks are followed by indent; tabs stay.
func escape(dst, text []byte, indent string) []byte {
	for _, r := range string(text) {
		switch {
		case r == '\n':
			dst = append(append(dst, '\n'), indent...)
		case r == '\t':
			dst = append(dst, '\t')
		case unicode.IsControl(r) && r < 0x100:
			dst = fmt.Appendf(dst, `\x%02x`, r)
		case unicode.Is(unicode.Bidi_Control, r):
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			dst = append(dst, string(r)...)
		}
	}
	return dst
}
