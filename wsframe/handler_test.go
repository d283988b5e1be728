package wsframe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// testEndpoint makes sessions of functions.
type testEndpoint struct {
	open  func(ctx context.Context, r *Request) error // nil: always
	run   func(ctx context.Context, c *Conn) error
	abort func()
}

func (e *testEndpoint) Open(ctx context.Context, r *Request) (Session, error) {
	if e.open != nil {
		if err := e.open(ctx, r); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *testEndpoint) Run(ctx context.Context, c *Conn) error { return e.run(ctx, c) }

func (e *testEndpoint) Abort() {
	if e.abort != nil {
		e.abort()
	}
}

// untilClosed is a session that reads until its connection ends.
func untilClosed(_ context.Context, c *Conn) error {
	for {
		if _, _, err := c.ReadMessage(nil); err != nil {
			return err
		}
	}
}

func dialTest(t *testing.T, addr string) *Conn {
	t.Helper()
	c, _, err := Dial(t.Context(), "ws://"+addr, direct(DialOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow(); <-c.Done() })
	return c
}

// closeCode reads up to the end and returns how it was.
func closeCode(t *testing.T, c *Conn) (CloseCode, string) {
	t.Helper()
	var closed *CloseError
	if err := untilClosed(t.Context(), c); !errors.As(err, &closed) {
		t.Fatalf("end %v", err)
	}
	return closed.Code, closed.Reason
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing happened")
		panic("unreachable")
	}
}

func TestHandlerAnswersWhatOpenReturns(t *testing.T) {
	for name, tt := range map[string]struct {
		err    error
		status int
		reason string
		header string
	}{
		"a rejection is sent":           {Reject(503, "too many processes").RetryAfter(3 * time.Second), 503, "too many processes", "3"},
		"also a wrapped one":            {fmt.Errorf("spawn: %w", Reject(404, "no such program")), 404, "no such program", ""},
		"a deadline is 504":             {fmt.Errorf("connect: %w", context.DeadlineExceeded), 504, "far side took too long", ""},
		"other errors are 500, untold":  {errors.New("secret path /etc/x"), 500, "internal error", ""},
		"a cancellation of its own too": {context.Canceled, 500, "internal error", ""},
	} {
		t.Run(name, func(t *testing.T) {
			refused := make(chan *Rejection, 1)
			var log bytes.Buffer
			h := &Handler{
				Endpoint: &testEndpoint{open: func(context.Context, *Request) error { return tt.err },
					abort: func() { t.Error("Abort without a session") }},
				Log:      slog.New(slog.NewTextHandler(&log, nil)),
				OnRefuse: func(r *http.Request, rej *Rejection) { refused <- rej },
			}
			a := readAnswer(t, dialRaw(t, serve(t, h), handshake()))
			if a.status != tt.status || a.header.Get(fieldReason) != tt.reason || a.header.Get("Retry-After") != tt.header {
				t.Errorf("answer %d %q", a.status, a.header)
			}
			if rej := receive(t, refused); rej.Status != tt.status || tt.status != 503 && tt.status != 404 && !errors.Is(rej, tt.err) {
				t.Errorf("OnRefuse got %v", rej)
			}
			if err := h.Shutdown(within(t)); err != nil {
				t.Error(err)
			}
			if level := "level=INFO"; tt.status != 500 && !strings.Contains(log.String(), level) ||
				tt.status == 500 && !strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("log %q", &log)
			}
		})
	}
}

