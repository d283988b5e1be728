package wsframe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// An echo server and a client, message by message.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := wsframe.Accept(w, r, nil)
		if err != nil {
			return // Accept has answered
		}
		go func() {
			defer c.Close(wsframe.CloseNormal, "")
			var buf []byte
			for {
				op, message, err := c.ReadMessage(buf)
				if err != nil {
					return
				}
				if err := c.WriteMessage(op, message); err != nil {
					return
				}
				buf = message
			}
		}()
	}))
	defer server.Close()

	c, _, err := wsframe.Dial(context.Background(), server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	c.WriteMessage(wsframe.OpText, []byte("hello"))
	op, message, err := c.ReadMessage(nil)
	fmt.Println(op, string(message), err)
	fmt.Println(c.Close(wsframe.CloseNormal, "bye"))
	// Output:
	// text hello <nil>
	// <nil>
}

// The same echo on the fast path: all messages of one read are answered by one write, out of the
// memory that they came in.
func ExampleConn_Receive() {
	echo := func(c *wsframe.Conn) error {
		return c.Receive(func(b *wsframe.Batch) error {
			out := b.Space()
			for part := b.Next(); part != nil; part = b.Next() {
				op := part.Op
				if !part.Start {
					op = wsframe.OpContinuation
				}
				out = wsframe.AppendHeader(out, op, part.End, int64(len(part.Payload)))
				out = append(out, part.Payload...)
			}
			if len(out) == 0 {
				return nil // nothing but control frames, or the beginning of a frame
			}
			return c.WriteEncoded(out)
		})
	}
	ended := make(chan error)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := wsframe.Accept(w, r, nil); err == nil {
			go func() {
				err := echo(c)
				c.Close(wsframe.CloseNormal, "") // waits until the peer's Close is answered
				ended <- err
			}()
		}
	}))
	defer server.Close()

	c, _, err := wsframe.Dial(context.Background(), server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range 3 {
		c.WriteMessage(wsframe.OpText, fmt.Appendf(nil, "message %d", i))
	}
	for range 3 {
		_, message, _ := c.ReadMessage(nil)
		fmt.Println(string(message))
	}
	c.Close(wsframe.CloseGoingAway, "page left")
	fmt.Println(<-ended)
	// Output:
	// message 0
	// message 1
	// message 2
	// closed by peer: 1001 page left
}

// A clerk is an Endpoint that lets everybody in who gives a name.
type clerk struct{}

func (clerk) Open(ctx context.Context, r *wsframe.Request) (wsframe.Session, error) {
	name := r.URL.Query().Get("name")
	if name == "" {
		return nil, wsframe.Reject(http.StatusForbidden, "who are you?")
	}
	return greeting(name), nil
}

type greeting string

func (g greeting) Run(ctx context.Context, c *wsframe.Conn) error {
	return c.WriteMessage(wsframe.OpText, []byte("hello, "+string(g)))
}

func (greeting) Abort() {}

// A Handler decides before the handshake is answered, so that a refusal is an ordinary HTTP status.
func ExampleHandler() {
	h := &wsframe.Handler{Endpoint: clerk{}}
	server := httptest.NewServer(h)
	defer server.Close()
	defer h.Shutdown(context.Background())

	_, _, err := wsframe.Dial(context.Background(), server.URL, nil)
	var status *wsframe.StatusError
	if errors.As(err, &status) {
		fmt.Println(status)
	}

	c, _, err := wsframe.Dial(context.Background(), server.URL+"?name=Ada", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(wsframe.CloseNormal, "")
	_, message, _ := c.ReadMessage(nil)
	fmt.Println(string(message))
	_, _, err = c.ReadMessage(nil)
	fmt.Println(err)
	// Output:
	// server answered 403 Forbidden: who are you?
	// hello, Ada
	// closed by peer: 1000
}

// A message whose length is not known, in both directions.
func ExampleConn_NextWriter() {
	received := make(chan string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := wsframe.Accept(w, r, nil); err == nil {
			go func() {
				defer c.Close(wsframe.CloseNormal, "")
				_, message, err := c.NextReader()
				if err != nil {
					return
				}
				n, err := io.Copy(io.Discard, message)
				received <- fmt.Sprint(n, " bytes, ", err)
			}()
		}
	}))
	defer server.Close()

	c, _, err := wsframe.Dial(context.Background(), server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(wsframe.CloseNormal, "")
	w, _ := c.NextWriter(wsframe.OpText)
	for range 10_000 {
		io.WriteString(w, strings.Repeat("ha", 10))
	}
	w.Close()
	fmt.Println(<-received)
	// Output:
	// 200000 bytes, <nil>
}

