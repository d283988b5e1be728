package h2test

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// Conn returns a connection for a client that knows HTTP/1.1 only, as that of package wsframe: its handshake, which it
// writes at once, becomes an extended CONNECT stream, and what follows is carried by that.
func (c *Client) Conn() net.Conn { return &translated{c: c} }

// translated is a Stream once the handshake is written. Its methods are for one goroutine until then.
type translated struct {
	c *Client
	*Stream
	answer bytes.Buffer // of HTTP/1.1, unread
}

func (x *translated) Write(p []byte) (int, error) {
	if x.Stream != nil {
		return x.Stream.Write(p)
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(p)))
	if err != nil {
		return 0, err
	}
	scheme := "http"
	if _, ok := x.c.nc.(*tls.Conn); ok {
		scheme = "https"
	}
	fields := Fields{":method", "CONNECT", ":protocol", "websocket", ":scheme", scheme, ":path", r.RequestURI, ":authority", r.Host}
	key := r.Header.Get("Sec-WebSocket-Key")
	for _, name := range []string{"Connection", "Upgrade", "Sec-WebSocket-Key"} {
		r.Header.Del(name)
	}
	for name, values := range r.Header {
		for _, v := range values {
			fields = append(fields, strings.ToLower(name), v)
		}
	}
	x.Stream = x.c.Open(fields, false)
	status, header := x.Response()
	if status == http.StatusOK {
		status = http.StatusSwitchingProtocols
		sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455, section 4.2.2
		header = header.Clone()
		header.Set("Connection", "Upgrade")
		header.Set("Upgrade", "websocket")
		header.Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(sum[:]))
	}
	fmt.Fprintf(&x.answer, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	header.Write(&x.answer)
	x.answer.WriteString("\r\n")
	return len(p), nil
}

func (x *translated) Read(p []byte) (int, error) {
	if x.answer.Len() > 0 {
		return x.answer.Read(p)
	}
	return x.Stream.Read(p)
}

// What is called before the handshake is written.

func (x *translated) Close() error {
	if x.Stream == nil {
		return nil
	}
	return x.Stream.Close()
}

func (x *translated) SetDeadline(t time.Time) error {
	if x.Stream == nil {
		return nil
	}
	return x.Stream.SetDeadline(t)
}

func (x *translated) LocalAddr() net.Addr  { return x.c.nc.LocalAddr() }
func (x *translated) RemoteAddr() net.Addr { return x.c.nc.RemoteAddr() }
