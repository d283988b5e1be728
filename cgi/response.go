package cgi

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/wspawn/wspawn/internal/gateway"
)

// A Response is the head of a program's response (RFC 3875, section 6), and a reader of what follows.
type Response struct {
	// Status is the status: of the first line, of a Status line, 302 with a Location and no
	// status, else 200.
	Status int
	// Reason is the text behind it, if any.
	Reason string
	// Explicit says that the program gave a status.
	Explicit bool
	// Header has the header fields in canonical spelling, without Status. Names and values that HTTP does
	// not allow are left out.
	Header http.Header
	// Body reads what follows the header block, decoded if it is chunked.
	Body io.Reader

	spelling map[string]string // as the program wrote it, for other names than the canonical
}

// ResponseOptions are the rules of [ReadResponse].
type ResponseOptions struct {
	// MaxHeader bounds a header block, in bytes. 0 = 64 KiB.
	MaxHeader int
	// Bare is that of [Gateway].
	Bare bool
	// Interim is called for each response with a status from 100 to 199 other than 101; the next one is read then. An
	// error of it ends ReadResponse. nil = they are skipped.
	Interim func(*Response) error
}

// maxInterim bounds the interim responses before a final one.
const maxInterim = 64

// The errors of [ReadResponse], beside those of the stream.
var (
	// ErrHeaderTooLarge: the header block is over the limit.
	ErrHeaderTooLarge = errors.New("header block too large")
	// ErrMalformed: it is not a header block.
	ErrMalformed = errors.New("malformed header block")
	// ErrNoResponse: the stream ended before anything came.
	ErrNoResponse = errors.New("the program ended without a response")
)

// ReadResponse reads the head of a response. Lines end with LF or CR LF. The first line may be a status
// line of HTTP, any other has the form "Name: value".
//
// It reads no byte behind the blank line from br, so that what is left there, and what follows, is body or
// tunnel.
func ReadResponse(br *bufio.Reader, o ResponseOptions) (*Response, error) {
	if o.MaxHeader <= 0 {
		o.MaxHeader = DefaultMaxHeader
	}
	for range maxInterim {
		r, err := readHead(br, &o)
		if err != nil {
			return nil, err
		}
		if r.Status >= 200 || r.Status == http.StatusSwitchingProtocols {
			return r, nil
		}
		if o.Interim != nil {
			if err := o.Interim(r); err != nil {
				return nil, err
			}
		}
		o.Bare = false // what follows an interim response is a response
	}
	return nil, fmt.Errorf("%w: too many interim responses", ErrMalformed)
}

// headReader collects the lines of one header block.
type headReader struct {
	br    *bufio.Reader
	block []byte // all of it, as it came
	limit int
}

// line returns the next line without its end.
func (h *headReader) line() ([]byte, error) {
	start := len(h.block)
	for {
		piece, err := h.br.ReadSlice('\n')
		if len(h.block)+len(piece) > h.limit {
			h.block = append(h.block, piece...)
			return h.block[start:], ErrHeaderTooLarge
		}
		h.block = append(h.block, piece...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return h.block[start:], err
		}
		line := h.block[start : len(h.block)-1]
		return bytes.TrimSuffix(line, []byte("\r")), nil
	}
}

func readHead(br *bufio.Reader, o *ResponseOptions) (*Response, error) {
	h := headReader{br: br, limit: o.MaxHeader}
	r := &Response{Header: make(http.Header)}
	bare := func() (*Response, error) {
		return &Response{Status: http.StatusOK, Header: make(http.Header), Body: io.MultiReader(bytes.NewReader(h.block), br)}, nil
	}
	last := "" // canonical name of the field before, for continuation lines
	for first := true; ; first = false {
		line, err := h.line()
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && len(h.block) == 0:
			return nil, ErrNoResponse
		case o.Bare && errors.Is(err, io.EOF), o.Bare && first && errors.Is(err, ErrHeaderTooLarge) && bytes.IndexByte(line, ':') < 0:
			return bare()
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: it ends in the middle", ErrMalformed)
		default:
			return nil, err
		}
		if len(line) == 0 {
			return r.finish(br)
		}
		if first {
			if status, reason, ok := statusLine(line); ok {
				r.setStatus(status, reason)
				continue
			}
			if bytes.IndexByte(line, ':') < 0 {
				if o.Bare {
					return bare()
				}
				return nil, fmt.Errorf("%w: first line %q", ErrMalformed, clip(line))
			}
		}
		if line[0] == ' ' || line[0] == '\t' {
			// RFC 9112, section 5.2: a gateway replaces the old line folding.
			if v := r.Header[last]; last != "" && len(v) > 0 {
				if more := strings.Trim(string(line), " \t"); validValue(more) {
					v[len(v)-1] = strings.Trim(v[len(v)-1]+" "+more, " ")
				}
			}
			continue
		}
		if last, err = r.field(line); err != nil {
			return nil, err
		}
	}
}

