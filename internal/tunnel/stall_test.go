package tunnel

import (
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/frametest"
	"github.com/wspawn/wspawn/wsframe"
)

// heap returns the memory in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// A backend that does not read holds the client back, once the queue is full, and not the memory.
func TestFloodAgainstAStalledBackend(t *testing.T) {
	const tunnels = 8
	goOn := make(chan struct{})
	read := make(chan int64, tunnels)
	far := listen(t, "unix", func(c net.Conn) {
		<-goOn
		n, _ := io.Copy(io.Discard, c)
		read <- n
	})
	s := serve(t, &Endpoint{Dial: far.dial(t), Options: Options{Framing: binary}}, wsframe.Options{})
	message := messageIn(opBin, strings.Repeat("x", 60000))
	var clients []*frametest.Client
	for range tunnels {
		clients = append(clients, s.connect(t))
	}
	before := heap()
	sent := make([]int64, tunnels)
	for i, c := range clients {
		c.NC.SetWriteBuffer(64 << 10)
		for { // until nothing is taken for a while
			c.NC.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			n, err := c.NC.Write(message)
			if err != nil {
				// The rest of this message follows.
				c.NC.SetWriteDeadline(time.Time{})
				go c.NC.Write(message[n:])
				sent[i] += 60000
				break
			}
			if sent[i] += 60000; sent[i] > 64<<20 {
				t.Fatalf("%d bytes were taken", sent[i])
			}
		}
	}
	if growth := heap() - before; growth > tunnels<<20 {
		t.Errorf("%d stalled tunnels take %d KiB", tunnels, growth>>10)
	}
	close(goOn)
	var total, want int64
	for i, c := range clients {
		want += sent[i]
		eventually(t, "the rest can be sent", func() bool {
			c.NC.SetWriteDeadline(time.Now().Add(frametest.Bound))
			_, err := c.NC.Write(masked(true, wsframe.OpClose, "\x03\xe8"))
			return err == nil
		})
	}
	for range clients {
		total += <-read
	}
	if total != want {
		t.Errorf("the backends got %d bytes, want %d", total, want)
	}
}

// Control frames behind data that the backend does not take are seen, and the data is not lost.
func TestPingAndCloseWhileTheBackendIsStalled(t *testing.T) {
	goOn, input := make(chan struct{}), make(chan int, 1)
	far := listen(t, "unix", func(c net.Conn) {
		<-goOn
		b, _ := io.ReadAll(c)
		input <- len(b)
	})
	s := serve(t, &Endpoint{Dial: far.dial(t)}, wsframe.Options{})
	c := s.connect(t)
	c.Send(messageIn(opText, strings.Repeat("x", 300000)), masked(true, wsframe.OpPing, "alive"))
	c.Expect(pong("alive"))
	c.Send(messageIn(opText, "last"), masked(true, wsframe.OpClose, "\x03\xe8"))
	c.Expect(closing(1000, ""))
	close(goOn)
	if n := <-input; n != 300004 {
		t.Errorf("the backend got %d bytes", n)
	}
}

func TestBackendThatStaysStalledEndsTheSession(t *testing.T) {
	done := make(chan struct{})
	defer close(done)
	far := listen(t, "unix", func(c net.Conn) { <-done })
	s := serve(t, &Endpoint{Dial: far.dial(t), Options: Options{Queue: 10000, StallTimeout: 300 * time.Millisecond}}, wsframe.Options{})
	c := s.connect(t)
	for range 20 {
		c.Send(messageIn(opText, strings.Repeat("x", 50000)))
	}
	c.ExpectClose(closing(1013, "the backend does not read its input"))
	eventually(t, "the session is over", func() bool { return strings.Contains(s.log.String(), "session ended") })
}

// A client that does not read holds the backend back; all is there when it reads on.
func TestFloodAgainstAStalledClient(t *testing.T) {
	const total = 16 << 20
	progress := make(chan int, 1)
	far := listen(t, "tcp", func(c net.Conn) {
		piece := []byte(strings.Repeat("0123456789", 1000))
		for sent := 0; sent < total; sent += len(piece) {
			c.Write(piece[:min(len(piece), total-sent)])
			select {
			case <-progress:
			default:
			}
			progress <- sent
		}
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c)
	})
	s := serve(t, &Endpoint{Dial: far.dial(t), Options: Options{Framing: binary}}, wsframe.Options{})
	c := s.connect(t)
	c.NC.SetReadBuffer(32 << 10)
	before := heap()
	last := -1
	eventually(t, "the backend is held back", func() bool {
		time.Sleep(300 * time.Millisecond)
		select {
		case n := <-progress:
			still := n == last
			last = n
			return still
		default:
			return last >= 0
		}
	})
	if last > total-(1<<20) {
		t.Errorf("the backend could send %d bytes", last)
	}
	if growth := heap() - before; growth > 1<<20 {
		t.Errorf("takes %d KiB", growth>>10)
	}
	c.Send(messageIn(opBin, "x"), masked(true, wsframe.OpPing, "p")) // answered in between
	got, pongs := 0, 0
	for {
		f := c.Next()
		switch f.Op {
		case wsframe.OpClose:
			if got != total || pongs != 1 || f != closing(1000, "") {
				t.Errorf("got %d bytes, %d pongs, %v", got, pongs, f)
			}
			c.AnswerClose(f)
			return
		case wsframe.OpPong:
			pongs++
		default:
			for i, b := range []byte(f.Payload) {
				if b != byte('0'+(got+i)%10000%10) {
					t.Fatalf("byte %d is another", got+i)
				}
			}
			got += len(f.Payload)
		}
	}
}
