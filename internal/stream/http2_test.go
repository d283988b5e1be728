package stream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/wspawn/wspawn/internal/h2test"
)

// serve runs an HTTP/2 server behind Normalize and connects to it.
func serve(t *testing.T, h http.HandlerFunc) *h2test.Client {
	t.Helper()
	s := httptest.NewUnstartedServer(Normalize(h))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return h2test.Dial(t, "tcp", s.Listener.Addr().String())
}

// take serves a handler that upgrades, and returns what it got; f, if any, has the handler to itself then.
func take(t *testing.T, f func(net.Conn)) (*h2test.Client, <-chan net.Conn) {
	t.Helper()
	got := make(chan net.Conn, 1)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := Upgrade(w, r, nil)
		if err != nil {
			t.Errorf("upgrade: %v", err)
			return
		}
		if got <- conn; f != nil {
			f(conn)
		}
	})
	return c, got
}

func echo(c net.Conn) {
	io.Copy(c, c)
	c.Close()
}

func hungUp(c net.Conn) bool { return c.(*conn).HungUp() }

func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(r, b); err != nil || string(b) != want {
		t.Fatalf("read %q, %v, want %q", b[:n], err, want)
	}
}

func TestServersSayThatTheyKnowExtendedCONNECT(t *testing.T) {
	c := serve(t, http.NotFound)
	if v, ok := c.Setting(http2.SettingEnableConnectProtocol); !ok || v != 1 {
		t.Errorf("SETTINGS_ENABLE_CONNECT_PROTOCOL is %d, %v", v, ok)
	}
}

func TestRequestsThatAreNoHandshakeAreRefused(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { t.Errorf("%s %s got through", r.Method, r.URL) })
	protocol := func(p string) h2test.Fields {
		return h2test.Fields{":method", "CONNECT", ":protocol", p, ":scheme", "http", ":path", "/", ":authority", "h"}
	}
	for name, x := range map[string]struct {
		fields h2test.Fields
		end    bool
		status int // 0: the stream is reset
	}{
		"CONNECT for a proxy":        {h2test.Fields{":method", "CONNECT", ":authority", "example.com:443"}, false, 405},
		"another protocol":           {protocol("connect-udp"), false, 405},
		"almost websocket":           {protocol("WebSocket"), false, 405},
		"no more than a list":        {protocol("websocket, websocket"), false, 405},
		"end of the stream":          {h2test.WebSocket("/"), true, 400},
		"a length":                   {h2test.WebSocket("/", "content-length", "5"), false, 400},
		"length 0":                   {h2test.WebSocket("/", "content-length", "0"), false, 400},
		"the server as such":         {h2test.WebSocket("*"), false, 400},
		"a URL":                      {h2test.WebSocket("http://h.test/x"), false, 400},
		"Connection":                 {h2test.WebSocket("/", "connection", "upgrade"), false, 400},
		"Upgrade":                    {h2test.WebSocket("/", "upgrade", "websocket"), false, 400},
		"a protocol of a GET":        {h2test.Fields{":method", "GET", ":protocol", "websocket", ":scheme", "http", ":path", "/", ":authority", "h"}, true, 400},
		"no path":                    {h2test.Fields{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "h"}, false, 0},
		"a path for a proxy":         {h2test.Fields{":method", "CONNECT", ":scheme", "http", ":path", "/", ":authority", "h"}, false, 0},
		"an ordinary proxy, no host": {h2test.Fields{":method", "CONNECT"}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := c.Open(x.fields, x.end)
			status, header := s.Response()
			if status != x.status {
				t.Errorf("status %d, want %d", status, x.status)
			}
			if status == 405 && header.Get("Allow") != "GET" || status == 405 && header.Get("X-WebSocket-Reject-Reason") == "" {
				t.Errorf("header %v", header)
			}
			if ok, code := s.AwaitEnd(); ok != (status != 0) {
				t.Errorf("ended %v, %v", ok, code)
			}
		})
	}
}

