package wsframe

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/wspawn/wspawn/internal/stream"
)

// A Request is an HTTP request that is a valid WebSocket handshake (RFC 6455,
// section 4.2.1). It is valid as long as the HTTP handler runs: a session that
// lives longer copies what it needs, or it keeps the buffers of net/http alive.
type Request struct {
	*http.Request

	// Protocols are the subprotocols the client asks for, in its order and
	// spelling: tokens, each one once.
	Protocols []string

	// Extensions are the extensions the client offers, in its order. This
	// package knows permessage-deflate: see [Compression].
	Extensions []Extension

	// Cookies are those cookies that are well-formed; others are left out and
	// never a reason to refuse.
	Cookies []*http.Cookie

	// Origin is the Origin header as sent, "" when there is none. Browsers always
	// send one; other clients may send anything.
	Origin string

	// Version is the protocol version, always 13.
	Version int

	// Key is the Sec-WebSocket-Key, or "" for an HTTP/2 extended CONNECT request,
	// which has none (RFC 8441, section 5).
	Key string

	// Protocol is the subprotocol that the answer will name, chosen before
	// [Endpoint.Open], which may change it. It must be one of Protocols, in any
	// case, or "" for none.
	Protocol string

	// AnswerHeader and AnswerCookies are added to the 101 answer, under the rules
	// of [AcceptOptions]. They are for Open to set.
	AnswerHeader  http.Header
	AnswerCookies []*http.Cookie
}

// ParseRequest checks that r is a WebSocket handshake and parses it. It answers
// nothing and takes nothing over, so any handler can use it to decide what to do;
// the error is always a *[Rejection] with the answer that fits:
//
//   - 405 for another method than GET
//   - 400 for HTTP/1.0, an empty Host, and a request with a body
//   - 426 when the Upgrade header has no "websocket" or the Connection header has
//     no "upgrade" element
//   - 426 for a Sec-WebSocket-Version other than 13, with the header
//     Sec-WebSocket-Version: 13 (RFC 6455, section 4.4)
//   - 400 when the version is missing, repeated or not a number from 0 to 255
//     without leading zeros, since such a request is no handshake of any version
//     (section 4.2.1); the header with 13 is there too
//   - 400 when Sec-WebSocket-Key is missing, repeated or not the base64 form of
//     16 bytes
//   - 400 for malformed or repeated subprotocols, malformed extensions, more than
//     64 of either, and several Origin headers
//
// Whether the origin may connect is not looked at: see [AcceptOptions].
func ParseRequest(r *http.Request) (*Request, error) {
	req := &Request{Request: r}
	if rej := req.parse(); rej != nil {
		return nil, rej
	}
	return req, nil
}

func (r *Request) parse() *Rejection {
	extended := stream.Extended(r.Request)
	if rej := r.checkHead(extended); rej != nil {
		return rej
	}
	if rej := r.parseVersion(); rej != nil {
		return rej
	}
	if !extended {
		if rej := r.parseKey(); rej != nil {
			return rej
		}
	}
	origins := values(r.Header, "Origin")
	if len(origins) > 1 {
		return Reject(http.StatusBadRequest, "several Origin headers")
	}
	if len(origins) == 1 {
		r.Origin = origins[0]
	}
	if rej := r.parseProtocols(); rej != nil {
		return rej
	}
	var err error
	if r.Extensions, err = parseExtensions(values(r.Header, fieldExtensions)); err != nil {
		return Reject(http.StatusBadRequest, fieldExtensions+": "+err.Error())
	}
	r.Cookies = r.Request.Cookies()
	return nil
}

