package wsframe

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// A stuckWrites connection counts the writes that a deadline has ended.
type stuckWrites struct {
	net.Conn
	n atomic.Int32
}

func (s *stuckWrites) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.n.Add(1)
	}
	return n, err
}

// Close of crypto/tls tries for 5 s to tell the peer. One who does not read is not worth that.
func TestCutTLSConnectionDoesNotWaitForThePeer(t *testing.T) {
	a, b := netPair(t)
	defer b.Close()
	stuck := &stuckWrites{Conn: a}
	server, _ := tlsPair(t, stuck, b)
	c := connOn(t, server, Server, &Options{WriteTimeout: 10 * time.Millisecond})
	wantCloseError(t, c.WriteMessage(OpBinary, make([]byte, huge)), CloseAbnormal, false)
	<-c.Done()
	if n := stuck.n.Load(); n != 1 {
		t.Errorf("%d writes were stuck, the last ones for 5 s", n)
	}
}

func TestConnOverTLS(t *testing.T) {
	a, b := netPair(t)
	server, client := tlsPair(t, a, b)
	s := connOn(t, server, Server, &Options{PingInterval: 2 * time.Millisecond, PingGrace: time.Hour})
	c := connOn(t, client, Client, nil)
	served := make(chan error, 1)
	go func() { served <- echo(s) }()
	for _, n := range []int{0, 1, 4000, 4096, 5000, 200_000, 7, 0} {
		go c.WriteMessage(OpText, []byte(x(n)))
		if op, got, err := c.ReadMessage(nil); err != nil || op != OpText || string(got) != x(n) {
			t.Fatalf("%d bytes: %v of %d bytes, %v", n, op, len(got), err)
		}
		go s.Ping(t.Context())
	}
	if err := c.Close(CloseGoingAway, "bye"); err != nil {
		t.Error(err)
	}
	wantCloseError(t, <-served, CloseGoingAway, true)
}