func TestHandlersSeeWhatHTTP1Shows(t *testing.T) {
	var got string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		got = fmt.Sprint(r.Method, r.URL, r.RequestURI, r.Proto, r.ProtoMajor, r.ProtoMinor, r.Host, r.Header, r.ContentLength, r.TransferEncoding, len(body), err, Extended(r))
		w.WriteHeader(http.StatusTeapot)
	})
	s := c.Open(h2test.WebSocket("/a/../b?x=%20", "origin", "http://h.test", "cookie", "a=1", "cookie", "b=2"), false)
	if status, _ := s.Response(); status != http.StatusTeapot {
		t.Fatalf("status %d", status)
	}
	want := fmt.Sprint("GET", "/a/../b?x=%20", "/a/../b?x=%20", "HTTP/1.1", 1, 1, "h.test:80", http.Header{
		"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Key": {Key}, "Sec-Websocket-Version": {"13"},
		"Origin": {"http://h.test"}, "Cookie": {"a=1; b=2"},
	}, 0, []string(nil), 0, nil, true)
	if got != want {
		t.Errorf("handler saw\n%s, want\n%s", got, want)
	}
	c.Open(h2test.WebSocket("/", "sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), false).Response()
	if !strings.Contains(got, "dGhlIHNhbXBsZSBub25jZQ==") {
		t.Errorf("the key of the client is lost: %s", got)
	}
	c.Open(h2test.Get("/plain"), true).Response()
	if want := "GET/plain/plainHTTP/2.0"; !strings.HasPrefix(strings.ReplaceAll(got, " ", ""), want) || !strings.HasSuffix(got, "false") {
		t.Errorf("an ordinary request: %s, want %s", got, want)
	}
}

func TestOtherSuccessIsRefused(t *testing.T) {
	for name, x := range map[string]struct {
		answer func(w http.ResponseWriter)
		want   int
	}{
		"nothing": {func(http.ResponseWriter) {}, 405},
		"a page": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "4")
			io.WriteString(w, "page")
		}, 405},
		"a page that is flushed": {func(w http.ResponseWriter) {
			http.NewResponseController(w).Flush()
			w.(http.Flusher).Flush()
			io.WriteString(w, "page")
		}, 405},
		"no content":          {func(w http.ResponseWriter) { w.WriteHeader(204); w.WriteHeader(500) }, 405},
		"a 101 without bytes": {func(w http.ResponseWriter) { w.WriteHeader(101) }, 405},
		"hints, then a page":  {func(w http.ResponseWriter) { w.WriteHeader(103); w.WriteHeader(206) }, 405},
		"a redirect":          {func(w http.ResponseWriter) { w.Header().Set("Location", "/x"); w.WriteHeader(307) }, 307},
		"an error":            {func(w http.ResponseWriter) { w.WriteHeader(502); io.WriteString(w, "sorry") }, 502},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil {
					t.Error(err)
				}
				x.answer(w)
			}).Open(h2test.WebSocket("/"), false)
			status, header := s.Response()
			b, err := io.ReadAll(s)
			if status != x.want || err != nil || strings.Contains(string(b), "page") {
				t.Errorf("answer %d %v %q, %v, want %d", status, header, b, err, x.want)
			}
			if status == 405 && (header.Get("Allow") != "GET" || !strings.Contains(string(b), "no WebSocket here")) {
				t.Errorf("answer %v %q", header, b)
			}
		})
	}
}

func TestUpgradeAnswersWith200AndNothingOf101(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "7")
		w.Header().Set("Sec-WebSocket-Protocol", "sneaked")
		conn, buffered, err := Upgrade(w, r, http.Header{
			"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Content-Length": {"5"}, "Transfer-Encoding": {"chunked"},
			"Sec-WebSocket-Accept": {"abc"}, "Sec-WebSocket-Extensions": {"x"}, "Set-Cookie": {"a=1", "b=2"},
		})
		if err != nil || len(buffered) > 0 {
			t.Errorf("upgrade: %q, %v", buffered, err)
			return
		}
		if _, _, err := Upgrade(w, r, nil); !errors.Is(err, http.ErrHijacked) {
			t.Errorf("second upgrade: %v", err)
		}
		conn.Close()
	})
	status, header := c.Open(h2test.WebSocket("/"), false).Response()
	delete(header, "Date")
	want := fmt.Sprint(http.Header{"X-Request-Id": {"7"}, "Sec-Websocket-Extensions": {"x"}, "Set-Cookie": {"a=1", "b=2"}})
	if status != 200 || fmt.Sprint(header) != want {
		t.Errorf("answer %d %v, want %v", status, header, want)
	}
}

func TestStreamsCarryBothDirections(t *testing.T) {
	c, _ := take(t, echo)
	s := c.Connect("/")
	for _, word := range []string{"one", "two", strings.Repeat("three", 50_000)} {
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			s.Write([]byte(word))
		}()
		expect(t, s, word)
		<-sent
	}
	s.CloseWrite()
	if b, err := io.ReadAll(s); len(b) > 0 || err != nil {
		t.Errorf("read %q, %v, want the end", b, err)
	}
}

func TestConnectionsHaveAddresses(t *testing.T) {
	c, got := take(t, nil)
	s := c.Connect("/")
	conn := <-got
	defer conn.Close()
	if conn.RemoteAddr().String() != s.LocalAddr().String() || conn.LocalAddr().String() != s.RemoteAddr().String() {
		t.Errorf("addresses %v, %v, want %v, %v", conn.RemoteAddr(), conn.LocalAddr(), s.LocalAddr(), s.RemoteAddr())
	}
}

