package wsframe

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func goroutines() int { return runtime.NumGoroutine() }

// gatedConn returns a Conn whose writes wait for the gate.
func gatedConn(t testing.TB, role Role, o *Options) (*Conn, *peer, *gate) {
	a, b := netPair(t)
	g := newGate(a)
	return connOn(t, g, role, o), newPeer(t, b, other(role)), g
}

func TestCloseFrameThatIsBeingWrittenIsNotCutOff(t *testing.T) {
	c, p, g := gatedConn(t, Server, nil)
	c.WriteClose(CloseNormal, "done")
	<-g.entered // somebody has the frame and cannot send it yet
	p.send(fin|wireClose, closePayload(1000, ""))
	if _, _, err := c.ReadMessage(nil); err == nil {
		t.Fatal("read after Close")
	}
	close(g.open)
	p.wantClose(1000)
	p.wantEOF()
	<-c.Done()
}

func TestErrNamesOurCloseThoughTheAnswerIsFast(t *testing.T) {
	for range 300 {
		s, c := pair(t, nil, nil)
		go c.ReadMessage(nil)
		go s.ReadMessage(nil)
		s.WriteClose(CloseGoingAway, "first")
		<-s.Done()
		wantCloseError(t, s.Err(), CloseGoingAway, false)
	}
}

func TestSimultaneousCloseGivesBothSidesACloseFrame(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		for range 300 {
			c, p := peerOf(t, role, nil)
			read := make(chan error, 1)
			go func() {
				_, _, err := c.ReadMessage(nil)
				read <- err
			}()
			go c.WriteClose(CloseGoingAway, "ours")
			p.send(fin|wireClose, closePayload(1000, "theirs"))
			first, payload, err := p.frame()
			if err != nil || first != fin|wireClose {
				t.Fatalf("frame %#x %q, %v", first, payload, err)
			}
			p.Close()
			<-read
			<-c.Done()
		}
	})
}

func TestReaderOfACutConnectionGetsNoForeignBytes(t *testing.T) {
	c, p := peerOf(t, Server, nil)
	p.send(fin|wireText, "a message that is read in pieces")
	_, r, err := c.NextReader()
	if err != nil {
		t.Fatal(err)
	}
	var b [9]byte
	io.ReadFull(r, b[:])
	c.CloseNow()
	<-c.Done()
	n, err := r.Read(b[:])
	if n != 0 {
		t.Errorf("read %q out of memory that belongs to somebody else by now", b[:n])
	}
	wantCloseError(t, err, CloseAbnormal, false)
}

func TestCloseInsideAMessageEndsItsReader(t *testing.T) {
	c, p := peerOf(t, Server, nil)
	p.send(fin|wireText, "a message that is read in pieces")
	_, r, err := c.NextReader()
	if err != nil {
		t.Fatal(err)
	}
	var b [9]byte
	io.ReadFull(r, b[:])
	closed := make(chan error, 1)
	go func() { closed <- c.Close(CloseNormal, "") }()
	p.wantClose(1000)
	p.send(fin|wireBin, strings.Repeat("other", 20))
	p.send(fin|wireClose, closePayload(1000, ""))
	if err := <-closed; err != nil {
		t.Error(err)
	}
	n, err := r.Read(b[:])
	if n != 0 {
		t.Errorf("read %q", b[:n])
	}
	wantCloseError(t, err, CloseNormal, false)
}

