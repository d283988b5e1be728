//go:build unix

package host

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/h2test"
	"github.com/wspawn/wspawn/wsframe"
)

// connect opens a WebSocket on an HTTP/2 connection.
func connect(t *testing.T, c *h2test.Client, path string, more ...string) (*wsframe.Conn, *h2test.Stream) {
	t.Helper()
	s := c.Connect(path, more...)
	ws := wsframe.NewConn(s, nil, wsframe.Client, "", nil)
	t.Cleanup(func() { ws.CloseNow(); <-ws.Done() })
	return ws, s
}

// echoed sends a message and reads what comes back, at the same time: it may come before all is sent.
func echoed(c *wsframe.Conn, message string) error {
	sent := make(chan error, 1)
	go func() { sent <- c.WriteMessage(wsframe.OpText, []byte(message)) }()
	var got []byte
	for len(got) < len(message) { // a tunnel knows no messages
		_, p, err := c.ReadMessage(nil)
		if err != nil {
			return fmt.Errorf("%w after %q", err, got)
		}
		got = append(got, p...)
	}
	if string(got) != message {
		return fmt.Errorf("got %q, want %q", got, message)
	}
	return <-sent
}

// plain connects to a server by prior knowledge.
func plain(t *testing.T, h *Host) *h2test.Client {
	t.Helper()
	a := h.listeners[0].Addr()
	return h2test.Dial(t, a.Network(), a.String())
}

func closedWith(err error, code wsframe.CloseCode) bool {
	e, ok := errors.AsType[*wsframe.CloseError](err)
	return ok && e.Code == code
}

func TestEveryEndpointEchoesOverHTTP2(t *testing.T) {
	h, _ := run(t, everyKind(t, t.TempDir()))
	c := plain(t, h)
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			ws, s := connect(t, c, "/"+kind)
			for _, message := range []string{"one", "grüße", strings.Repeat("0123456789", 20_000)} {
				if err := echoed(ws, message); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := ws.Ping(timeLimit(t)); kind != "tunnel" && err == nil {
				t.Error("nobody reads, but a ping is answered")
			}
			if err := ws.Close(wsframe.CloseNormal, "bye"); err != nil {
				t.Errorf("close: %v", err)
			}
			if ok, code := s.AwaitEnd(); !ok || code != http2.ErrCodeNo {
				t.Errorf("ended %v, %v", ok, code)
			}
		})
	}
	resp := c.Open(h2test.Get("/"), true)
	if status, _ := resp.Response(); status != http.StatusNotFound {
		t.Errorf("files: status %d", status)
	}
}

// timeLimit is a context that is over soon.
func timeLimit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestPingsAreAnsweredOverHTTP2(t *testing.T) {
	h, _ := run(t, routes(stdioRoute("/", "cat")))
	ws, _ := connect(t, plain(t, h), "/")
	ended := make(chan error, 1)
	go func() {
		_, _, err := ws.ReadMessage(nil)
		ended <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), h2test.Timeout)
	defer cancel()
	if _, err := ws.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
	ws.WriteClose(wsframe.CloseNormal, "")
	if err := <-ended; !closedWith(err, wsframe.CloseNormal) {
		t.Errorf("ended with %v", err)
	}
}