func TestHalfCloseOfTheClientIsTheEndOfReadingAlone(t *testing.T) {
	c, got := take(t, nil)
	s := c.Connect("/")
	conn := <-got
	s.Write([]byte("last words"))
	s.CloseWrite()
	if b, err := io.ReadAll(conn); string(b) != "last words" || err != nil {
		t.Errorf("server read %q, %v", b, err)
	}
	if hungUp(conn) {
		t.Error("the stream hung up")
	}
	io.WriteString(conn, "answer")
	conn.Close()
	if b, err := io.ReadAll(s); string(b) != "answer" || err != nil {
		t.Errorf("client read %q, %v", b, err)
	}
}

func TestResetOfTheClientIsAnError(t *testing.T) {
	for name, cut := range map[string]func(*h2test.Client, *h2test.Stream){
		"reset":           func(_ *h2test.Client, s *h2test.Stream) { s.Reset(http2.ErrCodeCancel) },
		"lost connection": func(c *h2test.Client, _ *h2test.Stream) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			c, got := take(t, nil)
			s := c.Connect("/")
			conn := <-got
			defer conn.Close()
			cut(c, s)
			if b, err := io.ReadAll(conn); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read %q, %v", b, err)
			}
			for !hungUp(conn) {
				time.Sleep(time.Millisecond)
			}
			if _, err := conn.Write([]byte("x")); err == nil {
				t.Error("a write succeeded")
			}
		})
	}
}

func TestAbortedHandlersResetTheStream(t *testing.T) {
	c, _ := take(t, func(conn net.Conn) {
		io.WriteString(conn, "half of")
		panic(http.ErrAbortHandler)
	})
	s := c.Connect("/")
	if ok, code := s.AwaitEnd(); ok || code != http2.ErrCodeInternal {
		t.Errorf("ended %v, %v", ok, code)
	}
}

func TestClosedConnectionsEndTheStreamInGoodOrder(t *testing.T) {
	for name, end := range map[string]func(net.Conn){
		"with nobody inside":         func(c net.Conn) { c.Close() },
		"a deadline that nobody met": func(c net.Conn) { c.SetDeadline(time.Unix(1, 0)); c.Close() },
		"a deadline that passed while reading": func(c net.Conn) {
			time.AfterFunc(20*time.Millisecond, func() {
				c.SetWriteDeadline(time.Unix(1, 0))
				c.SetReadDeadline(time.Unix(1, 0))
			})
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v", err)
			}
			if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("write: %v", err)
			}
			c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := take(t, end)
			s := c.Connect("/")
			if ok, code := s.AwaitEnd(); !ok || code != http2.ErrCodeNo {
				t.Errorf("ended %v, %v", ok, code)
			}
		})
	}
}

func TestConnectionsMayOutliveTheirHandler(t *testing.T) {
	c, got := take(t, nil)
	s := c.Connect("/")
	conn := <-got
	s.Write([]byte("a"))
	expect(t, conn, "a")
	io.WriteString(conn, "b")
	expect(t, s, "b")
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if ok, _ := s.AwaitEnd(); !ok {
		t.Error("the stream was reset")
	}
	if _, err := conn.Read(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if _, err := conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if err := conn.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("deadline: %v", err)
	}
	if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
}

func TestCloseEndsCallsThatWait(t *testing.T) {
	c, got := take(t, nil)
	c.Connect("/")
	conn := <-got
	var calls sync.WaitGroup
	calls.Go(func() {
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v", err)
		}
	})
	calls.Go(func() {
		for {
			if _, err := conn.Write(make([]byte, 32<<10)); err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("write: %v", err)
				}
				return
			}
		}
	})
	time.Sleep(50 * time.Millisecond) // both may wait now, or not yet
	conn.Close()
	calls.Wait()
}

func TestDeadlinesThatNobodyMeetsCanBeTakenBack(t *testing.T) {
	c, got := take(t, nil)
	s := c.Connect("/")
	conn := <-got
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Millisecond))
	time.Sleep(20 * time.Millisecond)
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if _, err := conn.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
	conn.SetDeadline(time.Time{})
	io.WriteString(conn, "a")
	expect(t, s, "a")
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	conn.SetReadDeadline(time.Now().Add(h2test.Timeout))
	time.AfterFunc(50*time.Millisecond, func() { s.Write([]byte("b")) })
	expect(t, conn, "b")
}

func TestStalledClientsHoldTheWriterUpAndDeadlinesEndThat(t *testing.T) {
	c, got := take(t, nil)
	s := c.Connect("/")
	conn := <-got
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
	total := 0
	var err error
	for err == nil && total < 1<<20 {
		var n int
		n, err = conn.Write(make([]byte, 8<<10))
		total += n
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) || total > 1<<17 {
		t.Errorf("wrote %d bytes, %v", total, err)
	}
	if ok, code := s.AwaitEnd(); ok || code == http2.ErrCodeNo {
		t.Errorf("ended %v, %v", ok, code)
	}
	if s.Pending() != 65535 {
		t.Errorf("%d bytes came, want the window", s.Pending())
	}
}