func TestHandlerChecksBeforeOpen(t *testing.T) {
	cookie := []*http.Cookie{{Name: "a b"}}
	for name, tt := range map[string]struct {
		request string
		h       *Handler
		status  int
	}{
		"a broken handshake":        {handshake("Sec-WebSocket-Key:"), &Handler{}, 400},
		"a foreign origin":          {handshake("+Origin: http://evil.example"), &Handler{}, 403},
		"a header that cannot be":   {handshake(), &Handler{Options: AcceptOptions{Header: http.Header{"Upgrade": {"x"}}}}, 500},
		"a cookie that cannot be":   {handshake(), &Handler{Options: AcceptOptions{Cookies: cookie}}, 500},
		"a protocol of nobody":      {handshake(), &Handler{Select: func(*Request) string { return "x" }}, 500},
		"a hook that refuses":       {handshake(), &Handler{Options: AcceptOptions{AllowOrigin: func(*Request) error { return Reject(401, "log in") }}}, 401},
		"a hook that has a problem": {handshake(), &Handler{Options: AcceptOptions{AllowOrigin: func(*Request) error { return io.EOF }}}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			h := tt.h
			h.Endpoint = &testEndpoint{open: func(context.Context, *Request) error {
				t.Error("opened")
				return io.EOF
			}}
			if a := readAnswer(t, dialRaw(t, serve(t, h), tt.request)); a.status != tt.status {
				t.Errorf("answer %d, want %d", a.status, tt.status)
			}
		})
	}
}

