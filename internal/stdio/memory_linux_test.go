package stdio

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// A text message that is far larger than anything that the server may collect goes through a program
// and comes back.
func TestHugeMessageTakesNoMemory(t *testing.T) {
	const size, tail = 64 << 20, 8 << 10
	s := startServer(t, serverConfig{Path: "/bin/cat", MaxMessage: 2 * size})
	c := s.dial()
	var b bytes.Buffer
	for i := 0; b.Len() < size-2*tail; i++ {
		b.WriteString(strings.Repeat("a€😀\r", i%7))
		b.WriteByte(byte('0' + i%10))
	}
	b.WriteString(strings.Repeat("x", size-b.Len()))
	message := b.Bytes()
	echo := func(p []byte) {
		t.Helper()
		sent := make(chan error, 1)
		go func() { sent <- c.WriteMessage(opText, p) }()
		op, r, err := c.NextReader()
		if err != nil || op != opText {
			t.Fatalf("%v, %v", op, err)
		}
		buf := make([]byte, 1<<20)
		for rest := p; len(rest) > 0; {
			n, err := r.Read(buf)
			if err != nil || n > len(rest) || !bytes.Equal(buf[:n], rest[:n]) {
				t.Fatalf("after %d bytes: %d bytes, %v", len(p)-len(rest), n, err)
			}
			rest = rest[n:]
		}
		if n, err := r.Read(buf); n != 0 || err != io.EOF {
			t.Fatalf("behind the message: %d bytes, %v", n, err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	for range 10 { // so that what every connection takes is not counted
		echo(message[size-tail:])
	}
	g := s.growth()
	echo(message)
	g.check("64 MiB", 8<<10)
}

func TestEndlessLineTakesNoMemory(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		o            Options
		limit        int64 // KiB
	}{
		{"split", "yes | tr -d '\\n'", Options{}, 16 << 10},
		{"tagged", "yes | tr -d '\\n'", Options{PassStderr: true}, 32 << 10}, // pieces of MaxLine become JSON
		{"null", "yes", Options{Options: framing.Options{Framing: framing.Null}}, 16 << 10},
		{"length", "printf '\\377\\377\\377\\377'; yes", Options{Options: framing.Options{Framing: framing.Length}}, 16 << 10},
	} {
		config := serverConfig{Path: "/bin/sh", Args: []string{"-c", tt.script}, Options: tt.o}
		if tt.o.PassStderr {
			config.Stderr = spawner.StderrPipe
		}
		t.Run(tt.name+", the client reads", func(t *testing.T) {
			t.Parallel()
			s := startServer(t, config)
			c := s.dial()
			g := s.growth()
			total := 0
			for total < 64<<20 {
				_, r, err := c.NextReader()
				if err != nil {
					t.Fatal(err)
				}
				n, err := io.Copy(io.Discard, io.LimitReader(r, 64<<20-int64(total)))
				if err != nil {
					t.Fatal(err)
				}
				total += int(n)
			}
			g.check("an endless line", tt.limit)
		})
		t.Run(tt.name+", the client does not read", func(t *testing.T) {
			t.Parallel()
			s := startServer(t, config)
			g := s.growth()
			for range 2 {
				s.dial()
			}
			last := int64(-1)
			eventually(t, "the server stands still", func() bool {
				time.Sleep(100 * time.Millisecond)
				now := s.status("voluntary_ctxt_switches") + s.status("VmRSS")
				still := now == last
				last = now
				return still
			})
			g.check("an endless line", tt.limit)
		})
	}
}

func TestEndlessLineMayBeRefused(t *testing.T) {
	t.Parallel()
	for _, o := range []framing.Options{{LongLine: framing.Refuse}, {Framing: framing.JSON}} {
		s := startServer(t, serverConfig{Path: "/bin/sh", Args: []string{"-c", "yes | tr -d '\\n'"}, Options: Options{Options: o}})
		g := s.growth()
		c := s.dial()
		_, _, err := c.ReadMessage(nil)
		var closed *wsframe.CloseError
		if !errors.As(err, &closed) || closed.Code != wsframe.CloseTooBig {
			t.Errorf("got %v", err)
		}
		eventually(t, "the program is stopped", func() bool { return s.running() == "0" })
		g.check("an endless line", 16<<10)
	}
}

// Each message is a byte that the program does not take.
func TestQueueOfSmallMessagesTakesNoMemory(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverConfig{Path: "/bin/sleep", Args: []string{"1000"}, Options: Options{Queue: 256 << 10}})
	c := s.dial()
	g := s.growth()
	for range 200000 {
		if err := c.WriteMessage(opText, nil); err != nil {
			t.Fatal(err)
		}
	}
	g.check("a queue of 256 KiB", 4<<10)
	c.CloseNow()
	<-c.Done()
	eventually(t, "the program is stopped", func() bool { return s.running() == "0" })
}
