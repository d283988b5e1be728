package wsframe

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Eight writers of large messages, in all ways to write, with pings of both sides between them and a
// peer that is slow: messages come out whole, each writer's in order, and all pings are answered.
func TestConcurrentWritersNeverMixTheirFrames(t *testing.T) {
	const writers, messages, pings = 8, 12, 50
	eachRole(t, func(t *testing.T, role Role) {
		a, b := netPair(t)
		b.(*net.TCPConn).SetReadBuffer(128 << 10)
		a.(*net.TCPConn).SetWriteBuffer(16 << 10)
		c, p := connOn(t, a, role, &Options{FragmentSize: 50_000}), newPeer(t, b, other(role))
		go c.ReadMessage(nil)
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() {
				for j := range messages {
					text := fmt.Sprintf("%d %d %s", i, j, strings.Repeat("ß€𐍈x", 1+j*2000))
					var err error
					switch (i + j) % 3 {
					case 0:
						err = c.WriteMessage(OpText, []byte(text))
					case 1:
						err = c.WriteMessage(OpBinary, []byte(text))
						if err != nil {
							break
						}
						err = c.WriteFrame(Frame{Fin: true, Op: OpPong, Payload: []byte("unsolicited")})
					case 2:
						w, nerr := c.NextWriter(OpBinary)
						if nerr != nil {
							err = nerr
							break
						}
						io.WriteString(w, text[:len(text)/2])
						io.WriteString(w, text[len(text)/2:])
						err = w.Close()
					}
					if err != nil {
						t.Errorf("writer %d: %v", i, err)
					}
				}
			})
		}
		go func() { // the peer's pings
			for i := range pings {
				p.send(fin|wirePing, fmt.Sprint(i))
				time.Sleep(100 * time.Microsecond)
			}
		}()
		next := make([]int, writers)
		pongs, left := 0, writers*messages
		message := ""
		for left > 0 || pongs < pings {
			first, payload, err := p.frame()
			if err != nil {
				t.Fatal(err)
			}
			switch first & 0xF {
			case wirePong:
				if payload == "unsolicited" {
					continue
				}
				if payload != fmt.Sprint(pongs) {
					t.Fatalf("pong %q, want %d", payload, pongs)
				}
				pongs++
				continue
			case wirePing:
				p.send(fin|wirePong, payload)
				continue
			}
			message += payload
			if first&fin == 0 {
				continue
			}
			var i, j int
			fmt.Sscan(message, &i, &j)
			if want := fmt.Sprintf("%d %d %s", i, j, strings.Repeat("ß€𐍈x", 1+j*2000)); message != want || next[i] != j {
				t.Fatalf("message %s of writer %d, whose next one is %d", short(message), i, next[i])
			}
			next[i]++
			message = ""
			left--
		}
		all.Wait()
	})
}

func TestStuckWriteEndsWith1006(t *testing.T) {
	for _, how := range []string{"raw", "plain"} {
		t.Run(how, func(t *testing.T) {
			a, b := netPair(t)
			defer b.Close()
			if how == "plain" {
				a = plain{a}
			}
			c := connOn(t, a, Server, &Options{WriteTimeout: 20 * time.Millisecond})
			read := make(chan error, 1)
			go func() {
				_, _, err := c.ReadMessage(nil)
				read <- err
			}()
			err := c.WriteMessage(OpBinary, make([]byte, huge))
			e := wantCloseError(t, err, CloseAbnormal, false)
			if e.Reason != "peer does not read" {
				t.Errorf("reason %q", e.Reason)
			}
			if err := <-read; err != e {
				t.Errorf("the reader got %v", err)
			}
			<-c.Done()
		})
	}
}

