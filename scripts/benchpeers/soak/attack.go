package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/scripts/benchpeers/internal/table"
)

// An attack is one that runs: whom it is against, and what it has done.
type attack struct {
	server *process
	length time.Duration

	next atomic.Uint32 // source address

	mu    sync.Mutex // guards the fields below
	conns map[net.Conn]bool
	count map[string]int
}

// did counts things that were done.
func (a *attack) did(what string, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count == nil {
		a.count = make(map[string]int)
	}
	a.count[what] += n
}

func (a *attack) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var parts []string
	for what, n := range a.count {
		parts = append(parts, table.Number(max(100, float64(n)))+" "+what)
		if n < 100 {
			parts[len(parts)-1] = fmt.Sprintf("%d %s", n, what)
		}
	}
	slices.SortFunc(parts, func(x, y string) int {
		return strings.Compare(x[strings.IndexByte(x, ' '):], y[strings.IndexByte(y, ' '):])
	})
	return strings.Join(parts, ", ")
}

// dial connects from one of many addresses of this machine, as one has too few ports.
func (a *attack) dial(ctx context.Context) (net.Conn, error) { return a.dialPort(ctx, false) }

// dialPort connects to the port without or with TLS.
func (a *attack) dialPort(ctx context.Context, secure bool) (net.Conn, error) {
	address := a.server.address
	if secure {
		address = a.server.secure
	}
	n := a.next.Add(1)
	d := net.Dialer{Timeout: 5 * time.Second, KeepAlive: -1, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1+byte(n/200%50), 1+byte(n%200))}}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c.(*net.TCPConn).SetLinger(0) // leave no TIME_WAIT behind
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conns == nil {
		a.conns = make(map[net.Conn]bool)
	}
	a.conns[c] = true
	return c, nil
}

// busy keeps n connections busy until ctx ends: use has each until it returns. The number that use gets is always the same
// for one of the n.
func (a *attack) busy(ctx context.Context, n int, secure bool, use func(ctx context.Context, i int, c net.Conn)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for ctx.Err() == nil {
				c, err := a.dialPort(ctx, secure)
				if err != nil {
					every(ctx, time.Second)
					continue
				}
				a.did("connections", 1)
				stop := context.AfterFunc(ctx, func() { a.drop(c) })
				use(ctx, i, c)
				if ctx.Err() == nil {
					a.did("ended by the server", 1)
				}
				stop()
				a.drop(c)
			}
		})
	}
	all.Wait()
}

func (a *attack) drop(c net.Conn) {
	a.mu.Lock()
	delete(a.conns, c)
	a.mu.Unlock()
	c.Close()
}

// close ends all connections.
func (a *attack) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conns {
		c.Close()
	}
}

const request = "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-For: " + attackers + "\r\n%s\r\n"

const askDeflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n"

// session opens a WebSocket. The server may refuse it with a status.
func (a *attack) session(ctx context.Context, path, more string) (net.Conn, *bufio.Reader, error) {
	c, err := a.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	c.SetDeadline(time.Now().Add(15 * time.Second))
	fmt.Fprintf(c, request, path, more)
	r := bufio.NewReaderSize(c, 512)
	res, err := http.ReadResponse(r, nil)
	if err == nil && res.StatusCode != http.StatusSwitchingProtocols {
		err = refused(res.StatusCode)
	}
	if err == nil && more != "" && res.Header.Get("Sec-WebSocket-Extensions") == "" {
		err = errors.New("no compression")
	}
	if err != nil {
		a.drop(c)
		return nil, nil, err
	}
	c.SetDeadline(time.Time{})
	return c, r, nil
}

type refused int

func (r refused) Error() string { return http.StatusText(int(r)) }

// sessions keeps n sessions busy until ctx ends: use has each until it returns, and then there is another one.
func (a *attack) sessions(ctx context.Context, n int, path, more string, use func(ctx context.Context, c net.Conn, r *bufio.Reader)) {
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for ctx.Err() == nil {
				c, r, err := a.session(ctx, path, more)
				if err != nil {
					if _, is := err.(refused); is {
						a.did("refused", 1)
					} else if ctx.Err() == nil {
						a.did("failed", 1)
					}
					every(ctx, time.Second)
					continue
				}
				a.did("sessions", 1)
				stop := context.AfterFunc(ctx, func() { a.drop(c) })
				use(ctx, c, r)
				stop()
				a.drop(c)
			}
		})
	}
	all.Wait()
}

// frame is a masked frame whose mask is zero.
func frame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = append(b, 0x80|127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}
