package gatewaytest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
)

// Bound is the time after which a test gives up waiting for something that has to happen.
const Bound = time.Minute

// A Maker makes a gateway to [Serve] with the given settings. It uses t.Cleanup to end it.
type Maker func(t *testing.T, o cgi.Options) http.Handler

// Run runs all tables.
func Run(t *testing.T, m Maker) {
	t.Run("answers", func(t *testing.T) { answers(t, m) })
	t.Run("requests that may be upgrades", func(t *testing.T) { requests(t, m) })
	t.Run("responses that may be upgrades", func(t *testing.T) { responses(t, m) })
	t.Run("tunnels", func(t *testing.T) { tunnels(t, m) })
	t.Run("limits", func(t *testing.T) { limits(t, m) })
}

// Conn is a client that sees every byte.
type Conn struct {
	*net.TCPConn
	R *bufio.Reader
	t *testing.T
}

// Start serves h and returns its address.
func Start(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// Dial connects.
func Dial(t *testing.T, addr string) *Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(Bound))
	return &Conn{c.(*net.TCPConn), bufio.NewReader(c), t}
}

// Send writes.
func (c *Conn) Send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.TCPConn, s); err != nil {
		c.t.Fatal(err)
	}
}

// Head reads the head of an answer.
func (c *Conn) Head() *http.Response {
	c.t.Helper()
	r, err := http.ReadResponse(c.R, &http.Request{Method: "GET"})
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	return r
}

// Body reads the body of an answer.
func (c *Conn) Body(r *http.Response) string {
	c.t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatalf("body: %v after %q", err, b)
	}
	return string(b)
}

// Expect reads exactly s.
func (c *Conn) Expect(s string) {
	c.t.Helper()
	b := make([]byte, len(s))
	if n, err := io.ReadFull(c.R, b); err != nil || string(b) != s {
		c.t.Fatalf("read %q, %v, want %q", b[:n], err, s)
	}
}

// ExpectEnd reads the end of the stream.
func (c *Conn) ExpectEnd() {
	c.t.Helper()
	if b, err := io.ReadAll(c.R); err != nil || len(b) > 0 {
		c.t.Fatalf("read %q, %v, want the end of the stream", b, err)
	}
}

// Request builds a GET with further lines.
func Request(query string, lines ...string) string {
	return fmt.Sprintf("GET /?%s HTTP/1.1\r\nHost: h\r\n%s\r\n", query, joinLines(lines))
}

func joinLines(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// Upgrade builds a request for a WebSocket.
func Upgrade(query string) string {
	return Request(query, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
}

// EchoBulk sends more than all buffers hold to who echoes, and the end, and wants all of it back.
func (c *Conn) EchoBulk() {
	c.t.Helper()
	piece := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	const pieces = 200
	go func() {
		for range pieces {
			if _, err := c.Write(piece); err != nil {
				return
			}
		}
		c.CloseWrite()
	}()
	got := make([]byte, len(piece))
	for i := range pieces {
		if _, err := io.ReadFull(c.R, got); err != nil || !bytes.Equal(got, piece) {
			c.t.Fatalf("piece %d: %v", i, err)
		}
	}
	c.ExpectEnd()
}
