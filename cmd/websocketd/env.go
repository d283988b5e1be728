package main

import (
	"context"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/wspawn/wspawn/cgi"
)

// gatewayInterface is the version of CGI (RFC 3875 section 4.1.4).
const gatewayInterface = "CGI/1.1"

// peer is who sent a request, in the words of websocketd.
type peer struct {
	addr, host, port string
}

// unixPeer stands for the address of a peer that has none.
const unixPeer = "unix-socket"

// peerOf describes the client. With resolve it asks DNS for the host name, and
// takes the address when there is no answer soon.
func peerOf(r *http.Request, resolve bool) peer {
	addr, port, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return peer{addr: unixPeer, host: unixPeer}
	}
	p := peer{addr: addr, host: addr, port: port}
	if resolve {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		if names, err := net.DefaultResolver.LookupAddr(ctx, addr); err == nil && len(names) > 0 {
			p.host = strings.TrimSuffix(names[0], ".")
		}
	}
	return p
}

// hostPort splits a Host header. IPv6 addresses lose their brackets, and the
// port defaults to that of the scheme.
func hostPort(host string, secure bool) (name, port string) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), ""
	}
	if port == "" {
		port = "80"
		if secure {
			port = "443"
		}
	}
	return name, port
}

// request is what the parts of an answer share: who asks, for what.
type request struct {
	r    *http.Request
	id   string
	peer peer
	// script is SCRIPT_NAME, pathInfo PATH_INFO.
	script, pathInfo string
}

// environment returns the variables of the program behind a WebSocket. The
// error is a [*cgi.RequestError].
//
// The order of the groups decides who wins: only SERVER_SOFTWARE may be
// replaced by a variable that is passed on, and nothing that a client sends
// can replace anything.
func (c *config) environment(q *request) ([]string, error) {
	r := q.r
	headers, err := cgi.Headers(r)
	if err != nil {
		return nil, err
	}
	name, port := hostPort(r.Host, c.ssl)
	list := make(cgi.List, 0, 32+len(c.env)+len(headers))
	list = append(list, cgi.Var{Name: "SERVER_SOFTWARE", Value: softwareString()})
	for _, kv := range c.env {
		name, value, _ := strings.Cut(kv, "=")
		list.Set(name, value)
	}
	for _, v := range []cgi.Var{
		{Name: "REMOTE_ADDR", Value: q.peer.addr},
		{Name: "REMOTE_HOST", Value: q.peer.host},
		{Name: "REMOTE_PORT", Value: q.peer.port},
		{Name: "SERVER_NAME", Value: name},
		{Name: "SERVER_PORT", Value: port},
		{Name: "SERVER_PROTOCOL", Value: r.Proto},
		{Name: "GATEWAY_INTERFACE", Value: gatewayInterface},
		{Name: "REQUEST_METHOD", Value: r.Method},
		{Name: "SCRIPT_NAME", Value: q.script},
		{Name: "PATH_INFO", Value: q.pathInfo},
		{Name: "PATH_TRANSLATED", Value: r.URL.Path}, // not a file name, as ever
		{Name: "QUERY_STRING", Value: r.URL.RawQuery},
		{Name: "REQUEST_URI", Value: r.RequestURI},
		{Name: "UNIQUE_ID", Value: q.id},
		// Programs written for websocketd find these always, and always empty.
		{Name: "AUTH_TYPE"},
		{Name: "CONTENT_LENGTH"},
		{Name: "CONTENT_TYPE"},
		{Name: "REMOTE_IDENT"},
		{Name: "REMOTE_USER"},
	} {
		list.Set(v.Name, v.Value)
	}
	if c.ssl {
		list.Set("HTTPS", "on")
	}
	for _, v := range headers {
		list.Set(v.Name, v.Value)
	}
	for _, v := range list {
		// Headers were looked at; a path can be anything.
		if strings.IndexByte(v.Value, 0) >= 0 {
			return nil, &cgi.RequestError{Field: v.Name, Reason: "contains a NUL byte"}
		}
	}
	return list.Environ(), nil
}
