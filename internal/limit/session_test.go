package limit

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// echo is an endpoint and its sessions.
type echo struct {
	opened int
	fail   error
}

func (e *echo) Open(context.Context, *wsframe.Request) (wsframe.Session, error) {
	e.opened++
	return e, e.fail
}

func (*echo) Abort() {}
func (*echo) Run(_ context.Context, c *wsframe.Conn) error {
	for {
		op, p, err := c.ReadMessage(nil)
		if err != nil {
			return err
		}
		c.WriteMessage(op, p)
	}
}

func counted(r *wsframe.Request, _ *wsframe.Conn) func(error) {
	release := Keep(r.Context())
	return func(error) { release() }
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

func TestWebSocketsCountUntilTheyEnd(t *testing.T) {
	c := open()
	c.SessionsPerAddress, c.Exempt = 1, func(netip.Addr) bool { return false }
	l := New(c)
	e := &echo{}
	h := &wsframe.Handler{Endpoint: e, OnOpen: counted}
	srv := httptest.NewServer(&Handler{Limiter: l, Next: h})
	defer srv.Close()
	url := "ws" + strings.TrimPrefix(srv.URL, "http")

	conn, _, err := wsframe.Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.WriteMessage(wsframe.OpText, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(nil); err != nil {
		t.Fatal(err)
	}
	_, res, err := wsframe.Dial(t.Context(), url, nil)
	if err == nil || res == nil || res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" || res.Header.Get("X-WebSocket-Reject-Reason") == "" {
		t.Fatalf("got %v, %v", res, err)
	}
	if e.opened != 1 {
		t.Errorf("the endpoint was asked %d times", e.opened)
	}
	if res, err := http.Get(srv.URL); err != nil || res.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("an ordinary request: %v, %v", res, err)
	} else {
		res.Body.Close()
	}
	conn.Close(wsframe.CloseNormal, "")
	eventually(t, "the session is over", func() bool { return l.Stats().Sessions == 0 })
	conn, _, err = wsframe.Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close(wsframe.CloseNormal, "")
	eventually(t, "the session is over", func() bool { return l.Stats().Sessions == 0 })

	// What fails does not count for longer than it takes.
	e.fail = errors.New("no")
	if _, _, err = wsframe.Dial(t.Context(), url, nil); err == nil {
		t.Fatal("no error")
	}
	eventually(t, "the failed session is over", func() bool { return l.Stats().Sessions == 0 })
	if err := h.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOtherHandlersCountWhileTheyAnswer(t *testing.T) {
	c := open()
	c.Sessions = 1
	l := New(c)
	release := make(chan struct{})
	entered := make(chan struct{})
	srv := httptest.NewServer(&Handler{Limiter: l, All: true, Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-release
		panic(http.ErrAbortHandler)
	})})
	defer srv.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if res, err := http.Get(srv.URL); err == nil {
			t.Error("an answer")
			res.Body.Close()
		}
	}()
	<-entered
	res, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "full") {
		t.Errorf("%d %q", res.StatusCode, body)
	}
	close(release)
	<-done
	eventually(t, "released after a panic", func() bool { return l.Stats().Sessions == 0 })
}

func TestKeepWithoutAHandler(t *testing.T) {
	Keep(t.Context())()
}