// checkHead looks at what makes a request a WebSocket handshake at all.
func (r *Request) checkHead(extended bool) *Rejection {
	switch {
	case r.Method != http.MethodGet:
		return Reject(http.StatusMethodNotAllowed, "a WebSocket handshake is a GET request").with("Allow", "GET")
	case r.Host == "":
		return Reject(http.StatusBadRequest, "Host header is missing or empty")
	case extended:
		return nil
	case !r.ProtoAtLeast(1, 1):
		return Reject(http.StatusBadRequest, "a WebSocket handshake needs HTTP/1.1")
	case r.ProtoMajor > 1:
		return Reject(http.StatusBadRequest, "a WebSocket handshake over HTTP/2 is an extended CONNECT request")
	case !lists(values(r.Header, "Upgrade"), "websocket"):
		return Reject(http.StatusUpgradeRequired, "this is a WebSocket endpoint: Upgrade header without websocket")
	case !lists(values(r.Header, "Connection"), "upgrade"):
		return Reject(http.StatusUpgradeRequired, "this is a WebSocket endpoint: Connection header without upgrade")
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		// Its bytes would be taken for frames, by us or by a proxy before us.
		return Reject(http.StatusBadRequest, "a WebSocket handshake has no body")
	}
	return nil
}

func (r *Request) parseVersion() *Rejection {
	bad := func(reason string) *Rejection {
		return Reject(http.StatusBadRequest, fieldVersion+reason).with(fieldVersion, "13")
	}
	lines := values(r.Header, fieldVersion)
	switch {
	case len(lines) == 0:
		return bad(" header is missing")
	case len(lines) > 1:
		return bad(" header is repeated")
	case !isVersion(lines[0]):
		return bad(" is not a number from 0 to 255")
	case lines[0] != "13":
		return Reject(http.StatusUpgradeRequired, fieldVersion+" is not 13").with(fieldVersion, "13")
	}
	r.Version = 13
	return nil
}

// isVersion is the grammar of RFC 6455, section 4.3.
func isVersion(s string) bool {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || i > 2 {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return s != "" && n <= 255 && (s[0] != '0' || s == "0")
}

func (r *Request) parseKey() *Rejection {
	lines := values(r.Header, fieldKey)
	switch {
	case len(lines) == 0:
		return Reject(http.StatusBadRequest, fieldKey+" header is missing")
	case len(lines) > 1:
		return Reject(http.StatusBadRequest, fieldKey+" header is repeated")
	case !isKey(lines[0]):
		return Reject(http.StatusBadRequest, fieldKey+" is not the base64 form of 16 bytes")
	}
	r.Key = lines[0]
	return nil
}

func isKey(s string) bool {
	if len(s) != 24 {
		return false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == 16
}

func (r *Request) parseProtocols() *Rejection {
	for p := range listed(values(r.Header, fieldProtocol)) {
		switch {
		case !isToken(p):
			return Reject(http.StatusBadRequest, fieldProtocol+" has an element that is not a token")
		case len(r.Protocols) == maxListed:
			return Reject(http.StatusBadRequest, fmt.Sprintf("%s has more than %d elements", fieldProtocol, maxListed))
		}
		for _, q := range r.Protocols {
			if p == q {
				return Reject(http.StatusBadRequest, fieldProtocol+" has the same element twice")
			}
		}
		r.Protocols = append(r.Protocols, p)
	}
	return nil
}

// Offers returns the client's spelling of a subprotocol, and whether it asks for
// it. The same spelling is preferred to one that differs in case.
func (r *Request) Offers(protocol string) (spelling string, ok bool) {
	for _, p := range r.Protocols {
		if p == protocol {
			return p, true
		}
	}
	for _, p := range r.Protocols {
		if strings.EqualFold(p, protocol) {
			return p, true
		}
	}
	return "", false
}

// Prefer returns a function for [Handler.Select] that picks the first subprotocol
// of the client's list which is one of ours, in any case, and "" when none is.
func Prefer(ours ...string) func(*Request) string {
	return func(r *Request) string {
		for _, p := range r.Protocols {
			for _, q := range ours {
				if strings.EqualFold(p, q) {
					return p
				}
			}
		}
		return ""
	}
}

// IsUpgrade reports whether r asks for a WebSocket, well or badly: its Upgrade
// header has "websocket", or it is the extended CONNECT of HTTP/2. A server with
// other things to offer sends the rest elsewhere.
func IsUpgrade(r *http.Request) bool {
	return lists(values(r.Header, "Upgrade"), "websocket") || stream.Extended(r)
}
