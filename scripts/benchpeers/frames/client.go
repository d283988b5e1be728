package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// A client keeps a number of equal messages in flight. It is made to cost
// little: the frames are encoded once, and it counts bytes instead of parsing
// frames, since all answers have the same length. It allocates nothing while it
// measures.
type client struct {
	conn   net.Conn
	window int
	frames []byte // window frames, as sent
	sent   int    // length of one of them
	echo   []byte // the answer to one of them
	buf    []byte
}

func dial(addr string, window, size int) (*client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, window: window}
	if err := c.handshake(addr); err != nil {
		conn.Close()
		return nil, err
	}
	payload := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
	f := wsframe.Frame{Fin: true, Op: wsframe.OpBinary, Payload: payload}
	for range window {
		c.frames = wsframe.AppendFrame(c.frames, wsframe.Client, f)
	}
	c.sent = len(c.frames) / window
	c.echo = wsframe.AppendFrame(nil, wsframe.Server, f)
	c.buf = make([]byte, 256*1024)
	return c, c.check()
}

func (c *client) handshake(addr string) error {
	_, err := fmt.Fprintf(c.conn, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", addr)
	if err != nil {
		return err
	}
	r := bufio.NewReader(c.conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || r.Buffered() > 0 {
		return fmt.Errorf("handshake: status %s", resp.Status)
	}
	return nil
}

// check sees that the server answers as the client expects it, byte for byte.
func (c *client) check() error {
	go c.conn.Write(c.frames)
	got := make([]byte, len(c.echo))
	for range c.window {
		if _, err := io.ReadFull(c.conn, got); err != nil {
			return err
		}
		if !bytes.Equal(got, c.echo) {
			return fmt.Errorf("the echo is %.20x… of %d bytes, want %.20x…", got, len(got), c.echo)
		}
	}
	return nil
}

// A result is what a run of a client found.
type result struct {
	Rate   float64 // messages in a second
	Allocs float64 // for each message, of the whole process
}

// run keeps the window full for a while.
func (c *client) run(d time.Duration) (result, error) {
	if len(c.frames) > 32*1024 {
		return c.runTwo(d)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	if _, err := c.conn.Write(c.frames); err != nil {
		return result{}, err
	}
	messages, err := c.read(start.Add(d), func(n int) error {
		_, err := c.conn.Write(c.frames[:n*c.sent])
		return err
	})
	elapsed := time.Since(start)
	runtime.ReadMemStats(&after)
	return newResult(messages, elapsed, &before, &after), err
}

// runTwo is run for so many bytes in flight that a write may have to wait until
// answers are read: it writes in a goroutine of its own.
func (c *client) runTwo(d time.Duration) (result, error) {
	refill := make(chan int, c.window)
	failed := make(chan error, 1)
	go func() {
		var err error
		for n := range refill {
			if err == nil {
				_, err = c.conn.Write(c.frames[:n*c.sent])
			}
		}
		failed <- err
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	refill <- c.window
	messages, err := c.read(start.Add(d), func(n int) error { refill <- n; return nil })
	elapsed := time.Since(start)
	runtime.ReadMemStats(&after)
	close(refill)
	if e := <-failed; err == nil {
		err = e
	}
	return newResult(messages, elapsed, &before, &after), err
}

func newResult(messages int, elapsed time.Duration, before, after *runtime.MemStats) result {
	return result{
		Rate:   float64(messages) / elapsed.Seconds(),
		Allocs: float64(after.Mallocs-before.Mallocs) / float64(messages),
	}
}

// read calls more for the number of messages whose echoes a read completed,
// until the end, and then waits for those that are under way.
func (c *client) read(end time.Time, more func(n int) error) (messages int, err error) {
	flying, part, reads := c.window, 0, 0
	var late bool
	for flying > 0 {
		n, err := c.conn.Read(c.buf)
		if err != nil {
			return messages, err
		}
		part += n
		done := part / len(c.echo)
		part %= len(c.echo)
		messages += done
		if reads++; reads%16 == 0 {
			late = time.Now().After(end)
		}
		switch {
		case late:
			flying -= done
		case done > 0:
			if err := more(done); err != nil {
				return messages, err
			}
		}
	}
	return messages, nil
}
