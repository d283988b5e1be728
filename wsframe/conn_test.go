package wsframe

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/internal/streamtest"
)

// pair returns both ends of a connection over loopback.
func pair(t testing.TB, server, client *Options) (*Conn, *Conn) {
	a, b := netPair(t)
	s, c := NewConn(a, nil, Server, "", server), NewConn(b, nil, Client, "", client)
	t.Cleanup(func() {
		s.CloseNow()
		c.CloseNow()
		<-s.Done()
		<-c.Done()
	})
	return s, c
}

func netPair(t testing.TB) (net.Conn, net.Conn) { return streamtest.TCP(t) }

// echo is the shortest server on the data path: the answers are built where the messages lie.
func echo(c *Conn) error {
	return c.Receive(func(b *Batch) error {
		out := b.Space()
		for part := b.Next(); part != nil; part = b.Next() {
			op := part.Op
			if !part.Start {
				op = OpContinuation
			}
			out = AppendHeader(out, op, part.End, int64(len(part.Payload)))
			out = append(out, part.Payload...)
		}
		if len(out) == 0 {
			return nil
		}
		return c.WriteEncoded(out)
	})
}

func TestEchoOfMessagesOfManySizes(t *testing.T) {
	s, c := pair(t, &Options{MaxMessage: -1, MaxFrame: -1}, &Options{MaxMessage: -1, MaxFrame: -1})
	served := make(chan error, 1)
	go func() { served <- echo(s) }()
	var buf []byte
	for _, n := range []int{0, 1, 2, 125, 126, 127, 65535, 65536, 65537, rawio.BufferSize - 1, rawio.BufferSize, rawio.BufferSize + 1, 3 << 20} {
		for _, op := range []Opcode{OpText, OpBinary} {
			want := bytes.Repeat([]byte("x"), n)
			go func() {
				if err := c.WriteMessage(op, want); err != nil {
					t.Error(err)
				}
			}()
			gotOp, got, err := c.ReadMessage(buf)
			if err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			if gotOp != op || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: got %v of %d bytes", n, gotOp, len(got))
			}
			buf = got
		}
	}
	if err := c.Close(CloseNormal, "done"); err != nil {
		t.Errorf("Close: %v", err)
	}
	var e *CloseError
	if err := <-served; !errors.As(err, &e) || e.Code != CloseNormal || e.Reason != "done" || !e.Remote {
		t.Errorf("server saw %v", err)
	}
}

func TestStreamedMessageArrivesWhole(t *testing.T) {
	s, c := pair(t, &Options{MaxMessage: -1}, nil)
	text := strings.Repeat("grüße ", 50000)
	go func() {
		w, _ := c.NextWriter(OpText)
		for i := 0; i < len(text); i += 777 { // cuts inside characters
			io.WriteString(w, text[i:min(len(text), i+777)])
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	op, r, err := s.NextReader()
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || op != OpText || string(got) != text {
		t.Fatalf("%v of %d bytes, %v", op, len(got), err)
	}
}

func TestPingMeasuresWhileServerEchoes(t *testing.T) {
	s, c := pair(t, nil, nil)
	go echo(s)
	go c.ReadMessage(nil)
	rtt, err := c.Ping(t.Context())
	if err != nil || rtt <= 0 || c.RTT() != rtt {
		t.Fatalf("ping: %v %v, RTT %v", rtt, err, c.RTT())
	}
}

func TestSilentPeerIsCutByKeepalive(t *testing.T) {
	a, b := netPair(t)
	defer b.Close() // never answers
	s := NewConn(a, nil, Server, "", &Options{PingInterval: 20 * time.Millisecond, PingGrace: 20 * time.Millisecond})
	_, _, err := s.ReadMessage(nil)
	var e *CloseError
	if !errors.As(err, &e) || e.Code != CloseAbnormal || !strings.Contains(e.Reason, "pings") {
		t.Fatalf("got %v", err)
	}
	<-s.Done()
}

func TestReceiveAllocatesNothing(t *testing.T) {
	s, c := netPair(t)
	server := NewConn(s, nil, Server, "", nil)
	go echo(server)
	defer server.CloseNow()
	defer c.Close()
	frame := AppendFrame(nil, Client, Frame{Fin: true, Op: OpText, Payload: []byte("hello, hello, hello")})
	batch := bytes.Repeat(frame, 32)
	answer := make([]byte, 32*(2+19))
	n := testing.AllocsPerRun(1000, func() {
		c.Write(batch)
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for 32 messages", n)
	}
}

func BenchmarkEcho32InFlight(b *testing.B) {
	s, c := netPair(b)
	server := NewConn(s, nil, Server, "", nil)
	go echo(server)
	defer server.CloseNow()
	defer c.Close()
	frame := AppendFrame(nil, Client, Frame{Fin: true, Op: OpText, Payload: bytes.Repeat([]byte("x"), 32)})
	batch := bytes.Repeat(frame, 32)
	answer := make([]byte, 32*34)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(batch)
		io.ReadFull(c, answer)
	}
	b.ReportMetric(float64(b.N)*32/b.Elapsed().Seconds(), "msg/s")
}
