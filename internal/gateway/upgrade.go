package gateway

import (
	"net/http"
	"slices"
	"strings"

	"github.com/wspawn/wspawn/internal/stream"
)

// Upgrade decides whether r is a request for an upgrade, and for which protocols; nil: it is none. The request it
// returns has lost its Upgrade line then. The error is an *Error.
//
// An upgrade has to be allowed, over exactly HTTP/1.1, without a body, and named in Connection (RFC 9110,
// section 7.8). A list with h2c in it never is: who answers could not speak HTTP/2 with anybody but the
// client behind our back, past all checks.
func Upgrade(r *http.Request, allowed bool) (_ *http.Request, asked []string, err error) {
	if stream.Extended(r) {
		if !allowed {
			return nil, nil, &Error{Status: http.StatusMethodNotAllowed, Reason: "upgrades are not enabled here"}
		}
		return r, []string{"websocket"}, nil
	}
	lines, ok := r.Header["Upgrade"]
	if !ok {
		return r, nil, nil
	}
	asked = List(lines)
	h2c := Contains(asked, "h2c")
	if allowed && !h2c && r.ProtoMajor == 1 && r.ProtoMinor == 1 &&
		r.ContentLength == 0 && len(r.TransferEncoding) == 0 &&
		len(asked) > 0 && Contains(List(r.Header["Connection"]), "upgrade") {
		for _, name := range []string{"Sec-Websocket-Key", "Sec-Websocket-Version"} {
			if len(r.Header[name]) > 1 {
				return nil, nil, &Error{Status: http.StatusBadRequest, Reason: name + " occurs twice"}
			}
		}
		return r, asked, nil
	}
	plain := *r
	plain.Header = r.Header.Clone()
	delete(plain.Header, "Upgrade")
	if h2c {
		delete(plain.Header, "Http2-Settings")
		left := slices.DeleteFunc(List(plain.Header["Connection"]), func(token string) bool {
			return strings.EqualFold(token, "upgrade") || strings.EqualFold(token, "http2-settings")
		})
		if delete(plain.Header, "Connection"); len(left) > 0 {
			plain.Header["Connection"] = []string{strings.Join(left, ", ")}
		}
	}
	return &plain, nil, nil
}

// List splits the lines of a header field that is a list.
func List(lines []string) []string {
	var all []string
	for _, line := range lines {
		for s := range strings.SplitSeq(line, ",") {
			if s = strings.Trim(s, " \t"); s != "" {
				all = append(all, s)
			}
		}
	}
	return all
}

// Contains reports whether a token is in a list, in whatever case. In Unicode "ſ" is an s in another case, and is longer.
func Contains(list []string, token string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return len(s) == len(token) && strings.EqualFold(s, token) })
}
