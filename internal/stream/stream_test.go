package stream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// taken is what Upgrade returned inside the handler.
type taken struct {
	conn     net.Conn
	buffered []byte
	err      error
}

// start serves one handler that upgrades with the given lines, and returns a raw
// client connection and what the handler got.
func start(t *testing.T, header http.Header, before func(http.ResponseWriter)) (net.Conn, <-chan taken) {
	t.Helper()
	got := make(chan taken, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before != nil {
			before(w)
		}
		conn, buffered, err := Upgrade(w, r, header)
		got <- taken{conn, buffered, err}
	}))
	t.Cleanup(s.Close)
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c, got
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

// head reads an answer up to and with its blank line.
func head(t *testing.T, r *bufio.Reader) []string {
	t.Helper()
	var lines []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("head: %v after %q", err, lines)
		}
		line, ok := strings.CutSuffix(line, "\r\n")
		if !ok {
			t.Fatalf("line %q does not end in CR LF", line)
		}
		if line == "" {
			return lines
		}
		lines = append(lines, line)
	}
}

const plainRequest = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"

func TestUpgradeJoinsBothDirections(t *testing.T) {
	c, got := start(t, http.Header{"Sec-WebSocket-Accept": {"abc"}}, nil)
	send(t, c, plainRequest+"glued")
	r := bufio.NewReader(c)
	want := []string{"HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Sec-WebSocket-Accept: abc", "Upgrade: websocket"}
	if lines := head(t, r); !slices.Equal(lines, want) {
		t.Errorf("answer %q, want %q", lines, want)
	}
	s := <-got
	if s.err != nil {
		t.Fatal(s.err)
	}
	defer s.conn.Close()
	if string(s.buffered) != "glued" {
		t.Errorf("buffered %q", s.buffered)
	}
	if _, ok := s.conn.(*net.TCPConn); !ok {
		t.Errorf("connection is a %T, want *net.TCPConn", s.conn)
	}
	send(t, c, "up")
	var b [2]byte
	if _, err := io.ReadFull(s.conn, b[:]); err != nil || string(b[:]) != "up" {
		t.Errorf("read %q, %v", b, err)
	}
	send(t, s.conn, "dn")
	if _, err := io.ReadFull(r, b[:]); err != nil || string(b[:]) != "dn" {
		t.Errorf("client read %q, %v", b, err)
	}
}

func TestUpgradeKeepsALargeGluedTail(t *testing.T) {
	c, got := start(t, nil, nil)
	tail := strings.Repeat("0123456789", 300)
	send(t, c, plainRequest+tail)
	s := <-got
	if s.err != nil {
		t.Fatal(s.err)
	}
	defer s.conn.Close()
	rest := make([]byte, len(tail)-len(s.buffered))
	if _, err := io.ReadFull(s.conn, rest); err != nil {
		t.Fatal(err)
	}
	if all := string(s.buffered) + string(rest); all != tail {
		t.Error("bytes glued to the request were lost or changed")
	}
}

func TestUpgradeOwnsConnectionLines(t *testing.T) {
	header := http.Header{
		"upgrade":           {"other"},
		"Connection":        {"close"},
		"Content-Length":    {"5"},
		"transfer-encoding": {"chunked"},
		"X-Evil":            {"a\r\nInjected: yes"},
		"Bad Name":          {"x"},
		"X-Both":            {"ours"},
		"set-cookie":        {"c=3", "a=4"},
	}
	c, got := start(t, header, func(w http.ResponseWriter) {
		w.Header().Set("X-Request-Id", "7")
		w.Header().Set("X-Both", "theirs")
		w.Header().Set("Connection", "close")
		w.Header().Set("Sec-WebSocket-Protocol", "sneaked")
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
	})
	send(t, c, plainRequest)
	want := []string{
		"HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: other",
		"X-Both: ours", "X-Evil: a  Injected: yes", "X-Request-Id: 7",
		"set-cookie: a=1", "set-cookie: b=2", "set-cookie: c=3", "set-cookie: a=4",
	}
	if lines := head(t, bufio.NewReader(c)); !slices.Equal(lines, want) {
		t.Errorf("answer %q, want %q", lines, want)
	}
	s := <-got
	if s.err != nil {
		t.Fatal(s.err)
	}
	s.conn.Close()
}

