package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A peer is an HTTP/2 connection of an attacker, who writes frame by frame. What is written leaves with flush.
type peer struct {
	net.Conn
	*http2.Framer
	out    *bufio.Writer
	stream uint32 // the next

	block   bytes.Buffer
	encoder *hpack.Encoder
}

// newPeer makes a peer of a connection, and begins it.
func newPeer(c net.Conn, w io.Writer) *peer {
	p := &peer{Conn: c, out: bufio.NewWriterSize(w, 32<<10), stream: 1}
	p.Framer = http2.NewFramer(p.out, bufio.NewReader(c))
	p.encoder = hpack.NewEncoder(&p.block)
	p.encoder.SetMaxDynamicTableSize(0) // streams are refused too, and the table must not depend on them
	io.WriteString(p.out, http2.ClientPreface)
	return p
}

// peer opens a connection, with TLS or without.
func (a *attack) peer(ctx context.Context, secure bool) (*peer, error) {
	c, err := a.dialPort(ctx, secure)
	if err != nil {
		return nil, err
	}
	if !secure {
		return newPeer(c, c), nil
	}
	t := secured(c)
	soon, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := t.HandshakeContext(soon); err != nil {
		a.drop(c)
		return nil, err
	}
	return newPeer(t, t), nil
}

// secured speaks TLS on c, and HTTP/2 over it.
func secured(c net.Conn) *tls.Conn {
	return tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
}

// raw is the connection below TLS.
func (p *peer) raw() net.Conn {
	if t, ok := p.Conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return p.Conn
}

// peers is busy for HTTP/2. Those with odd numbers have TLS.
func (a *attack) peers(ctx context.Context, n int, use func(ctx context.Context, i int, p *peer), settings ...http2.Setting) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for ctx.Err() == nil {
				p, err := a.peer(ctx, i%2 == 1)
				if err != nil {
					if ctx.Err() == nil {
						a.did("not connected", 1)
					}
					every(ctx, 100*time.Millisecond)
					continue
				}
				a.did("connections", 1)
				stop := context.AfterFunc(ctx, func() { a.drop(p.raw()) })
				p.WriteSettings(settings...)
				p.out.Flush()
				use(ctx, i, p)
				stop()
				a.drop(p.raw())
			}
		})
	}
	all.Wait()
}

// fields encodes a header block: name, value, name, value. It is good until the next one.
func (p *peer) fields(list ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(list); i += 2 {
		p.encoder.WriteField(hpack.HeaderField{Name: list[i], Value: list[i+1]})
	}
	return p.block.Bytes()
}

// get asks for a path.
func (p *peer) get(path string) error {
	return p.headers(true, p.fields(":method", "GET", ":scheme", "http", ":path", path, ":authority", "localhost", "x-forwarded-for", attackers))
}

// connect asks for a WebSocket, as one of 4,096 clients: who shares an address is soon refused. Of more
// addresses the server would remember up to 65,536, and its memory would not be what it was before.
func (p *peer) connect(path string) error {
	from := fmt.Sprintf("10.0.%d.%d", rand.N(16), rand.N(256))
	return p.headers(false, p.fields(":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", path,
		":authority", "localhost", "sec-websocket-version", "13", "x-forwarded-for", from))
}

func (p *peer) headers(end bool, block []byte) error {
	id := p.stream
	p.stream += 2
	return p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: end, EndHeaders: true})
}

// read reads frames until the connection ends, and counts answers, and whether it was the server that ended it.
func (p *peer) read(ctx context.Context, a *attack, each func(f http2.Frame, status string)) {
	table := hpack.NewDecoder(4096, nil)
	for {
		f, err := p.ReadFrame()
		if err != nil {
			if ctx.Err() == nil {
				a.did("ended by the server", 1)
			}
			return
		}
		status := ""
		if h, ok := f.(*http2.HeadersFrame); ok {
			fields, _ := table.DecodeFull(h.HeaderBlockFragment())
			for _, field := range fields {
				if field.Name == ":status" {
					status = field.Value
				}
			}
			switch {
			case status == "200":
				a.did("accepted", 1)
			case strings.HasPrefix(status, "4"), strings.HasPrefix(status, "5"):
				a.did("refused", 1)
			}
		}
		if each != nil {
			each(f, status)
		}
	}
}