func TestCloseClosesWhateverTheCode(t *testing.T) {
	for _, code := range []CloseCode{1, 1004, CloseAbnormal, 5000} {
		c, p := peerOf(t, Server, nil)
		p.SetDeadline(time.Now().Add(patience))
		closed := make(chan error, 1)
		go func() { closed <- c.Close(code, "reason") }()
		if reason := p.wantClose(1011); reason != "reason" {
			t.Errorf("%d: reason %q", code, reason)
		}
		p.send(fin|wireClose, closePayload(1011, ""))
		p.wantEOF()
		if err := <-closed; err != ErrBadCode {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestCloseFrameIsSeenThoughTheHandlerFails(t *testing.T) {
	c, p := peerOf(t, Server, nil)
	p.write(append(wire(Client, fin|wireText, "last words"), wire(Client, fin|wireClose, closePayload(1001, "gone"))...))
	err := c.Receive(func(b *Batch) error {
		for b.Next() != nil {
		}
		return io.ErrShortWrite
	})
	if err != io.ErrShortWrite {
		t.Fatal(err)
	}
	p.wantClose(1001)
	p.wantEOF()
	if err := c.Close(CloseInternalError, ""); err != nil {
		t.Errorf("Close: %v", err)
	}
	wantCloseError(t, c.Err(), CloseGoingAway, true)
}

func TestViolationIsSeenThoughTheHandlerFails(t *testing.T) {
	c, p := peerOf(t, Server, nil)
	p.write(append(wire(Client, fin|wireText, "last words"), 0xFF, 0xFF))
	err := c.Receive(func(b *Batch) error {
		for b.Next() != nil {
		}
		return io.ErrShortWrite
	})
	if err != io.ErrShortWrite {
		t.Fatal(err)
	}
	p.wantClose(1002)
}

func TestNoTimerIsLeft(t *testing.T) {
	c, _ := peerOf(t, Server, nil)
	c.CloseNow()
	<-c.Done()
	c.tick() // one that began before
	c.awaitClose()
	if c.life.timer.Stop() {
		t.Error("the timer runs on after the connection was closed")
	}
}

// The reader leaves while Close waits: Close has to take over, or nobody sees the answer.
func TestCloseReadsOnWhereTheReaderLeft(t *testing.T) {
	c, p := peerOf(t, Server, &Options{CloseTimeout: time.Hour})
	handling, leave := make(chan bool), make(chan bool)
	go c.Receive(func(b *Batch) error {
		close(handling)
		<-leave
		return io.EOF
	})
	p.send(fin|wireText, "x")
	<-handling
	closed := make(chan error, 1)
	go func() { closed <- c.Close(CloseNormal, "") }()
	p.wantClose(1000)
	close(leave)
	p.send(fin|wireClose, closePayload(1000, ""))
	p.wantEOF()
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// Both sides have filled the network; the peer reads again only when its write is through.
func TestCloseGetsThroughToAPeerThatWritesFirst(t *testing.T) {
	for _, how := range []string{"Close", "violation", "half-close"} {
		t.Run(how, func(t *testing.T) {
			c, p := peerOf(t, Server, &Options{CloseTimeout: time.Hour, MaxFrame: huge, MaxMessage: huge})
			payload, written := stick(t, c, p, huge)
			code := 1001
			switch how {
			case "Close":
				go c.Close(CloseGoingAway, "")
				p.send(fin|wireBin, payload)
				p.send(fin|wireBin, payload)
			case "violation":
				code = 1009
				go c.ReadMessage(nil)
				p.write(wireForm(Client, fin|wireBin, 127, huge+1, ""))
				p.write([]byte(payload))
				p.write([]byte(payload))
			case "half-close":
				go c.Close(CloseGoingAway, "")
				p.Conn.(*net.TCPConn).CloseWrite()
			}
			p.want(fin|wireBin, payload)
			p.wantClose(code)
			if err := <-written; err != nil {
				t.Error(err)
			}
			p.Close()
			<-c.Done()
		})
	}
}

func TestOurCloseIsAnswered(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		for _, reader := range []string{"nobody", "ReadMessage", "Receive"} {
			t.Run(reader, func(t *testing.T) {
				c, p := peerOf(t, role, nil)
				read := make(chan error, 1)
				switch reader {
				case "ReadMessage":
					go func() { _, _, err := c.ReadMessage(nil); read <- err }()
				case "Receive":
					go func() { read <- echo(c) }()
				}
				closed := make(chan error, 1)
				go func() { closed <- c.Close(CloseGoingAway, "bye") }()
				if reason := p.wantClose(1001); reason != "bye" {
					t.Errorf("reason %q", reason)
				}
				p.send(fin|wirePing, "too late") // nothing may follow our Close frame
				p.send(fin|wireText, "too late as well")
				p.send(fin|wireClose, closePayload(1001, "bye, too"))
				if role == Client {
					p.Conn.(*net.TCPConn).CloseWrite() // a server goes first (RFC 6455, section 7.1.1)
				}
				p.wantEOF()
				if err := <-closed; err != nil {
					t.Error(err)
				}
				if reader != "nobody" {
					if err := <-read; err == nil && reader == "ReadMessage" {
						_, _, err = c.ReadMessage(nil) // that was the message
						wantCloseError(t, err, CloseGoingAway, false)
					}
				}
				wantCloseError(t, c.Err(), CloseGoingAway, false)
				if !c.Ending() {
					t.Error("not ending")
				}
			})
		}
	})
}

func TestBothSidesClose(t *testing.T) {
	for range 100 {
		s, c := pair(t, nil, nil)
		closed := make(chan error, 2)
		go func() { closed <- s.Close(CloseGoingAway, "") }()
		go func() { closed <- c.Close(CloseNormal, "") }()
		for range 2 {
			if err := <-closed; err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestManyClose(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		c, p := peerOf(t, role, nil)
		closed := make(chan error, 10)
		for range cap(closed) {
			go func() { closed <- c.Close(CloseNormal, "") }()
		}
		p.wantClose(1000)
		p.send(fin|wireClose, closePayload(1000, ""))
		p.Conn.(*net.TCPConn).CloseWrite()
		for range cap(closed) {
			if err := <-closed; err != nil {
				t.Error(err)
			}
		}
		if err := c.Close(CloseNormal, ""); err != nil {
			t.Error(err)
		}
	})
}

func TestPeerThatDoesNotAnswerIsCut(t *testing.T) {
	for _, how := range []string{"silent", "sends all the time", "does not even read"} {
		t.Run(how, func(t *testing.T) {
			eachRole(t, func(t *testing.T, role Role) {
				c, p := peerOf(t, role, &Options{CloseTimeout: 20 * time.Millisecond})
				switch how {
				case "sends all the time":
					go func() {
						message := wire(p.role, fin|wireBin, x(10_000))
						for {
							if _, err := p.Write(message); err != nil {
								return
							}
						}
					}()
				case "does not even read":
					_, written := stick(t, c, p, huge)
					defer func() { wantCloseError(t, <-written, CloseNormal, false) }()
				}
				wantCloseError(t, c.Close(CloseNormal, ""), CloseAbnormal, false)
				<-c.Done()
			})
		})
	}
}

// The reason of a violation must reach a peer who goes on sending for ever: a connection that is
// closed with unread input is reset, and a reset overtakes what was sent.
func TestViolationReachesAPeerThatSendsOn(t *testing.T) {
	for _, c := range []struct {
		code int
		in   []byte
	}{{1002, []byte{0xFF, 0x80}}, {1009, wireForm(Client, fin|wireBin, 127, 1<<40, "")}, {1007, wireForm(Client, fin|wireText, 127, 1<<19, "\xFF")}} {
		for _, r := range readings {
			t.Run(r.name, func(t *testing.T) {
				conn, p := peerOf(t, Server, nil)
				read := make(chan error, 1)
				go func() {
					_, err := r.read(conn)
					read <- err
				}()
				p.write(c.in)
				junk := make([]byte, 100_000)
				for range 200 { // it does not read before all that is sent
					p.write(junk)
				}
				p.wantClose(c.code)
				p.wantEOF()
				p.Close()
				wantCloseError(t, <-read, CloseCode(c.code), false)
				wantCloseError(t, conn.Close(CloseNormal, ""), CloseAbnormal, false)
			})
		}
	}
}

func TestCloseNowFromInsideAHandler(t *testing.T) {
	for _, how := range []string{"raw", "plain"} {
		t.Run(how, func(t *testing.T) {
			a, b := netPair(t)
			if how == "plain" {
				a = plain{a}
			}
			c, p := connOn(t, a, Server, nil), newPeer(t, b, Client)
			go p.Write(bytes.Repeat(wire(Client, fin|wireText, x(1000)), 1000))
			calls := 0
			err := c.Receive(func(b *Batch) error {
				calls++
				return c.CloseNow()
			})
			wantCloseError(t, err, CloseAbnormal, false)
			if calls != 1 {
				t.Errorf("the handler was called %d times", calls)
			}
			<-c.Done()
		})
	}
}

func TestWriteCloseFromInsideAHandler(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		c, p := peerOf(t, role, nil)
		p.send(fin|wireText, "stop")
		received := make(chan error, 1)
		go func() {
			received <- c.Receive(func(b *Batch) error {
				for b.Next() != nil {
					c.WriteClose(4001, "as you wish")
				}
				return nil
			})
		}()
		p.wantClose(4001)
		p.send(fin|wireClose, "")
		p.Conn.(*net.TCPConn).CloseWrite()
		p.wantEOF()
		wantCloseError(t, <-received, 4001, false)
	})
}

func TestCloseNowEndsEverything(t *testing.T) {
	for _, how := range []string{"tcp", "plain", "pipe", "tls"} {
		t.Run(how, func(t *testing.T) {
			for range 20 {
				var a, b net.Conn
				switch a, b = netPair(t); how {
				case "plain":
					a = plain{a}
				case "pipe":
					a, b = net.Pipe()
				case "tls":
					a, b = tlsPair(t, a, b)
				}
				c := NewConn(a, nil, Server, "", nil)
				var all sync.WaitGroup
				for _, r := range readings {
					all.Go(func() { r.read(c) })
				}
				for range 3 {
					all.Go(func() { // the peer does not read
						for c.WriteMessage(OpBinary, make([]byte, 1<<20)) == nil {
						}
					})
				}
				all.Go(func() { c.Ping(t.Context()) })
				all.Go(func() { b.Write(bytes.Repeat(wire(Client, fin|wirePing, "x"), 100)) })
				time.Sleep(500 * time.Microsecond)
				for range 3 {
					all.Go(func() { c.CloseNow() })
				}
				<-c.Done()
				rawClose(b)
				all.Wait()
			}
		})
	}
}

func TestCloseBehindTheEnd(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		c, p := peerOf(t, role, nil)
		p.Conn.(*net.TCPConn).CloseWrite() // no Close frame, but it still reads
		_, _, err := c.ReadMessage(nil)
		wantCloseError(t, err, CloseAbnormal, true)
		if err := c.WriteMessage(OpText, []byte("still there?")); err != nil {
			t.Error(err)
		}
		wantCloseError(t, c.Close(CloseInternalError, "lost you"), CloseAbnormal, false)
		p.want(fin|wireText, "still there?")
		p.wantClose(1011)
		p.wantEOF()
		c.CloseNow()
		wantCloseError(t, c.Close(CloseNormal, ""), CloseAbnormal, false)
	})
}

