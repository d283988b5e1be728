package limit

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/wspawn/wspawn/wsframe"
)

func userOf(r *http.Request) string { return r.URL.Query().Get("user") }

func TestSessionsOfAUser(t *testing.T) {
	u := &Users{Max: 2, Of: userOf}
	try := func(name string, want int) (release func()) {
		t.Helper()
		release, refusal := u.Acquire(httptest.NewRequest("GET", "/?user="+name, nil))
		switch {
		case refusal == nil && want != 0, refusal != nil && refusal.Status != want, (release == nil) == (refusal == nil):
			t.Errorf("%q: %v, want %d", name, refusal, want)
		case refusal != nil && (refusal.Header.Get("Retry-After") == "" || !strings.Contains(refusal.Err.Error(), SessionsPerUser)):
			t.Errorf("%q: %v %v", name, refusal.Header, refusal.Err)
		}
		return release
	}
	first, second := try("anna", 0), try("anna", 0)
	try("anna", 429)
	other := try("bert", 0)
	for range 5 {
		try("", 0) // nobody knows who they are
	}
	first()
	first() // does nothing
	third := try("anna", 0)
	try("anna", 429)
	for _, release := range []func(){second, third, other} {
		release()
	}
	if len(u.sessions) != 0 {
		t.Errorf("remembered: %v", u.sessions)
	}
	u = &Users{Of: userOf}
	for range 5 {
		try("anna", 0)
	}
}

func TestUsersAtTheSameTime(t *testing.T) {
	u := &Users{Max: 3, Of: userOf}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				if release, _ := u.Acquire(httptest.NewRequest("GET", "/?user=anna", nil)); release != nil {
					release()
				}
			}
		})
	}
	all.Wait()
	if len(u.sessions) != 0 {
		t.Errorf("remembered: %v", u.sessions)
	}
}

// Two handlers count the same session, each in its own way, until it ends.
func TestWebSocketsOfAUserCountUntilTheyEnd(t *testing.T) {
	l, e := New(open()), new(echo)
	h := &wsframe.Handler{Endpoint: e, OnOpen: counted}
	users := &Users{Max: 1, Of: userOf}
	srv := httptest.NewServer(&Handler{Limiter: l, Next: &Handler{Users: users, Next: h}})
	defer srv.Close()
	url := "ws" + strings.TrimPrefix(srv.URL, "http") + "/?user="
	conn, _, err := wsframe.Dial(t.Context(), url+"anna", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, res, err := wsframe.Dial(t.Context(), url+"anna", nil)
	if err == nil || res == nil || res.StatusCode != http.StatusTooManyRequests || res.Header.Get("X-WebSocket-Reject-Reason") == "" {
		t.Fatalf("got %v, %v", res, err)
	}
	if e.opened != 1 {
		t.Errorf("the endpoint was asked %d times", e.opened)
	}
	if got := l.Stats().Sessions; got > 2 {
		t.Errorf("%d sessions", got)
	}
	conn.Close(wsframe.CloseNormal, "")
	eventually(t, "the session is over", func() bool { return l.Stats().Sessions == 0 })
	if len(users.sessions) != 0 {
		t.Errorf("remembered: %v", users.sessions)
	}
}
