package fastcgi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
)

// dialWire is the gateway's end of a connection, in the hands of a test.
func dialWire(t testing.TB, addr string) *wire {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(bound))
	return &wire{t, nc, bufio.NewReader(nc)}
}

func params(method string) cgi.List {
	return cgi.List{{Name: "REQUEST_METHOD", Value: method}, {Name: "SERVER_PROTOCOL", Value: "HTTP/1.1"}, {Name: "REQUEST_URI", Value: "/"}, {Name: "CONTENT_LENGTH", Value: "0"}}
}

func TestServerRecordByRecord(t *testing.T) {
	gone := make(chan error, 1)
	addr := serve(t, &Server{MaxRequests: 1, MaxParams: 1000, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			<-r.Context().Done()
			gone <- r.Context().Err()
			return
		}
		io.WriteString(Stderr(r.Context()), "a line\n")
		io.WriteString(w, "hello")
	})})
	w := dialWire(t, addr)
	w.say(AppendRecord(nil, TypeGetValues, 0, AppendPairs(nil, cgi.List{{Name: valueMpxs}, {Name: "OTHER"}, {Name: valueMaxReqs}})))
	if _, content := w.expect(TypeGetValuesResult); content != "\x0f\x01FCGI_MPXS_CONNS1\x0d\x01FCGI_MAX_REQS1" {
		t.Errorf("values %q", content)
	}
	w.say(padded(77, 0, "", 3))
	if _, content := w.expect(TypeUnknownType); content != "\x4d\x00\x00\x00\x00\x00\x00\x00" {
		t.Errorf("unknown type %q", content)
	}

	w.say(paramRecords(5, RoleResponder, true, params("GET")))
	if id, content := w.expect(TypeStderr); id != 5 || content != "a line\n" {
		t.Errorf("%d %q", id, content)
	}
	if _, content := w.expect(TypeStdout); content != "Status: 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhello" {
		t.Errorf("%q", content)
	}
	w.expect(TypeStdout)
	if _, content := w.expect(TypeEndRequest); content != string(make([]byte, 8)) {
		t.Errorf("end %q", content)
	}

	w.say(paramRecords(1, RoleResponder, true, params("PUT")), AppendBegin(nil, 2, RoleResponder, true))
	if id, content := w.expect(TypeEndRequest); id != 2 || content[4] != byte(StatusOverloaded) {
		t.Errorf("%d %q", id, content)
	}
	w.say(AppendRecord(nil, TypeAbortRequest, 1, nil))
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("context: %v", err)
	}
	for h, _ := w.record(); h.Type != TypeEndRequest; h, _ = w.record() {
	}

	w.say(AppendBegin(nil, 3, RoleFilter, true))
	if _, content := w.expect(TypeEndRequest); content[4] != byte(StatusUnknownRole) {
		t.Errorf("end %q", content)
	}
	w.say(paramRecords(4, RoleResponder, false, append(params("GET"), cgi.Var{Name: "HTTP_A", Value: strings.Repeat("x", 1000)})))
	if _, content := w.expect(TypeStdout); !strings.HasPrefix(content, "Status: 431 ") {
		t.Errorf("%q", content)
	}
	if _, err := io.Copy(io.Discard, w.r); err != nil {
		t.Errorf("not closed behind a request without FCGI_KEEP_CONN: %v", err)
	}
}

func TestShutdownWaitsForRequests(t *testing.T) {
	begun, finish := make(chan bool), make(chan bool)
	s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- true
		<-finish
		io.WriteString(w, "done")
	})}
	w := dialWire(t, serve(t, s))
	w.say(paramRecords(1, RoleResponder, true, params("GET")))
	<-begun
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	w.say(AppendBegin(nil, 2, RoleResponder, true))
	if id, content := w.expect(TypeEndRequest); id != 2 || content[4] != byte(StatusOverloaded) {
		t.Errorf("%d %q", id, content)
	}
	close(finish)
	if err := s.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if _, content := w.expect(TypeStdout); !strings.HasSuffix(content, "done") {
		t.Errorf("%q", content)
	}
	w.expect(TypeStdout)
	w.expect(TypeEndRequest)
	if _, err := w.r.ReadByte(); err != io.EOF {
		t.Errorf("connection: %v", err)
	}
}

// Whatever a gateway sends, the server neither panics nor hangs.
func FuzzServer(f *testing.F) {
	f.Add(paramRecords(1, RoleResponder, true, params("GET")))
	f.Add(append(appendWindow(nil, 0, 100), paramRecords(1, RoleResponder, false, params("POST"))...))
	f.Add(AppendRecord(nil, TypeGetValues, 0, AppendPairs(nil, cgi.List{{Name: valueMpxs}})))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			w.Write(make([]byte, min(n, 1000)))
		}), MaxRequests: 10, MaxParams: 1 << 16}
		near, far := net.Pipe()
		s.conns = map[*serverConn]struct{}{}
		s.start(near)
		go io.Copy(io.Discard, far)
		far.SetWriteDeadline(time.Now().Add(bound))
		far.Write(b) // fails when the server closes first
		far.Close()
		s.running.Wait()
		s.Close()
	})
}
