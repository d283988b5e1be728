package gatewaytest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
)

func tunnels(t *testing.T, m Maker) {
	addr := Start(t, m(t, cgi.Options{Upgrade: true}))
	opened := func(t *testing.T, request string) *Conn {
		c := Dial(t, addr)
		c.Send(request)
		if r := c.Head(); r.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("answer %d", r.StatusCode)
		}
		return c
	}
	t.Run("bytes glued to the request", func(t *testing.T) {
		c := opened(t, Upgrade(Script(switched, "echo"))+"early")
		c.Expect("early")
		c.Send("late")
		c.Expect("late")
	})
	t.Run("bytes glued to the response", func(t *testing.T) {
		c := opened(t, Upgrade(Script(switched+"\x81\x02hi", "echo")))
		c.Expect("\x81\x02hi")
		c.Send("x")
		c.Expect("x")
	})
	t.Run("many bytes glued to both", func(t *testing.T) {
		long := strings.Repeat("0123456789", 2000)
		c := opened(t, Upgrade(Script(switched, "count:20000", "echo"))+long)
		c.Expect(long + long)
	})
	t.Run("the client ends first", func(t *testing.T) {
		c := opened(t, Upgrade(Script(switched, "drain", "pause:50ms", "print:last words")))
		c.Send("hello")
		c.CloseWrite()
		c.Expect("read 5 bytes\nlast words")
		c.ExpectEnd()
	})
	t.Run("the client ends with its request", func(t *testing.T) {
		c := Dial(t, addr)
		c.Send(Upgrade(Script("pause:50ms", switched, "drain", "print:bye")))
		c.CloseWrite()
		if r := c.Head(); r.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("answer %d", r.StatusCode)
		}
		c.Expect("read 0 bytes\nbye")
		c.ExpectEnd()
	})
	t.Run("the program ends first", func(t *testing.T) {
		c := opened(t, Upgrade(Script(switched, "print:all there is")))
		c.Expect("all there is")
		c.ExpectEnd()
	})
	t.Run("all that the program wrote before its end", func(t *testing.T) {
		c := opened(t, Upgrade(Script(switched, "count:1000000")))
		b, err := io.ReadAll(c.R)
		if err != nil || len(b) != 1000000 {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	})
	t.Run("timeouts and limits of HTTP do not count", func(t *testing.T) {
		const timeout = 2 * time.Second
		c := Dial(t, Start(t, m(t, cgi.Options{Upgrade: true, ReadTimeout: timeout, WriteTimeout: timeout, ClientTimeout: timeout, MaxBody: 10})))
		c.Send(Upgrade(Script(switched, "echo")))
		c.Head()
		time.Sleep(timeout + timeout/4)
		c.Send("more than ten bytes")
		c.Expect("more than ten bytes")
	})
	t.Run("deadlines of the server do not count", func(t *testing.T) {
		const timeout = 2 * time.Second
		s := httptest.NewUnstartedServer(m(t, cgi.Options{Upgrade: true}))
		s.Config.ReadTimeout, s.Config.WriteTimeout, s.Config.IdleTimeout = timeout, timeout, timeout
		s.Start()
		t.Cleanup(s.Close)
		c := Dial(t, s.Listener.Addr().String())
		c.Send(Upgrade(Script(switched, "echo")))
		c.Head()
		time.Sleep(timeout + timeout/4)
		c.Send("still here")
		c.Expect("still here")
	})
	t.Run("bulk both ways", func(t *testing.T) {
		c := opened(t, Upgrade(Script(switched, "echo")))
		c.EchoBulk()
	})
	t.Run("a stalled client and the others", func(t *testing.T) {
		stalled := opened(t, Upgrade(Script(switched, "count:20000000")))
		other := opened(t, Upgrade(Script(switched, "echo")))
		for i := range 100 {
			s := fmt.Sprintf("message %d", i)
			other.Send(s)
			other.Expect(s)
		}
		n, err := io.Copy(io.Discard, stalled.R)
		if err != nil || n != 20000000 {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	t.Run("idle and life time, and expiry", func(t *testing.T) {
		const enough = 2 * time.Second // for a program that has to start and an echo
		soon := func(*http.Request) time.Time { return time.Now().Add(enough) }
		var conns []*Conn
		for _, o := range []cgi.Options{{Upgrade: true, IdleTimeout: enough}, {Upgrade: true, MaxLife: enough}, {Upgrade: true, Expires: soon}} {
			c := Dial(t, Start(t, m(t, o)))
			c.Send(Upgrade(Script(switched, "echo")))
			c.Head()
			c.Send("x")
			c.Expect("x")
			conns = append(conns, c)
		}
		for i, c := range conns {
			if _, err := io.ReadAll(c.R); err != nil {
				t.Errorf("tunnel %d: %v", i, err)
			}
		}
	})
	t.Run("half of a tunnel that stays silent", func(t *testing.T) {
		c := Dial(t, Start(t, m(t, cgi.Options{Upgrade: true, HalfTimeout: 100 * time.Millisecond})))
		c.Send(Upgrade(Script(switched, "hang", "pause:20s")))
		c.Head()
		c.CloseWrite()
		start := time.Now()
		io.ReadAll(c.R)
		if d := time.Since(start); d > 15*time.Second {
			t.Errorf("ended after %v", d)
		}
	})
}

// limits are those of ordinary requests.
func limits(t *testing.T, m Maker) {
	status := func(t *testing.T, o cgi.Options, request string, want int) {
		t.Helper()
		c := Dial(t, Start(t, m(t, o)))
		c.Send(request)
		r := c.Head()
		body := c.Body(r)
		if r.StatusCode != want {
			t.Errorf("answer %d %q, want %d", r.StatusCode, body, want)
		}
	}
	short := 150 * time.Millisecond
	post := func(length int, steps ...string) string {
		return fmt.Sprintf("POST /?%s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", Script(steps...), length)
	}
	t.Run("no output", func(t *testing.T) {
		status(t, cgi.Options{ReadTimeout: short}, Request(Script("pause:20s")), 504)
	})
	t.Run("no answer to an upgrade", func(t *testing.T) {
		status(t, cgi.Options{Upgrade: true, ReadTimeout: short}, Upgrade(Script("hang")), 504)
	})
	t.Run("input that is not taken", func(t *testing.T) {
		c := Dial(t, Start(t, m(t, cgi.Options{WriteTimeout: short})))
		go io.WriteString(c.TCPConn, post(8<<20, "pause:20s")+strings.Repeat("x", 8<<20))
		if r := c.Head(); r.StatusCode != 504 {
			t.Errorf("answer %d, want 504", r.StatusCode)
		}
	})
	t.Run("a client that sends nothing", func(t *testing.T) {
		status(t, cgi.Options{ClientTimeout: short}, post(5, "drain"), 408)
	})
	t.Run("a slow client is no slow program", func(t *testing.T) {
		const timeout = 2 * time.Second
		c := Dial(t, Start(t, m(t, cgi.Options{ReadTimeout: timeout})))
		c.Send(post(6, ok, "drain"))
		for _, piece := range []string{"abc", "def"} {
			time.Sleep(timeout + timeout/4)
			c.Send(piece)
		}
		if body := c.Body(c.Head()); body != "read 6 bytes\n" {
			t.Errorf("body %q", body)
		}
	})
	t.Run("a slow end is no slow client", func(t *testing.T) {
		c := Dial(t, Start(t, m(t, cgi.Options{ClientTimeout: short})))
		c.Send(Request(Script(ok, "print:first", "pause:400ms")))
		if body := c.Body(c.Head()); body != "first" {
			t.Errorf("body %q", body)
		}
	})
	t.Run("a large header block", func(t *testing.T) {
		status(t, cgi.Options{MaxHeader: 1000}, Request(Script("print:X-A: "+strings.Repeat("x", 1000)+"\n\n")), 502)
		status(t, cgi.Options{}, Request(Script("print:X-A: ", "count:70000", "print:\n\n")), 502)
		status(t, cgi.Options{}, Request(Script("print:X-A: ", "count:60000", "print:\n\n")), 200)
	})
	t.Run("a large body", func(t *testing.T) {
		status(t, cgi.Options{MaxBody: 3}, post(4, ok, "drain")+"abcd", 413)
		status(t, cgi.Options{MaxBody: 4}, post(4, ok, "drain")+"abcd", 200)
	})
	t.Run("a body that ends early", func(t *testing.T) {
		status(t, cgi.Options{}, Request(Script("print:Content-Length: 3\n\nabc")), 200)
		c := Dial(t, Start(t, m(t, cgi.Options{})))
		c.Send(Request(Script("print:Content-Length: 5\n\nabc")))
		if b, err := io.ReadAll(c.Head().Body); err == nil {
			t.Errorf("body %q without an error", b)
		}
	})
	t.Run("a body of unknown length", func(t *testing.T) {
		chunked := "POST /?" + Script(ok, "var:CONTENT_LENGTH", "drain") + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
		status(t, cgi.Options{CollectBody: 2}, chunked, 413)
		c := Dial(t, Start(t, m(t, cgi.Options{CollectBody: 3})))
		c.Send(chunked)
		if body := c.Body(c.Head()); body != "CONTENT_LENGTH=3\nread 3 bytes\n" {
			t.Errorf("body %q", body)
		}
	})
}
