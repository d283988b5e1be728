package main

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A scenario is one way of abuse.
type scenario struct {
	name        string
	bound       int64 // MiB that the server may take
	descriptors int   // that the server may have; 0 = as many as the system lets it
	http2       bool  // the well-behaved client uses it
	run         func(context.Context, *attack)
}

// The bounds are for what a scenario can make the server hold: 4 KiB and more for each connection, 2 MiB for each
// session that is not read (the message, and the queue in front of its program), and what garbage doubles.
var scenarios = []scenario{
	{"none", 64, 0, false, nil},
	{"slow request header", 128, 0, false, slowHeader},
	{"slow frames", 128, 0, false, slowFrames},
	{"20,000 connections, 1,024 descriptors", 128, 1024, false, connections},
	{"handshake flood", 128, 0, false, handshakes},
	{"ping flood", 96, 0, false, pings},
	{"one-byte fragments", 128, 0, false, fragments},
	{"clients that never read", 512, 0, false, neverRead},
	{"half-open and vanished", 128, 0, false, halfOpen},
	{"random bytes to the port", 96, 0, false, randomPort},
	{"random bytes as frames", 128, 0, false, randomFrames},
	{"inflate bomb", 384, 0, false, bomb},
	{"slow bodies and readers", 256, 0, false, slowRequests},
	{"a program for each request", 128, 0, false, programs},
	{"tunnels that are not read", 256, 0, false, unreadTunnels},
	{"slow TLS handshakes", 128, 0, true, slowTLS},
	{"HTTP/2: streams that are not read", 512, 0, true, unreadStreams},
	{"HTTP/2: answers that are not read", 384, 0, true, unreadAnswers},
	{"HTTP/2: rapid reset", 256, 0, true, rapidReset},
	{"HTTP/2: sessions that come and go", 128, 0, true, churn},
	{"HTTP/2: SETTINGS and PING", 128, 0, true, controlFrames},
	{"HTTP/2: endless and random headers", 128, 0, true, headers},
	{"HTTP/2: idle connections, 1,024 descriptors", 128, 1024, true, idleHTTP2},
}

// slowHeader sends requests that never end, a byte at a time.
func slowHeader(ctx context.Context, a *attack) {
	a.busy(ctx, 1000, false, func(ctx context.Context, _ int, c net.Conn) {
		_, err := io.WriteString(c, "GET /echo HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
		for err == nil && every(ctx, time.Second) {
			_, err = io.WriteString(c, "a")
		}
	})
}

// slowFrames announces frames of 1 MB and sends a byte a second of them.
func slowFrames(ctx context.Context, a *attack) {
	a.sessions(ctx, 250, "/echo", "", func(ctx context.Context, c net.Conn, _ *bufio.Reader) {
		_, err := c.Write([]byte{0x81, 0xff, 0, 0, 0, 0, 0, 0x0f, 0, 0, 0, 0, 0, 0})
		for err == nil && every(ctx, time.Second) {
			_, err = c.Write([]byte("a"))
		}
	})
}

// connections tries 20,000 connections, at most 8,000 of them at a time, as this process has no more descriptors than
// most. They ask for nothing. The new sessions of the well-behaved client have to wait behind them. Not all get
// through: the system of the server holds 4,096 that are not accepted yet.
func connections(ctx context.Context, a *attack) {
	const total, atOnce, workers = 20_000, 8000, 400
	work := make(chan struct{})
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			var open []net.Conn
			for range work {
				if len(open) == atOnce/workers {
					a.drop(open[0])
					open = open[1:]
				}
				soon, cancel := context.WithTimeout(ctx, time.Second)
				c, err := a.dial(soon)
				cancel()
				if err != nil {
					a.did("not connected", 1)
					continue
				}
				a.did("connected", 1)
				open = append(open, c)
			}
		})
	}
	gap := a.length * 3 / 4 / total
	for range total {
		select {
		case work <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		time.Sleep(gap)
	}
	close(work)
	all.Wait()
	<-ctx.Done()
}

// handshakes asks for session after session, and ends those that it gets.
func handshakes(ctx context.Context, a *attack) {
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for ctx.Err() == nil {
				c, _, err := a.session(ctx, "/echo", "")
				if _, is := err.(refused); is {
					a.did("refused", 1)
				} else if err == nil {
					a.did("sessions", 1)
					a.drop(c)
				}
			}
		})
	}
	all.Wait()
}

