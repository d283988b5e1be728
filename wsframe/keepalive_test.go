package wsframe

import (
	"testing"
	"time"
)

// A ping that waits behind a large message has not been seen by the peer, who therefore owes nothing.
func TestPeerIsNotBlamedForAPingThatWasNotSent(t *testing.T) {
	c, p := peerOf(t, Server, &Options{PingInterval: 4 * time.Millisecond, PingGrace: time.Millisecond})
	payload, written := stick(t, c, huge)
	read := make(chan error, 1)
	go func() {
		_, _, err := c.ReadMessage(nil)
		read <- err
	}()
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
	wantCloseError(t, <-read, CloseAbnormal, false) // now the ping is out and nothing comes
}
