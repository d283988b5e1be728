package wsframe

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs a test on a connection over net.Pipe, with a clock that jumps.
func inBubble(t *testing.T, o *Options, test func(t *testing.T, c *Conn, peer net.Conn)) {
	eachRole(t, func(t *testing.T, role Role) {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			defer b.Close()
			c := NewConn(a, nil, role, "", o)
			defer func() {
				c.CloseNow()
				<-c.Done()
			}()
			test(t, c, b)
		})
	})
}

var slow = Options{PingInterval: 40 * time.Second, PingGrace: 10 * time.Second}

// pings passes the payloads of pings on and notes when they came.
func pings(c *Conn, nc net.Conn) <-chan time.Time {
	ch := make(chan time.Time, 1000)
	p := &peer{Conn: nc, role: other(c.role), br: bufio.NewReader(nc)}
	go func() {
		for {
			first, _, err := p.frame()
			if err != nil {
				close(ch)
				return
			}
			if first == fin|wirePing {
				ch <- time.Now()
			}
		}
	}()
	return ch
}

func readAll(c *Conn) <-chan error {
	end := make(chan error, 1)
	go func() {
		for {
			if _, _, err := c.ReadMessage(nil); err != nil {
				end <- err
				return
			}
		}
	}()
	return end
}

func TestSilentPeerIsPingedAndThenCut(t *testing.T) {
	inBubble(t, &slow, func(t *testing.T, c *Conn, nc net.Conn) {
		start := time.Now()
		pinged, end := pings(c, nc), readAll(c)
		if d := (<-pinged).Sub(start); d < slow.PingInterval || d > slow.PingInterval*5/4 {
			t.Errorf("ping behind %v", d)
		}
		wantCloseError(t, <-end, CloseAbnormal, false)
		if d := time.Since(start); d < slow.PingInterval+slow.PingGrace || d > slow.PingInterval*5/4+slow.PingGrace {
			t.Errorf("cut behind %v", d)
		}
		if _, more := <-pinged; more {
			t.Error("more than one ping")
		}
	})
}

// A message that comes so slowly that it takes hours, header and all: any byte counts.
func TestAnyByteIsLife(t *testing.T) {
	inBubble(t, &slow, func(t *testing.T, c *Conn, nc net.Conn) {
		pinged, end := pings(c, nc), readAll(c)
		message := wire(other(c.role), fin|wireBin, x(10_000))
		for i := range 1000 {
			time.Sleep(slow.PingInterval - time.Second)
			nc.Write(message[i : i+1])
		}
		select {
		case at := <-pinged:
			t.Errorf("ping at %v", at)
		case err := <-end:
			t.Errorf("end: %v", err)
		default:
		}
	})
}

func TestAnyByteAnswersAPing(t *testing.T) {
	inBubble(t, &slow, func(t *testing.T, c *Conn, nc net.Conn) {
		pinged, end := pings(c, nc), readAll(c)
		message := wire(other(c.role), fin|wireBin, x(10_000))
		for i := range 100 {
			<-pinged
			time.Sleep(slow.PingGrace - time.Second)
			nc.Write(message[i : i+1])
		}
		nc.Close()
		wantCloseError(t, <-end, CloseAbnormal, true)
	})
}

// Who does not read cannot know whether the peer is alive.
// The time of an answer is where the next interval begins, however long the grace would have been.
func TestPeersThatAnswerArePingedInEveryInterval(t *testing.T) {
	inBubble(t, &Options{PingInterval: time.Second, PingGrace: time.Minute}, func(t *testing.T, c *Conn, nc net.Conn) {
		pinged, _ := pings(c, nc), readAll(c)
		pong := wire(other(c.role), fin|wirePong, "")
		last := <-pinged
		for range 5 {
			nc.Write(pong)
			at := <-pinged
			if d := at.Sub(last); d > 1500*time.Millisecond {
				t.Errorf("the next ping came behind %v", d)
			}
			last = at
		}
	})
}

