package wsframe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/idna"
	"golang.org/x/net/proxy"
)

// A target is where a handshake goes.
type target struct {
	url     *url.URL // scheme http or https
	unix    string   // path of a socket, or ""
	foreign bool     // after a redirect to another host
}

func (t *target) String() string {
	u := *t.url
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	if t.unix != "" {
		return u.Redacted() + " at " + t.unix
	}
	return u.Redacted()
}

func (t *target) secure() bool { return t.url.Scheme == "https" }

// addr returns host and port, with the usual port of the scheme.
func (t *target) addr() string { return addrOf(t.url) }

func addrOf(u *url.URL) string {
	port := "80"
	switch u.Scheme {
	case "https":
		port = "443"
	case "socks5", "socks5h":
		port = "1080"
	}
	return net.JoinHostPort(u.Hostname(), orPort(u, port))
}

// target parses the URL given to Dial.
func (o *DialOptions) target(raw string) (*target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, withoutPassword(err)
	}
	t := &target{url: u, unix: o.UnixSocket}
	if strings.Contains(raw, "#") {
		return nil, errors.New("a WebSocket URL has no fragment") // RFC 6455, section 3
	}
	switch u.Scheme {
	case "ws", "http":
		u.Scheme = "http"
	case "wss", "https":
		u.Scheme = "https"
	case "ws+unix", "wss+unix":
		if o.UnixSocket != "" {
			return nil, fmt.Errorf("scheme %s and UnixSocket exclude each other", u.Scheme)
		}
		return t, t.splitUnix()
	default:
		return nil, fmt.Errorf("scheme %q is not ws, wss, http, https, ws+unix or wss+unix", u.Scheme)
	}
	if u.Hostname() == "" {
		return nil, errors.New("URL has no host")
	}
	return t, inASCII(u)
}

// inASCII gives an internationalized host the form in which it can be looked up, sent and compared with a
// certificate (RFC 5890).
func inASCII(u *url.URL) error {
	host := u.Hostname()
	if strings.IndexFunc(host, func(r rune) bool { return r > 0x7F }) < 0 {
		return nil
	}
	ascii, err := idna.Lookup.ToASCII(host)
	if err != nil {
		return fmt.Errorf("host: %w", err)
	}
	u.Host = strings.Replace(u.Host, host, ascii, 1)
	return nil
}

// withoutPassword cuts the URL, which may have a password, out of the error.
func withoutPassword(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("parse URL: %w", u.Err)
	}
	return err
}

// splitUnix takes ws+unix:///path.sock:/uri apart.
func (t *target) splitUnix() error {
	if t.url.Host != "" {
		return fmt.Errorf("socket path must be absolute: %s:///path.sock:/uri", t.url.Scheme)
	}
	socket, uri, _ := strings.Cut(t.url.EscapedPath(), ":/")
	path, err := url.PathUnescape(socket)
	if err != nil || len(path) < 2 || path[0] != '/' {
		return fmt.Errorf("socket path must be absolute: %s:///path.sock:/uri", t.url.Scheme)
	}
	t.unix = strings.TrimSuffix(path, ":")
	request := &url.URL{Scheme: "http", Host: "localhost", RawQuery: t.url.RawQuery, User: t.url.User}
	if t.url.Scheme == "wss+unix" {
		request.Scheme = "https"
	}
	if request.Path, err = url.PathUnescape("/" + uri); err != nil {
		return err
	}
	request.RawPath = "/" + uri
	t.url = request
	return nil
}

func isRedirect(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return resp.Header.Get("Location") != ""
	}
	return false
}

// follow returns the target that a redirect names.
func (t *target) follow(resp *http.Response) (*target, error) {
	location, err := url.Parse(resp.Header.Get("Location"))
	if err != nil {
		return nil, fmt.Errorf("redirect: %w", withoutPassword(err))
	}
	u := t.url.ResolveReference(location)
	u.Fragment, u.RawFragment = "", ""
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	case "http", "https":
	default:
		return nil, fmt.Errorf("redirect to the scheme %q is not followed", u.Scheme)
	}
	if err := inASCII(u); err != nil {
		return nil, fmt.Errorf("redirect: %w", err)
	}
	next := &target{url: u, unix: t.unix, foreign: t.foreign || addrOf(u) != t.addr()}
	switch {
	case u.Hostname() == "":
		return nil, errors.New("redirect without a host")
	case t.secure() && !next.secure():
		return nil, errors.New("redirect from wss to ws is not followed")
	case t.unix != "" && next.foreign:
		return nil, errors.New("redirect from a Unix socket to a host is not followed")
	case location.User == nil && !next.foreign:
		u.User = t.url.User
	}
	return next, nil
}