// A peer that is gone may have left messages and a Close frame: a failing write must not lose them.
func TestWriteErrorLeavesWhatThePeerSaid(t *testing.T) {
	for _, goodbye := range []bool{false, true} {
		t.Run(fmt.Sprint("Close frame ", goodbye), func(t *testing.T) {
			c, p := peerOf(t, Server, nil)
			for i := range 3 {
				p.send(fin|wireText, fmt.Sprint(i)+x(10_000))
			}
			if goodbye {
				p.send(fin|wireClose, closePayload(4321, "gone"))
			}
			p.Close()
			eventually(t, "writes fail", func() bool { return c.WriteMessage(OpText, []byte("anybody?")) != nil })
			for i := range 3 {
				if _, b, err := c.ReadMessage(nil); err != nil || string(b) != fmt.Sprint(i)+x(10_000) {
					t.Fatalf("message %d: %s, %v", i, short(string(b)), err)
				}
			}
			_, _, err := c.ReadMessage(nil)
			if goodbye {
				wantCloseError(t, err, 4321, true)
			} else {
				wantCloseError(t, err, CloseAbnormal, true)
			}
		})
	}
}

// While a large message is stuck, pings are remembered within bounds, the latest one always, and
// answered right behind it, in front of the Close frame.
func TestPingFloodBehindAStuckWriter(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		const flood = 5000
		pings := 0
		c, p := peerOf(t, role, &Options{OnPing: func([]byte) bool { pings++; return false }})
		payload, written := stick(t, c, p, huge)
		read := make(chan bool)
		go func() {
			c.ReadMessage(nil)
			close(read)
		}()
		for i := range flood {
			p.send(fin|wirePing, fmt.Sprint(i))
		}
		p.send(fin|wireText, "")
		<-read
		c.mailbox.mu.Lock()
		if n := len(c.mailbox.frames) + len(c.mailbox.pong); n > maxMail+2*(MaxControlPayload+6) {
			t.Errorf("%d bytes of mail wait", n)
		}
		c.mailbox.mu.Unlock()
		if pings != flood {
			t.Errorf("%d pings came", pings)
		}
		c.WriteClose(CloseGoingAway, "")
		p.want(fin|wireBin, payload)
		last, n := -1, 0
		for {
			first, s, err := p.frame()
			if err != nil {
				t.Fatal(err)
			}
			if first == fin|wireClose {
				break
			}
			var i int
			if fmt.Sscan(s, &i); i <= last || first != fin|wirePong {
				t.Fatalf("frame %#x %q behind pong %d", first, s, last)
			}
			last = i
			n++
		}
		// The Close frame pushes the latest out: what counts is that it comes.
		if n < maxMail/20 {
			t.Errorf("only %d pongs", n)
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
	})
}

func TestLatestPingOfAFloodIsAnswered(t *testing.T) {
	c, p := peerOf(t, Server, nil)
	payload, written := stick(t, c, p, huge)
	read := make(chan bool)
	go func() {
		c.ReadMessage(nil)
		close(read)
	}()
	for i := range 1000 {
		p.send(fin|wirePing, fmt.Sprint(i))
	}
	p.send(fin|wireText, "")
	<-read
	p.want(fin|wireBin, payload)
	for s := ""; s != "999"; {
		first, payload, err := p.frame()
		if err != nil || first != fin|wirePong {
			t.Fatalf("frame %#x, %v", first, err)
		}
		s = payload
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func TestCloseReasonIsCutBetweenCharacters(t *testing.T) {
	for reason, want := range map[string]string{
		"":                          "",
		x(123):                      x(123),
		x(124):                      x(123),
		x(122) + "ß":                x(122),
		x(121) + "ß":                x(121) + "ß",
		x(121) + "€":                x(121),
		strings.Repeat("𐍈", 100):    strings.Repeat("𐍈", 30),
		"not \xFF UTF-8\xE2\x82":    "not \uFFFD UTF-8\uFFFD\uFFFD",
		x(120) + "\xFF" + "dropped": x(120) + "\uFFFD",
		x(121) + "\xFF":             x(121),
	} {
		c, p := peerOf(t, Server, nil)
		if err := c.WriteClose(4000, reason); err != nil {
			t.Fatal(err)
		}
		if got := p.wantClose(4000); got != want {
			t.Errorf("reason %s became %s, want %s", short(reason), short(got), short(want))
		}
	}
}
