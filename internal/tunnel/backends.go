package tunnel

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/wsframe"
)

// ProxyHeader is the version of the PROXY protocol in which a backend is told the address of the client,
// in front of everything else: 1, 2 or 0 for none. A backend that does not expect it will not work.
type ProxyHeader byte

// Backends returns an [Endpoint].Dial for the backends of a set.
func Backends(set *backend.Set, proxy ProxyHeader) func(context.Context, *wsframe.Request) (Stream, error) {
	return func(ctx context.Context, r *wsframe.Request) (Stream, error) {
		var s Stream
		err := set.Try(ctx, r.Request, func(ctx context.Context, l *backend.Lease) error {
			nc, err := l.Dial(ctx)
			if err != nil {
				return err
			}
			if err := proxy.send(nc, r.Request); err != nil {
				nc.Close()
				return l.Failed(err)
			}
			s = &leased{connection{nc}, l}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return s, nil
	}
}

// A connection is the Stream of a network connection.
type connection struct{ net.Conn }

// Unwrap lets bytes take the short way.
func (c connection) Unwrap() (io.Reader, rawio.WriteStream) { return c.Conn, c.Conn }

// CloseWrite ends the direction to the backend, where that can be.
func (c connection) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}

// ID names the backend in the log.
func (c connection) ID() string { return c.RemoteAddr().String() }

// leased is a connection to a backend of a set.
type leased struct {
	connection
	lease *backend.Lease
}

func (l *leased) ID() string     { return l.lease.ID() }
func (l *leased) Crashed() error { return l.lease.Crashed() }

func (l *leased) Close() error {
	err := l.connection.Close()
	l.lease.Release()
	return err
}

// send sends the header. It is small enough to find room in every new connection.
func (v ProxyHeader) send(nc net.Conn, r *http.Request) error {
	if v == 0 {
		return nil
	}
	p, err := v.header(r)
	if err != nil {
		return err
	}
	nc.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, err = nc.Write(p)
	nc.SetWriteDeadline(time.Time{})
	return err
}

// header makes the header for a request. Where there are no two addresses of one family, it says that
// they are not known.
func (v ProxyHeader) header(r *http.Request) ([]byte, error) {
	if v > 2 {
		return nil, fmt.Errorf("unknown version %d of the PROXY protocol", v)
	}
	h := &proxyproto.Header{Version: byte(v), Command: proxyproto.LOCAL}
	client, err := netip.ParseAddrPort(r.RemoteAddr)
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if err == nil && ok {
		from := netip.AddrPortFrom(client.Addr().Unmap().WithZone(""), client.Port())
		to := netip.AddrPortFrom(local.AddrPort().Addr().Unmap().WithZone(""), uint16(local.Port))
		if from.Addr().Is4() == to.Addr().Is4() {
			h = proxyproto.HeaderProxyFromAddrs(byte(v), net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(to))
		}
	}
	return h.Format()
}
