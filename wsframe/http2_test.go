package wsframe

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/wspawn/wspawn/internal/h2test"
	"github.com/wspawn/wspawn/internal/stream"
)

// overHTTP2 serves a handler to a client that has one connection.
func overHTTP2(t *testing.T, h http.Handler) *h2test.Client {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return h2test.Dial(t, "tcp", s.Listener.Addr().String())
}

// echoSession sends back what comes.
type echoSession struct{}

func (echoSession) Open(context.Context, *Request) (Session, error) { return echoSession{}, nil }
func (echoSession) Abort()                                          {}
func (echoSession) Run(_ context.Context, c *Conn) error {
	return c.Receive(func(b *Batch) error {
		for part := b.Next(); part != nil; part = b.Next() {
			if err := c.WriteMessage(part.Op, part.Payload); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestHandlersServeExtendedCONNECT(t *testing.T) {
	h := &Handler{Endpoint: echoSession{}, Options: AcceptOptions{Protocol: "chat"}}
	for name, handler := range map[string]http.Handler{"alone": h, "behind what normalizes": stream.Normalize(h)} {
		t.Run(name, func(t *testing.T) {
			client := overHTTP2(t, handler)
			s := client.Connect("/", "sec-websocket-protocol", "other, chat")
			_, header := s.Response()
			if got := header[http.CanonicalHeaderKey(fieldProtocol)]; !slices.Equal(got, []string{"chat"}) {
				t.Errorf("protocol %q", got)
			}
			for _, name := range []string{"Upgrade", "Connection", "Sec-Websocket-Accept", "Content-Length"} {
				if v, ok := header[name]; ok {
					t.Errorf("%s: %q", name, v)
				}
			}
			c := NewConn(s, nil, Client, "chat", nil)
			defer c.CloseNow()
			for _, message := range []string{"", "one", "two"} {
				if err := c.WriteMessage(OpText, []byte(message)); err != nil {
					t.Fatal(err)
				}
				if _, p, err := c.ReadMessage(nil); err != nil || string(p) != message {
					t.Fatalf("got %q, %v", p, err)
				}
			}
			if err := c.Close(CloseNormal, "bye"); err != nil {
				t.Error(err)
			}
			if ok, code := s.AwaitEnd(); !ok || code != http2.ErrCodeNo {
				t.Errorf("ended %v, %v", ok, code)
			}
		})
	}
}

func TestRefusedExtendedCONNECTIsAnOrdinaryAnswer(t *testing.T) {
	client := overHTTP2(t, &Handler{Endpoint: echoSession{}})
	for _, x := range []struct {
		fields h2test.Fields
		status int
	}{
		{h2test.WebSocket("/", "origin", "http://evil.test"), 403},
		{h2test.WebSocket("/", "origin", "http://h.test"), 200},
		{h2test.WebSocket("/")[:10], 400}, // no version
		{append(h2test.WebSocket("/")[:10], "sec-websocket-version", "8"), 426},
		{h2test.Get("/"), 400},
	} {
		s := client.Open(x.fields, false)
		if status, header := s.Response(); status != x.status || status >= 400 && header.Get(fieldReason) == "" {
			t.Errorf("%v: %d %v, want %d", x.fields, status, header, x.status)
		}
		s.Close()
	}
}

// There is no half close to wait behind, and none is needed: nothing overtakes the frame.
func TestViolationsOverHTTP2EndTheStreamBehindTheCloseFrame(t *testing.T) {
	client := overHTTP2(t, &Handler{Endpoint: echoSession{}, Options: AcceptOptions{Options: Options{CloseTimeout: time.Hour}}})
	s := client.Connect("/")
	s.Write(append(AppendFrame(nil, Client, Frame{Fin: true, Op: OpText, Payload: []byte("last")}), 0x81, 0x01, 'x')) // not masked
	s.SetReadDeadline(time.Now().Add(h2test.Timeout))
	b, err := io.ReadAll(s)
	if len(b) < 10 || string(b[:6]) != "\x81\x04last" || b[6] != 0x88 || string(b[8:10]) != "\x03\xea" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	if ok, code := s.AwaitEnd(); !ok || code != http2.ErrCodeNo {
		t.Errorf("ended %v, %v", ok, code)
	}
}

func TestAcceptedConnectionsOutliveTheirHandlerOverHTTP2(t *testing.T) {
	client := overHTTP2(t, stream.Normalize(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		c.ReceiveThen(func(b *Batch) error {
			for part := b.Next(); part != nil; part = b.Next() {
				c.WriteMessage(part.Op, part.Payload)
			}
			return nil
		}, func(error) { c.Close(CloseNormal, "") })
	})))
	c := NewConn(client.Connect("/"), nil, Client, "", nil)
	for range 2 {
		c.WriteMessage(OpText, []byte("hello"))
		if _, p, err := c.ReadMessage(nil); err != nil || string(p) != "hello" {
			t.Fatalf("got %q, %v", p, err)
		}
		time.Sleep(quietAfter * 3 / 2) // there is no descriptor that could be waited for
	}
	if err := c.Close(CloseNormal, ""); err != nil {
		t.Error(err)
	}
}

func TestShutdownOverHTTP2(t *testing.T) {
	h := &Handler{Endpoint: echoSession{}}
	client := overHTTP2(t, h)
	polite := NewConn(client.Connect("/"), nil, Client, "", nil)
	rude := client.Connect("/")
	ended := make(chan error, 1)
	go func() {
		_, _, err := polite.ReadMessage(nil)
		ended <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if e, ok := errors.AsType[*ShutdownError](h.Shutdown(ctx)); !ok || e.Cut != 1 || e.Left != 0 {
		t.Errorf("shutdown: %v", e)
	}
	if e, ok := errors.AsType[*CloseError](<-ended); !ok || e.Code != CloseGoingAway {
		t.Errorf("the client saw %v", e)
	}
	if b, err := io.ReadAll(rude); !strings.HasPrefix(string(b), "\x88") || !strings.HasSuffix(string(b), "\x03\xe9"+goingAway) || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestClientsThatDoNotReadAreCutOverHTTP2(t *testing.T) {
	ended := make(chan error, 1)
	h := &Handler{
		Endpoint: echoSession{}, Options: AcceptOptions{Options: Options{WriteTimeout: 200 * time.Millisecond}},
		OnOpen: func(_ *Request, c *Conn) func(error) { return func(error) { ended <- c.Err() } },
	}
	s := overHTTP2(t, h).Connect("/")
	frame := AppendFrame(nil, Client, Frame{Fin: true, Op: OpBinary, Payload: make([]byte, 10_000)})
	for range 20 {
		s.SetWriteDeadline(time.Now().Add(h2test.Timeout))
		if _, err := s.Write(frame); err != nil {
			break
		}
	}
	if e, ok := errors.AsType[*CloseError](<-ended); !ok || e.Code != CloseAbnormal || e.Reason != "peer does not read" {
		t.Errorf("ended with %v", e)
	}
	if ok, _ := s.AwaitEnd(); ok {
		t.Error("the stream ended as if nothing were missing")
	}
}
