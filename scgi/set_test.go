package scgi

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/wsframe"
)

// active waits until a set has so many sessions.
func active(t *testing.T, s *backend.Set, want int) {
	t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		n := 0
		for _, st := range s.Status() {
			n += st.Active
		}
		if n == want {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%d sessions, want %d", n, want)
		}
	}
}

func TestATunnelHasItsPlaceUntilItsEnd(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	set, err := backend.New(backend.Config{
		Backends: []backend.Server{{Address: address(serve(t, &Server{Handler: application()})), MaxSessions: 1}},
		MaxQueue: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	s := front(t, &Endpoint{Set: set, Options: cgi.Options{Upgrade: true}})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _, err := wsframe.Dial(ctx, "ws"+strings.TrimPrefix(s.URL, "http")+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	active(t, set, 1)
	resp, err := http.Get(s.URL + "/hello")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || string(b) != "503 all backends are busy\n" {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, b)
	}
	if err := c.Close(wsframe.CloseNormal, ""); err != nil {
		t.Error(err)
	}
	active(t, set, 0)
	wantAnswer(t, "GET", s.URL+"/nothing", nil, 404, "404 page not found\n")
	active(t, set, 0)
}

func TestRequestsThatAreEqualGoToTheSameBackend(t *testing.T) {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	named := func(name string) string {
		return address(serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name) })}))
	}
	set, err := backend.New(backend.Config{Backends: backend.Servers(named("a"), named("b"), named("c")), Balance: backend.HashPath})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	s := front(t, &Endpoint{Set: set})
	for _, path := range []string{"/1", "/2", "/3", "/4", "/5", "/6"} {
		_, first := answer(t, "GET", s.URL+path, nil)
		if _, again := answer(t, "GET", s.URL+path+"?query", nil); again != first {
			t.Errorf("%s: %s, and then %s", path, first, again)
		}
	}
}

func TestOpenWithoutTheHandler(t *testing.T) {
	e := &Endpoint{Backends: []string{address(serve(t, &Server{Handler: application()}))}}
	r, err := http.NewRequest("GET", "/hello", nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := cgi.Variables(r, cgi.Vars{PathInfo: r.URL.Path})
	if err != nil {
		t.Fatal(err)
	}
	x, err := e.Open(t.Context(), &cgi.Request{Request: r, Vars: list})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if b, err := io.ReadAll(x); !strings.Contains(string(b), "hello GET") || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}
