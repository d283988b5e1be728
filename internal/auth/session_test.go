package auth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/wspawn/wspawn/wsframe"
)

// echo is an endpoint and its sessions.
type echo struct{}

func (echo) Open(context.Context, *wsframe.Request) (wsframe.Session, error) { return echo{}, nil }

func (echo) Abort() {}
func (echo) Run(_ context.Context, c *wsframe.Conn) error {
	for {
		op, p, err := c.ReadMessage(nil)
		if err != nil {
			return err
		}
		c.WriteMessage(op, p)
	}
}

func bounded(r *wsframe.Request, c *wsframe.Conn) func(error) {
	stop := Bound(r.Request, c)
	return func(error) { stop() }
}

// opened opens a session behind a Guard, and returns it when it echoes.
func opened(t *testing.T, guards ...*Guard) *wsframe.Conn {
	t.Helper()
	h := &wsframe.Handler{Endpoint: echo{}, OnOpen: bounded}
	var front http.Handler = h
	for _, g := range guards {
		g.Next = front
		front = g
	}
	srv := httptest.NewServer(front)
	t.Cleanup(func() { h.Shutdown(context.Background()); srv.Close() })
	c, _, err := wsframe.Dial(t.Context(), "ws"+strings.TrimPrefix(srv.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow(); <-c.Done() })
	echoes(t, c)
	return c
}

func echoes(t *testing.T, c *wsframe.Conn) {
	t.Helper()
	c.WriteMessage(wsframe.OpText, []byte("x"))
	if _, p, err := c.ReadMessage(nil); err != nil || string(p) != "x" {
		t.Fatalf("%q, %v", p, err)
	}
}

// ended waits for the end of a session that nothing is said in.
func ended(c *wsframe.Conn) error {
	defer time.AfterFunc(30*time.Second, func() { c.CloseNow() }).Stop()
	_, _, err := c.ReadMessage(nil)
	return err
}

func TestSessionsEndWithTheLogin(t *testing.T) {
	const soon = 3 * time.Second // enough to open a session and hear from it
	until := func(d time.Duration) *Guard {
		id := &Identity{User: "alice"}
		if d > 0 {
			id.Expires = time.Now().Add(d)
		}
		return &Guard{Methods: []Method{&fake{id: id}}}
	}
	outlives := until(soon)
	outlives.Outlive = true
	ending := make(map[string]*wsframe.Conn)
	staying := []*wsframe.Conn{opened(t, until(0)), opened(t, until(time.Hour)), opened(t, outlives)}
	for name, times := range map[string][]time.Duration{
		"one guard":           {soon},
		"the outer of two":    {time.Hour, soon},
		"the inner of two":    {soon, time.Hour},
		"the only one of two": {0, soon},
	} {
		var guards []*Guard
		for _, d := range times {
			guards = append(guards, until(d))
		}
		ending[name] = opened(t, guards...)
	}
	for name, c := range ending {
		err := ended(c)
		var closed *wsframe.CloseError
		if !errors.As(err, &closed) || closed.Code != wsframe.ClosePolicy || closed.Reason != expired || !closed.Remote {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range staying {
		echoes(t, c)
	}
}

func TestLoginsThatHaveExpiredAlready(t *testing.T) {
	g := &Guard{Methods: []Method{&fake{id: &Identity{Expires: time.Unix(1, 0)}}}}
	h := &wsframe.Handler{Endpoint: echo{}, OnOpen: bounded}
	g.Next = h
	srv := httptest.NewServer(g)
	t.Cleanup(func() { h.Shutdown(context.Background()); srv.Close() })
	conn, _, err := wsframe.Dial(t.Context(), "ws"+strings.TrimPrefix(srv.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	var closed *wsframe.CloseError
	if err := ended(conn); !errors.As(err, &closed) || closed.Code != wsframe.ClosePolicy {
		t.Error(err)
	}
}

// A token is good for a while after its expiry, and so is its session.
func TestALoginLastsAsLongAsItsTokenWouldBeTaken(t *testing.T) {
	file := write(t, "keys", publicPEM(t, rsaPair))
	exp := time.Now().Add(time.Hour).Truncate(time.Second)
	token := signed(t, jwt.SigningMethodRS256, rsaPair, jwt.MapClaims{"exp": exp.Unix()})
	for leeway, want := range map[time.Duration]time.Duration{0: 30 * time.Second, -1: 0, time.Minute: time.Minute} {
		g := guard(newJWT(t, JWTConfig{KeyFile: file, Leeway: leeway}))
		g.passes(t, g.ask("/", "Authorization: Bearer "+token), "alice", "Bearer")
		if got := Expires(g.last); !got.Equal(exp.Add(want)) {
			t.Errorf("leeway %v: %v after the expiry", leeway, got.Sub(exp))
		}
	}
}

func TestExpiries(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "1924991999": 1924991999, "2030-12-31T23:59:59Z": 1924991999, "2031-01-01T00:59:59+01:00": 1924991999,
		"0": -1, "-5": -1, "1e9": -1, "soon": -1, "2030-12-31": -1, "99999999999999999": -1, "1924991999, 1924991999": -1, "0001-01-01T00:00:00Z": -1,
	} {
		got, err := parseExpiry(text)
		switch {
		case want < 0 && err == nil:
			t.Errorf("%q: %v", text, got)
		case want == 0 && (err != nil || !got.IsZero()), want > 0 && (err != nil || got.Unix() != want):
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestOtherServersSayWhenALoginExpires(t *testing.T) {
	for line, want := range map[string]int64{"": 0, "1924991999": 1924991999, "tomorrow": -1} {
		g := asker(t, ForwardConfig{}, func(w http.ResponseWriter, r *http.Request) {
			if w.Header().Set("Remote-User", "alice"); line != "" {
				w.Header().Set("X-Auth-Expires", line)
			}
		})
		if want < 0 {
			g.refuses(t, g.ask("/"), 503, "not possible now")
			continue
		}
		g.passes(t, g.ask("/"), "alice", "Forward")
		if got := Expires(g.last); got.IsZero() != (want == 0) || want > 0 && got.Unix() != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}
