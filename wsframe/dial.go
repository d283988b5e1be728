package wsframe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// DialOptions are the client's part of a handshake. The zero value asks for no
// subprotocol and uses the proxies of the environment.
type DialOptions struct {
	// Options are the limits and times of the connection.
	Options

	// Protocols are the subprotocols to ask for, in order of preference: tokens,
	// each one once. An answer with another one is an error; an answer with none
	// is allowed by RFC 6455, section 4.1, and an error with RequireProtocol.
	Protocols       []string
	RequireProtocol bool

	// Origin is sent as Origin header. Empty means none, as befits a client that
	// is no browser.
	Origin string

	// Header has further lines of the request. Host replaces the host of the URL;
	// the lines of the handshake itself may not be set.
	Header http.Header

	// TLS is for wss and for proxies with https. Nil means the defaults of
	// crypto/tls; an empty ServerName means the host of the URL. NextProtos is
	// always http/1.1.
	TLS *tls.Config

	// UnixSocket is the path of a Unix socket to connect to in place of the host
	// of the URL. No proxy is used then.
	UnixSocket string

	// Proxy returns the proxy for a request, nil for none; its URL has scheme http
	// or https, for ws and wss. The proxy is asked for a tunnel: by CONNECT where its
	// own scheme is http or https, with user and password as basic authentication,
	// or by the protocol SOCKS 5 where it is socks5 or socks5h; names are looked up by
	// the proxy. Nil means http.ProxyFromEnvironment: HTTP_PROXY, HTTPS_PROXY
	// and NO_PROXY, and never for the local host.
	Proxy func(*http.Request) (*url.URL, error)

	// DialContext makes the network connection, to a server, a proxy or a Unix
	// socket. Nil means a net.Dialer.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// HandshakeTimeout bounds everything from name lookup to the answer, with all
	// redirects. 0 means 10 s, a negative value no limit but that of the context.
	HandshakeTimeout time.Duration

	// MaxRedirects is how many redirects are followed. 0 means none: the redirect
	// is an error like other statuses. They are never followed from wss to ws, nor
	// to another host of a Unix socket; Authorization, Cookie and Host lines
	// are for the first host only.
	MaxRedirects int
}

const (
	defaultHandshakeTimeout = 10 * time.Second
	maxHead                 = 16 << 10 // bytes of an answer's head
	maxErrorBody            = 4 << 10  // bytes of a body that are kept
)

// A StatusError tells that a server answered a handshake with a status other than
// 101.
type StatusError struct {
	Status int
	Reason string // of the header X-WebSocket-Reject-Reason, cleaned; often ""
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("server answered %d %s", e.Status, http.StatusText(e.Status))
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Dial connects to a WebSocket server. The URL has scheme ws or wss (http and
// https mean the same), or ws+unix or wss+unix for a Unix socket: the path of the
// socket and the path of the request are joined by a colon, as in
// ws+unix:///run/app.sock:/chat?x=1. User and password of the URL are sent as
// basic authentication.
//
// ctx is honoured in every phase, and is not needed any more after Dial returned.
// A nil o means the defaults; o must not change as long as the connection lives.
//
// The response is that of the server, on success with an empty body, and also
// with an error if there is one: its body then has at most 4 KiB. It never needs to
// be closed. The error is a *[StatusError] when the status is not 101, a
// *[ProxyError] when a proxy refused; it matches context.DeadlineExceeded when
// time ran out.
func Dial(ctx context.Context, url string, o *DialOptions) (*Conn, *http.Response, error) {
	if o == nil {
		o = new(DialOptions)
	}
	t, err := o.target(url)
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("dial websocket: %w", err)
	}
	limit := o.HandshakeTimeout
	if limit == 0 {
		limit = defaultHandshakeTimeout
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit,
			fmt.Errorf("no connection within %v: %w", limit, context.DeadlineExceeded))
		defer cancel()
	}
	for hops := 0; ; hops++ {
		c, resp, err := o.try(ctx, t)
		if err == nil {
			return c, resp, nil
		}
		if resp != nil && hops < o.MaxRedirects && isRedirect(resp) {
			next, redirectErr := t.follow(resp)
			if redirectErr == nil {
				t = next
				continue
			}
			err = redirectErr
		}
		return nil, resp, fmt.Errorf("dial %s: %w", t, err)
	}
}

// check refuses what cannot be sent.
func (o *DialOptions) check() error {
	for i, p := range o.Protocols {
		if !isToken(p) {
			return fmt.Errorf("subprotocol %q is not a token", p)
		}
		if slices.Contains(o.Protocols[:i], p) {
			return fmt.Errorf("subprotocol %s is given twice", p)
		}
	}
	if !isFieldValue(o.Origin) {
		return fmt.Errorf("origin %q cannot be sent", o.Origin)
	}
	for name, values := range o.Header {
		// net/http would send an empty Host in place of one that it finds invalid.
		if strings.EqualFold(name, "Host") && (len(values) != 1 || values[0] == "" || strings.ContainsAny(values[0], " \t/?#@,")) {
			return fmt.Errorf("host %q cannot be sent", values)
		}
	}
	return checkFields(o.Header)
}

