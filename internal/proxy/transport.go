package proxy

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/gateway"
)

// newTransport makes what keeps connections to backends.
func (p *Proxy) newTransport() *http.Transport {
	t := &http.Transport{
		DialContext:            p.dial,
		DisableCompression:     true,
		IdleConnTimeout:        gateway.OrDefault(p.c.KeepAlive, DefaultKeepAlive),
		DisableKeepAlives:      p.c.KeepAlive < 0,
		MaxIdleConnsPerHost:    p.c.MaxIdle,
		ResponseHeaderTimeout:  gateway.OrDefault(p.c.ReadTimeout, DefaultTimeout),
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: int64(p.maxHeader()),
	}
	if p.c.MaxIdle <= 0 {
		t.MaxIdleConnsPerHost = DefaultMaxIdle
	}
	return t
}

func (p *Proxy) maxHeader() int {
	if p.c.MaxHeader > 0 {
		return p.c.MaxHeader
	}
	return DefaultMaxHeader
}

type leaseKey struct{}

// dial connects to the backend of a request. The address it is called with is only a name for that backend.
func (p *Proxy) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	nc, err := ctx.Value(leaseKey{}).(*backend.Lease).Dial(ctx)
	if err != nil {
		return nil, err
	}
	return &timedConn{Conn: nc, timeout: gateway.OrDefault(p.c.WriteTimeout, DefaultTimeout), closed: make(chan struct{})}, nil
}

// timedConn gives the backend its time for each piece.
type timedConn struct {
	net.Conn
	timeout time.Duration
	once    sync.Once
	closed  chan struct{}
}

func (c *timedConn) Write(p []byte) (int, error) {
	if c.timeout > 0 {
		c.SetWriteDeadline(time.Now().Add(c.timeout))
	}
	n, err := c.Conn.Write(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		// A backend that does not want all of the body may have answered before it closed. Package http throws that answer
		// away when it hears of this error; it has to find the end of the connection by reading, which closes it.
		select {
		case <-c.closed:
		case <-time.After(DefaultTimeout):
		}
	}
	return n, err
}

func (c *timedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// roundTripper brings requests to backends.
type roundTripper struct{}

func (roundTripper) RoundTrip(out *http.Request) (res *http.Response, err error) {
	c := callOf(out)
	if c.upgrade {
		res, err = c.exchange(out)
	} else {
		res, err = c.forward(out)
	}
	if err == nil && res.StatusCode < 100 { // for package http it is one
		res.Body.Close()
		return nil, fmt.Errorf("answer %03d", res.StatusCode)
	}
	if err == nil && res.StatusCode == http.StatusUpgradeRequired {
		c.answer.upgrade = res.Header["Upgrade"]
	}
	return res, err
}

// forward has an ordinary request answered.
func (c *call) forward(out *http.Request) (*http.Response, error) {
	var res *http.Response
	var lease *backend.Lease
	err := c.p.c.Backends.Try(out.Context(), c.r, func(_ context.Context, l *backend.Lease) (err error) {
		attempt := out.WithContext(context.WithValue(out.Context(), leaseKey{}, l))
		url := *out.URL
		// The transport keeps connections by host, so that each backend gets a name as one.
		a := l.Address()
		url.Host = hex.EncodeToString([]byte(l.ID() + "\x00" + a.Network + "\x00" + a.Addr))
		attempt.URL = &url
		if c.body != nil {
			// The transport repeats what met a closed connection, if nothing of the body is gone.
			attempt.Body = c.body // that of package httputil can be closed, by the first backend that is dead
			attempt.GetBody = func() (io.ReadCloser, error) {
				if !c.body.Begun() {
					return c.body, nil
				}
				return nil, errors.New("the backend closed the connection, and the request cannot be repeated")
			}
		}
		res, err = c.p.transport.RoundTrip(attempt)
		lease = l
		return err
	})
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		res.Body.Close()
		lease.Release()
		return nil, errors.New("answer 101: nobody asked for an upgrade that is allowed here")
	}
	res.Body = &answerBody{ReadCloser: res.Body, c: c, lease: lease}
	return res, nil
}