func TestHandlerSelectsTheProtocol(t *testing.T) {
	for name, tt := range map[string]struct {
		h    *Handler
		open func(*Request)
		want string
	}{
		"by Select":               {&Handler{Select: Prefer("B", "a")}, nil, "A"},
		"by Options":              {&Handler{Options: AcceptOptions{Protocol: "B"}}, nil, "b"},
		"none when not offered":   {&Handler{Options: AcceptOptions{Protocol: "c"}}, nil, ""},
		"none when not selected":  {&Handler{Select: Prefer("c"), Options: AcceptOptions{Protocol: "b"}}, nil, ""},
		"by Open":                 {&Handler{Select: Prefer("a")}, func(r *Request) { r.Protocol = "b" }, "b"},
		"taken back by Open":      {&Handler{Select: Prefer("a")}, func(r *Request) { r.Protocol = "" }, ""},
		"with a header from Open": {&Handler{}, func(r *Request) { r.AnswerHeader = http.Header{"X-A": {"1"}} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := tt.h
			h.Endpoint = &testEndpoint{
				open: func(_ context.Context, r *Request) error {
					if tt.open != nil {
						tt.open(r)
					} else if r.Protocol != tt.want {
						t.Errorf("Open sees the protocol %q, want %q", r.Protocol, tt.want)
					}
					return nil
				},
				run: func(context.Context, *Conn) error { return nil },
			}
			a := readAnswer(t, dialRaw(t, serve(t, h), handshake("+Sec-WebSocket-Protocol: A, b")+clientFrames()))
			if got := a.header.Get(fieldProtocol); a.status != 101 || got != tt.want {
				t.Errorf("answer %d with protocol %q, want %q", a.status, got, tt.want)
			}
			if want := strings.Contains(name, "header"); (a.header.Get("X-A") == "1") != want {
				t.Errorf("header %q", a.header)
			}
			if err := h.Shutdown(within(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHandlerAbortsWhenTheHandshakeFails(t *testing.T) {
	near, far := net.Pipe()
	far.Close()
	good := httptest.NewRequest("GET", "http://example.com/", nil)
	good.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {testKey}}
	for name, tt := range map[string]struct {
		w      http.ResponseWriter
		open   func(*Request)
		status int
	}{
		"no hijacker":                  {httptest.NewRecorder(), func(*Request) {}, 500},
		"the client went away":         {pipeWriter{httptest.NewRecorder(), near}, func(*Request) {}, statusClientGone},
		"Open sets a reserved header":  {httptest.NewRecorder(), func(r *Request) { r.AnswerHeader = http.Header{"Upgrade": {"x"}} }, 500},
		"Open sets an invalid cookie":  {httptest.NewRecorder(), func(r *Request) { r.AnswerCookies = []*http.Cookie{{}} }, 500},
		"Open sets a foreign protocol": {httptest.NewRecorder(), func(r *Request) { r.Protocol = "x" }, 500},
	} {
		t.Run(name, func(t *testing.T) {
			aborted, status := 0, 0
			h := &Handler{Endpoint: &testEndpoint{
				open:  func(_ context.Context, r *Request) error { tt.open(r); return nil },
				run:   func(context.Context, *Conn) error { t.Error("Run was called"); return nil },
				abort: func() { aborted++ },
			}}
			h.OnRefuse = func(_ *http.Request, rej *Rejection) { status = rej.Status }
			h.ServeHTTP(tt.w, good)
			if aborted != 1 || status != tt.status {
				t.Errorf("Abort was called %d times, OnRefuse had status %d, want %d", aborted, status, tt.status)
			}
			if err := h.Shutdown(within(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOpenIsToldThatTheClientWentAway(t *testing.T) {
	opening, refused := make(chan struct{}), make(chan *Rejection, 1)
	h := &Handler{
		Endpoint: &testEndpoint{open: func(ctx context.Context, r *Request) error {
			close(opening)
			<-ctx.Done()
			return ctx.Err()
		}},
		OnRefuse: func(_ *http.Request, rej *Rejection) { refused <- rej },
	}
	c := dialRaw(t, serve(t, h), handshake())
	receive(t, opening)
	c.Close()
	if rej := receive(t, refused); rej.Status != statusClientGone {
		t.Errorf("rejection %v", rej)
	}
}

func TestSessionRunsAfterTheHTTPHandlerReturned(t *testing.T) {
	returned := make(chan struct{})
	h := &Handler{Endpoint: &testEndpoint{run: func(ctx context.Context, c *Conn) error {
		<-returned
		c.WriteMessage(OpText, []byte("hello"))
		return untilClosed(ctx, c)
	}}}
	c := dialTest(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		close(returned)
	})))
	if _, p, err := c.ReadMessage(nil); err != nil || string(p) != "hello" {
		t.Errorf("read %q, %v", p, err)
	}
	c.CloseNow()
	if err := h.Shutdown(within(t)); err != nil {
		t.Error(err)
	}
}

func TestSessionsAlwaysSayGoodbye(t *testing.T) {
	for name, tt := range map[string]struct {
		run    func(context.Context, *Conn) error
		code   CloseCode
		reason string
		err    string // that onClose gets
	}{
		"nil is 1000":           {func(context.Context, *Conn) error { return nil }, CloseNormal, "", ""},
		"an error is 1011":      {func(context.Context, *Conn) error { return errors.New("secret") }, CloseInternalError, "internal error", "secret"},
		"a panic is 1011":       {func(context.Context, *Conn) error { panic("secret") }, CloseInternalError, "internal error", "session panicked"},
		"another's end is 1011": {func(context.Context, *Conn) error { return &CloseError{Code: CloseAbnormal, Reason: "other"} }, CloseInternalError, "internal error", "closed: 1006 other"},
		"its own Close wins":    {func(_ context.Context, c *Conn) error { c.WriteClose(4000, "own"); return errors.New("x") }, 4000, "own", "x"},
		"its own CloseNow":      {func(_ context.Context, c *Conn) error { return c.CloseNow() }, CloseAbnormal, "connection lost", ""},
		"a dead goroutine":      {func(_ context.Context, c *Conn) error { goexit(); return nil }, CloseAbnormal, "connection lost", ""},
		"the client's 1000":     {func(ctx context.Context, c *Conn) error { c.WriteMessage(OpText, nil); return untilClosed(ctx, c) }, CloseNormal, "", "closed by peer: 1000"},
		"written before exit":   {func(_ context.Context, c *Conn) error { c.WriteMessage(OpBinary, []byte("last")); return nil }, CloseNormal, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			opened, closed := make(chan *Conn, 1), make(chan error, 1)
			h := &Handler{
				Endpoint: &testEndpoint{run: tt.run, abort: func() { t.Error("Abort was called") }},
				Log:      slog.New(slog.NewTextHandler(&log, nil)),
				OnOpen: func(_ *Request, c *Conn) func(error) {
					opened <- c
					return func(err error) {
						<-c.Done() // the connection is closed when this is called
						closed <- err
					}
				},
			}
			c := dialTest(t, serve(t, h))
			op, p, err := c.ReadMessage(nil)
			switch {
			case op == OpText:
				c.WriteClose(CloseNormal, "")
			case op == OpBinary && string(p) != "last":
				t.Errorf("read %q, %v", p, err)
			}
			if code, reason := closeCode(t, c); code != tt.code || reason != tt.reason {
				t.Errorf("closed with %d %q, want %d %q", code, reason, tt.code, tt.reason)
			}
			receive(t, opened)
			if err := receive(t, closed); tt.err == "" && err != nil || err != nil && err.Error() != tt.err {
				t.Errorf("onClose got %v, want %q", err, tt.err)
			}
			if err := h.Shutdown(within(t)); err != nil {
				t.Error(err)
			}
			if got := strings.Contains(log.String(), "secret") && strings.Contains(log.String(), "stack="); got != strings.Contains(name, "panic") {
				t.Errorf("log %q", &log)
			}
		})
	}
}

func TestAPanicInOnOpenLosesNothing(t *testing.T) {
	var aborted atomic.Int32
	h := &Handler{
		Endpoint: &testEndpoint{abort: func() { aborted.Add(1) }},
		OnOpen:   func(*Request, *Conn) func(error) { panic("oops") },
	}
	c := dialTest(t, serve(t, h))
	if code, _ := closeCode(t, c); code != CloseAbnormal {
		t.Errorf("closed with %d", code)
	}
	if err := h.Shutdown(within(t)); err != nil || aborted.Load() != 1 {
		t.Errorf("shutdown: %v, Abort was called %d times", err, aborted.Load())
	}
}

// A badStarter panics before anything could tell that it is done.
type badStarter struct{ startedEcho }

func (e badStarter) Open(context.Context, *Request) (Session, error) { return e, nil }
func (badStarter) Start(context.Context, *Conn, func(error))         { panic("oops") }

func TestAPanicInStartEndsTheSession(t *testing.T) {
	closed := make(chan error, 1)
	h := &Handler{
		Endpoint: badStarter{},
		OnOpen:   func(*Request, *Conn) func(error) { return func(err error) { closed <- err } },
	}
	c := dialTest(t, serve(t, h))
	if code, reason := closeCode(t, c); code != CloseInternalError || reason != "internal error" {
		t.Errorf("closed with %d %q", code, reason)
	}
	if err := receive(t, closed); err == nil || err.Error() != "session panicked" {
		t.Errorf("onClose got %v", err)
	}
	if err := h.Shutdown(within(t)); err != nil {
		t.Error(err)
	}
}

func TestConnsAreTheRunningSessions(t *testing.T) {
	opened := make(chan *Conn, 3)
	h := &Handler{
		Endpoint: &testEndpoint{run: untilClosed},
		OnOpen: func(_ *Request, c *Conn) func(error) {
			opened <- c
			return nil
		},
	}
	addr := serve(t, h)
	var clients, servers []*Conn
	for range 3 {
		clients = append(clients, dialTest(t, addr))
		servers = append(servers, receive(t, opened))
	}
	seen := slices.Collect(h.Conns())
	for _, c := range servers {
		if !slices.Contains(seen, c) || len(seen) != 3 {
			t.Fatalf("%d connections, want 3", len(seen))
		}
	}
	for c := range h.Conns() {
		c.WriteMessage(OpText, []byte("to all"))
	}
	for _, c := range clients {
		if _, p, err := c.ReadMessage(nil); err != nil || string(p) != "to all" {
			t.Errorf("read %q, %v", p, err)
		}
	}
	for range h.Conns() {
		break
	}
	for _, c := range clients {
		c.CloseNow()
	}
	if err := h.Shutdown(within(t)); err != nil {
		t.Error(err)
	}
	for range h.Conns() {
		t.Error("a connection is left")
	}
}
