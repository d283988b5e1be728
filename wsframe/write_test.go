package wsframe

import (
	"errors"
	"strings"
	"testing"
)

// stick makes c send a message that is too large for the buffers of the network, and returns when it
// waits for the peer to read. The result of the write comes over the channel.
func stick(t testing.TB, c *Conn, size int) (payload string, done chan error) {
	t.Helper()
	payload = strings.Repeat("0123456789abcdef", size/16)
	done = make(chan error, 1)
	go func() { done <- c.WriteMessage(OpBinary, []byte(payload)) }()
	eventually(t, "the writer holds its lock", func() bool {
		if c.writing.TryLock() {
			c.writing.Unlock()
			return false
		}
		return true
	})
	return payload, done
}

func eachRole(t *testing.T, test func(t *testing.T, role Role)) {
	for _, role := range []Role{Server, Client} {
		t.Run(role.String(), func(t *testing.T) { test(t, role) })
	}
}

const huge = 16 << 20 // more than the buffers of a loopback connection take

func TestPongGoesOutBehindALargeFrameAndNotInIt(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		c, p := peerOf(t, role, nil)
		payload, written := stick(t, c, huge)
		go c.ReadMessage(nil)
		p.send(fin|wirePing, "are you there")
		eventually(t, "the pong waits", func() bool { return !c.mailbox.empty() })
		p.want(fin|wireBin, payload)
		p.want(fin|wirePong, "are you there")
		if err := <-written; err != nil {
			t.Error(err)
		}
	})
}

func TestCloseGoesOutBehindALargeFrameAndNotInIt(t *testing.T) {
	eachRole(t, func(t *testing.T, role Role) {
		c, p := peerOf(t, role, nil)
		payload, written := stick(t, c, huge)
		if err := c.WriteClose(CloseGoingAway, "bye"); err != nil {
			t.Fatal(err)
		}
		p.want(fin|wireBin, payload)
		p.wantClose(1001)
		if err := <-written; err != nil {
			t.Error(err)
		}
		if err := c.WriteMessage(OpText, nil); err != ErrCloseSent {
			t.Errorf("write behind the Close frame: %v", err)
		}
	})
}

func TestWriterLearnsWhyTheConnectionEnded(t *testing.T) {
	c, _ := peerOf(t, Server, nil)
	_, written := stick(t, c, huge)
	c.CloseNow()
	err := <-written
	if e := wantCloseError(t, err, CloseAbnormal, false); e != c.Err() {
		t.Errorf("the writer got %v, the connection ended by %v", e, c.Err())
	}
	if err := c.WriteMessage(OpText, nil); err != c.Err() {
		t.Errorf("later write: %v", err)
	}
}

// A batch of pings among data, while the network takes nothing, must not start a goroutine for each.
func TestPingsInABatchShareOneGoroutine(t *testing.T) {
	c, p, _ := gatedConn(t, Server, nil)
	var in []byte
	for range 500 {
		in = append(append(in, wire(Client, fin|wirePing, "")...), wire(Client, fin|wireText, "")...)
	}
	stop := errors.New("stop")
	p.write(in)
	before, most := goroutines(), 0
	n := 0
	err := c.Receive(func(b *Batch) error {
		for b.Next() != nil {
			most = max(most, goroutines())
			n++
		}
		if n == 500 {
			return stop
		}
		return nil
	})
	if err != stop {
		t.Fatal(err)
	}
	if most > before+3 {
		t.Errorf("%d goroutines became %d", before, most)
	}
}
