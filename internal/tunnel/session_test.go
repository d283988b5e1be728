package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/frametest"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/wsframe"
)

func TestEveryFrameSizePasses(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			s := serve(t, &Endpoint{Dial: listen(t, network, echo).dial(t), Options: Options{Framing: binary}}, wsframe.Options{})
			c := s.connect(t)
			sizes := []int{1, 5, 124, 125, 126, 127, 128, 2047, 4096, 6143, 6144, 8191, 8192, 65535, 65536, 65537, 200000}
			for n := 2048; n <= 4095; n += 89 {
				sizes = append(sizes, n)
			}
			for _, n := range sizes {
				want := strings.Repeat(string(rune('a'+n%26)), n)
				for _, m := range [][]byte{messageIn(opBin, want), messageIn(opText, want), fragments(opBin, want[:n/2], "", want[n/2:])} {
					c.Send(m)
					var got strings.Builder
					for got.Len() < n {
						f := c.Next()
						if f.Op != wsframe.OpPong {
							got.WriteString(f.Payload)
						}
					}
					if got.String() != want {
						t.Fatalf("%d bytes: got others", n)
					}
				}
			}
			c.Leave()
		})
	}
}

func TestPayloadsGoOnAsTheyArrive(t *testing.T) {
	s := serve(t, &Endpoint{Dial: listen(t, "tcp", echo).dial(t)}, wsframe.Options{})
	c := s.connect(t)
	c.Send(masked(false, opText, "unfinished "))
	c.Expect(text("unfinished "))
	c.Send(masked(true, wsframe.OpPing, "p"), masked(false, 0, "message"))
	c.Expect(pong("p"), text("message"))
	big := masked(true, 0, strings.Repeat("x", 1000))
	c.Send(big[:500])
	if got := c.Next(); got.Payload != strings.Repeat("x", 492) {
		t.Errorf("got %v of a frame that is not complete", got)
	}
	c.Send(big[500:])
	if got := c.Next(); got.Payload != strings.Repeat("x", 508) {
		t.Errorf("got %v", got)
	}
	c.Send(messageIn(opText, ""), messageIn(opText, "behind nothing"))
	c.Expect(text("behind nothing"))
	c.Leave()
}

func TestTextIsNeverCutInsideACharacter(t *testing.T) {
	all := strings.Repeat("a€😀é", 20000)
	far := listen(t, "tcp", func(c net.Conn) {
		for rest, n := all, 1; rest != ""; n = n%4099 + 61 {
			n = min(n, len(rest))
			io.WriteString(c, rest[:n])
			rest = rest[n:]
		}
	})
	s := serve(t, &Endpoint{Dial: far.dial(t)}, wsframe.Options{})
	c := s.connect(t)
	var frames []frame
	var got strings.Builder
	for {
		f := c.Next()
		if f.Op == wsframe.OpClose {
			if f != closing(1000, "") {
				t.Errorf("got %v", f)
			}
			break
		}
		frames = append(frames, f)
		got.WriteString(f.Payload)
	}
	var wire []byte
	for _, f := range frames {
		wire = wsframe.AppendFrame(wire, wsframe.Server, wsframe.Frame{Fin: f.Fin, Op: f.Op, Payload: []byte(f.Payload)})
	}
	if _, err := frametest.Parse(wire); err != nil {
		t.Error(err)
	}
	if got.String() != all {
		t.Errorf("got %d bytes, want %d", got.Len(), len(all))
	}
}

func TestTextThatIsNotUTF8(t *testing.T) {
	for _, tt := range []struct {
		choice framing.Choice
		want   []frame
		end    frame
	}{
		{framing.Default, []frame{text("a\uFFFDb")}, closing(1000, "")},
		{framing.AsBinary, []frame{bin("a\xffb")}, closing(1000, "")},
		{framing.Refuse, nil, closing(1007, "the backend sent text that is not UTF-8")},
	} {
		far := listen(t, "tcp", func(c net.Conn) { io.WriteString(c, "a\xffb") })
		s := serve(t, &Endpoint{Dial: far.dial(t), Options: Options{Framing: &framing.Options{Framing: framing.Raw, InvalidUTF8: tt.choice}}}, wsframe.Options{})
		got, end := s.connect(t).All()
		if !slices.Equal(got, tt.want) || end != tt.end {
			t.Errorf("%v: got %v, %v", tt.choice, got, end)
		}
	}
}

