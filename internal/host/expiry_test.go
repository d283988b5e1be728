//go:build unix

package host

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/h2test"
	"github.com/wspawn/wspawn/wsframe"
)

const tokenSecret = "0123456789abcdef0123456789abcdef"

// tokenFor returns a token of a user that is good for so long, and at most a second more: expiries are whole seconds.
func tokenFor(t *testing.T, user string, d time.Duration) string {
	t.Helper()
	exp := time.Now().Add(d).Unix() + 1
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": user, "exp": exp}).SignedString([]byte(tokenSecret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// soon is long enough for the start of a session.
const soon = 4 * time.Second

// withTokens lets only clients come that have one.
func withTokens(t *testing.T, r *config.Route) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(tokenSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Auth = config.New[config.Auth]()
	r.Auth.JWT = config.New[config.JWT]()
	r.Auth.JWT.SecretFile, r.Auth.JWT.Leeway = config.Path(file), 0
}

// A sessionEnd is a session that should end by itself.
type sessionEnd struct {
	name string
	c    *wsframe.Conn
	cut  bool // without a Close frame, since the far side speaks WebSocket
}

// wait waits for that, and returns why the client thinks that it ended.
func (e sessionEnd) wait() error {
	defer time.AfterFunc(h2test.Timeout, func() { e.c.WriteClose(wsframe.CloseNormal, "too late") }).Stop()
	_, _, err := e.c.ReadMessage(nil)
	return err
}

func TestSessionsEndWhenTheTokenExpires(t *testing.T) {
	c := everyKind(t, t.TempDir())
	for _, r := range c.Route {
		if r.Files == nil {
			withTokens(t, r)
		}
	}
	outlives := stdioRoute("/outlives", "cat")
	withTokens(t, outlives)
	outlives.Auth.EndSessions = false
	lenient := stdioRoute("/lenient", "cat")
	withTokens(t, lenient)
	lenient.Auth.JWT.Leeway = config.Duration(time.Hour)
	c.Route = append(c.Route, outlives, lenient)
	h, _ := run(t, c)
	http2 := plain(t, h)
	open := func(protocol, kind string, d time.Duration) *wsframe.Conn {
		header := "Bearer " + tokenFor(t, "anna", d)
		var ws *wsframe.Conn
		if protocol == "HTTP/2" {
			ws, _ = connect(t, http2, "/"+kind, "authorization", header)
		} else {
			ws = dial(t, h, "/"+kind, &wsframe.DialOptions{Header: http.Header{"Authorization": {header}}})
		}
		if err := echoed(ws, "hello"); err != nil {
			t.Fatalf("%s, %s: %v", kind, protocol, err)
		}
		return ws
	}
	var staying []*wsframe.Conn
	var ends []sessionEnd
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
		for _, kind := range kinds {
			cut := kind != "stdio" && kind != "tunnel"
			ends = append(ends, sessionEnd{kind + ", " + protocol, open(protocol, kind, soon), cut})
			staying = append(staying, open(protocol, kind, time.Hour))
		}
		staying = append(staying, open(protocol, "outlives", soon), open(protocol, "lenient", soon))
	}
	var all sync.WaitGroup
	for _, e := range ends {
		all.Go(func() {
			var closed *wsframe.CloseError
			err := e.wait()
			switch errors.As(err, &closed); {
			case closed == nil:
				t.Errorf("%s: %v", e.name, err)
			case !e.cut && (closed.Code != wsframe.ClosePolicy || closed.Reason != "the login has expired"):
				t.Errorf("%s: %v", e.name, err)
			case e.cut && closed.Code != wsframe.CloseAbnormal:
				t.Errorf("%s: %v", e.name, err)
			}
		})
	}
	all.Wait()
	for _, ws := range staying {
		if err := echoed(ws, "still here"); err != nil {
			t.Error(err)
		}
	}
}

// What speaks WebSocket for a subprotocol of its own is bounded as well.
func TestSessionsOfSubprotocolsEndWhenTheTokenExpires(t *testing.T) {
	r := stdioRoute("/", "cat")
	withTokens(t, r)
	r.Protocols = []*config.Protocol{{Name: "x"}}
	h, _ := run(t, routes(r))
	header := http.Header{"Authorization": {"Bearer " + tokenFor(t, "anna", soon)}}
	for _, protocols := range [][]string{{"x"}, nil} {
		c := dial(t, h, "/", &wsframe.DialOptions{Header: header, Protocols: protocols})
		if err := (sessionEnd{c: c}).wait(); !closedWith(err, wsframe.ClosePolicy) {
			t.Errorf("%v: %v", protocols, err)
		}
		header.Set("Authorization", "Bearer "+tokenFor(t, "anna", soon))
	}
	eventually(t, "no program runs", func() bool { return h.programs.Running() == 0 })
	if _, resp, err := wsframe.Dial(t.Context(), strings.TrimSuffix(h.URLs("ws")[0], "/"), nil); err == nil || resp.StatusCode != 401 {
		t.Errorf("without a token: %v", err)
	}
}

// The name counts, whatever the address and the token.
func TestEachUserHasALimitOfSessions(t *testing.T) {
	r := stdioRoute("/", "cat")
	withTokens(t, r)
	r.Limits.SessionsPerUser = 2
	h, _ := run(t, routes(r))
	try := func(user string) (*wsframe.Conn, *http.Response) {
		header := http.Header{"Authorization": {"Bearer " + tokenFor(t, user, time.Hour)}}
		c, resp, err := wsframe.Dial(t.Context(), h.URLs("ws")[0], &wsframe.DialOptions{Header: header})
		if err != nil && resp == nil {
			t.Fatal(err)
		}
		if c != nil {
			t.Cleanup(func() { c.CloseNow(); <-c.Done() })
		}
		return c, resp
	}
	first, _ := try("anna")
	try("anna")
	http2 := plain(t, h)
	s := http2.Open(h2test.WebSocket("/", "authorization", "Bearer "+tokenFor(t, "anna", time.Hour)), false)
	if status, _ := s.Response(); status != 429 {
		t.Errorf("a third session, over HTTP/2: %d", status)
	}
	c, resp := try("anna")
	if c != nil || resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" || resp.Header.Get("X-WebSocket-Reject-Reason") == "" {
		t.Fatalf("a third session: %v", resp)
	}
	if n := h.programs.Running(); n != 2 {
		t.Errorf("%d programs run", n)
	}
	if c, resp := try("bert"); c == nil {
		t.Errorf("somebody else: %v", resp)
	}
	first.Close(wsframe.CloseNormal, "")
	eventually(t, "there is room again", func() bool { c, _ := try("anna"); return c != nil })
}
