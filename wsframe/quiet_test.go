package wsframe

import (
	"context"
	"errors"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
)

const quietAfter = rawio.QuietAfter

// A startedEcho echoes without keeping a goroutine while its client is quiet.
type startedEcho struct{}

func (startedEcho) Run(context.Context, *Conn) error { panic("not for a Starter") }
func (startedEcho) Abort()                           {}
func (e startedEcho) Start(ctx context.Context, c *Conn, done func(error)) {
	c.ReceiveThen(func(b *Batch) error {
		for part := b.Next(); part != nil; part = b.Next() {
			if string(part.Payload) == "panic" {
				panic("at your service")
			}
			if err := c.WriteMessage(part.Op, part.Payload); err != nil {
				return err
			}
		}
		return nil
	}, done)
}

func (e startedEcho) Open(context.Context, *Request) (Session, error) { return e, nil }

func startEcho(t *testing.T) (h *Handler, dial func() *Conn, closed chan error) {
	t.Helper()
	closed = make(chan error, 1000)
	h = &Handler{Endpoint: startedEcho{}, OnOpen: func(*Request, *Conn) func(error) { return func(err error) { closed <- err } }}
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	return h, func() *Conn {
		c, _, err := Dial(t.Context(), srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.CloseNow(); <-c.Done() })
		return c
	}, closed
}

func say(t *testing.T, c *Conn, word string) {
	t.Helper()
	if err := c.WriteMessage(OpText, []byte(word)); err != nil {
		t.Fatal(err)
	}
	if _, p, err := c.ReadMessage(nil); err != nil || string(p) != word {
		t.Fatalf("%q, %v, want %q", p, err, word)
	}
}

// asleep waits until the server reads none of its connections.
func asleep(t *testing.T, h *Handler) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		awake := 0
		for c := range h.Conns() {
			if !c.sleeper.Asleep() {
				awake++
			}
		}
		if awake == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections are still awake", awake)
		}
	}
}

func needsQuiet(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux gives up the goroutine")
	}
}

func TestQuietConnectionsWakeForEverything(t *testing.T) {
	needsQuiet(t)
	for name, test := range map[string]struct {
		do   func(*testing.T, *Handler, *Conn)
		code CloseCode
	}{
		"a message":           {func(t *testing.T, h *Handler, c *Conn) { say(t, c, "again"); c.Close(CloseNormal, "") }, CloseNormal},
		"the client's Close":  {func(t *testing.T, h *Handler, c *Conn) { c.Close(4000, "bye") }, 4000},
		"the client vanishes": {func(t *testing.T, h *Handler, c *Conn) { c.CloseNow() }, CloseAbnormal},
		"the server's Close": {func(t *testing.T, h *Handler, c *Conn) {
			for s := range h.Conns() {
				s.WriteClose(CloseGoingAway, "")
			}
			c.ReadMessage(nil)
		}, CloseGoingAway},
		"the server's Close that waits": {func(t *testing.T, h *Handler, c *Conn) {
			go c.ReadMessage(nil)
			for s := range h.Conns() {
				if err := s.Close(CloseGoingAway, ""); err != nil {
					t.Error(err)
				}
			}
		}, CloseGoingAway},
		"the server's CloseNow": {func(t *testing.T, h *Handler, c *Conn) {
			for s := range h.Conns() {
				s.CloseNow()
			}
		}, CloseAbnormal},
		"a ping": {func(t *testing.T, h *Handler, c *Conn) {
			go c.ReadMessage(nil)
			if _, err := c.Ping(within(t)); err != nil {
				t.Error(err)
			}
			c.CloseNow()
		}, CloseAbnormal},
		"a violation": {func(t *testing.T, h *Handler, c *Conn) {
			c.NetConn().Write([]byte{0xF1, 0x80, 0, 0, 0, 0})
			c.ReadMessage(nil)
		}, CloseProtocolError},
		"nonsense that panics": {func(t *testing.T, h *Handler, c *Conn) {
			c.WriteMessage(OpText, []byte("panic"))
			if _, _, err := c.ReadMessage(nil); !strings.Contains(err.Error(), "1011") {
				t.Error(err)
			}
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h, dial, closed := startEcho(t)
			c := dial()
			say(t, c, "first")
			asleep(t, h)
			test.do(t, h, c)
			err := receive(t, closed)
			var e *CloseError
			switch {
			case test.code == 0:
				if err != errPanicked {
					t.Errorf("closed with %v", err)
				}
			case !errors.As(err, &e) || e.Code != test.code:
				t.Errorf("closed with %v, want %d", err, test.code)
			}
		})
	}
}

func TestManyQuietConnectionsHoldNoGoroutines(t *testing.T) {
	needsQuiet(t)
	h, dial, _ := startEcho(t)
	var conns []*Conn
	for range 100 {
		conns = append(conns, dial())
	}
	for round := range 3 {
		for _, c := range conns {
			say(t, c, strings.Repeat("x", round))
		}
		asleep(t, h)
	}
	for end := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > len(conns)/2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines for %d connections", runtime.NumGoroutine(), len(conns))
		}
	}
}

// Messages that come at the very moment when a connection falls asleep must not be lost.
func TestFallingAsleepLosesNothing(t *testing.T) {
	_, dial, _ := startEcho(t)
	for i := range 8 {
		c := dial()
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for n := range 12 {
				say(t, c, "hello")
				time.Sleep(quietAfter + time.Duration(n*i-40)*time.Millisecond/8)
			}
		})
	}
}
