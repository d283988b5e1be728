package wsframe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func goexit() { runtime.Goexit() }

func TestShutdownEndsSessionsWith1001(t *testing.T) {
	ran := make(chan error, 10)
	h := &Handler{
		Endpoint: &testEndpoint{run: func(ctx context.Context, c *Conn) error {
			err := untilClosed(ctx, c)
			ran <- ctx.Err()
			return err
		}},
		RetryAfter: 7 * time.Second,
	}
	addr := serve(t, h)
	var clients []*Conn
	for range 5 {
		clients = append(clients, dialTest(t, addr))
	}
	done := make(chan error, 2)
	for range 2 { // twice at the same time
		go func() { done <- h.Shutdown(within(t)) }()
	}
	for _, c := range clients {
		if code, reason := closeCode(t, c); code != CloseGoingAway || reason != goingAway {
			t.Errorf("closed with %d %q", code, reason)
		}
	}
	for range 2 {
		if err := receive(t, done); err != nil {
			t.Error(err)
		}
	}
	for range clients {
		if err := receive(t, ran); err != nil {
			t.Errorf("context of Run ended in an orderly shutdown: %v", err)
		}
	}
	a := readAnswer(t, dialRaw(t, addr, handshake()))
	if a.status != 503 || a.header.Get("Retry-After") != "7" || a.header.Get(fieldReason) != goingAway {
		t.Errorf("answer %d %q", a.status, a.header)
	}
	if err := h.Shutdown(within(t)); err != nil {
		t.Errorf("third shutdown: %v", err)
	}
}

func TestShutdownOfAnUnusedHandler(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := new(Handler).Shutdown(ctx); err != nil {
		// Both channels may be ready; then the error tells that nothing was lost.
		var timeout *ShutdownError
		if !errors.As(err, &timeout) || timeout.Cut != 0 || timeout.Left != 0 {
			t.Error(err)
		}
	}
}

func TestShutdownIsNotHeldUpByAClientThatDoesNotRead(t *testing.T) {
	stuck, closed := make(chan struct{}, 1), make(chan struct{}, 2)
	onOpen := func(*Request, *Conn) func(error) { return func(error) { closed <- struct{}{} } }
	h := &Handler{OnOpen: onOpen, Endpoint: &testEndpoint{run: func(ctx context.Context, c *Conn) error {
		op, _, err := c.ReadMessage(nil)
		if op != OpBinary || err != nil {
			return err
		}
		stuck <- struct{}{}
		for {
			if err := c.WriteMessage(OpBinary, make([]byte, 1<<20)); err != nil {
				return err
			}
		}
	}}}
	addr := serve(t, h)
	deaf, good := dialTest(t, addr), dialTest(t, addr)
	deaf.WriteMessage(OpBinary, nil)
	receive(t, stuck)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Shutdown(ctx) }()
	if code, _ := closeCode(t, good); code != CloseGoingAway {
		t.Errorf("closed with %d", code)
	}
	receive(t, closed)
	for h.sessions.count() > 1 { // it leaves right behind that
		runtime.Gosched()
	}
	select {
	case err := <-done:
		t.Fatalf("shutdown did not wait for the other session: %v", err)
	default:
	}
	cancel()
	var timeout *ShutdownError
	if err := receive(t, done); !errors.As(err, &timeout) || timeout.Cut != 1 || timeout.Left != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown: %v", err)
	}
}

func TestShutdownBreaksOffWhatIsBeingOpened(t *testing.T) {
	for name, late := range map[string]bool{"Open heeds its context": false, "Open does not": true} {
		t.Run(name, func(t *testing.T) {
			opening, aborted := make(chan struct{}), make(chan struct{}, 1)
			h := &Handler{Endpoint: &testEndpoint{
				open: func(ctx context.Context, r *Request) error {
					close(opening)
					<-ctx.Done()
					if late {
						return nil
					}
					return errors.New("spawner is closed")
				},
				run:   func(context.Context, *Conn) error { t.Error("Run was called"); return nil },
				abort: func() { aborted <- struct{}{} },
			}}
			c := dialRaw(t, serve(t, h), handshake())
			receive(t, opening)
			if err := h.Shutdown(within(t)); err != nil {
				t.Error(err)
			}
			if a := readAnswer(t, c); a.status != 503 || a.header.Get("Retry-After") != "5" {
				t.Errorf("answer %d %q", a.status, a.header)
			}
			if late {
				receive(t, aborted)
			}
		})
	}
}

func TestShutdownThatBeginsDuringTheAnswer(t *testing.T) {
	var h *Handler
	done := make(chan error, 1)
	h = &Handler{
		Endpoint: &testEndpoint{run: untilClosed},
		OnOpen: func(*Request, *Conn) func(error) {
			go func() { done <- h.Shutdown(within(t)) }()
			<-h.sessions.accepting().Done()
			return nil
		},
	}
	c := dialTest(t, serve(t, h))
	if code, _ := closeCode(t, c); code != CloseGoingAway {
		t.Errorf("closed with %d", code)
	}
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
}

// A session that nothing can stop must not keep Shutdown for ever.
func TestShutdownGivesUpOnASessionThatDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go func() { // a client that reads, and never answers
			var b [512]byte
			for {
				if _, err := far.Read(b[:]); err != nil {
					return
				}
			}
		}()
		release := make(chan struct{})
		var cut atomic.Bool
		h := &Handler{Endpoint: &testEndpoint{run: func(ctx context.Context, c *Conn) error {
			<-ctx.Done()
			cut.Store(true)
			<-release
			return nil
		}}}
		r := httptest.NewRequest("GET", "http://example.com/", nil)
		r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {testKey}}
		h.ServeHTTP(pipeWriter{httptest.NewRecorder(), near}, r)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := h.Shutdown(ctx)
		var timeout *ShutdownError
		if !errors.As(err, &timeout) || timeout.Cut != 1 || timeout.Left != 1 || !errors.Is(err, context.DeadlineExceeded) || !cut.Load() {
			t.Errorf("shutdown: %v", err)
		}
		if want := "shutdown: 1 sessions cut, 1 did not return: context deadline exceeded"; err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
		if took := time.Since(began); took != time.Second+cutGrace { // of the fake clock
			t.Errorf("took %v", took)
		}
		close(release)
		if err := h.Shutdown(t.Context()); err != nil {
			t.Errorf("shutdown after the session returned: %v", err)
		}
		far.Close()
	})
}
