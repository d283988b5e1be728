//go:build unix

package cgi_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/gatewaytest"
)

// A program that is written to and reads nothing, and a client that is written to and reads nothing, cost
// next to no memory, no files, and nobody else's time.
func TestStalledTunnelsAreCheap(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{
		"flood": "#!/bin/sh\nprintf 'Status: 101\\nUpgrade: websocket\\n\\n'\nexec yes\n",
		"echo":  "#!/bin/sh\nprintf 'Status: 101\\nUpgrade: websocket\\n\\n'\nexec cat\n",
	})
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	e := newEndpoint(t, cgi.Config{Dir: dir, Options: cgi.Options{Upgrade: true}})
	addr := gatewaytest.Start(t, e)
	open := func(path string) *gatewaytest.Conn {
		c := gatewaytest.Dial(t, addr)
		c.Send("GET " + path + " HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		if r := c.Head(); r.StatusCode != 101 {
			t.Fatalf("answer %d", r.StatusCode)
		}
		return c
	}
	used := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse + m.StackInuse)
	}
	other := open("/echo")
	before := used()
	const tunnels = 16
	piece := make([]byte, 1<<20)
	for range tunnels {
		c := open("/flood")
		c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		for { // until nothing goes in any more
			if _, err := c.Write(piece); err != nil {
				break
			}
		}
	}
	for range 50 {
		other.Send("are you there?")
		other.Expect("are you there?")
	}
	if grown := used() - before; grown > tunnels<<20 {
		t.Errorf("%d stalled tunnels take %d KiB", tunnels, grown>>10)
	}
	if files, err := os.ReadDir(tmp); err != nil || len(files) > 0 {
		t.Errorf("temporary files: %v, %v", files, err)
	}
}

func TestOddPrograms(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{
		"deaf":   "#!/bin/sh\nexec <&-\nprintf 'Content-Type: text/plain\\n\\ndeaf'\n",
		"fails":  "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhalf of it'\nexit 3\n",
		"silent": "#!/bin/sh\nexit 3\n",
		"twice":  "#!/bin/sh\nprintf 'Status: 101\\nUpgrade: websocket\\n\\nStatus: 101\\nUpgrade: websocket\\n\\n'\n",
		"noise":  "#!/bin/sh\nprintf 'to the log' >&2\nprintf '\\nto the client'\n",
		"closed": "#!/bin/sh\nprintf '\\nall'\nexec >&-\nsleep 1000\n",
	})
	e := newEndpoint(t, cgi.Config{Dir: dir, Options: cgi.Options{Upgrade: true}})
	addr := gatewaytest.Start(t, e)
	tests := []struct {
		name, path string
		body       int // size of the request body
		status     int
		want       string
	}{
		{"one that closes its input", "/deaf", 4 << 20, 200, "deaf"},
		{"one that does not read its input", "/fails", 4 << 20, 200, "half of it"},
		{"one that fails behind its head", "/fails", 0, 200, "half of it"},
		{"one that fails without a word", "/silent", 0, 502, "502 the program did not answer correctly\n"},
		{"one that writes to stderr", "/noise", 0, 200, "to the client"},
		{"one that closes its output and stays", "/closed", 0, 200, "all"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := gatewaytest.Dial(t, addr)
			head := gatewaytest.Request("")
			head = "POST " + tt.path + head[len("GET /?"):]
			if tt.body > 0 {
				head = head[:len(head)-2] + "Content-Length: 4194304\r\n\r\n"
			}
			c.Send(head)
			go c.Write(make([]byte, tt.body))
			r := c.Head()
			if body := c.Body(r); r.StatusCode != tt.status || body != tt.want {
				t.Errorf("%d %q, want %d %q", r.StatusCode, body, tt.status, tt.want)
			}
		})
	}
	t.Run("one that switches twice", func(t *testing.T) {
		c := gatewaytest.Dial(t, addr)
		c.Send("GET /twice HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		c.Head()
		c.Expect("Status: 101\nUpgrade: websocket\n\n") // which is what the client sees
		c.ExpectEnd()
	})
}

func TestAProgramThatGoesAwayIsNotFound(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"p": "#!/bin/sh\necho\n"})
	e := newEndpoint(t, cgi.Config{File: filepath.Join(dir, "p")})
	if err := os.Remove(filepath.Join(dir, "p")); err != nil {
		t.Fatal(err)
	}
	if w := get(e, "/"); w.Code != 404 {
		t.Errorf("%d", w.Code)
	}
}
