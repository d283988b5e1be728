//go:build unix

package fastcgi

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/gatewaytest"
)

// As a FastCGI application the test binary serves the listening socket that it finds on descriptor 0.
func init() {
	if os.Getenv("FASTCGI_TEST_APPLICATION") == "" {
		return
	}
	l, err := ListenFD0()
	if err == nil {
		err = Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s from %d", r.Method, os.Getpid())
		}))
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func child(t *testing.T) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = []string{"FASTCGI_TEST_APPLICATION=1", "GORACE=atexit_sleep_ms=0"}
	return cmd
}

func TestDescriptorZero(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(short(t), "s")
			}
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			f, err := l.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				t.Fatal(err)
			}
			cmd := child(t)
			cmd.Stdin, cmd.Stderr = f, t.Output()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				cmd.Process.Kill()
				cmd.Wait()
			}()
			f.Close()
			backend := l.Addr().String()
			if u, ok := l.(*net.UnixListener); ok {
				u.SetUnlinkOnClose(false)
			}
			l.Close() // only the child listens
			c := client(t, &Client{Backends: []string{backend}})
			addr := gatewaytest.Start(t, &Endpoint{Client: c})
			for range 3 {
				if status, body := ask(t, addr, "/"); status != 200 || body != fmt.Sprint("GET from ", cmd.Process.Pid) {
					t.Errorf("%d %q", status, body)
				}
			}
		})
	}
	t.Run("that is no socket", func(t *testing.T) {
		if out, err := child(t).CombinedOutput(); err == nil || !strings.Contains(string(out), "descriptor 0 is no listening socket") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// eachKind runs a test with a connection per request, and with one that is shared and counted, and one that
// is only shared.
func eachKind(t *testing.T, f func(t *testing.T, answer func(w *wire) bool, single bool)) {
	question := func(values cgi.List) func(w *wire) bool {
		return func(w *wire) bool {
			if b, err := w.r.Peek(2); err != nil || RecordType(b[1]) != TypeGetValues {
				return err != nil
			}
			w.expect(TypeGetValues)
			w.say(AppendRecord(nil, TypeGetValuesResult, 0, AppendPairs(nil, values)))
			return true
		}
	}
	shares := cgi.List{{Name: valueMpxs, Value: "1"}}
	t.Run("a connection per request", func(t *testing.T) { f(t, question(nil), true) })
	t.Run("a shared connection", func(t *testing.T) { f(t, question(shares), false) })
	t.Run("a shared connection that counts", func(t *testing.T) {
		f(t, question(append(shares, cgi.Var{Name: valueWindow, Value: "65536"})), false)
	})
}

const switchedProtocols = "Status: 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"

// STDERR in the middle of a tunnel goes to the log, line by line however long they are, and nothing of it into
// the tunnel.
func TestStderrDuringATunnel(t *testing.T) {
	eachKind(t, func(t *testing.T, answered func(w *wire) bool, single bool) {
		const pieces, size = 16, 60000 // of one line
		addr := backendFunc(t, func(_ int, w *wire) {
			if answered(w) {
				return
			}
			if b, err := w.r.Peek(2); err == nil && RecordType(b[1]) == TypeWindow {
				w.record()
			}
			id, _ := w.begin()
			w.say(out(id, switchedProtocols), errout(id, "in the tun"), out(id, "hello "), errout(id, "nel\nand "))
			for range pieces {
				w.say(errout(id, strings.Repeat("x", size)))
			}
			w.say(padded(TypeStderr, id, "", 5), out(id, "world"), errout(id, "\nunfinished"))
			for {
				h, content := w.record()
				switch {
				case h.Type == TypeStdin && content == "":
					w.say(end(id, 0, 0))
					return
				case h.Type == TypeStdin:
					w.say(errout(id, "got "+content+"\n"), out(id, "!"))
				}
			}
		})
		log := &logLines{}
		c := client(t, &Client{Backends: []string{addr}, NoMultiplex: single, Log: slog.New(log)})
		k := gatewaytest.Dial(t, gatewaytest.Start(t, &Endpoint{Client: c, Gateway: cgi.Gateway{Options: cgi.Options{Upgrade: true}}}))
		k.Send(gatewaytest.Upgrade(""))
		if r := k.Head(); r.StatusCode != 101 {
			t.Fatalf("answer %d", r.StatusCode)
		}
		k.Expect("hello world")
		k.Send("abc")
		k.Expect("!")
		k.CloseWrite()
		k.ExpectEnd()
		lines := log.all()
		if len(lines) < 3 || !strings.HasSuffix(lines[0], "line=in the tunnel") || !strings.HasSuffix(lines[len(lines)-1], "line=unfinishedgot abc") {
			t.Fatalf("%d lines: %.300q", len(lines), lines)
		}
		logged := 0
		for _, line := range lines[1 : len(lines)-1] {
			_, text, _ := strings.Cut(line, " line=")
			if len(text) > maxStderrLine {
				t.Errorf("a line of %d bytes", len(text))
			}
			logged += len(text)
		}
		if want := len("and ") + pieces*size; logged != want {
			t.Errorf("%d bytes are logged, want %d", logged, want)
		}
	})
}

// A backend that does not read what a client sends can answer all the same, in an ordinary request and in a tunnel,
// and holds up nobody on its connection.
func TestInputThatNobodyReads(t *testing.T) {
	release := make(chan bool)
	handler := http.NewServeMux()
	handler.HandleFunc("/deaf", func(w http.ResponseWriter, r *http.Request) {
		for range 100 {
			io.WriteString(w, strings.Repeat("x", 10000))
		}
		http.NewResponseController(w).Flush()
		<-release
		io.WriteString(w, "the end")
	})
	handler.HandleFunc("/tunnel", func(w http.ResponseWriter, r *http.Request) {
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		io.WriteString(nc, switchedProtocols+strings.Repeat("x", 1000000))
		<-release
		io.WriteString(nc, "the end")
	})
	handler.HandleFunc("/other", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	for _, single := range []bool{true, false} {
		name := map[bool]string{true: "a connection per request", false: "a shared connection"}[single]
		t.Run(name, func(t *testing.T) {
			backend, conns := counted(t, &Server{Handler: handler})
			c := client(t, &Client{Backends: []string{backend}, NoMultiplex: single})
			addr := gatewaytest.Start(t, &Endpoint{Client: c, Gateway: cgi.Gateway{Options: cgi.Options{Upgrade: true, WriteTimeout: -1}}})
			stuck := func(head string) *gatewaytest.Conn {
				k := gatewaytest.Dial(t, addr)
				k.Send(head)
				go io.Copy(k.TCPConn, io.LimitReader(zeros{}, 64<<20)) // more than fits anywhere
				return k
			}
			if status, _ := ask(t, addr, "/other"); status != 200 { // and so there is a connection to share
				t.Fatalf("answer %d", status)
			}
			post := stuck("POST /deaf HTTP/1.1\r\nHost: h\r\nContent-Length: 67108864\r\n\r\n")
			tunnel := stuck("GET /tunnel HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
			if r := tunnel.Head(); r.StatusCode != 101 {
				t.Fatalf("answer %d", r.StatusCode)
			}
			tunnel.Expect(strings.Repeat("x", 1000000))
			resp := post.Head()
			if _, err := io.ReadFull(resp.Body, make([]byte, 1000000)); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				other := gatewaytest.Dial(t, addr)
				body := strings.Repeat("y", 200000)
				go fmt.Fprintf(other.TCPConn, "POST /other HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				if got := other.Body(other.Head()); got != body {
					t.Fatalf("%d bytes", len(got))
				}
				other.Close()
			}
			if n := conns(); !single && n != 2 { // one for the question
				t.Errorf("%d connections", n)
			}
			release <- true
			release <- true
			tunnel.Expect("the end")
			if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "the end" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

// A backend that stops reading altogether is given up, and its requests end.
func TestABackendThatStopsReading(t *testing.T) {
	over := make(chan bool)
	defer close(over)
	addr := backendFunc(t, func(n int, w *wire) {
		if n == 0 {
			w.expect(TypeGetValues)
			w.say(AppendRecord(nil, TypeGetValuesResult, 0, AppendPairs(nil, cgi.List{{Name: valueMpxs, Value: "1"}})))
			return
		}
		id, _ := w.begin()
		w.say(out(id, "all that there is"))
		<-over
	})
	c := client(t, &Client{Backends: []string{addr}, WriteTimeout: 2 * time.Second})
	x := open(t, c, true)
	written := make(chan error, 1)
	go func() {
		_, err := io.Copy(x, io.LimitReader(zeros{}, 64<<20))
		written <- err
	}()
	if b, err := io.ReadAll(x); string(b) != "all that there is" || err == nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := <-written; err == nil {
		t.Error("64 MiB were taken")
	}
}