// connect makes the connection that the handshake goes over. Its deadline ends
// with ctx until release is called, which returns why ctx ended if it did; the
// connection is of no use then.
func (o *DialOptions) connect(ctx context.Context, t *target) (nc net.Conn, release func() error, err error) {
	proxy, err := o.proxyFor(t)
	if err != nil {
		return nil, nil, fmt.Errorf("find proxy: %w", err)
	}
	network, addr := "tcp", t.addr()
	switch {
	case t.unix != "":
		network, addr = "unix", t.unix
	case proxy != nil:
		addr = addrOf(proxy)
	}
	dial := o.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	if nc, err = dial(ctx, network, addr); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, err
	}
	release = bind(ctx, nc)
	bare := nc
	if proxy != nil {
		nc, err = o.tunnel(ctx, nc, proxy, t.addr())
	}
	if err == nil && t.secure() {
		nc, err = o.startTLS(ctx, nc, t.url.Hostname())
	}
	if err != nil {
		if late := release(); late != nil {
			err = late
		}
		bare.Close()
		return nil, nil, err
	}
	return nc, release, nil
}

// bind makes the end of ctx interrupt reads and writes of nc.
func bind(ctx context.Context, nc net.Conn) (release func() error) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		nc.SetDeadline(time.Unix(1, 0))
		close(done)
	})
	return func() error {
		if stop() {
			return nil
		}
		<-done
		return context.Cause(ctx)
	}
}

func (o *DialOptions) startTLS(ctx context.Context, nc net.Conn, host string) (net.Conn, error) {
	config := o.TLS.Clone()
	if config == nil {
		config = new(tls.Config)
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	config.NextProtos = []string{"http/1.1"} // HTTP/2 has another handshake
	secure := tls.Client(nc, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS with %s: %w", host, err)
	}
	return secure, nil
}

// A ProxyError tells that a proxy refused the tunnel. Status 407 means that it
// wants a user and password, or other ones.
type ProxyError struct {
	Proxy  string // its URL, without password
	Status int
}

func (e *ProxyError) Error() string {
	return fmt.Sprintf("proxy %s answered %d %s", e.Proxy, e.Status, http.StatusText(e.Status))
}

// proxyFor returns the proxy for a target, nil for none.
func (o *DialOptions) proxyFor(t *target) (*url.URL, error) {
	if t.unix != "" {
		return nil, nil
	}
	find := o.Proxy
	if find == nil {
		find = http.ProxyFromEnvironment
	}
	proxy, err := find(&http.Request{Method: http.MethodGet, URL: t.url, Host: t.url.Host, Header: make(http.Header)})
	if err != nil || proxy == nil {
		return nil, withoutPassword(err)
	}
	switch proxy.Scheme {
	case "http", "https", "socks5", "socks5h":
		return proxy, nil
	}
	return nil, fmt.Errorf("scheme %q of proxy %s is not http, https, socks5 or socks5h", proxy.Scheme, proxy.Host)
}

// socks asks a proxy for a connection to addr, which the proxy looks up (RFC 1928).
func socks(nc net.Conn, server *url.URL, addr string) error {
	var auth *proxy.Auth
	if u := server.User; u != nil {
		auth = &proxy.Auth{User: u.Username()}
		auth.Password, _ = u.Password()
	}
	dialer, err := proxy.SOCKS5("tcp", addrOf(server), auth, nil)
	if err != nil {
		return err
	}
	// DialContext of the same would wrap the connection. It is bound to a context already.
	_, err = dialer.(interface {
		DialWithConn(context.Context, net.Conn, string, string) (net.Addr, error)
	}).DialWithConn(context.Background(), nc, "tcp", addr)
	if err != nil {
		return fmt.Errorf("proxy %s: %w", server.Redacted(), err)
	}
	return nil
}

// tunnel asks a proxy for a connection to addr (RFC 9110, section 9.3.6).
func (o *DialOptions) tunnel(ctx context.Context, nc net.Conn, proxy *url.URL, addr string) (net.Conn, error) {
	if strings.HasPrefix(proxy.Scheme, "socks5") {
		return nc, socks(nc, proxy, addr)
	}
	if proxy.Scheme == "https" {
		// The ServerName of the options is for the server.
		own := DialOptions{TLS: o.TLS.Clone()}
		if own.TLS != nil {
			own.TLS.ServerName = ""
		}
		var err error
		if nc, err = own.startTLS(ctx, nc, proxy.Hostname()); err != nil {
			return nil, err
		}
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: make(http.Header)}
	if proxy.User != nil {
		req.Header.Set("Proxy-Authorization", basicAuth(proxy.User))
	}
	var head bytes.Buffer
	if err := req.Write(&head); err != nil {
		return nil, err
	}
	if _, err := nc.Write(head.Bytes()); err != nil {
		return nil, fmt.Errorf("proxy %s: %w", proxy.Redacted(), err)
	}
	limited := &headReader{r: nc, left: maxHead}
	br := bufio.NewReader(limited)
	resp, err := limited.response(br, req)
	switch {
	case err != nil:
		return nil, fmt.Errorf("proxy %s: %w", proxy.Redacted(), err)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, &ProxyError{Proxy: proxy.Redacted(), Status: resp.StatusCode}
	case br.Buffered() > 0:
		// A WebSocket or TLS server waits for its client, so this is not from it.
		return nil, fmt.Errorf("proxy %s sent data behind its answer", proxy.Redacted())
	}
	return nc, nil
}

func basicAuth(u *url.Userinfo) string {
	password, _ := u.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password))
}