func TestEndedConnections(t *testing.T) {
	c, p := peerOf(t, Server, nil)
	p.send(fin|wireClose, closePayload(1000, "done"))
	for range 3 {
		for _, r := range readings {
			_, err := r.read(c)
			e := wantCloseError(t, err, CloseNormal, true)
			if e.Reason != "done" || e != c.Err() {
				t.Errorf("%s: %v, Err %v", r.name, e, c.Err())
			}
		}
		wantCloseError(t, c.WriteMessage(OpText, nil), CloseNormal, true)
		_, err := c.Ping(t.Context())
		wantCloseError(t, err, CloseNormal, true)
		if err := c.WriteClose(CloseNormal, ""); err != ErrCloseSent {
			t.Errorf("WriteClose: %v", err)
		}
		if err := c.Close(CloseNormal, ""); err != nil {
			t.Errorf("Close: %v", err)
		}
		c.CloseNow()
	}
}

func TestCloseErrors(t *testing.T) {
	for want, e := range map[string]*CloseError{
		"closed: 1001 bye":                     {Code: 1001, Reason: "bye"},
		"closed by peer: 1000":                 {Code: 1000, Remote: true},
		"closed by peer: 1006 connection lost": networkError(io.ErrClosedPipe),
	} {
		if e.Error() != want {
			t.Errorf("got %q, want %q", e.Error(), want)
		}
	}
	if !errors.Is(networkError(io.EOF), io.ErrUnexpectedEOF) || !errors.Is(networkError(io.ErrClosedPipe), io.ErrClosedPipe) {
		t.Error("the error of the network is lost")
	}
}
