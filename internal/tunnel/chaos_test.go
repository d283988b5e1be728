package tunnel

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/frametest"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/wsframe"
)

// hidden is a Stream without anything that rawio knows, as that of TLS or FastCGI.
type hidden struct {
	Stream
	crashed error
}

func (h *hidden) Crashed() error { return h.crashed }

// hide returns a Dial whose streams are hidden.
func hide(dial func(context.Context, *wsframe.Request) (Stream, error), crashed error) func(context.Context, *wsframe.Request) (Stream, error) {
	return func(ctx context.Context, r *wsframe.Request) (Stream, error) {
		s, err := dial(ctx, r)
		if err != nil {
			return nil, err
		}
		return &hidden{s, crashed}, nil
	}
}

func TestStreamsThatAreNoDescriptors(t *testing.T) {
	far := listen(t, "tcp", func(c net.Conn) {
		echo(c)
		io.WriteString(c, "end")
	})
	s := serve(t, &Endpoint{Dial: hide(far.dial(t), nil), Options: Options{Framing: binary}}, wsframe.Options{})
	c := s.connect(t)
	for range 3 {
		want := strings.Repeat("0123456789", 30000)
		c.Send(messageIn(opBin, want), masked(true, wsframe.OpPing, "p"))
		var got strings.Builder
		pongs := 0
		for got.Len() < len(want) || pongs == 0 {
			if f := c.Next(); f.Op == wsframe.OpPong {
				pongs++
			} else {
				got.WriteString(f.Payload)
			}
		}
		if got.String() != want {
			t.Fatal("got something else")
		}
		time.Sleep(quietAfter * 3 / 2)
	}
	c.NC.CloseWrite()
	c.Expect(bin("end"), closing(1000, ""))
	s.connect(t).Leave()
}

func TestBackendThatHasCrashed(t *testing.T) {
	far := listen(t, "tcp", func(c net.Conn) { io.WriteString(c, "last words") })
	s := serve(t, &Endpoint{Dial: hide(far.dial(t), errors.New("signal: killed"))}, wsframe.Options{})
	c := s.connect(t)
	c.Expect(text("last words"), closing(1011, "the backend failed"))
}

// Whatever clients and backends do, and whenever: nothing is left of it (goleak), and a session that ends has ended.
func TestMisbehaviour(t *testing.T) {
	sessions := 200
	if raceEnabled {
		sessions = 60
	}
	for name, o := range map[string]Options{
		"raw":   {Queue: 8 << 10},
		"lines": {Framing: &framing.Options{LongLine: framing.Refuse, MaxLine: 5000}, Queue: 8 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.StallTimeout, o.HalfTimeout = time.Second, time.Second
			far := listen(t, "tcp", func(c net.Conn) {
				c.SetDeadline(time.Now().Add(time.Duration(rand.IntN(1500)) * time.Millisecond))
				for range rand.IntN(6) {
					switch rand.IntN(7) {
					case 0:
						io.WriteString(c, strings.Repeat("output\n", rand.IntN(30000)))
					case 1:
						io.CopyN(io.Discard, c, rand.Int64N(100000))
					case 2:
						time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
					case 3:
						c.(*net.TCPConn).CloseWrite()
					case 4:
						c.(*net.TCPConn).SetLinger(0)
					case 5:
						io.Copy(c, c)
					case 6:
						io.WriteString(c, "\xff\xfe")
					}
				}
			})
			s := serve(t, &Endpoint{Dial: far.dial(t), Options: o}, wsframe.Options{
				CloseTimeout: 200 * time.Millisecond, WriteTimeout: 500 * time.Millisecond, PingInterval: 50 * time.Millisecond, PingGrace: 50 * time.Millisecond,
			})
			var wg sync.WaitGroup
			var opened atomic.Int32
			for range sessions {
				wg.Go(func() {
					c, r := frametest.Try(t, s.addr, "/")
					switch r.StatusCode {
					case http.StatusSwitchingProtocols:
						opened.Add(1)
						misbehave(c)
					case http.StatusServiceUnavailable: // a backend may be so quick that it cannot even be connected to
					default:
						t.Error(r.Status)
					}
				})
			}
			wg.Wait()
			eventually(t, "all sessions have ended", func() bool { return strings.Count(s.log.String(), "session ended") == int(opened.Load()) })
		})
	}
}

func misbehave(c *frametest.Client) {
	defer c.NC.Close()
	reading := rand.IntN(3) > 0
	var wg sync.WaitGroup
	if reading {
		wg.Go(func() {
			for {
				f, err := c.Read()
				if err != nil {
					return
				}
				switch f.Op {
				case wsframe.OpPing:
					c.NC.Write(masked(true, wsframe.OpPong, f.Payload)) // perhaps inside of another frame
				case wsframe.OpClose:
					c.NC.Write(masked(true, wsframe.OpClose, f.Payload[:min(2, len(f.Payload))]))
				}
			}
		})
	}
	for range rand.IntN(6) {
		c.NC.SetWriteDeadline(time.Now().Add(time.Second))
		switch rand.IntN(7) {
		case 0:
			c.NC.Write(messageIn(opText, strings.Repeat("x", rand.IntN(200000))))
		case 1:
			c.NC.Write(masked(rand.IntN(2) == 0, wsframe.Opcode(rand.IntN(16)), "x"))
		case 2:
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		case 3:
			c.NC.Write(masked(true, wsframe.OpClose, "\x03\xe8"))
		case 4:
			c.NC.CloseWrite()
		case 5:
			c.NC.SetLinger(0)
		case 6:
			c.NC.Write(messageIn(opBin, "line\n"))
		}
	}
	c.NC.Close()
	wg.Wait()
}
