package listen

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/wspawn/wspawn/internal/clientip"
)

// proxyTimeout is how long a proxy may take to send its header.
const proxyTimeout = 5 * time.Second

// proxied expects a PROXY protocol header of some peers. It keeps the address and the end of the listener below.
type proxied struct {
	net.Listener
	accept  *proxyproto.Listener
	refused func(peer net.Addr, err error)
}

func newProxied(ln net.Listener, peers clientip.Peers, refused func(net.Addr, error)) *proxied {
	policy := func(c proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
		if peers.Contain(c.Upstream.String()) {
			return proxyproto.REQUIRE, nil
		}
		return proxyproto.SKIP, nil
	}
	return &proxied{ln, &proxyproto.Listener{Listener: ln, ReadHeaderTimeout: proxyTimeout, ConnPolicy: policy}, refused}
}

func (p *proxied) Accept() (net.Conn, error) {
	c, err := p.accept.Accept()
	if h, ok := c.(*proxyproto.Conn); ok {
		return &headed{Conn: h, refused: p.refused}, nil
	}
	return c, err
}

// A headed connection begins with a header.
type headed struct {
	*proxyproto.Conn
	refused func(peer net.Addr, err error)
	once    sync.Once
}

// Read reads what is behind the header.
func (c *headed) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && c.refused != nil && c.ProxyHeader() == nil {
		c.once.Do(func() { c.refused(c.Raw().RemoteAddr(), err) })
	}
	return n, err
}

// CloseWrite ends the direction to the client. Tunnels end one direction at a time, and Close frames are followed by the
// end of the stream, only on connections that have it.
func (c *headed) CloseWrite() error {
	if h, ok := c.Raw().(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return errors.ErrUnsupported
}