// field takes one line, and returns the canonical name if it was kept.
func (r *Response) field(line []byte) (string, error) {
	name, value, ok := strings.Cut(string(line), ":")
	value = strings.Trim(value, " \t")
	if !ok || !validName(name) || !validValue(value) {
		return "", nil
	}
	key := textproto.CanonicalMIMEHeaderKey(name)
	if key == "Status" {
		code, reason, _ := strings.Cut(value, " ")
		status, err := parseStatus(code)
		if err != nil {
			return "", fmt.Errorf("%w: Status: %s", ErrMalformed, clip([]byte(value)))
		}
		r.setStatus(status, strings.TrimLeft(reason, " \t"))
		return "", nil
	}
	r.Header[key] = append(r.Header[key], value)
	if name != key {
		if r.spelling == nil {
			r.spelling = make(map[string]string)
		}
		r.spelling[key] = name
	}
	return key, nil
}

// setStatus takes the first status that says more than 200.
func (r *Response) setStatus(status int, reason string) {
	if r.Status == 0 || r.Status == http.StatusOK {
		r.Status, r.Reason = status, reason
	}
	r.Explicit = true
}

// finish fills in what the end of the header block decides.
func (r *Response) finish(br *bufio.Reader) (*Response, error) {
	if r.Status == 0 {
		r.Status = http.StatusOK
		if r.Header.Get("Location") != "" {
			r.Status = http.StatusFound
		}
	}
	r.Body = br
	if coding, ok := r.Header["Transfer-Encoding"]; ok && r.Status != http.StatusSwitchingProtocols {
		if len(coding) != 1 || !strings.EqualFold(coding[0], "chunked") {
			return nil, fmt.Errorf("%w: Transfer-Encoding: %s", ErrMalformed, strings.Join(coding, ", "))
		}
		r.Body = httputil.NewChunkedReader(br)
		r.Header.Del("Content-Length") // RFC 9112, section 6.3
	}
	if lengths := r.Header["Content-Length"]; len(lengths) > 0 {
		if _, err := strconv.ParseUint(lengths[0], 10, 63); err != nil || slices.ContainsFunc(lengths, func(l string) bool { return l != lengths[0] }) {
			return nil, fmt.Errorf("%w: Content-Length: %s", ErrMalformed, clip([]byte(strings.Join(lengths, ", "))))
		}
		r.Header["Content-Length"] = lengths[:1]
	}
	return r, nil
}

// Upgrade returns the protocol that the program has switched to. ok is false for other responses, and for a 101 that
// names no protocol.
func (r *Response) Upgrade() (protocol string, ok bool) {
	if r.Status != http.StatusSwitchingProtocols {
		return "", false
	}
	protocol = strings.Join(gateway.List(r.Header["Upgrade"]), ", ")
	return protocol, protocol != ""
}

// Spelled returns Header with the names as the program wrote them.
func (r *Response) Spelled() http.Header {
	h := make(http.Header, len(r.Header))
	for name, values := range r.Header {
		if s, ok := r.spelling[name]; ok {
			name = s
		}
		h[name] = values
	}
	return h
}

// AppendHead appends the header block that [ReadResponse] reads as r: a Status line, the fields sorted by
// name, a blank line.
func (r *Response) AppendHead(dst []byte) []byte {
	dst = append(dst, "Status: "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	if r.Reason != "" {
		dst = append(append(dst, ' '), r.Reason...)
	}
	dst = append(dst, "\r\n"...)
	h := r.Spelled()
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range h[name] {
			dst = append(append(append(append(dst, name...), ": "...), v...), "\r\n"...)
		}
	}
	return append(dst, "\r\n"...)
}

// statusLine reads "HTTP/1.1 200 OK". Any version will do.
func statusLine(line []byte) (status int, reason string, ok bool) {
	rest, ok := strings.CutPrefix(string(line), "HTTP/")
	if !ok {
		return 0, "", false
	}
	version, rest, ok := strings.Cut(rest, " ")
	if !ok || len(version) == 0 || version[0] < '0' || version[0] > '9' {
		return 0, "", false
	}
	code, reason, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	status, err := parseStatus(code)
	if err != nil || !validValue(reason) {
		return 0, "", false
	}
	return status, strings.Trim(reason, " \t"), true
}

func parseStatus(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || len(s) != 3 || n < 100 {
		return 0, ErrMalformed
	}
	return int(n), nil
}

// validName reports whether s is a token (RFC 9110, section 5.6.2).
func validName(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return true
}

// validValue reports whether s can be a field value: no control characters but tabs.
func validValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// clip shortens what goes to a log.
func clip(b []byte) string {
	if len(b) > 80 {
		return string(b[:80]) + "…"
	}
	return string(b)
}
