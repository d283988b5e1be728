package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// forEver stands in for the CloseTimeout of the connection. That one counts from the Close frame on,
// and would lose messages that a slow output has not taken yet; [session] counts silence instead.
const forEver = 24 * time.Hour

// dial makes the connection. A signal on the way ends it.
func (c *Config) dial(ctx context.Context, n *notes) (*wsframe.Conn, error) {
	o := &wsframe.DialOptions{
		Options: wsframe.Options{
			MaxMessage: limit(c.MaxMessage), MaxFrame: limit(c.MaxMessage), MaxFragments: -1,
			CloseTimeout: forEver,
		},
		Protocols:        c.Protocols,
		Origin:           c.Origin,
		Header:           c.Header.Clone(),
		UnixSocket:       c.UnixSocket,
		HandshakeTimeout: c.Timeout,
	}
	if c.Compress {
		// Small messages that are alike shrink to a fraction, so all are compressed; a larger window makes that slow.
		o.Compression = &wsframe.Compression{Window: 8 << 10, PeerWindow: 32 << 10, MinSize: -1}
	}
	if o.Header == nil {
		o.Header = make(http.Header)
	}
	if o.Header.Values("User-Agent") == nil {
		o.Header.Set("User-Agent", c.UserAgent)
	}
	if c.NoProxy {
		o.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	}
	var err error
	if o.TLS, err = c.tls(); err != nil {
		return nil, usage(err)
	}
	attempted := false
	o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		attempted = true
		if c.Verbose {
			n.printf("* connecting to %s", addr)
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	if c.Verbose {
		o.OnPing = func(p []byte) bool { n.printf("* received ping %q", p); return false }
		o.OnPong = func(p []byte) { n.printf("* received pong %q", p) }
	}
	ctx, stop := c.untilSignal(ctx)
	defer stop()
	conn, resp, err := wsframe.Dial(ctx, c.URL, o)
	if c.Verbose && resp != nil {
		n.handshake(resp)
	}
	switch {
	case err != nil && !attempted && ctx.Err() == nil:
		return nil, usage(err)
	case err != nil:
		return nil, &Error{Status: StatusFailure, Err: c.shorten(err, resp), Hint: c.hint(err, resp)}
	}
	if len(c.Protocols) > 0 && conn.Subprotocol() == "" {
		n.printf("wspawn: the server chose none of the subprotocols")
	}
	if c.Compress && conn.Extensions() == "" {
		n.printf("wspawn: the server does not compress")
	}
	return conn, nil
}

func limit(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

func (c *Config) tls() (*tls.Config, error) {
	if c.CAFile == "" {
		return &tls.Config{InsecureSkipVerify: c.Insecure}, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca: %s has no certificate in PEM", c.CAFile)
	}
	return &tls.Config{RootCAs: pool}, nil
}

// untilSignal returns a context that also ends with a signal.
func (c *Config) untilSignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case sig := <-c.Signals:
			cancel(fmt.Errorf("stopped by a signal: %v", sig))
		case <-done:
		}
	}()
	return ctx, func() {
		close(done)
		<-gone
		cancel(nil)
	}
}

// handshake prints request and answer, with their lines in alphabetical order.
func (n *notes) handshake(resp *http.Response) {
	if req := resp.Request; req != nil {
		n.printf("> %s %s HTTP/1.1", req.Method, req.URL.RequestURI())
		n.printf("> Host: %s", req.Host)
		n.header("> ", req.Header)
	}
	n.printf("< %s %s", resp.Proto, resp.Status)
	n.header("< ", resp.Header)
}

// header prints header lines. Output of -v ends up in bug reports, so credentials are left out.
func (n *notes) header(prefix string, h http.Header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			switch http.CanonicalHeaderKey(name) {
			case "Authorization", "Proxy-Authorization":
				kind, _, _ := strings.Cut(v, " ")
				v = kind + " [hidden]"
			case "Cookie", "Set-Cookie":
				key, _, _ := strings.Cut(v, "=")
				v = key + "=[hidden]"
			}
			n.printf("%s%s: %s", prefix, name, v)
		}
	}
}