func TestUpgradeWorksForAClientThatHalfClosed(t *testing.T) {
	c, got := start(t, nil, nil)
	send(t, c, plainRequest+"last words")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	s := <-got
	if s.err != nil {
		t.Fatal(s.err)
	}
	rest, err := io.ReadAll(s.conn)
	if err != nil || string(s.buffered)+string(rest) != "last words" {
		t.Errorf("server got %q %q, %v", s.buffered, rest, err)
	}
	send(t, s.conn, "answer")
	s.conn.Close()
	all, err := io.ReadAll(c)
	if err != nil || !strings.HasSuffix(string(all), "\r\n\r\nanswer") {
		t.Errorf("client got %q, %v", all, err)
	}
}

func TestUpgradeLeavesTheAnswerToTheCallerWhenItCannotHijack(t *testing.T) {
	for name, r := range map[string]*http.Request{
		"no hijacker":      httptest.NewRequest("GET", "/", nil),
		"extended CONNECT": MarkExtended(httptest.NewRequest("GET", "/", nil)),
	} {
		w := httptest.NewRecorder()
		_, _, err := Upgrade(w, r, nil)
		if !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("%s: error %v, want http.ErrNotSupported", name, err)
		}
		http.Error(w, "sorry", http.StatusInternalServerError)
		if w.Code != 500 || w.Body.String() != "sorry\n" {
			t.Errorf("%s: answer was touched: %d %q", name, w.Code, w.Body)
		}
	}
}

// brokenWriter hijacks to a connection whose peer is gone.
type brokenWriter struct {
	http.ResponseWriter
	conn net.Conn
}

func (b brokenWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return b.conn, bufio.NewReadWriter(bufio.NewReader(b.conn), bufio.NewWriter(b.conn)), nil
}

func TestUpgradeReportsAClientThatIsGone(t *testing.T) {
	near, far := net.Pipe()
	far.Close()
	_, _, err := Upgrade(brokenWriter{httptest.NewRecorder(), near}, httptest.NewRequest("GET", "/", nil), nil)
	if err == nil || !strings.Contains(err.Error(), "client is gone") || errors.Is(err, http.ErrNotSupported) {
		t.Errorf("error %v", err)
	}
	if _, err := near.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("connection was left open: %v", err)
	}
}

func TestUpgradeWritesOnce(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	first := make(chan []byte)
	go func() {
		b := make([]byte, 4096)
		n, _ := far.Read(b) // a pipe hands over exactly one write
		first <- b[:n]
	}()
	conn, _, err := Upgrade(brokenWriter{httptest.NewRecorder(), near}, httptest.NewRequest("GET", "/", nil),
		http.Header{"A": {"1", "2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if b := <-first; !bytes.HasSuffix(b, []byte("\r\n\r\n")) {
		t.Errorf("first write was %q", b)
	}
}

func TestExtendedIsAMarkOfTheRequest(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	m := MarkExtended(r)
	if Extended(r) || !Extended(m) || !Extended(m.WithContext(context.WithoutCancel(m.Context()))) {
		t.Error("mark is on the wrong request")
	}
}

func TestReservedNames(t *testing.T) {
	for _, name := range []string{"upgrade", "CONNECTION", "sec-websocket-anything", "te", "Content-length"} {
		if !Reserved(name) {
			t.Errorf("%s can be set", name)
		}
	}
	for _, name := range []string{"Sec-Fetch-Mode", "set-cookie", "Date"} {
		if Reserved(name) {
			t.Errorf("%s cannot be set", name)
		}
	}
}
