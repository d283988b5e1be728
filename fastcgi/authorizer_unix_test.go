//go:build unix

package fastcgi

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/gatewaytest"
	"github.com/wspawn/wspawn/scgi"
	"github.com/wspawn/wspawn/spawner"
)

// What an authorizer says reaches every kind of gateway behind it, and so does what a second one adds.
func TestWhatAnAuthorizerSaysReachesAllGateways(t *testing.T) {
	names := []string{"AUTH_LEVEL", "REMOTE_USER", "AUTH_TYPE", "HTTP_AUTHORIZATION", "HTTP_X_KEY"}
	show := func(l cgi.List) (s string) {
		for _, name := range names {
			v, ok := l.Lookup(name)
			if !ok {
				v = "none"
			}
			s += v + "\n"
		}
		return s
	}
	says := func(authorize http.HandlerFunc) *Client {
		return client(t, &Client{Backends: []string{serve(t, &Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, show(Params(r.Context())))
			}),
			Authorizer: authorize,
		})}})
	}
	first := says(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") != "good" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		w.Header()["Variable-AUTH_LEVEL"] = []string{"7"}
		w.Header()["Variable-REMOTE_USER"] = []string{"eve"}
		w.Header()["Variable-AUTH_TYPE"] = []string{"Key"}
	})
	second := says(func(w http.ResponseWriter, r *http.Request) {
		p := Params(r.Context())
		level, _ := p.Lookup("AUTH_LEVEL")
		user, _ := p.Lookup("REMOTE_USER")
		w.Header()["Variable-REMOTE_USER"] = []string{user + " of level " + level}
	})

	spawn := spawner.New(spawner.Config{})
	defer spawn.Close(context.Background())
	program := filepath.Join(t.TempDir(), "show")
	script := "#!/bin/sh\necho\n"
	for _, name := range names {
		script += fmt.Sprintf("echo \"${%s-none}\"\n", name)
	}
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	overCGI, err := cgi.New(cgi.Config{File: program, Spawner: spawn})
	if err != nil {
		t.Fatal(err)
	}
	defer overCGI.Close()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	app := &scgi.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, show(scgi.Variables(r)))
	})}
	ended := make(chan error, 1)
	go func() { ended <- app.Serve(l) }()
	defer func() { app.Close(); <-ended }()
	overSCGI := &scgi.Endpoint{Backends: []string{l.Addr().String()}}

	for name, next := range map[string]http.Handler{"CGI": overCGI, "SCGI": overSCGI, "FastCGI": &Endpoint{Client: first}} {
		t.Run(name, func(t *testing.T) {
			front := httptest.NewServer(&Authorizer{Client: first, Next: &Authorizer{Client: second, Next: next}})
			defer front.Close()
			defer http.DefaultClient.CloseIdleConnections()
			for key, want := range map[string]string{
				"good": "200 7\neve of level 7\nKey\nnone\ngood\n", // no password for the program: AUTH_TYPE says that it has done its work
				"bad":  "403 no\n",
			} {
				r, err := http.NewRequest("GET", front.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("X-Key", key)
				r.Header.Set("Authorization", "Key secret")
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if got := fmt.Sprint(resp.StatusCode, " ", string(b)); got != want {
					t.Errorf("%s: %q, want %q", key, got, want)
				}
			}
		})
	}
}

// Who is refused need not send a body first.
func TestAnAuthorizerDoesNotWaitForTheBody(t *testing.T) {
	says := client(t, &Client{Backends: []string{serve(t, &Server{
		Handler:    http.NotFoundHandler(),
		Authorizer: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusForbidden) }),
	})}})
	nobody := client(t, &Client{Backends: []string{"unix:" + filepath.Join(t.TempDir(), "none")}})
	for _, tt := range []struct {
		client *Client
		lines  string
		status int
	}{
		{says, "", 403}, {nobody, "", 503}, {says, "X-A: 1\r\nX_A: 2\r\n", 400},
	} {
		c := gatewaytest.Dial(t, gatewaytest.Start(t, &Authorizer{Client: tt.client}))
		c.Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n" + tt.lines + "\r\n")
		if r := c.Head(); r.StatusCode != tt.status || !r.Close || tt.status == 503 && r.Header.Get("Retry-After") == "" {
			t.Errorf("answer %d %v, want %d", r.StatusCode, r.Header, tt.status)
		}
	}
}
