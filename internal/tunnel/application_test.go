//go:build unix

package tunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/fastcgi"
	"github.com/wspawn/wspawn/internal/cgirun"
	"github.com/wspawn/wspawn/internal/frametest"
	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/internal/streamtest"
	"github.com/wspawn/wspawn/scgi"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// A protocol is a way to an application.
type protocol struct {
	name string
	// serve starts a server of h, and returns its address; gateway opens requests there.
	serve   func(t *testing.T, h http.Handler) (addr string)
	gateway func(t *testing.T, addr string) *Application
	vars    func(*http.Request) cgi.List
}

func bindAny(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func overSCGI(p scgi.Protocol) protocol {
	return protocol{p.String(), func(t *testing.T, h http.Handler) string {
		l, s := bindAny(t), &scgi.Server{Handler: h, Protocol: p}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(l) }()
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), frametest.Bound)
			defer cancel()
			if err := s.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			<-ended
		})
		return l.Addr().String()
	}, func(t *testing.T, addr string) *Application {
		e := &scgi.Endpoint{Backends: []string{addr}, Protocol: p}
		return &Application{Open: e.Open}
	}, scgi.Variables}
}

func overFastCGI(length int64) protocol {
	return protocol{"fastcgi", func(t *testing.T, h http.Handler) string {
		l, s := bindAny(t), &fastcgi.Server{Handler: h}
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(l) }()
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), frametest.Bound)
			defer cancel()
			if err := s.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			<-ended
		})
		return l.Addr().String()
	}, func(t *testing.T, addr string) *Application {
		c := &fastcgi.Client{Backends: []string{addr}}
		t.Cleanup(func() { c.Close() })
		e := &fastcgi.Endpoint{Client: c}
		return &Application{Open: e.Open, Vars: e.Script, ContentLength: length}
	}, func(r *http.Request) cgi.List { return fastcgi.Params(r.Context()) }}
}

var protocols = []protocol{overSCGI(scgi.SCGI), overSCGI(scgi.UWSGI), overFastCGI(0), overFastCGI(-1)}

// application answers as the path says.
func application(w http.ResponseWriter, r *http.Request, vars cgi.List) {
	flush := func() { w.(http.Flusher).Flush() }
	switch r.URL.Path {
	case "/upper":
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Add("Set-Cookie", "a=b")
		if p, _ := vars.Lookup("WEBSOCKET_PROTOCOL"); p != "" {
			w.Header().Set("Sec-WebSocket-Protocol", strings.Fields(strings.ReplaceAll(p, ",", " "))[1])
		}
		io.WriteString(w, "hello\n")
		flush()
		in := bufio.NewScanner(r.Body)
		for in.Scan() {
			io.WriteString(w, strings.ToUpper(in.Text())+"\n")
			flush()
		}
		io.WriteString(w, "end of input")
	case "/variables":
		w.WriteHeader(http.StatusAccepted)
		for _, name := range []string{"REQUEST_METHOD", "HTTP_UPGRADE", "HTTP_CONNECTION", "HTTP_SEC_WEBSOCKET_KEY", "HTTP_SEC_WEBSOCKET_VERSION", "WEBSOCKET_FRAMING", "WEBSOCKET_PROTOCOL", "HTTP_X_OTHER", "QUERY_STRING"} {
			v, ok := vars.Lookup(name)
			fmt.Fprintf(w, "%s=%s %v\n", name, v, ok)
		}
	case "/no":
		w.Header().Set("X-Why", "because")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "not for you")
	case "/chooses":
		w.Header().Set("Sec-WebSocket-Protocol", "mine")
		flush()
	case "/panics":
		io.WriteString(w, "begun\n")
		flush()
		panic(http.ErrAbortHandler)
	}
}

func TestApplications(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			addr := p.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { application(w, r, p.vars(r)) }))
			s := serve(t, p.gateway(t, addr).Endpoint(Options{}), wsframe.Options{})

			c, r := frametest.Try(t, s.addr, "/upper", "Sec-WebSocket-Protocol: first, second")
			if r.StatusCode != 101 || r.Header.Get("Sec-WebSocket-Protocol") != "second" || r.Header.Get("Set-Cookie") != "a=b" || r.Header.Get("Content-Type") != "" {
				t.Fatalf("got %s, %v", r.Status, r.Header)
			}
			c.Expect(text("hello"))
			for i := range 3 {
				m := fmt.Sprint("message ", i)
				c.Send(messageIn(opText, m), fragments(opText, "frag", "ments"))
				c.Expect(pong("p"), text(strings.ToUpper(m)), text("FRAGMENTS"))
				if i == 1 {
					time.Sleep(2 * quietAfter)
				}
			}
			c.Send(messageIn(opText, "last"))
			c.NC.CloseWrite()
			c.Expect(text("LAST"), text("end of input"), closing(1000, ""))

			c = frametest.Connect(t, s.addr, "/upper")
			c.Expect(text("hello"))
			c.Leave()

			got, end := frametest.Connect(t, s.addr, "/variables?a=b", "X-Other: x", "Sec-WebSocket-Protocol: one, two").All()
			want := []frame{
				text("REQUEST_METHOD=GET true"), text("HTTP_UPGRADE= false"), text("HTTP_CONNECTION= false"), text("HTTP_SEC_WEBSOCKET_KEY= false"),
				text("HTTP_SEC_WEBSOCKET_VERSION= false"), text("WEBSOCKET_FRAMING=lines true"), text("WEBSOCKET_PROTOCOL=one, two true"), text("HTTP_X_OTHER=x true"), text("QUERY_STRING=a=b true"),
			}
			if !slices.Equal(got, want) || end != closing(1000, "") {
				t.Errorf("got %v, %v", got, end)
			}

			_, r = frametest.Try(t, s.addr, "/no")
			if b, err := io.ReadAll(r.Body); err != nil || r.StatusCode != 403 || string(b) != "not for you" || r.Header.Get("X-Why") != "because" {
				t.Errorf("got %s, %v, %q, %v", r.Status, r.Header, b, err)
			}
			if _, r = frametest.Try(t, s.addr, "/chooses"); r.StatusCode != 502 {
				t.Errorf("got %s", r.Status)
			}
			frametest.Connect(t, s.addr, "/panics").Expect(text("begun"))
		})
	}
}

func TestApplicationThatIsDown(t *testing.T) {
	addr := streamtest.Dead(t)
	for _, p := range protocols {
		s := serve(t, p.gateway(t, addr).Endpoint(Options{}), wsframe.Options{})
		if _, r := frametest.Try(t, s.addr, "/"); r.StatusCode != 503 {
			t.Errorf("%s: %s", p.name, r.Status)
		}
	}
}

func TestScriptsThatAreNotFound(t *testing.T) {
	for err, status := range map[error]int{&cgi.GatewayError{Status: 404, Reason: "no such script"}: 404, errors.New("broken"): 500} {
		a := &Application{Vars: func(*http.Request) (cgi.Vars, error) { return cgi.Vars{}, err }}
		s := serve(t, a.Endpoint(Options{}), wsframe.Options{})
		if _, r := frametest.Try(t, s.addr, "/"); r.StatusCode != status {
			t.Errorf("%v: %s", err, r.Status)
		}
	}
}

func TestApplicationThatDoesNotAnswer(t *testing.T) {
	far := listen(t, "tcp", func(c net.Conn) { io.Copy(io.Discard, c) })
	for _, p := range protocols {
		a := p.gateway(t, far.addr)
		a.ReadTimeout = 100 * time.Millisecond
		s := serve(t, a.Endpoint(Options{}), wsframe.Options{})
		if _, r := frametest.Try(t, s.addr, "/"); r.StatusCode != 504 {
			t.Errorf("%s: %s", p.name, r.Status)
		}
	}
}

// The whole way: client, framing, gateway, our server, a program.
func TestProgramsBehindGateways(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			h := &cgirun.Handler{Variables: p.vars, EndIsGone: p.name != "fastcgi", Spawner: spawner.New(spawner.Config{})}
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), frametest.Bound)
				defer cancel()
				h.Shutdown(ctx)
				h.Spawner.Close(ctx)
			})
			script := filepath.Join(t.TempDir(), "script")
			program := "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'; echo \"$WEBSOCKET_FRAMING\"; cat; printf bye\n"
			if err := os.WriteFile(script, []byte(program), 0o700); err != nil {
				t.Fatal(err)
			}
			a := p.gateway(t, p.serve(t, h))
			a.Vars = func(*http.Request) (cgi.Vars, error) { return cgi.Vars{ScriptFilename: script}, nil }
			s := serve(t, a.Endpoint(Options{}), wsframe.Options{})
			c := s.connect(t)
			c.Expect(text("lines"))
			for i := range 3 {
				c.SendText(fmt.Sprint(i))
				c.Expect(text(fmt.Sprint(i)))
			}
			c.NC.CloseWrite()
			c.Expect(text("bye"), closing(1000, ""))

			s = serve(t, a.Endpoint(Options{Framing: &framing.Options{Framing: framing.Raw}}), wsframe.Options{})
			c = s.connect(t)
			if f := c.Next(); f != text("raw\n") {
				t.Errorf("got %v", f)
			}
			c.SendText("x")
			c.Expect(text("x"))
			c.Leave()
		})
	}
}

// An application that reads nothing holds the client back, and not the memory; when it reads, all is there.
func TestFloodAgainstAStalledApplication(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			goOn, read := make(chan struct{}), make(chan int64, 1)
			addr := p.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.(http.Flusher).Flush()
				<-goOn
				n, err := io.Copy(io.Discard, r.Body)
				if err != nil {
					t.Errorf("read: %v", err)
				}
				read <- n
			}))
			s := serve(t, p.gateway(t, addr).Endpoint(Options{Framing: binary}), wsframe.Options{})
			c := s.connect(t)
			before, sent := heap(), int64(0)
			const size = 60000
			message := messageIn(opBin, strings.Repeat("x", size))
			rest := message
			for len(rest) == len(message) { // until nothing is taken for a while
				c.NC.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
				n, err := c.NC.Write(message)
				if sent += size; sent > 64<<20 {
					t.Fatalf("%d bytes were taken", sent)
				}
				if err != nil {
					rest = message[n:]
					break
				}
			}
			if growth := heap() - before; growth > 2<<20 { // both sides are in this process
				t.Errorf("takes %d KiB", growth>>10)
			}
			close(goOn)
			c.Send(rest, masked(true, wsframe.OpClose, "\x03\xe8"))
			if n := <-read; n != sent {
				t.Errorf("the application got %d bytes, want %d", n, sent)
			}
			c.Expect(closing(1000, ""))
		})
	}
}
