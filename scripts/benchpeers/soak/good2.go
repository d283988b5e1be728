package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/http2"

	"github.com/wspawn/wspawn/wsframe"
)

// dial2 opens a session over HTTP/2, with TLS and a connection of its own.
func (g *good) dial2(ctx context.Context) (*wsframe.Conn, error) {
	soon, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	d := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}
	nc, err := d.DialContext(soon, "tcp", g.server.secure)
	if err != nil {
		return nil, err
	}
	in, out := io.Pipe()
	c := &streamConn{PipeWriter: out, end: func() { nc.Close(); out.Close() }}
	c.deadline = time.AfterFunc(15*time.Second, c.end)
	//lint:ignore SA1019 that of net/http refuses :protocol
	h2, err := new(http2.Transport).NewClientConn(nc)
	if err != nil {
		c.Close()
		return nil, err
	}
	// The session ends with a Close frame, and not with ctx, which may be over while an echo is on its way.
	r, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodConnect, "https://"+g.server.secure+"/echo", in)
	if err != nil {
		c.Close()
		return nil, err
	}
	r.Header = http.Header{":protocol": {"websocket"}, "Sec-Websocket-Version": {"13"}, "X-Forwarded-For": {wellBehaved}}
	res, err := h2.RoundTrip(r)
	if err == nil && res.StatusCode != http.StatusOK {
		res.Body.Close()
		err = errors.New(res.Status)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	c.deadline.Stop()
	c.body = res.Body
	return wsframe.NewConn(c, nil, wsframe.Client, "", nil), nil
}

// A streamConn is an HTTP/2 stream. A deadline that passes is its end.
type streamConn struct {
	*io.PipeWriter
	body     io.ReadCloser
	deadline *time.Timer
	end      func()
}

func (c *streamConn) Read(p []byte) (int, error) { return c.body.Read(p) }

func (c *streamConn) Close() error {
	c.deadline.Stop()
	c.end()
	return nil
}

func (c *streamConn) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (c *streamConn) RemoteAddr() net.Addr { return &net.TCPAddr{} }

func (c *streamConn) SetDeadline(t time.Time) error {
	c.deadline.Stop()
	if !t.IsZero() {
		c.deadline.Reset(time.Until(t))
	}
	return nil
}

func (c *streamConn) SetReadDeadline(t time.Time) error  { return c.SetDeadline(t) }
func (c *streamConn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }
