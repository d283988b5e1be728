package wsframe

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience bounds what would otherwise hang a test. Nothing is measured with it.
const patience = 30 * time.Second

// serve starts an HTTP server on the loopback interface.
func serve(t testing.TB, h http.Handler) (addr string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func serveTLS(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// dialRaw opens a TCP connection and sends literal bytes.
func dialRaw(t testing.TB, addr, send string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	return c
}

// An answer is what a raw client got.
type answer struct {
	status int
	header http.Header
	names  []string // of the header lines, as spelled
	body   string   // unless the status is 101
	r      *bufio.Reader
}

func readAnswer(t testing.TB, c net.Conn) answer {
	t.Helper()
	a := answer{header: make(http.Header), r: bufio.NewReader(c)}
	var lines []string
	for !slices.Contains(lines, "") {
		line, err := a.r.ReadString('\n')
		text, ok := strings.CutSuffix(line, "\r\n")
		if err != nil || !ok {
			t.Fatalf("answer has %q behind %q: %v", line, lines, err)
		}
		lines = append(lines, text)
	}
	var minor int
	if n, err := fmt.Sscanf(lines[0], "HTTP/1.%d %d ", &minor, &a.status); n != 2 {
		t.Fatalf("status line %q: %v", lines[0], err)
	}
	for _, line := range lines[1 : len(lines)-1] {
		name, value, ok := strings.Cut(line, ": ")
		if !ok || !isToken(name) {
			t.Fatalf("header line %q", line)
		}
		a.names = append(a.names, name)
		a.header.Add(name, value)
	}
	if a.status != 101 {
		body, err := io.ReadAll(a.r) // the server closes the connection behind it
		if err != nil {
			t.Fatalf("body of %d: %v", a.status, err)
		}
		a.body = string(body)
	}
	return a
}

const (
	testKey    = "dGhlIHNhbXBsZSBub25jZQ=="     // of RFC 6455, section 1.3
	testAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" // likewise
)

// handshake returns the bytes of a request with lines changed: "Name: value" sets
// a line, "Name:" alone removes it, "+Name: value" adds a line.
func handshake(changes ...string) string {
	lines := []string{
		"Host: example.com",
		"Upgrade: websocket",
		"Connection: Upgrade",
		"Sec-WebSocket-Key: " + testKey,
		"Sec-WebSocket-Version: 13",
	}
	start := "GET /chat HTTP/1.1"
	for _, change := range changes {
		name, value, _ := strings.Cut(change, ":")
		if strings.Contains(change, " HTTP/1.") {
			start = change
			continue
		}
		if more, ok := strings.CutPrefix(change, "+"); ok {
			lines = append(lines, more)
			continue
		}
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, name+":") })
		if value != "" {
			lines = append(lines, change)
		}
	}
	return start + "\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// acceptAll is a handler that accepts and ends the connection with 1000.
func acceptAll(o *AcceptOptions, failed chan<- error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, o)
		if err != nil {
			if failed != nil {
				failed <- err
			}
			return
		}
		c.WriteClose(CloseNormal, "")
		c.Close(CloseNormal, "")
	})
}

// numbered is a list of different elements.
func numbered(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprint("x", i))
	}
	return strings.Join(list, ", ")
}

// pipeWriter hijacks to one end of a pipe.
type pipeWriter struct {
	http.ResponseWriter
	conn net.Conn
}

func (p pipeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return p.conn, bufio.NewReadWriter(bufio.NewReader(p.conn), bufio.NewWriter(p.conn)), nil
}