// What a client can ask for, and how it learns that it was refused.
func ExampleDial() {
	server := httptest.NewServer(&wsframe.Handler{Endpoint: clerk{}, Select: wsframe.Prefer("v2", "v1")})
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	o := &wsframe.DialOptions{
		Protocols: []string{"v1", "v2"}, // the best first
		Header:    http.Header{"Authorization": {"Bearer abc"}},
		Options:   wsframe.Options{MaxMessage: 64 << 10},
	}
	_, resp, err := wsframe.Dial(ctx, server.URL, o)
	var status *wsframe.StatusError
	if errors.As(err, &status) {
		body, _ := io.ReadAll(resp.Body)
		fmt.Printf("%d %q\n", status.Status, body)
	}

	c, _, err := wsframe.Dial(ctx, server.URL+"?name=Ada", o)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(wsframe.CloseNormal, "")
	fmt.Println(c.Subprotocol())
	// Output:
	// 403 "who are you?\n"
	// v1
}

// Refusals of an AllowOrigin hook and of an Endpoint are answers of HTTP, with any status, header and body.
func ExampleReject() {
	busy := wsframe.Reject(http.StatusServiceUnavailable, "all tables are taken").RetryAfter(time.Minute)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wsframe.Accept(w, r, &wsframe.AcceptOptions{AllowOrigin: func(*wsframe.Request) error { return busy }})
	}))
	defer server.Close()

	_, resp, err := wsframe.Dial(context.Background(), server.URL, nil)
	var status *wsframe.StatusError
	if errors.As(err, &status) {
		fmt.Println(status, "- again in", resp.Header.Get("Retry-After"), "s")
	}
	// Output:
	// server answered 503 Service Unavailable: all tables are taken - again in 60 s
}

// Both ends have to want compression; nothing else changes for them.
func ExampleCompression() {
	// Messages may refer to the 4096 bytes before them, in both directions.
	compression := &wsframe.Compression{Window: 4096, PeerWindow: 4096}
	h := &wsframe.Handler{Endpoint: clerk{}}
	h.Options.Compression = compression
	server := httptest.NewServer(h)
	defer server.Close()
	defer h.Shutdown(context.Background())

	o := new(wsframe.DialOptions)
	o.Compression = compression
	c, _, err := wsframe.Dial(context.Background(), server.URL+"?name="+strings.Repeat("Ada", 1000), o)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(wsframe.CloseNormal, "")
	fmt.Println(c.Extensions())
	_, message, err := c.ReadMessage(nil)
	fmt.Println(len(message), err)
	// Output:
	// permessage-deflate; server_max_window_bits=12; client_max_window_bits=12
	// 3007 <nil>
}

// A broadcast encodes its message once; a connection with compression compresses it for itself. A client that
// does not read holds up the write to it, so where that can be, each write wants a goroutine.
func ExampleHandler_Conns() {
	h := &wsframe.Handler{Endpoint: waiting{}}
	server := httptest.NewServer(h)
	defer server.Close()

	var clients []*wsframe.Conn
	for range 3 {
		c, _, err := wsframe.Dial(context.Background(), server.URL, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer c.Close(wsframe.CloseNormal, "")
		c.ReadMessage(nil) // the session has begun
		clients = append(clients, c)
	}
	frame := wsframe.AppendFrame(nil, wsframe.Server, wsframe.Frame{Fin: true, Op: wsframe.OpText, Payload: []byte("news")})
	for c := range h.Conns() {
		c.WriteEncoded(frame)
	}
	for _, c := range clients {
		_, message, err := c.ReadMessage(nil)
		fmt.Println(string(message), err)
	}
	// Output:
	// news <nil>
	// news <nil>
	// news <nil>
}

// waiting is an Endpoint whose sessions greet, and wait until the client leaves.
type waiting struct{}

func (waiting) Open(context.Context, *wsframe.Request) (wsframe.Session, error) {
	return waiting{}, nil
}
func (waiting) Abort() {}
func (waiting) Run(ctx context.Context, c *wsframe.Conn) error {
	c.WriteMessage(wsframe.OpText, []byte("welcome"))
	return c.Receive(func(b *wsframe.Batch) error { return nil })
}