func TestPeerOfAPausedReaderIsNotBlamed(t *testing.T) {
	inBubble(t, &slow, func(t *testing.T, c *Conn, nc net.Conn) {
		pinged := pings(c, nc)
		time.Sleep(24 * time.Hour) // nobody reads
		end := readAll(c)
		synctest.Wait()
		if err := c.Err(); err != nil || len(pinged) > 0 {
			t.Fatalf("%d pings, %v", len(pinged), err)
		}
		start := time.Now()
		if d := (<-pinged).Sub(start); d < slow.PingInterval/4*3 {
			t.Errorf("ping behind %v", d)
		}
		wantCloseError(t, <-end, CloseAbnormal, false)
	})
}

func TestPeerOfABusyHandlerIsNotBlamed(t *testing.T) {
	inBubble(t, &slow, func(t *testing.T, c *Conn, nc net.Conn) {
		pinged := pings(c, nc)
		end := make(chan error, 1)
		go func() {
			end <- c.Receive(func(b *Batch) error {
				for b.Next() != nil {
					time.Sleep(time.Hour)
				}
				return nil
			})
		}()
		for range 3 {
			nc.Write(wire(other(c.role), fin|wireText, "work"))
		}
		time.Sleep(time.Minute)
		if err := c.Err(); err != nil || len(pinged) > 0 {
			t.Fatalf("%d pings, %v", len(pinged), err)
		}
		<-pinged // behind the work
		nc.Close()
		<-end
	})
}

// The reader was waiting when the ping went out, and stopped reading before the answer.
func TestAnswerThatLiesUnreadCounts(t *testing.T) {
	inBubble(t, &slow, func(t *testing.T, c *Conn, nc net.Conn) {
		pinged := pings(c, nc)
		read := make(chan error, 1)
		go func() {
			_, _, err := c.ReadMessage(nil)
			read <- err
		}()
		<-pinged
		nc.Write(wire(other(c.role), fin|wireText, "x"))
		if err := <-read; err != nil {
			t.Fatal(err)
		}
		go nc.Write(wire(other(c.role), fin|wirePong, ""))
		time.Sleep(time.Hour) // nobody reads the pong
		end := readAll(c)
		synctest.Wait()
		if err := c.Err(); err != nil {
			t.Fatal(err)
		}
		nc.Close()
		<-end
	})
}

func TestPingsCanBeOff(t *testing.T) {
	inBubble(t, &Options{PingInterval: -1}, func(t *testing.T, c *Conn, nc net.Conn) {
		pinged, end := pings(c, nc), readAll(c)
		time.Sleep(1000 * time.Hour)
		if err := c.Err(); err != nil || len(pinged) > 0 {
			t.Errorf("%d pings, %v", len(pinged), err)
		}
		nc.Close()
		<-end
	})
}

func TestDefaultTimes(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *Conn, nc net.Conn) {
		start := time.Now()
		pinged, end := pings(c, nc), readAll(c)
		if d := (<-pinged).Sub(start); d < DefaultPingInterval || d > DefaultPingInterval*5/4 {
			t.Errorf("ping behind %v", d)
		}
		<-end
		if d := time.Since(start); d < DefaultPingInterval+DefaultPingGrace || d > DefaultPingInterval*5/4+DefaultPingGrace {
			t.Errorf("cut behind %v", d)
		}
	})
	inBubble(t, nil, func(t *testing.T, c *Conn, nc net.Conn) {
		start := time.Now()
		go io.Copy(io.Discard, nc)
		if c.Close(CloseNormal, "") == nil || time.Since(start) != DefaultCloseTimeout {
			t.Errorf("Close gave up behind %v", time.Since(start))
		}
	})
	inBubble(t, &Options{PingInterval: -1}, func(t *testing.T, c *Conn, nc net.Conn) {
		start := time.Now()
		if c.WriteMessage(OpText, nil) == nil || time.Since(start) != DefaultWriteTimeout {
			t.Errorf("write gave up behind %v", time.Since(start))
		}
	})
}

