package scgi

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"github.com/wspawn/wspawn/cgi"
)

type variablesKey struct{}

// Variables returns the meta-variables of a request that a [Server] handed to a handler, in the
// order in which the gateway sent them, and nil for other requests. They say more than the
// [http.Request] can: who the user is (REMOTE_USER), which part of the path is whose (SCRIPT_NAME,
// PATH_INFO), and what the gateway adds of its own.
func Variables(r *http.Request) cgi.List {
	list, _ := r.Context().Value(variablesKey{}).(cgi.List)
	return list
}

// newRequest makes the request that the variables describe. nc is where it came in.
func newRequest(ctx context.Context, list cgi.List, nc net.Conn) (*http.Request, error) {
	get := make(map[string]string, len(list))
	r := &http.Request{Header: make(http.Header), Body: http.NoBody, Close: true}
	for _, v := range list {
		get[v.Name] = v.Value
		if name, ok := strings.CutPrefix(v.Name, "HTTP_"); ok && name != "HOST" && name != "CONTENT_LENGTH" && name != "CONTENT_TYPE" {
			r.Header.Add(textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-")), v.Value)
		}
	}
	if t := get["CONTENT_TYPE"]; t != "" {
		r.Header.Set("Content-Type", t)
	}
	r.Host = get["HTTP_HOST"]

	if r.Method = get["REQUEST_METHOD"]; r.Method == "" {
		return nil, syntax("no REQUEST_METHOD")
	}
	var ok bool
	if r.Proto = get["SERVER_PROTOCOL"]; r.Proto == "" {
		r.Proto = "HTTP/1.0"
	}
	if r.ProtoMajor, r.ProtoMinor, ok = http.ParseHTTPVersion(r.Proto); !ok {
		return nil, syntax("SERVER_PROTOCOL %q", r.Proto)
	}
	if l := get["CONTENT_LENGTH"]; l != "" {
		if !isLength(l) {
			return nil, syntax("CONTENT_LENGTH %q", l)
		}
		r.ContentLength, _ = strconv.ParseInt(l, 10, 64)
	}
	var err error
	if r.RequestURI = target(get); r.RequestURI == "*" {
		r.URL = &url.URL{Path: "*"}
	} else if r.URL, err = url.ParseRequestURI(r.RequestURI); err != nil {
		return nil, fmt.Errorf("%w: REQUEST_URI: %w", ErrSyntax, err)
	}
	if r.URL.Host != "" && r.Host == "" {
		r.Host = r.URL.Host
	}
	if s := get["HTTPS"]; strings.EqualFold(s, "on") || s == "1" || get["REQUEST_SCHEME"] == "https" {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	if r.RemoteAddr = get["REMOTE_ADDR"]; r.RemoteAddr != "" && get["REMOTE_PORT"] != "" {
		r.RemoteAddr = net.JoinHostPort(r.RemoteAddr, get["REMOTE_PORT"])
	}
	ctx = context.WithValue(ctx, variablesKey{}, list)
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, nc.LocalAddr())
	return r.WithContext(ctx), nil
}

// target is the request target; gateways that send no REQUEST_URI send its parts.
func target(get map[string]string) string {
	if uri := get["REQUEST_URI"]; uri != "" {
		return uri
	}
	u := url.URL{Path: get["SCRIPT_NAME"] + get["PATH_INFO"], RawQuery: get["QUERY_STRING"]}
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path
	}
	return u.RequestURI()
}