func TestHowSessionsEnd(t *testing.T) {
	// What the backend has read at its end.
	input := make(chan string, 10)
	readAll := func(c net.Conn) {
		b, err := io.ReadAll(c)
		if err != nil {
			b = fmt.Append(b, " ", err)
		}
		input <- string(b)
	}
	for _, tt := range []struct {
		name    string
		backend func(c net.Conn)
		client  func(t *testing.T, c *frametest.Client)
		input   string // of a backend that reads all; "-": it does not
	}{
		{"data and Close in one segment", readAll, func(t *testing.T, c *frametest.Client) {
			c.Send(messageIn(opText, "all of "), messageIn(opBin, "it"), masked(true, wsframe.OpClose, "\x0f\xa1bye"))
			c.Expect(closing(4001, ""))
		}, "all of it"},
		{"Close without a code", readAll, func(t *testing.T, c *frametest.Client) {
			c.Send(masked(true, wsframe.OpClose, ""))
			c.Expect(frame{Fin: true, Op: wsframe.OpClose})
		}, ""},
		{"data in front of a violation", readAll, func(t *testing.T, c *frametest.Client) {
			c.Send(messageIn(opText, "data"), masked(true, 3, ""))
			if f := c.Next(); !strings.HasPrefix(f.Payload, "\x03\xea") {
				t.Errorf("got %v", f)
			}
			c.NC.CloseWrite()
		}, "data"},
		{"the client ends its TCP direction", func(c net.Conn) {
			readAll(c)
			time.Sleep(50 * time.Millisecond)
			io.WriteString(c, "answer")
		}, func(t *testing.T, c *frametest.Client) {
			c.Send(messageIn(opText, "question"))
			c.NC.CloseWrite()
			c.Expect(text("answer"), closing(1000, ""))
		}, "question"},
		{"the client is gone", func(c net.Conn) {
			b := make([]byte, 4)
			io.ReadFull(c, b)
			io.WriteString(c, "taken")
			if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
				b = fmt.Append(b, string(rest), err)
			}
			input <- string(b)
		}, func(t *testing.T, c *frametest.Client) {
			c.Send(messageIn(opText, "data"))
			c.Expect(text("taken")) // a reset takes with it what is on its way
			c.Reset()
		}, "data"},
		{"the backend ends", func(c net.Conn) { io.WriteString(c, "last words") }, func(t *testing.T, c *frametest.Client) {
			got, end := c.All()
			if !slices.Equal(got, []frame{text("last words")}) || end != closing(1000, "") {
				t.Errorf("got %v, %v", got, end)
			}
		}, "-"},
		{"the backend ends its direction and reads on", func(c net.Conn) {
			io.WriteString(c, "last words")
			c.(*net.TCPConn).CloseWrite()
			readAll(c)
		}, func(t *testing.T, c *frametest.Client) {
			c.Expect(text("last words"), closing(1000, ""))
			c.Send(messageIn(opText, "too late?"), masked(true, wsframe.OpClose, "\x03\xe8"))
		}, "too late?"},
		{"the backend resets the connection", func(c net.Conn) {
			io.WriteString(c, "last words")
			io.ReadFull(c, make([]byte, 4)) // a reset takes with it what is on its way
			c.(*net.TCPConn).SetLinger(0)
		}, func(t *testing.T, c *frametest.Client) {
			c.Expect(text("last words"))
			c.Send(messageIn(opText, "read"))
			c.ExpectClose(closing(1011, "the connection to the backend broke"))
		}, "-"},
		{"the backend resets the connection after a silence", func(c net.Conn) {
			time.Sleep(2 * quietAfter)
			c.(*net.TCPConn).SetLinger(0)
		}, func(t *testing.T, c *frametest.Client) {
			c.ExpectClose(closing(1011, "the connection to the backend broke"))
		}, "-"},
		{"the backend accepts and closes", func(net.Conn) {}, func(t *testing.T, c *frametest.Client) {
			c.ExpectClose(closing(1000, ""))
		}, "-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, &Endpoint{Dial: listen(t, "tcp", tt.backend).dial(t)}, wsframe.Options{})
			c := s.connect(t)
			tt.client(t, c)
			if tt.input != "-" {
				if got := <-input; got != tt.input {
					t.Errorf("the backend got %q, want %q", got, tt.input)
				}
			}
			eventually(t, "the end is logged", func() bool { return strings.Contains(s.log.String(), "session ended") })
			if log := s.log.String(); strings.Count(log, "session started") != 1 || strings.Count(log, "session ended") != 1 {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// A far side that does not end by itself when the client has left is not waited for long.
func TestBackendThatDoesNotEndIsClosed(t *testing.T) {
	ended := make(chan error, 1)
	far := listen(t, "tcp", func(c net.Conn) {
		for {
			if _, err := io.WriteString(c, "more"); err != nil {
				ended <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	s := serve(t, &Endpoint{Dial: far.dial(t)}, wsframe.Options{})
	s.connect(t).Leave()
	select {
	case <-ended:
	case <-time.After(frametest.Bound):
		t.Error("the backend is still connected")
	}
}

func TestSilenceBehindAHalfClose(t *testing.T) {
	const silence, words = 2 * time.Second, 5
	far := listen(t, "tcp", func(c net.Conn) {
		io.Copy(io.Discard, c)
		for range words { // each one counts
			time.Sleep(silence / 4)
			io.WriteString(c, "more")
		}
		<-t.Context().Done()
	})
	s := serve(t, &Endpoint{Dial: far.dial(t), Options: Options{HalfTimeout: silence}}, wsframe.Options{})
	c := s.connect(t)
	c.NC.CloseWrite()
	for range words {
		c.Expect(text("more"))
	}
	c.Expect(closing(1001, "the backend was silent for too long"))
}

func TestOpeningFails(t *testing.T) {
	gone := listen(t, "tcp", echo)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := &far{network: "tcp", addr: ln.Addr().String()}
	ln.Close()
	for _, tt := range []struct {
		name   string
		dial   func(context.Context, *wsframe.Request) (Stream, error)
		status int
	}{
		{"a backend that is down", down.dial(t), 503},
		{"a rejection", func(context.Context, *wsframe.Request) (Stream, error) { return nil, wsframe.Reject(404, "no") }, 404},
		{"a time-out", func(context.Context, *wsframe.Request) (Stream, error) { return nil, context.DeadlineExceeded }, 504},
		{"another error", func(context.Context, *wsframe.Request) (Stream, error) { return nil, errors.New("broken") }, 502},
		{"nothing", gone.dial(t), 101},
	} {
		s := serve(t, &Endpoint{Dial: tt.dial}, wsframe.Options{})
		c, r := frametest.Try(t, s.addr, "/")
		if r.StatusCode != tt.status || tt.status == 503 && r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s, %v", tt.name, r.Status, r.Header)
		}
		if tt.status == 101 {
			c.Leave()
		}
	}
}

func TestSubprotocols(t *testing.T) {
	for _, tt := range []struct {
		offer, answer string
		in            []byte
		bytes         int // for the backend
		want          frame
	}{
		{"", "", messageIn(opText, "x"), 1, text("x")},
		{"chat", "", messageIn(opText, "x"), 1, text("x")},
		{"chat, binary", "binary", messageIn(opBin, "x\xff"), 2, bin("x\xff")},
		{"Binary", "Binary", messageIn(opBin, "x\xff"), 2, bin("x\xff")},
		{"base64, binary", "binary", messageIn(opBin, "x\xff"), 2, bin("x\xff")},
		{"base64", "base64", messageIn(opText, "eP8="), 2, text("eP8=")},
		{"base64", "base64", fragments(opText, "e", "P", "8", "="), 2, text("eP8=")},
	} {
		s := serve(t, &Endpoint{Dial: listen(t, "tcp", func(c net.Conn) {
			b := make([]byte, 100)
			n, _ := io.ReadFull(c, b[:tt.bytes])
			c.Write(b[:n])
		}).dial(t), Options: Options{Protocols: true}}, wsframe.Options{})
		c, r := frametest.Try(t, s.addr, "/", "Sec-WebSocket-Protocol: "+tt.offer)
		if got := r.Header.Get("Sec-WebSocket-Protocol"); r.StatusCode != 101 || got != tt.answer {
			t.Errorf("%q: %s, %q", tt.offer, r.Status, got)
			continue
		}
		c.Send(tt.in)
		got := c.Next()
		for got.Op == wsframe.OpPong {
			got = c.Next()
		}
		if got != tt.want {
			t.Errorf("%q: got %v, want %v", tt.offer, got, tt.want)
		}
		c.Expect(closing(1000, ""))
	}
}

func TestBase64ThatIsNone(t *testing.T) {
	s := serve(t, &Endpoint{Dial: listen(t, "tcp", echo).dial(t), Options: Options{Protocols: true}}, wsframe.Options{})
	c := s.connect(t, "Sec-WebSocket-Protocol: base64")
	c.Send(messageIn(opText, "AAAA"))
	c.Expect(text("AAAA"))
	c.Send(messageIn(opText, "!"))
	c.ExpectClose(closing(1007, "this subprotocol takes base64 only"))
}

func TestFramings(t *testing.T) {
	s := serve(t, &Endpoint{Dial: listen(t, "tcp", func(c net.Conn) {
		b, _ := io.ReadAll(c)
		c.Write(bytes.ToUpper(b))
	}).dial(t), Options: Options{Framing: &framing.Options{}}}, wsframe.Options{})
	c := s.connect(t)
	c.Send(messageIn(opText, "one"), fragments(opText, "tw", "o"))
	c.NC.CloseWrite()
	c.Expect(pong("p"), text("ONE"), text("TWO"), closing(1000, ""))
}

func TestBackendsThatTakeFrames(t *testing.T) {
	o := Options{Framing: &framing.Options{Framing: framing.Frames}, Protocols: true}
	s := serve(t, &Endpoint{Dial: listen(t, "tcp", echo).dial(t), Options: o}, wsframe.Options{})
	c := s.connect(t, "Sec-WebSocket-Protocol: base64, binary") // which are for raw tunnels
	c.Send(masked(false, opText, "a\xe2"))
	c.Expect(frame{Op: opText, Payload: "a\xe2"})
	c.Send(masked(true, wsframe.OpPing, "p"))
	c.Expect(pong("p"))
	c.Send(masked(false, 0, "\x82\xac"), masked(true, 0, ""), messageIn(opBin, "\xff"), messageIn(opText, "b"))
	c.Expect(frame{Payload: "\x82\xac"}, frame{Fin: true}, bin("\xff"), text("b"))
	c.Leave()

	wrong := listen(t, "unix", func(c net.Conn) {
		io.WriteString(c, "\x01\x00\x00\x00\x01a\x81\x00\x00\x00\x01b")
		io.Copy(io.Discard, c)
	})
	s = serve(t, &Endpoint{Dial: wrong.dial(t), Options: o}, wsframe.Options{})
	c = s.connect(t)
	c.Expect(frame{Op: opText, Payload: "a"})
	const reason = "the backend sent a text frame inside of a fragmented message"
	c.ExpectClose(closing(1011, reason))
	eventually(t, "the log says why", func() bool { return strings.Contains(s.log.String(), `reason="`+reason+`"`) })

	s = serve(t, &Endpoint{Dial: listen(t, "tcp", func(c net.Conn) { io.WriteString(c, "\x02\x00\x00\x00\x02a") }).dial(t), Options: o}, wsframe.Options{})
	c = s.connect(t)
	c.ExpectClose(closing(1011, "the backend ended inside a message"))
}
