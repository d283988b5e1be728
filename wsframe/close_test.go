package wsframe

import (
	"io"
	"net"
	"runtime"
	"strings"
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
			payload, written := stick(t, c, huge)
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
