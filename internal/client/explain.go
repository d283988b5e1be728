package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/wspawn/wspawn/wsframe"
)

// shorten gives the error of a handshake the words of the server, where only its body has some.
func (c *Config) shorten(err error, resp *http.Response) error {
	status, ok := errors.AsType[*wsframe.StatusError](err)
	if !ok || status.Reason != "" || resp == nil {
		return err
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "text/plain" {
		return err
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if line = strings.TrimSpace(line); line == "" || strings.EqualFold(line, http.StatusText(status.Status)) {
		return err
	}
	return fmt.Errorf("%w: %s", err, line)
}

// hint says what to try after a failed handshake.
func (c *Config) hint(err error, resp *http.Response) string {
	if status, ok := errors.AsType[*wsframe.StatusError](err); ok {
		return c.statusHint(status.Status, resp)
	}
	if proxy, ok := errors.AsType[*wsframe.ProxyError](err); ok {
		if proxy.Status == http.StatusProxyAuthRequired {
			return "put user and password into the URL of the proxy (HTTP_PROXY, HTTPS_PROXY)"
		}
		return "try --no-proxy to connect directly"
	}
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "is the server there and does it speak WebSocket? give it more time with --timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "is the server running, and is this its port?"
	case c.UnixSocket != "" && errors.Is(err, fs.ErrNotExist):
		return "is the server running, and is this its socket?"
	case c.UnixSocket != "" && errors.Is(err, fs.ErrPermission):
		return "the socket needs write permission for this user"
	case errors.As(err, &dns):
		return "check the name of the host"
	case errors.As(err, &authority):
		return "trust its authority with --ca FILE (or, for a test, anybody with --insecure)"
	case errors.As(err, &host), errors.As(err, &invalid):
		return "the certificate is not good for this host and time; for a test, accept it with --insecure"
	case errors.As(err, &record):
		return "the server speaks no TLS here; try ws:// in place of wss://"
	case strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`):
		return "the server speaks TLS here; try wss:// in place of ws://"
	case strings.Contains(err.Error(), "malformed HTTP"):
		return "this is no HTTP server; check the port"
	case resp != nil, errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "is this a WebSocket server? -v shows the handshake"
	}
	return ""
}

func (c *Config) statusHint(status int, resp *http.Response) string {
	switch {
	case status >= 300 && status < 400 && resp.Header.Get("Location") != "":
		return "it redirects: connect to " + clean(resp.Header.Get("Location"))
	case status == http.StatusUnauthorized:
		return "send credentials: --header 'Authorization: …', or USER:PASSWORD@ in the URL"
	case status == http.StatusForbidden && c.Origin == "":
		return "it may want the origin of its own pages: try --origin " + c.ownOrigin()
	case status == http.StatusForbidden:
		return "it may want another origin: try without --origin, or --origin " + c.ownOrigin()
	case status == http.StatusNotFound:
		return "check the path of the URL"
	case status == http.StatusMethodNotAllowed, status == http.StatusOK, status == http.StatusUpgradeRequired:
		return "this path may not be a WebSocket: check it, -v shows the handshake"
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		if after := resp.Header.Get("Retry-After"); after != "" {
			if strings.Trim(after, "0123456789") == "" {
				after = "in " + after + " s"
			} else {
				after = "after " + clean(after)
			}
			return "try again " + after
		}
		return "try again later"
	case status >= 500:
		return "the log of the server says more"
	}
	return "-v shows the handshake"
}

// ownOrigin returns the origin of pages of the server itself.
func (c *Config) ownOrigin() string {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" {
		return "http://localhost"
	}
	if u.Scheme == "wss" {
		return "https://" + u.Host
	}
	return "http://" + u.Host
}