func TestManySessionsShareOneConnection(t *testing.T) {
	h, _ := run(t, routes(stdioRoute("/", "cat")))
	c := plain(t, h)
	if n, _ := c.Setting(http2.SettingMaxConcurrentStreams); n < 250 {
		t.Errorf("only %d streams", n)
	}
	const sessions = 200
	all := make([]*wsframe.Conn, sessions)
	for i := range all {
		all[i], _ = connect(t, c, "/")
	}
	var done sync.WaitGroup
	for i, ws := range all {
		done.Go(func() {
			for round := range 5 {
				if err := echoed(ws, fmt.Sprint(i, " ", round)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	if n := h.programs.Running(); n != sessions {
		t.Errorf("%d programs run", n)
	}
	for _, ws := range all {
		if err := ws.Close(wsframe.CloseNormal, ""); err != nil {
			t.Error(err)
		}
	}
}

// With the windows of net/http one stalled session of 1 MiB holds up its whole connection.
func TestSessionsThatStallDoNotHoldUpOthers(t *testing.T) {
	h, _ := run(t, routes(stdioRoute("/stall", "sleep", "1000"), stdioRoute("/echo", "cat")))
	c := plain(t, h)
	frame := wsframe.AppendFrame(nil, wsframe.Client, wsframe.Frame{Fin: true, Op: wsframe.OpText, Payload: []byte(strings.Repeat("x", 60_000))})
	var stalled []*h2test.Stream
	for range 20 {
		s := c.Connect("/stall")
		stalled = append(stalled, s)
		for sent := time.Now(); ; {
			s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := s.Write(frame); err != nil {
				break
			}
			if time.Since(sent) > h2test.Timeout {
				t.Fatal("nothing holds the client up")
			}
		}
	}
	ws, _ := connect(t, c, "/echo")
	if err := echoed(ws, "still here"); err != nil {
		t.Error(err)
	}
	for _, s := range stalled {
		s.Close() // is noticed, although what tells so lies behind data that the program does not take
	}
	for start := time.Now(); h.programs.Running() > 1; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > h2test.Timeout {
			t.Fatal("the programs of clients that are gone run on")
		}
	}
}

func TestClientsThatDoNotReadHoldUpTheirProgramsAlone(t *testing.T) {
	h, _ := run(t, routes(stdioRoute("/yes", "yes"), stdioRoute("/echo", "cat")))
	c := plain(t, h)
	var stalled []*h2test.Stream
	for range 10 {
		s := c.Connect("/yes")
		stalled = append(stalled, s)
		for start := time.Now(); s.Pending() < 65535; time.Sleep(time.Millisecond) {
			if time.Since(start) > h2test.Timeout {
				t.Fatalf("%d bytes came", s.Pending())
			}
		}
	}
	before := heap()
	time.Sleep(300 * time.Millisecond) // yes would have written a gigabyte
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("memory grew by %d bytes", grown)
	}
	ws, _ := connect(t, c, "/echo")
	if err := echoed(ws, "still here"); err != nil {
		t.Error(err)
	}
	for _, s := range stalled {
		if n := s.Pending(); n != 65535 {
			t.Errorf("%d bytes came, more than the window", n)
		}
		s.Close()
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestProgramsSeeWhatTheySeeOverHTTP1(t *testing.T) {
	c := settings("env")
	h, _ := run(t, c)
	over1 := dial(t, h, "/a?b=c", &wsframe.DialOptions{Header: http.Header{"X-Some": {"thing"}}, Protocols: []string{"p"}})
	host := h.listeners[0].Addr().String()
	over2, _ := connect(t, plain(t, h), "/a?b=c", "x-some", "thing", "sec-websocket-protocol", "p")
	all := func(c *wsframe.Conn) (list []string) {
		for {
			_, p, err := c.ReadMessage(nil)
			if err != nil {
				slices.Sort(list)
				return list
			}
			name, value, _ := strings.Cut(string(p), "=")
			switch name {
			case "REMOTE_PORT", "UNIQUE_ID":
				value = "…"
			case "HTTP_SEC_WEBSOCKET_KEY":
				if c == over2 && value != "MDAwMDAwMDAwMDAwMDAwMA==" {
					t.Errorf("key %q", value)
				}
				value = "…"
			case "HTTP_HOST":
				value = strings.ReplaceAll(value, host, "h.test:80")
			case "HTTP_ACCEPT_ENCODING", "HTTP_USER_AGENT", "HTTP_SEC_WEBSOCKET_EXTENSIONS":
				continue // of the client
			}
			list = append(list, name+"="+value)
		}
	}
	one, two := all(over1), all(over2)
	if !slices.Equal(one, two) {
		t.Errorf("over HTTP/1.1\n%s\nover HTTP/2\n%s", strings.Join(one, "\n"), strings.Join(two, "\n"))
	}
	for _, want := range []string{"REQUEST_METHOD=GET", "SERVER_PROTOCOL=HTTP/1.1", "HTTP_UPGRADE=websocket", "HTTP_CONNECTION=Upgrade", "QUERY_STRING=b=c", "CONTENT_LENGTH=0"} {
		if !slices.Contains(two, want) {
			t.Errorf("%s is missing in %q", want, two)
		}
	}
	if slices.ContainsFunc(two, func(s string) bool { return strings.HasPrefix(s, "GODEBUG") }) || strings.Contains(os.Getenv("GODEBUG"), "http2xconnect") {
		t.Error("the switch can be seen")
	}
}

func TestStreamsThatAreResetEndTheirPrograms(t *testing.T) {
	h, _ := run(t, everyKind(t, t.TempDir()))
	c := plain(t, h)
	for _, path := range []string{"/stdio", "/cgi"} {
		ws, s := connect(t, c, path)
		if err := echoed(ws, "hello"); err != nil {
			t.Fatal(err)
		}
		s.Reset(http2.ErrCodeCancel)
		for start := time.Now(); h.programs.Running() > 0; time.Sleep(10 * time.Millisecond) {
			if time.Since(start) > h2test.Timeout {
				t.Fatalf("%s: the program runs on", path)
			}
		}
	}
}

func TestHalfClosedStreamsStillGetWhatProgramsSay(t *testing.T) {
	h, _ := run(t, routes(stdioRoute("/", "sh", "-c", "read line; sleep 0.1; echo got $line")))
	s := plain(t, h).Connect("/")
	s.Write(wsframe.AppendFrame(nil, wsframe.Client, wsframe.Frame{Fin: true, Op: wsframe.OpText, Payload: []byte("it")}))
	s.CloseWrite()
	b, err := io.ReadAll(s)
	if want := "\x81\x06got it\x88\x0f\x03\xe8exit status 0"; string(b) != want || err != nil {
		t.Errorf("got %q, %v, want %q", b, err, want)
	}
}

func TestPathsAndMethodsAreRoutedAsThoseOfHTTP1(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "page.html"), []byte("page"), 0o644); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(root, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nprintf '\\nSERVER_PROTOCOL=%s ' $SERVER_PROTOCOL; wc -c\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cgi := config.New[config.Route]()
	cgi.Path, cgi.CGI = "/cgi", config.New[config.CGI]()
	cgi.CGI.Path, cgi.CGI.CollectBody = config.Path(program), 4<<20
	modern := config.New[config.Route]()
	modern.Path, modern.CGI = "/modern", config.New[config.CGI]()
	modern.CGI.Path, modern.CGI.Upgrade = config.Path(program), true
	c := routes(filesRoute("/files/", root), stdioRoute("/pub/", "echo", "public"), stdioRoute("/secret/", "echo", "secret"), cgi, modern)
	c.Route[2].Host = []string{"h.test"}
	c.Route[2].Methods = []string{"GET"}
	h, _ := run(t, c)
	client := plain(t, h)
	for path, want := range map[string]string{
		"/pub/x": "public", "/pub/../secret/x": "secret", "//secret/x": "secret", "/secret": "secret", "/pub/./y": "public",
	} {
		ws, _ := connect(t, client, path)
		if got := read(t, ws); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	for _, x := range []struct {
		fields h2test.Fields
		want   int
	}{
		{h2test.WebSocket("/other"), 404},
		{h2test.WebSocket("/files/page.html"), 405},
		{h2test.Get("/files/page.html"), 200},
		{h2test.WebSocket("/files/other.html"), 404},
		{h2test.WebSocket("/cgi"), 405},
		{h2test.WebSocket("/modern"), 405},
		{h2test.WebSocket("/pub/", "origin", "http://evil.test"), 403},
		{h2test.WebSocket("/pub/", "sec-websocket-protocol", "a,,b;"), 400},
		{h2test.Get("/secret/", "upgrade", "websocket"), 400},
		{h2test.Fields{":method", "CONNECT", ":authority", "example.com:80"}, 405},
	} {
		if status, header := client.Open(x.fields, false).Response(); status != x.want {
			t.Errorf("%v: status %d %v, want %d", x.fields, status, header, x.want)
		}
	}

	// Ordinary requests are those of HTTP/2, also when their length is not known before.
	for length, body := range map[int]io.Reader{10: strings.NewReader("0123456789"), 2 << 20: io.LimitReader(zeros{}, 2<<20)} {
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetUnencryptedHTTP2(true)
		resp, err := (&http.Client{Transport: tr}).Post(h.URLs("http")[0]+"cgi", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		tr.CloseIdleConnections()
		if want := fmt.Sprint("SERVER_PROTOCOL=HTTP/2.0 ", length, "\n"); string(b) != want || err != nil {
			t.Errorf("got %q, %v, want %q", b, err, want)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestStoppingServerSaysGoodbyeOverHTTP2(t *testing.T) {
	h, stop := run(t, everyKind(t, t.TempDir()))
	c := plain(t, h)
	idle := plain(t, h)
	var all []*wsframe.Conn
	for _, kind := range []string{"stdio", "tunnel"} {
		ws, _ := connect(t, c, "/"+kind)
		if err := echoed(ws, "hello"); err != nil {
			t.Fatal(err)
		}
		all = append(all, ws)
	}
	var said sync.WaitGroup
	for _, ws := range all {
		said.Go(func() {
			if _, _, err := ws.ReadMessage(nil); !closedWith(err, wsframe.CloseGoingAway) {
				t.Errorf("the client saw %v", err)
			}
		})
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	said.Wait()
	c.AwaitGoAway()
	c.AwaitEnd()
	idle.AwaitEnd()
}

// A client that never answers must not keep a server from stopping.
func TestStoppingServerDoesNotWaitForEverOverHTTP2(t *testing.T) {
	c := routes(stdioRoute("/", "yes"))
	c.Drain = config.Duration(500 * time.Millisecond)
	h, err := New(c, Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx, context.Background()) }()
	plain(t, h).Connect("/") // and reads nothing
	cancel()
	if e, ok := errors.AsType[*wsframe.ShutdownError](<-ended); !ok || e.Cut != 1 || e.Left != 0 {
		t.Errorf("stop: %v", e)
	}
	if n := h.programs.Running(); n > 0 {
		t.Errorf("%d programs are left", n)
	}
}

func TestHTTP2CanBeTurnedOff(t *testing.T) {
	c := routes(stdioRoute("/", "cat"))
	for _, secure := range []bool{false, true} {
		l := config.New[config.Listener]()
		if l.Address, l.HTTP2 = "127.0.0.1:0", false; secure {
			l.SelfSigned = true
		}
		c.Listener = append(c.Listener, l)
	}
	c.Listen = nil
	h, _ := run(t, c)
	nc, err := net.Dial("tcp", h.listeners[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, http2.ClientPreface)
	if b, _ := io.ReadAll(nc); !strings.HasPrefix(string(b), "HTTP/1.1 4") && !strings.HasPrefix(string(b), "HTTP/1.1 5") {
		t.Errorf("answer %q", b)
	}
	tc, err := tls.Dial("tcp", h.listeners[1].Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer tc.Close()
	if p := tc.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Errorf("negotiated %q", p)
	}
}

func TestUnixSocketsSpeakHTTP2(t *testing.T) {
	c := routes(stdioRoute("/", "cat"))
	c.Listen = []string{"unix:" + filepath.Join(t.TempDir(), "s")}
	h, _ := run(t, c)
	ws, _ := connect(t, plain(t, h), "/")
	if err := echoed(ws, "hello"); err != nil {
		t.Error(err)
	}
}
