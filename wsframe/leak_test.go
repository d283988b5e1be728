package wsframe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

// descriptors counts the open ones of this process.
func descriptors(t testing.TB) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("counts descriptors in /proc")
	}
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(dir)
}

func TestNoDescriptorIsLeft(t *testing.T) {
	ends := map[string]func(c *Conn, p *peer){
		"Close": func(c *Conn, p *peer) {
			go p.send(fin|wireClose, "")
			c.Close(CloseNormal, "")
		},
		"CloseNow": func(c *Conn, p *peer) { c.CloseNow() },
		"peer's Close": func(c *Conn, p *peer) {
			p.send(fin|wireClose, "")
			c.ReadMessage(nil)
		},
		"violation": func(c *Conn, p *peer) {
			p.write([]byte{0xFF, 0xFF})
			c.ReadMessage(nil)
		},
		"unanswered Close": func(c *Conn, p *peer) { c.Close(CloseNormal, "") },
		"stuck write":      func(c *Conn, p *peer) { c.WriteMessage(OpBinary, make([]byte, huge)) },
		"unanswered ping":  func(c *Conn, p *peer) { c.ReadMessage(nil) },
		"WriteClose":       func(c *Conn, p *peer) { c.WriteClose(CloseNormal, "") },
	}
	a, b := netPair(t) // whatever is opened once
	a.Close()
	b.Close()
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			eachRole(t, func(t *testing.T, role Role) {
				before := descriptors(t)
				a, b := netPair(t)
				p := &peer{t: t, Conn: b, role: other(role)}
				c := NewConn(a, nil, role, "", &Options{
					CloseTimeout: 5 * time.Millisecond, WriteTimeout: 5 * time.Millisecond,
					PingInterval: 4 * time.Millisecond, PingGrace: time.Millisecond,
				})
				end(c, p)
				<-c.Done()
				b.Close()
				if after := descriptors(t); after > before {
					t.Errorf("%d descriptors became %d", before, after)
				}
			})
		})
	}
}

// Everything at the same time, in any order. What is checked: nothing hangs, nothing races, frames
// are well-formed, no goroutine and no descriptor is left.
func TestEverythingAtOnce(t *testing.T) {
	rounds := 300
	if raceEnabled {
		rounds = 100
	}
	for i := range rounds {
		r := rand.New(rand.NewPCG(uint64(i), 0))
		o := Options{FragmentSize: r.IntN(3) * 5000, CloseTimeout: 50 * time.Millisecond, WriteTimeout: time.Second, PingInterval: 2 * time.Millisecond, PingGrace: time.Second}
		var a, b net.Conn
		switch r.IntN(4) {
		case 0:
			a, b = net.Pipe()
		case 1:
			a, b = unixPair(t)
		case 2:
			a, b = netPair(t)
			a, b = plain{a}, plain{b}
		default:
			a, b = netPair(t)
		}
		var agreed *deflateParams
		if i%2 == 1 {
			o.Compression, agreed = &Compression{Window: 4096, PeerWindow: 32768}, new(deflateParams)
		}
		ends := [2]*Conn{newConn(a, nil, Server, "", &o, agreed), newConn(b, nil, Client, "", &o, agreed)}
		garbage := false
		var all sync.WaitGroup
		for _, c := range ends {
			for range 2 {
				seed := r.Uint64()
				all.Go(func() { write(c, rand.New(rand.NewPCG(seed, 1))) })
			}
			read := readings[r.IntN(len(readings))].read
			all.Go(func() { read(c) })
			ending, pause := r.IntN(7), time.Duration(r.IntN(3000))*time.Microsecond
			garbage = garbage || ending == 2
			all.Go(func() {
				time.Sleep(pause)
				switch ending {
				case 0:
					c.CloseNow()
				case 1:
					c.WriteClose(CloseGoingAway, "stop")
				case 2:
					c.WriteFrame(Frame{Op: 0x7}) // refused
					c.WriteEncoded([]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF})
				case 3:
					go c.CloseNow()
				}
				c.Close(CloseNormal, "")
			})
		}
		all.Wait()
		for _, c := range ends {
			<-c.Done()
			var e *CloseError
			if !errors.As(c.Err(), &e) {
				t.Fatal("ended without a cause")
			}
			if bad := e.Code == CloseProtocolError || e.Code == CloseInvalidPayload || e.Code == CloseTooBig; bad && !garbage {
				t.Errorf("round %d: a %s found a violation: %v", i, c.Role(), e)
			}
		}
	}
}

// write sends in all ways until it fails.
func write(c *Conn, r *rand.Rand) {
	for {
		p := bytes.Repeat([]byte("ß"), r.IntN(40_000))
		var err error
		switch r.IntN(5) {
		case 0:
			var w io.WriteCloser
			if w, err = c.NextWriter(OpText); err == nil {
				w.Write(p)
				err = w.Close()
			}
		case 1:
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(2000))*time.Microsecond)
			c.Ping(ctx)
			cancel()
		case 2:
			err = c.WriteFrame(Frame{Fin: true, Op: OpPing, Payload: p[:min(len(p), 100)]})
		default:
			err = c.WriteMessage(OpText, p)
		}
		if err != nil || c.Ending() {
			return
		}
	}
}
