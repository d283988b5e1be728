package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/wspawn/wspawn/cgi"
)

// ForwardConfig is the configuration of [NewForward].
type ForwardConfig struct {
	// URL is asked with a GET request that has the header of the client's request, less what belongs to the connection
	// and the WebSocket handshake, and X-Forwarded-Method, -Proto, -Host, -Uri and -For. Status 2xx lets the
	// client pass, until X-Auth-Expires of the answer if that is there: seconds since 1970, or RFC 3339. Status 401 or 403 counts as
	// a failure of the address when there is an Authorization header, and when the answer has X-Auth-Failed: true. Required.
	URL string
	// Vars says which header fields of the answer become which variables, as {"Remote-Email": "REMOTE_EMAIL"}. What is
	// REMOTE_USER is the name of the user. Nil: Remote-User becomes REMOTE_USER.
	Vars map[string]string
	// AnswerHeaders are the header fields of the answer that the client gets too, with whatever it is answered, as Set-Cookie. Nil:
	// none of one that lets the client pass, and of others Www-Authenticate, Location, Set-Cookie and Retry-After, which they
	// have in any case.
	AnswerHeaders []string
	// Timeout bounds the question. 0 = 5 s.
	Timeout time.Duration
	// Transport asks. Nil: one with up to 100 connections to the server and no proxy.
	Transport http.RoundTripper
	// Scheme returns what the client speaks, "http" or "https". Nil: https on TLS connections.
	Scheme func(*http.Request) string
}

// Forward asks another server. One that cannot be reached, takes too long or has an error of its own lets nobody pass.
type Forward struct {
	c      ForwardConfig
	vars   map[string]string // canonical field: variable
	answer []string          // canonical
}

// NewForward checks c.
func NewForward(c ForwardConfig) (*Forward, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("authentication server %q: not an http or https URL", c.URL)
	}
	if c.Vars == nil {
		c.Vars = map[string]string{"Remote-User": "REMOTE_USER"}
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Transport == nil {
		c.Transport = &http.Transport{MaxConnsPerHost: 100, MaxIdleConnsPerHost: 100, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10}
	}
	if c.Scheme == nil {
		c.Scheme = func(r *http.Request) string {
			if r.TLS != nil {
				return "https"
			}
			return "http"
		}
	}
	f := &Forward{c: c, vars: make(map[string]string)}
	for field, name := range c.Vars {
		if !isVariable(name) {
			return nil, fmt.Errorf("%q is no name of a variable", name)
		}
		f.vars[textproto.CanonicalMIMEHeaderKey(field)] = name
	}
	for _, field := range c.AnswerHeaders {
		if err := checkField(field, ""); err != nil {
			return nil, fmt.Errorf("authentication server: %w", err)
		}
		f.answer = append(f.answer, textproto.CanonicalMIMEHeaderKey(field))
	}
	return f, nil
}

func isVariable(name string) bool {
	return name != "" && (name[0] < '0' || name[0] > '9') &&
		strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// Authenticate asks the server.
func (f *Forward) Authenticate(r *http.Request) (*Identity, error) {
	ctx, cancel := context.WithTimeout(r.Context(), f.c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.c.URL, nil)
	if err != nil {
		return nil, err
	}
	req.Header = f.header(r)
	// Not a Client: redirects are for the user, not for us.
	res, err := f.c.Transport.RoundTrip(req)
	if err != nil {
		var timeout net.Error
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
			return nil, late(fmt.Errorf("authentication server: %w", err))
		}
		return nil, unavailable(fmt.Errorf("authentication server: %w", err))
	}
	defer res.Body.Close()
	io.CopyN(io.Discard, res.Body, 4096) // so that the connection can be used again
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		id, err := f.identity(res)
		if err != nil {
			return nil, unavailable(fmt.Errorf("authentication server: %w", err))
		}
		return id, nil
	case res.StatusCode >= 300 && res.StatusCode < 500:
		return nil, f.refusal(r, res)
	}
	return nil, unavailable(fmt.Errorf("authentication server: %s", res.Status))
}

func (f *Forward) identity(res *http.Response) (id *Identity, err error) {
	id = &Identity{Type: "Forward", Header: make(http.Header)}
	if id.Expires, err = parseExpiry(strings.Join(res.Header["X-Auth-Expires"], ", ")); err != nil {
		return nil, err
	}
	for field, name := range f.vars {
		values := res.Header[field]
		switch {
		case values == nil:
		case name == "REMOTE_USER":
			id.User = strings.Join(values, ", ")
		default:
			id.Vars = append(id.Vars, cgi.Var{Name: name, Value: strings.Join(values, ", ")})
		}
	}
	for _, field := range f.answer {
		for _, value := range res.Header[field] {
			if err := checkField(field, value); err != nil {
				return nil, err
			}
			id.Header.Add(field, value)
		}
	}
	return id, nil
}

// refusal hands on what helps a client to do better: where to log in, how, and when.
func (f *Forward) refusal(r *http.Request, res *http.Response) *Refusal {
	e := &Refusal{Status: res.StatusCode, Reason: "not allowed", Err: fmt.Errorf("authentication server: %s", res.Status), Header: make(http.Header)}
	switch res.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.Wrong = r.Header.Get("Authorization") != "" || strings.EqualFold(res.Header.Get("X-Auth-Failed"), "true")
	case http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusTooManyRequests:
	default:
		e.Status = http.StatusForbidden
	}
	for _, name := range append([]string{"Www-Authenticate", "Location", "Set-Cookie", "Retry-After"}, f.answer...) {
		if values := res.Header[name]; values != nil {
			e.Header[name] = values
		}
	}
	return e
}

// header is what the server is told.
func (f *Forward) header(r *http.Request) http.Header {
	h := r.Header.Clone()
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for name := range h {
		// Both spellings of X-Forwarded-For become one variable in many programs. Some servers take X-Original-URL and the
		// like for what is asked for, in place of X-Forwarded-Uri.
		folded := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		switch folded {
		case "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "content-type", "expect",
			"proxy", "forwarded", "x-real-ip", "x-rewrite-url", "x-http-method-override":
			delete(h, name)
		}
		for _, prefix := range []string{"x-forwarded-", "x-original-", "sec-websocket-"} {
			if strings.HasPrefix(folded, prefix) {
				delete(h, name)
			}
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err == nil {
		h.Set("X-Forwarded-For", host)
	}
	h.Set("X-Forwarded-Method", r.Method)
	h.Set("X-Forwarded-Host", r.Host)
	h.Set("X-Forwarded-Proto", f.c.Scheme(r))
	h.Set("X-Forwarded-Uri", or(r.RequestURI, r.URL.RequestURI()))
	return h
}

// Challenge is empty: the server has its own.
func (f *Forward) Challenge() string { return "" }

// Strip does nothing: what the server looked at, nobody knows. Programs do not get Authorization.
func (f *Forward) Strip(*http.Request) {}
