package fastcgi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/gatewaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bound is when a test gives up waiting for something that has to happen.
const bound = 30 * time.Second

// serve runs s on a socket of its own and returns the address.
func serve(t testing.TB, s *Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

// client returns a Client that is closed at the end of the test.
func client(t testing.TB, c *Client) *Client {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	return c
}

// raw is a handler that prints CGI output as it likes.
func raw(program func(env map[string]string, in io.Reader, out io.Writer)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		env := make(map[string]string)
		for _, v := range Params(r.Context()) {
			env[v.Name] = v.Value
		}
		program(env, input{conn, r.Context()}, conn)
	})
}

// input is that of a program that stops when its request was aborted.
type input struct {
	io.Reader
	context.Context
}

// A wire is the backend's end of a connection, in the hands of a test.
type wire struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

// record reads one record.
func (w *wire) record() (Header, string) {
	w.t.Helper()
	var head [HeaderLen]byte
	if _, err := io.ReadFull(w.r, head[:]); err != nil {
		w.t.Errorf("no record: %v", err)
		panic(http.ErrAbortHandler)
	}
	h, err := ParseHeader(head[:])
	if err != nil {
		w.t.Error(err)
	}
	b := make([]byte, int(h.Length)+int(h.Padding))
	if _, err := io.ReadFull(w.r, b); err != nil {
		w.t.Errorf("record %v: %v", h, err)
	}
	return h, string(b[:h.Length])
}

// expect reads one record of a type.
func (w *wire) expect(t RecordType) (id uint16, content string) {
	w.t.Helper()
	h, content := w.record()
	if h.Type != t {
		w.t.Errorf("got %s %q, want %s", h.Type, content, t)
	}
	return h.ID, content
}

// begin reads everything in front of the input of a request.
func (w *wire) begin() (id uint16, params cgi.List) {
	w.t.Helper()
	id, _ = w.expect(TypeBeginRequest)
	var all string
	for {
		_, content := w.expect(TypeParams)
		if content == "" {
			break
		}
		all += content
	}
	params, err := ParsePairs([]byte(all))
	if err != nil {
		w.t.Error(err)
	}
	return id, params
}

// say writes records.
func (w *wire) say(records ...[]byte) {
	for _, b := range records {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

func out(id uint16, s string) []byte    { return AppendRecord(nil, TypeStdout, id, []byte(s)) }
func errout(id uint16, s string) []byte { return AppendRecord(nil, TypeStderr, id, []byte(s)) }
func end(id uint16, app uint32, s ProtocolStatus) []byte {
	return AppendEnd(nil, id, app, s)
}

// padded is a record with padding.
func padded(t RecordType, id uint16, s string, n uint8) []byte {
	b := AppendHeader(nil, Header{Type: t, ID: id, Length: uint16(len(s)), Padding: n})
	return append(append(b, s...), strings.Repeat("\xee", int(n))...)
}

// backendFunc runs f for each connection, in a goroutine that the test waits for.
func backendFunc(t testing.TB, f func(n int, w *wire)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for n := 0; ; n++ {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			nc.SetDeadline(time.Now().Add(bound))
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer nc.Close()
				defer func() {
					if v := recover(); v != nil && v != http.ErrAbortHandler {
						t.Errorf("backend: %v", v)
					}
				}()
				f(n, &wire{t, nc, bufio.NewReader(nc)})
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// logLines collects what is logged.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Enabled(context.Context, slog.Level) bool { return true }
func (l *logLines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logLines) WithGroup(string) slog.Handler            { return l }
func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	s := r.Message
	r.Attrs(func(a slog.Attr) bool {
		s += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, s)
	return nil
}

func (l *logLines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}

// open begins a request with a context that is bounded.
func open(t testing.TB, c *Client, input bool, vars ...cgi.Var) *Exchange {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	x, err := c.Open(ctx, RoleResponder, append(cgi.List{{Name: "REQUEST_METHOD", Value: "GET"}, {Name: "REQUEST_URI", Value: "/u"},
		{Name: "SERVER_PROTOCOL", Value: "HTTP/1.1"}, {Name: "CONTENT_LENGTH", Value: "0"}}, vars...), input)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	x.SetReadDeadline(time.Now().Add(bound))
	x.SetWriteDeadline(time.Now().Add(bound))
	return x
}

func TestTheTablesOfAllGateways(t *testing.T) {
	for name, single := range map[string]bool{"a connection per request": true, "a shared connection": false} {
		t.Run(name, func(t *testing.T) {
			gatewaytest.Run(t, func(t *testing.T, o cgi.Options) http.Handler {
				addr := serve(t, &Server{Handler: raw(gatewaytest.Serve)})
				c := client(t, &Client{Backends: []string{addr}, NoMultiplex: single})
				return &Endpoint{Client: c, Gateway: cgi.Gateway{Options: o}}
			})
		})
	}
}
