//go:build unix

package host

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/h2test"
	"github.com/wspawn/wspawn/internal/trim"
)

func TestBodiesThatNeverComeDoNotHoldConnections(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "file"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	h, _ := run(t, routes(stdioRoute("/program", "cat"), filesRoute("/files/", root)))
	for _, x := range []struct{ request, want string }{
		{"POST /missing", "404"}, {"POST /program", "405"}, {"GET /program", "426"}, {"GET /files/file", "200"}, {"POST /files/file", "405"},
	} {
		c, err := net.Dial("tcp", h.listeners[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(h2test.Timeout))
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n", x.request)
		answer, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 "+x.want) || !strings.Contains(string(answer), "\r\nConnection: close") {
			t.Errorf("%s: %q, %v", x.request, answer, err)
		}
	}
}

// waitingAnswer is a ResponseWriter that notes deadlines. Its client is slow, but not too slow.
type waitingAnswer struct {
	*httptest.ResponseRecorder
	read, write time.Time
	duplex      bool
}

func (w *waitingAnswer) EnableFullDuplex() error             { w.duplex = true; return nil }
func (w *waitingAnswer) SetReadDeadline(at time.Time) error  { w.read = at; return nil }
func (w *waitingAnswer) SetWriteDeadline(at time.Time) error { w.write = at; return nil }
func (w *waitingAnswer) Write(p []byte) (int, error) {
	time.Sleep(answerTimeout / 2 * time.Duration(len(p)) / answerPiece)
	return len(p), nil
}

func (w *waitingAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, nil
}

func TestClientsHaveTheirTimeForAnAnswer(t *testing.T) {
	post := func() *http.Request { return httptest.NewRequest("POST", "/", strings.NewReader("body")) }
	http2 := func() *http.Request { r := post(); r.ProtoMajor = 2; return r }
	get := func() *http.Request { return httptest.NewRequest("GET", "/", nil) }
	var leave func()
	leaving := func() *http.Request {
		ctx, cancel := context.WithCancel(context.Background())
		leave = cancel
		return get().WithContext(ctx)
	}
	for _, x := range []struct {
		name        string
		request     func() *http.Request
		handle      func(http.ResponseWriter, *http.Request, *http.ResponseController)
		read, write time.Duration
		duplex      bool
		connection  string
	}{
		{name: "a body that nobody reads", request: post, read: discardTime, write: answerTimeout, duplex: true, connection: "close",
			handle: func(w http.ResponseWriter, _ *http.Request, _ *http.ResponseController) { w.Write(nil) }},
		{name: "no answer by the handler", request: post, read: discardTime, write: answerTimeout, duplex: true, connection: "close",
			handle: func(http.ResponseWriter, *http.Request, *http.ResponseController) {}},
		{name: "a line that is there already", request: post, read: discardTime, write: answerTimeout, duplex: true, connection: "upgrade",
			handle: func(w http.ResponseWriter, _ *http.Request, _ *http.ResponseController) {
				w.Header().Set("Connection", "upgrade")
				w.WriteHeader(426)
			}},
		{name: "a flush", request: post, read: discardTime, write: answerTimeout, duplex: true, connection: "close",
			handle: func(_ http.ResponseWriter, _ *http.Request, rc *http.ResponseController) { rc.Flush() }},
		{name: "no body", request: get, write: answerTimeout,
			handle: func(w http.ResponseWriter, _ *http.Request, _ *http.ResponseController) { w.Write(nil) }},
		{name: "HTTP/2", request: http2, write: answerTimeout,
			handle: func(w http.ResponseWriter, _ *http.Request, _ *http.ResponseController) { w.Write(nil) }},
		{name: "a client that leaves", request: leaving,
			handle: func(w http.ResponseWriter, _ *http.Request, _ *http.ResponseController) {
				leave()
				w.Write(nil)
			}},
		{name: "a client that leaves behind the answer", request: func() *http.Request { r := leaving(); r.ProtoMajor = 2; return r },
			handle: func(w http.ResponseWriter, _ *http.Request, _ *http.ResponseController) {
				w.Write(nil)
				leave()
			}},
		{name: "a client that has left", request: func() *http.Request { r := leaving(); leave(); return r },
			handle: func(http.ResponseWriter, *http.Request, *http.ResponseController) { t.Error("it is served") }},
		{name: "each piece", request: get, write: answerTimeout,
			handle: func(w http.ResponseWriter, _ *http.Request, _ *http.ResponseController) {
				w.Write(nil)
				time.Sleep(2 * answerTimeout)
				w.Write(nil)
			}},
		{name: "each piece of a file", request: get, write: answerTimeout / 2,
			handle: func(w http.ResponseWriter, _ *http.Request, _ *http.ResponseController) {
				io.CopyN(w, zeros{}, 4*answerPiece) // takes twice the time
			}},
		{name: "a handler with another time", request: get, write: time.Hour,
			handle: func(w http.ResponseWriter, _ *http.Request, rc *http.ResponseController) {
				rc.SetWriteDeadline(time.Now().Add(time.Hour))
				w.Write(nil)
			}},
		{name: "a connection that is taken over", request: post,
			handle: func(_ http.ResponseWriter, _ *http.Request, rc *http.ResponseController) { rc.Hijack() }},
		{name: "a handler that reads the body", request: post, write: answerTimeout, duplex: true,
			handle: func(w http.ResponseWriter, _ *http.Request, rc *http.ResponseController) {
				rc.EnableFullDuplex()
				w.Write(nil)
			}},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &waitingAnswer{ResponseRecorder: httptest.NewRecorder()}
				h := &Host{shared: shared{memory: trim.New()}}
				defer h.shared.memory.Stop()
				h.patient(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					x.handle(w, r, http.NewResponseController(w))
				})).ServeHTTP(w, x.request())
				read, write := left(w.read), left(w.write)
				if connection := w.Header().Get("Connection"); read != x.read || write != x.write || w.duplex != x.duplex || connection != x.connection {
					t.Errorf("read %v, write %v, duplex %v, Connection %q", read, write, w.duplex, connection)
				}
			})
		})
	}
}

// left is how long it takes until a deadline, 0 when there is none.
func left(at time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return time.Until(at)
}

// A gateway may give its clients more time than others have, and as much as they want.
func TestTimesOfGatewaysHold(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho; echo hello\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, timeout := range []time.Duration{0, time.Hour} {
		r := config.New[config.Route]()
		r.Path, r.CGI = "/", config.New[config.CGI]()
		r.CGI.Path, r.CGI.ClientTimeout = config.Path(program), config.Duration(timeout)
		h, _ := run(t, routes(r))
		w := &waitingAnswer{ResponseRecorder: httptest.NewRecorder()}
		h.patient(h).ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/", nil))
		if by := left(w.write).Round(time.Minute); w.Code != http.StatusOK || by != timeout {
			t.Errorf("client_timeout %v: status %d, a deadline in %v", timeout, w.Code, by)
		}
	}
}

// Those of HTTP/2 are no connections, and most are no sessions.
func TestManyRequestsAndSilenceGiveMemoryBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Host{shared: shared{memory: trim.New()}}
		defer h.shared.memory.Stop()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 1000 {
			h.patient(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}
		time.Sleep(time.Hour)
		runtime.ReadMemStats(&after)
		if after.NumForcedGC == before.NumForcedGC {
			t.Error("nothing was collected")
		}
	})
}
