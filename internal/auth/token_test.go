package auth

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/wspawn/wspawn/wsframe"
)

// greeter tells who the user is and which subprotocols there are.
type greeter struct{ opened atomic.Int32 }

func (e *greeter) Open(_ context.Context, r *wsframe.Request) (wsframe.Session, error) {
	e.opened.Add(1)
	return greeting(fmt.Sprint(From(r.Context()).User, r.Protocols)), nil
}

type greeting string

func (g greeting) Abort() {}
func (g greeting) Run(_ context.Context, c *wsframe.Conn) error {
	return c.WriteMessage(wsframe.OpText, []byte(g))
}

// As a browser does it: new WebSocket(url, ["chat", "bearer." + token]).
func TestABrowserWithAToken(t *testing.T) {
	j := newJWT(t, JWTConfig{SecretFile: write(t, "secret", string(hmacSecret)), Protocol: "bearer."})
	e := &greeter{}
	h := &wsframe.Handler{Endpoint: e, Select: wsframe.Prefer("chat")}
	srv := httptest.NewServer(&Guard{Methods: []Method{j}, Next: h})
	defer srv.Close()
	defer h.Shutdown(context.Background())
	dial := func(claims jwt.MapClaims) (*wsframe.Conn, *http.Response, error) {
		token := signed(t, jwt.SigningMethodHS256, hmacSecret, claims)
		return wsframe.Dial(t.Context(), "ws"+strings.TrimPrefix(srv.URL, "http"), &wsframe.DialOptions{Protocols: []string{"chat", "bearer." + token}})
	}
	c, _, err := dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, message, err := c.ReadMessage(nil)
	if err != nil || string(message) != "alice[chat]" || c.Subprotocol() != "chat" {
		t.Errorf("%q, %q, %v", message, c.Subprotocol(), err)
	}
	c.Close(wsframe.CloseNormal, "")
	_, res, err := dial(jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()})
	if err == nil || res == nil || res.StatusCode != 401 || res.Header.Get("X-WebSocket-Reject-Reason") != "token has expired" || res.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("%v, %v", res, err)
	}
	if n := e.opened.Load(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

// What is found as a token is gone afterwards, and nothing else.
func FuzzStrip(f *testing.F) {
	f.Add("a=b&t=x&c", "a=b; t=x", "chat, b.x")
	f.Add("%74=x&t=&t", "t=x; t=y;;", "b.,b.y,")
	f.Fuzz(func(t *testing.T, query, cookie, protocols string) {
		j := &JWT{c: JWTConfig{Protocol: "b.", Query: "t", Cookie: "t"}}
		r := &http.Request{URL: &url.URL{Path: "/", RawQuery: query}, RequestURI: "/?" + query, Header: http.Header{"Cookie": {cookie}, "Sec-Websocket-Protocol": {protocols}}}
		before := r.URL.Query()
		j.Strip(r)
		if token, err := j.token(r); token != "" || err != nil {
			t.Errorf("%q, %v is left in %q, %v", token, err, r.URL.RawQuery, r.Header)
		}
		delete(before, "t")
		if after := r.URL.Query(); after.Encode() != before.Encode() {
			t.Errorf("%q became %q", before, after)
		}
		if _, q, _ := strings.Cut(r.RequestURI, "?"); q != r.URL.RawQuery {
			t.Errorf("%q is not %q", r.RequestURI, r.URL.RawQuery)
		}
	})
}
