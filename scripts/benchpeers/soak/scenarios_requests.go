package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// slowRequests has both.
func slowRequests(ctx context.Context, a *attack) {
	var both sync.WaitGroup
	both.Go(func() { slowBodies(ctx, a) })
	both.Go(func() { slowReaders(ctx, a) })
	both.Wait()
}

// slowBodies sends bodies a byte at a time, or not at all, to programs, files and what is not there.
func slowBodies(ctx context.Context, a *attack) {
	const post = "POST %s HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: " + attackers + "\r\nContent-Length: 1000\r\n\r\n"
	paths := []string{"/cgi", "/cgi", "/echo", "/files/large", "/missing"}
	a.busy(ctx, 1000, false, func(ctx context.Context, i int, c net.Conn) {
		_, err := fmt.Fprintf(c, post, paths[i%len(paths)])
		go func() { // what is not taken resets the connection when it ends
			io.Copy(io.Discard, c)
			c.Close()
		}()
		for err == nil && every(ctx, time.Second) {
			if i%2 == 0 {
				_, err = c.Write([]byte("a"))
			} else {
				_, err = c.Write(nil)
			}
		}
	})
}

// slowReaders asks for large answers and takes little of them, or nothing.
func slowReaders(ctx context.Context, a *attack) {
	paths := []string{"/large", "/files/large"}
	a.busy(ctx, 500, false, func(ctx context.Context, i int, c net.Conn) {
		c.(*net.TCPConn).SetReadBuffer(4096)
		fmt.Fprintf(c, get, paths[i%2])
		b := make([]byte, 100)
		for every(ctx, time.Second) {
			if i%4 < 2 {
				if _, err := c.Read(b); err != nil {
					return
				}
			}
		}
	})
}

const get = "GET %s HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: " + attackers + "\r\n\r\n"

// programs asks for the answer of a program again and again.
func programs(ctx context.Context, a *attack) {
	a.busy(ctx, 64, false, func(ctx context.Context, i int, c net.Conn) {
		for r := bufio.NewReader(c); ; {
			fmt.Fprintf(c, get, "/cgi")
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				return
			}
			a.did(strings.ToLower(http.StatusText(res.StatusCode)), 1)
		}
	})
}

// unreadTunnels has sessions that take nothing of what their backend sends, and others that take no echo.
func unreadTunnels(ctx context.Context, a *attack) {
	b := frame(0x82, bytes.Repeat([]byte("a"), 64<<10))
	var both sync.WaitGroup
	both.Go(func() {
		a.sessions(ctx, 100, "/tunnel-flood", "", func(ctx context.Context, _ net.Conn, _ *bufio.Reader) { <-ctx.Done() })
	})
	both.Go(func() {
		a.sessions(ctx, 100, "/tunnel-echo", "", func(_ context.Context, c net.Conn, _ *bufio.Reader) {
			for {
				if _, err := c.Write(b); err != nil {
					return
				}
				a.did("messages", 1)
			}
		})
	})
	both.Wait()
}

// backend listens for tunnels. Use has each connection.
func backend(use func(net.Conn)) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				use(c)
			}()
		}
	}()
	return l, nil
}
