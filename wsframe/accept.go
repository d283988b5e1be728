package wsframe

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wspawn/wspawn/internal/stream"
)

// AcceptOptions are the server's part of a handshake. The zero value accepts
// clients of the same origin and clients that are no browsers, without a
// subprotocol.
type AcceptOptions struct {
	// Options are the limits and times of the connection.
	Options

	// Protocol is the subprotocol of the connection, one of those the client asks
	// for, in any case; the answer has the client's spelling. Empty means none.
	Protocol string

	// Header has further lines for the 101 answer. A name that belongs to the
	// handshake (Sec-WebSocket-*, Upgrade, Connection, Content-Length and the
	// like) or a value with control characters is an error.
	Header http.Header

	// Cookies are sent with the 101 answer. An invalid cookie, and one with the
	// name, domain and path of another, is an error.
	Cookies []*http.Cookie

	// AllowOrigin decides whether the origin of a request may connect. A
	// *[Rejection] is the answer, any other error means 403 and is only logged.
	//
	// Nil allows [SameOrigin]. A hook that allows every origin lets any web page
	// that a user visits connect to this server with the user's cookies and from
	// inside the user's network (RFC 6455, section 10.2).
	AllowOrigin func(*Request) error
}

// Accept answers a WebSocket handshake and returns the connection. Frames that
// came glued to the request are the first that the connection reads. A nil o
// means the defaults; o must not change as long as the connection lives.
//
// When there is an error, the request has been answered already, and the error is
// a *[Rejection] with that answer; or the client went away, and there is nobody
// to answer to. The HTTP handler should return then.
//
// The handler should also return soon after success, and leave the connection to
// a goroutine of its own: as long as it runs, the buffers of net/http, some 9
// KiB, stay in memory. [Handler] does all that.
func Accept(w http.ResponseWriter, r *http.Request, o *AcceptOptions) (*Conn, error) {
	if o == nil {
		o = new(AcceptOptions)
	}
	req, err := ParseRequest(r)
	if err == nil {
		err = o.checkOrigin(req)
	}
	var c *Conn
	if err == nil {
		req.Protocol = o.Protocol
		c, err = req.accept(w, o)
	}
	var rej *Rejection
	if errors.As(err, &rej) {
		rej.Write(w)
		return nil, rej
	}
	return c, err
}

// SameOrigin allows a request whose Origin has the host and port of the Host
// header, and a request without Origin, which no browser sends. It refuses
// everything else with 403, "null" among it: pages of sandboxes, files and
// redirects have that origin, whoever wrote them.
//
// The scheme may be http or https whatever the connection is, since TLS may have
// ended at a proxy; a port that is not given is the usual one of that scheme.
func SameOrigin(r *Request) error {
	if r.Origin == "" {
		return nil
	}
	u, err := url.Parse(r.Origin)
	if err == nil && u.Host != "" && strings.EqualFold(r.Origin, u.Scheme+"://"+u.Host) {
		host := url.URL{Host: r.Host}
		port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
		if port != "" && strings.EqualFold(u.Hostname(), host.Hostname()) && orPort(u, port) == orPort(&host, port) {
			return nil
		}
	}
	return &Rejection{
		Status: http.StatusForbidden,
		Reason: "origin not allowed",
		Err:    fmt.Errorf("origin %q is not the host %q", r.Origin, r.Host),
	}
}

func orPort(u *url.URL, port string) string {
	if p := u.Port(); p != "" {
		return p
	}
	return port
}

func (o *AcceptOptions) checkOrigin(r *Request) error {
	check := o.AllowOrigin
	if check == nil {
		check = SameOrigin
	}
	err := check(r)
	if err == nil {
		return nil
	}
	var rej *Rejection
	if errors.As(err, &rej) {
		return rej
	}
	return &Rejection{Status: http.StatusForbidden, Reason: "origin not allowed", Err: err}
}

// accept sends the 101 answer. The error is a *Rejection that has not been
// written, or that of a client who is gone.
func (r *Request) accept(w http.ResponseWriter, o *AcceptOptions) (*Conn, error) {
	header := make(http.Header)
	protocol := ""
	if r.Protocol != "" {
		var ok bool
		if protocol, ok = r.Offers(r.Protocol); !ok {
			return nil, mistake(notOffered(r.Protocol))
		}
		header[fieldProtocol] = []string{protocol}
	}
	agreed := o.Compression.choose(r.Extensions)
	if agreed != nil {
		header[fieldExtensions] = []string{agreed.String()}
	}
	if r.Key != "" {
		header[fieldAccept] = []string{acceptValue(r.Key)}
	}
	if err := addFields(header, o.Header, o.Cookies); err != nil {
		return nil, mistake(err)
	}
	if err := addFields(header, r.AnswerHeader, r.AnswerCookies); err != nil {
		return nil, mistake(err)
	}
	nc, buffered, err := stream.Upgrade(w, r.Request, header)
	switch {
	case errors.Is(err, http.ErrNotSupported):
		return nil, mistake(err)
	case err != nil:
		return nil, err
	}
	return newConn(nc, buffered, Server, protocol, &o.Options, agreed), nil
}

func notOffered(protocol string) error {
	return fmt.Errorf("subprotocol %q was not asked for", protocol)
}

// mistake is the answer to a client who cannot help it. What is wrong is for the
// log.
func mistake(err error) *Rejection {
	return &Rejection{Status: http.StatusInternalServerError, Reason: "the server cannot answer this handshake", Err: err}
}

// addFields adds the application's lines and cookies to an answer.
func addFields(answer, h http.Header, cookies []*http.Cookie) error {
	if err := checkFields(h); err != nil {
		return err
	}
	for name, values := range h {
		answer[name] = slices.Concat(answer[name], values)
	}
	for i, c := range cookies {
		if err := c.Valid(); err != nil {
			return fmt.Errorf("cookie: %w", err)
		}
		for _, b := range cookies[:i] {
			if b.Name == c.Name && b.Path == c.Path && strings.EqualFold(b.Domain, c.Domain) {
				return fmt.Errorf("cookie %s is set twice", c.Name)
			}
		}
		answer["Set-Cookie"] = append(answer["Set-Cookie"], c.String())
	}
	return nil
}

// acceptValue proves that the peer read the key (RFC 6455, section 4.2.2).
func acceptValue(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