// try makes one handshake.
func (o *DialOptions) try(ctx context.Context, t *target) (c *Conn, resp *http.Response, err error) {
	nc, release, err := o.connect(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	var glued []byte
	protocol := ""
	var agreed *deflateParams
	resp, glued, err = o.shake(nc, t)
	if err == nil {
		agreed, err = o.checkExtensions(resp)
	}
	if err == nil {
		protocol, err = o.checkAnswer(resp)
	}
	// Where the server did answer, its answer says more than the end of ctx.
	if late := release(); late != nil && (resp == nil || err == nil) {
		err = late
	}
	if err != nil {
		nc.Close()
		return nil, resp, err
	}
	return newConn(nc, glued, Client, protocol, &o.Options, agreed), resp, nil
}

// shake sends the request and reads the head of the answer, and the body unless
// the status is 101. The body of the response is in memory.
func (o *DialOptions) shake(nc net.Conn, t *target) (*http.Response, []byte, error) {
	req, key := o.request(t)
	var head bytes.Buffer
	if err := req.Write(&head); err != nil {
		return nil, nil, err
	}
	if _, err := nc.Write(head.Bytes()); err != nil {
		return nil, nil, fmt.Errorf("send request: %w", err)
	}
	limited := &headReader{r: nc, left: maxHead}
	br := bufio.NewReader(limited)
	resp, err := limited.response(br, req)
	if err != nil {
		return nil, nil, fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		limited.left = maxHead // chunk headers and trailers are not unlimited either
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
		resp.Body = io.NopCloser(bytes.NewReader(body))
		return resp, nil, &StatusError{Status: resp.StatusCode, Reason: oneLine(resp.Header.Get(fieldReason))}
	}
	resp.Body = http.NoBody
	if got := values(resp.Header, fieldAccept); len(got) != 1 || got[0] != acceptValue(key) {
		return resp, nil, fmt.Errorf("answer has no valid %s header", fieldAccept)
	}
	glued, _ := br.Peek(br.Buffered())
	return resp, bytes.Clone(glued), nil
}

// request makes the HTTP request and its key.
func (o *DialOptions) request(t *target) (*http.Request, string) {
	var nonce [16]byte
	rand.Read(nonce[:]) // never fails
	key := base64.StdEncoding.EncodeToString(nonce[:])
	req := &http.Request{Method: http.MethodGet, URL: t.url, Host: t.url.Host, Header: make(http.Header)}
	for name, values := range o.Header {
		name = http.CanonicalHeaderKey(name)
		switch {
		case t.foreign && (name == "Authorization" || name == "Cookie" || name == "Host"):
		case name == "Host":
			req.Host = values[0]
		default:
			req.Header[name] = append(req.Header[name], values...)
		}
	}
	if u := t.url.User; u != nil && req.Header.Get("Authorization") == "" {
		req.Header.Set("Authorization", basicAuth(u))
	}
	req.Header["Upgrade"] = []string{"websocket"}
	req.Header["Connection"] = []string{"Upgrade"}
	req.Header[fieldVersion] = []string{"13"}
	req.Header[fieldKey] = []string{key}
	if len(o.Protocols) > 0 {
		req.Header[fieldProtocol] = []string{strings.Join(o.Protocols, ", ")}
	}
	if o.Compression != nil {
		var offers []string
		for _, p := range o.Compression.offers() {
			offers = append(offers, p.String())
		}
		req.Header[fieldExtensions] = []string{strings.Join(offers, ", ")}
	}
	if o.Origin != "" {
		req.Header["Origin"] = []string{o.Origin}
	}
	return req, key
}

// checkAnswer checks a 101 answer (RFC 6455, section 4.1) and returns the
// subprotocol.
func (o *DialOptions) checkAnswer(resp *http.Response) (protocol string, err error) {
	if got := values(resp.Header, "Upgrade"); len(got) != 1 || !equalFold(got[0], "websocket") {
		return "", fmt.Errorf("answer has the Upgrade header %q, not websocket", got)
	}
	if !lists(values(resp.Header, "Connection"), "upgrade") {
		return "", fmt.Errorf("answer has no Connection header with upgrade")
	}
	switch got := values(resp.Header, fieldProtocol); {
	case len(got) == 0 && o.RequireProtocol && len(o.Protocols) > 0:
		return "", fmt.Errorf("answer has no subprotocol")
	case len(got) == 0:
		return "", nil
	case len(got) > 1 || !slices.Contains(o.Protocols, got[0]):
		return "", fmt.Errorf("answer has the subprotocol %q, which was not asked for", got)
	default:
		return got[0], nil
	}
}

// checkExtensions returns what an answer agrees on.
func (o *DialOptions) checkExtensions(resp *http.Response) (*deflateParams, error) {
	lines := values(resp.Header, fieldExtensions)
	all, err := parseExtensions(lines)
	if err == nil && len(all) == 0 {
		return nil, nil
	}
	if o.Compression != nil && len(all) == 1 {
		if a, ok := parseDeflate(all[0], true); ok && o.Compression.check(a) {
			return &a, nil
		}
	}
	return nil, fmt.Errorf("answer has the extensions %q, which were not asked for", lines)
}

// A headReader ends with an error after so many bytes, while io.LimitReader would
// end as if the peer had closed the connection.
type headReader struct {
	r    io.Reader
	left int
}

var errHeadTooLarge = fmt.Errorf("head is larger than %d bytes", maxHead)

func (h *headReader) Read(p []byte) (int, error) {
	if h.left <= 0 {
		return 0, errHeadTooLarge
	}
	n, err := h.r.Read(p[:min(len(p), h.left)])
	h.left -= n
	return n, err
}

// response reads the head of an answer, behind any informational ones (RFC 9110,
// section 15.2), from br, which reads from h.
func (h *headReader) response(br *bufio.Reader, req *http.Request) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(br, req)
		switch {
		case err != nil && h.left <= 0:
			return nil, errHeadTooLarge // net/http may have taken it for a short line
		case err != nil:
			return nil, err
		case resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols:
			return resp, nil
		}
	}
}
