package frametest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// Bound is the time after which a test gives up waiting for something that has to happen.
const Bound = time.Minute

// A Client speaks bytes, so that it can do what a decent one does not.
type Client struct {
	T  testing.TB
	NC *net.TCPConn
	BR *bufio.Reader
}

// Try makes a handshake, for target with more header lines, and returns its answer.
func Try(t testing.TB, addr, target string, header ...string) (*Client, *http.Response) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c := &Client{t, nc.(*net.TCPConn), bufio.NewReaderSize(nc, 64<<10)}
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", target, addr)
	for _, line := range header {
		request += line + "\r\n"
	}
	io.WriteString(nc, request+"\r\n")
	nc.SetReadDeadline(time.Now().Add(Bound))
	resp, err := http.ReadResponse(c.BR, nil)
	if err != nil {
		t.Fatalf("handshake: %v", err)
	}
	return c, resp
}

// Connect makes a handshake that succeeds.
func Connect(t testing.TB, addr, target string, header ...string) *Client {
	t.Helper()
	c, resp := Try(t, addr, target, header...)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s", resp.Status, b)
	}
	return c
}

// Send sends frames in one write.
func (c *Client) Send(frames ...[]byte) {
	c.T.Helper()
	c.NC.SetWriteDeadline(time.Now().Add(Bound))
	if _, err := c.NC.Write(Join(frames...)); err != nil {
		c.T.Fatalf("send: %v", err)
	}
}

// SendText sends a text message.
func (c *Client) SendText(payload string) { c.T.Helper(); c.Send(Message(wsframe.OpText, payload)) }

// Read reads the next frame.
func (c *Client) Read() (f Frame, err error) {
	c.NC.SetReadDeadline(time.Now().Add(Bound))
	head, err := c.BR.Peek(2)
	if err != nil {
		return f, err
	}
	n := 2
	switch head[1] & 0x7F {
	case 126:
		n = 4
	case 127:
		n = 10
	}
	if head, err = c.BR.Peek(n); err != nil {
		return f, err
	}
	size := uint64(head[1] & 0x7F)
	switch n {
	case 4:
		size = uint64(binary.BigEndian.Uint16(head[2:]))
	case 10:
		size = binary.BigEndian.Uint64(head[2:])
	}
	b := make([]byte, n+int(size))
	if _, err = io.ReadFull(c.BR, b); err != nil {
		return f, err
	}
	f, _, ok, err := Next(b)
	if err == nil && !ok {
		err = errors.New("frame of another size than its header says")
	}
	return f, err
}

// Next is Read for a frame that has to come.
func (c *Client) Next() Frame {
	c.T.Helper()
	f, err := c.Read()
	if err != nil {
		c.T.Fatalf("next frame: %v", err)
	}
	return f
}

// Expect reads frames, and fails when they are others.
func (c *Client) Expect(want ...Frame) {
	c.T.Helper()
	for _, w := range want {
		if got := c.Next(); got != w {
			c.T.Fatalf("got %v, want %v", got, w)
		}
	}
}

// All reads messages up to a Close frame, which it answers, and sees that the connection ends then.
func (c *Client) All() (before []Frame, end Frame) {
	c.T.Helper()
	var frames []Frame
	for {
		f := c.Next()
		if f.Op == wsframe.OpClose {
			c.AnswerClose(f)
			return Messages(frames), f
		}
		frames = append(frames, f)
	}
}

// AnswerClose answers a Close frame, and sees that the connection ends then.
func (c *Client) AnswerClose(f Frame) {
	c.T.Helper()
	c.NC.SetWriteDeadline(time.Now().Add(Bound))
	c.NC.Write(Masked(true, wsframe.OpClose, f.Payload[:min(2, len(f.Payload))]))
	if f, err := c.Read(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		c.T.Fatalf("behind the Close frame: %v, %v", f, err)
	}
}

// ExpectClose reads a Close frame, behind nothing else.
func (c *Client) ExpectClose(want Frame) {
	c.T.Helper()
	before, got := c.All()
	if len(before) > 0 || got != want {
		c.T.Fatalf("got %v, then %v; want %v", before, got, want)
	}
}

// Leave ends the session from the side of the client.
func (c *Client) Leave() {
	c.T.Helper()
	c.Send(Masked(true, wsframe.OpClose, "\x03\xe8"))
	for {
		f, err := c.Read()
		if err != nil {
			return
		}
		if f.Op == wsframe.OpClose {
			break
		}
	}
	c.NC.Close()
}

// Reset ends the connection with an RST.
func (c *Client) Reset() {
	c.NC.SetLinger(0)
	c.NC.Close()
}

// Eventually waits until f is true.
func Eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(Bound); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("still not true: %s", what)
}