// flood writes b again and again, while the answers are thrown away.
func flood(c net.Conn, r *bufio.Reader, b []byte) (times int) {
	go io.Copy(io.Discard, r)
	for {
		if _, err := c.Write(b); err != nil {
			return times
		}
		times++
	}
}

// pings sends pings as fast as they are taken.
func pings(ctx context.Context, a *attack) {
	b := bytes.Repeat(frame(0x89, make([]byte, 125)), 100)
	a.sessions(ctx, 8, "/echo", "", func(_ context.Context, c net.Conn, r *bufio.Reader) {
		a.did("pings", 100*flood(c, r, b))
	})
}

// fragments sends messages of 16,000 fragments, of one byte each.
func fragments(ctx context.Context, a *attack) {
	b := fragmented(16_000)
	a.sessions(ctx, 8, "/echo", "", func(_ context.Context, c net.Conn, r *bufio.Reader) {
		a.did("messages of 16,000 fragments", flood(c, r, b))
	})
}

// fragmented is a message of n fragments.
func fragmented(n int) []byte {
	b := frame(0x01, []byte("a"))
	b = append(b, bytes.Repeat(frame(0x00, []byte("a")), n-2)...)
	return append(b, frame(0x80, []byte("a"))...)
}

// neverRead sends messages of 64 KB and never reads their echo.
func neverRead(ctx context.Context, a *attack) {
	b := frame(0x81, bytes.Repeat([]byte("a"), 64<<10))
	a.sessions(ctx, 100, "/echo", "", func(_ context.Context, c net.Conn, _ *bufio.Reader) {
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
			a.did("messages", 1)
		}
	})
}

// halfOpen ends the sending side of half of its sessions and does not close them; the others never answer. What is
// missing of peers that really vanish is that the system of such a peer acknowledges here.
func halfOpen(ctx context.Context, a *attack) {
	var both sync.WaitGroup
	ended := func(ctx context.Context, r *bufio.Reader) {
		io.Copy(io.Discard, r)
		if ctx.Err() == nil {
			a.did("ended by the server", 1)
		}
	}
	both.Go(func() {
		a.sessions(ctx, 100, "/echo", "", func(ctx context.Context, c net.Conn, r *bufio.Reader) {
			c.(*net.TCPConn).CloseWrite()
			ended(ctx, r)
			every(ctx, 10*time.Second)
		})
	})
	both.Go(func() {
		a.sessions(ctx, 100, "/echo", "", func(ctx context.Context, c net.Conn, r *bufio.Reader) { ended(ctx, r) })
	})
	both.Wait()
}

// randomPort sends random bytes in place of requests.
func randomPort(ctx context.Context, a *attack) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			b := make([]byte, 4096)
			for ctx.Err() == nil {
				c, err := a.dial(ctx)
				if err != nil {
					continue
				}
				rand.Read(b)
				c.SetDeadline(time.Now().Add(time.Second))
				c.Write(b)
				io.Copy(io.Discard, c)
				a.did("connections", 1)
				a.drop(c)
			}
		})
	}
	all.Wait()
}

// randomFrames sends random bytes behind a good handshake.
func randomFrames(ctx context.Context, a *attack) {
	a.sessions(ctx, 32, "/echo", "", func(_ context.Context, c net.Conn, r *bufio.Reader) {
		b := make([]byte, 4096)
		rand.Read(b)
		b[0], b[1] = b[0]&0x8f, b[1]|0x80 // get beyond the first checks now and then
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write(b)
		io.Copy(io.Discard, r)
	})
}

// bomb sends compressed messages of 64 MB, and in turn some that are as large as they may be.
func bomb(ctx context.Context, a *attack) {
	large, legal := deflated(64<<20), deflated(1<<20-1)
	var both sync.WaitGroup
	run := func(n int, what string, b []byte) {
		both.Go(func() {
			a.sessions(ctx, n, "/deflate", askDeflate, func(_ context.Context, c net.Conn, r *bufio.Reader) {
				a.did(what, flood(c, r, b))
			})
		})
	}
	run(32, fmt.Sprintf("messages of 64 MiB in %d KiB", len(large)>>10), large)
	run(8, fmt.Sprintf("messages of 1 MiB in %d KiB", len(legal)>>10), legal)
	both.Wait()
}

// deflated is a compressed message of so many letters.
func deflated(n int) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	chunk := bytes.Repeat([]byte("a"), 1<<16)
	for n > 0 {
		k := min(n, len(chunk))
		w.Write(chunk[:k])
		n -= k
	}
	w.Flush()
	return frame(0xc1, bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff}))
}