// Pings do not go on during the close handshake, whose time is not that of the pings.
func TestCloseHandshakeHasItsOwnTime(t *testing.T) {
	o := Options{PingInterval: time.Second, PingGrace: time.Second, CloseTimeout: time.Hour}
	inBubble(t, &o, func(t *testing.T, c *Conn, nc net.Conn) {
		pinged, end := pings(c, nc), readAll(c)
		start := time.Now()
		c.WriteClose(CloseNormal, "")
		<-end
		if d := time.Since(start); d != time.Hour || len(pinged) > 0 {
			t.Errorf("ended behind %v with %d pings", d, len(pinged))
		}
	})
}

func TestPingMeasures(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, c *Conn, nc net.Conn) {
		p := &peer{t: t, Conn: nc, role: other(c.role), br: bufio.NewReader(nc)}
		end, gone := readAll(c), make(chan bool)
		var quick atomic.Bool
		go func() {
			defer close(gone)
			for {
				first, payload, err := p.frame()
				if err != nil {
					return
				}
				if first == fin|wirePing {
					if !quick.Load() {
						time.Sleep(3 * time.Second)
					}
					for _, payload := range list("an unsolicited one", "8 bytes.", payload) {
						nc.Write(wire(p.role, fin|wirePong, payload))
					}
				}
			}
		}()
		for range 2 {
			if rtt, err := c.Ping(t.Context()); rtt != 3*time.Second || err != nil || c.RTT() != rtt {
				t.Errorf("got %v, %v; RTT %v", rtt, err, c.RTT())
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Ping with a short context: %v", err)
		}
		// More at once than are remembered: the oldest give up, none hangs. Answered as slowly, that
		// many would hold up a write for longer than it may last.
		quick.Store(true)
		results := make(chan error, 40)
		for range cap(results) {
			go func() { _, err := c.Ping(t.Context()); results <- err }()
		}
		for range cap(results) {
			if err := <-results; err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		}
		quick.Store(false)
		go c.CloseNow()
		if _, err := c.Ping(t.Context()); err == nil {
			t.Error("Ping of an ended connection")
		}
		<-end
		nc.Close()
		<-gone
	})
}

// RFC 6455, section 5.5.3: a peer that is behind may answer only the latest ping.
func TestPongAnswersEarlierPingsToo(t *testing.T) {
	c, p := peerOf(t, Server, nil)
	go c.ReadMessage(nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	results := make(chan error, 3)
	var latest string
	for range cap(results) {
		go func() { _, err := c.Ping(ctx); results <- err }()
		var err error
		if _, latest, err = p.frame(); err != nil {
			t.Fatal(err)
		}
	}
	p.send(fin|wirePong, latest)
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func TestPingWhileTheConnectionEnds(t *testing.T) {
	for range 200 {
		c, p := peerOf(t, Server, nil)
		done := make(chan error, 1)
		go func() { _, err := c.Ping(t.Context()); done <- err }()
		end := readAll(c)
		go p.Close()
		wantCloseError(t, <-end, CloseAbnormal, true)
		c.Close(CloseNormal, "")
		wantCloseError(t, <-done, CloseAbnormal, true)
	}
}

// A ping that waits behind a large message has not been seen by the peer, who therefore owes nothing.
func TestPeerIsNotBlamedForAPingThatWasNotSent(t *testing.T) {
	c, p := peerOf(t, Server, &Options{PingInterval: 4 * time.Millisecond, PingGrace: time.Millisecond})
	payload, written := stick(t, c, p, huge)
	end := readAll(c)
	eventually(t, "the ping waits", func() bool { return !c.mailbox.empty() })
	time.Sleep(20 * time.Millisecond)
	if err := c.Err(); err != nil {
		t.Fatalf("blamed: %v", err)
	}
	p.want(fin|wireBin, payload)
	if err := <-written; err != nil {
		t.Error(err)
	}
	first, _, err := p.frame()
	if err != nil || first != fin|wirePing {
		t.Fatalf("frame %#x, %v", first, err)
	}
	wantCloseError(t, <-end, CloseAbnormal, false) // now the ping is out and nothing comes
}
