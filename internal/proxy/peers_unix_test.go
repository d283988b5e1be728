//go:build unix

package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/stdio"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// converse checks that a WebSocket behind a proxy echoes.
func converse(t *testing.T, addr string, o *wsframe.DialOptions) (*wsframe.Conn, *http.Response) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	c, res, err := wsframe.Dial(ctx, "ws://"+addr+"/a?b", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	return c, res
}

func say(t *testing.T, c *wsframe.Conn, op wsframe.Opcode, message string) {
	t.Helper()
	if err := c.WriteMessage(op, []byte(message)); err != nil {
		t.Fatal(err)
	}
	got, b, err := c.ReadMessage(nil)
	if err != nil || got != op || string(b) != message {
		t.Fatalf("%d %.20q, %v, want %.20q", got, b, err, message)
	}
}

func TestNodeBehindTheProxy(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("no node here: run scripts/setup")
	}
	modules, err := filepath.Abs("../../build/npm/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "testdata/server.js")
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	out := bufio.NewScanner(stdout)
	if !out.Scan() {
		t.Fatal("no port: run scripts/setup for the npm package ws")
	}
	addr := front(t, on, "127.0.0.1:"+out.Text())
	c, _ := converse(t, addr, &wsframe.DialOptions{Protocols: []string{"chat", "other"}})
	if c.Subprotocol() != "chat" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	if _, b, err := c.ReadMessage(nil); err != nil || string(b) != addr+" 127.0.0.1 /a?b" {
		t.Errorf("%q, %v", b, err)
	}
	say(t, c, wsframe.OpText, "grüße")
	say(t, c, wsframe.OpBinary, strings.Repeat("x", 500000))
	if err := c.Close(4000, "over"); err != nil {
		t.Error(err)
	}
	if !out.Scan() || out.Text() != "closed 4000 over" {
		t.Errorf("the server says %q", out.Text())
	}
	// What is no WebSocket is an ordinary answer, in which ws says what it wants.
	if res, _ := fetch(t, newRequest(t, "GET", "http://"+addr+"/", nil)); res.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("%d", res.StatusCode)
	}
}

func TestProgramsBehindTheProxy(t *testing.T) {
	s := spawner.New(spawner.Config{})
	t.Cleanup(func() { s.Close(context.Background()) })
	cat, err := spawner.Look("cat", "")
	if err != nil {
		t.Fatal(err)
	}
	h := &wsframe.Handler{Endpoint: &stdio.Endpoint{Spawner: s, Resolve: func(*wsframe.Request) (*stdio.Target, error) {
		return &stdio.Target{Program: &spawner.Program{Path: cat}}, nil
	}}}
	addr := front(t, on, origin(t, h.ServeHTTP))
	t.Cleanup(func() { h.Shutdown(context.Background()) })
	c, _ := converse(t, addr, nil)
	for i := range 100 {
		say(t, c, wsframe.OpText, fmt.Sprint("line ", i))
	}
	if err := c.Close(wsframe.CloseNormal, ""); err != nil {
		t.Error(err)
	}
	if res, _ := fetch(t, newRequest(t, "GET", "http://"+addr+"/", nil)); res.StatusCode != http.StatusUpgradeRequired || res.Header.Get("Upgrade") != "websocket" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

const nginxConfig = `
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr error;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	client_max_body_size 100m;
	server {
		listen unix:%[1]s/socket;
		root %[1]s/www;
		location / { gzip on; gzip_min_length 1; gzip_types *; }
		location /moved { return 302 /elsewhere; }
		location /refused { return 413; }
		location /headers { default_type text/plain; return 200 "$http_host|$http_x_forwarded_for|$http_connection|$request_uri"; }
	}
}
`

func TestNginxBehindTheProxy(t *testing.T) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		if nginx, err = exec.LookPath("/usr/sbin/nginx"); err != nil {
			t.Fatal("no nginx here: run scripts/setup")
		}
	}
	dir := t.TempDir()
	large := make([]byte, 5<<20)
	rand.Read(large)
	for name, content := range map[string][]byte{"conf": fmt.Appendf(nil, nginxConfig, dir), "www/large": large, "www/a.txt": []byte("0123456789")} {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	os.Chmod(dir, 0o755)
	cmd := exec.Command(nginx, "-p", dir, "-c", filepath.Join(dir, "conf"), "-e", "stderr")
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	socket := filepath.Join(dir, "socket")
	eventually(t, "nginx", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	addr := front(t, on, socket)
	ask := func(method, target string, body io.Reader, header ...string) (*http.Response, string) {
		t.Helper()
		return fetch(t, newRequest(t, method, "http://"+addr+target, body, header...))
	}
	if res, body := ask("GET", "/large", nil); res.StatusCode != 200 || res.ContentLength != int64(len(large)) || body != string(large) {
		t.Errorf("large file: %d, %d bytes", res.StatusCode, len(body))
	}
	res, body := ask("GET", "/a.txt", nil)
	if res.StatusCode != 200 || body != "0123456789" || !strings.HasPrefix(res.Header.Get("Server"), "nginx") {
		t.Errorf("file: %d %q %v", res.StatusCode, body, res.Header)
	}
	if res, _ := ask("GET", "/a.txt", nil, "If-None-Match", res.Header.Get("Etag")); res.StatusCode != 304 {
		t.Errorf("not modified: %d", res.StatusCode)
	}
	if res, body := ask("GET", "/a.txt", nil, "Range", "bytes=2-4"); res.StatusCode != 206 || body != "234" {
		t.Errorf("range: %d %q", res.StatusCode, body)
	}
	if res, body := ask("HEAD", "/a.txt", nil); res.StatusCode != 200 || body != "" || res.ContentLength != 10 {
		t.Errorf("HEAD: %d %q %d", res.StatusCode, body, res.ContentLength)
	}
	if res, body := ask("GET", "/a.txt", nil, "Accept-Encoding", "gzip"); res.Header.Get("Content-Encoding") != "gzip" || !strings.HasPrefix(body, "\x1f\x8b") {
		t.Errorf("compressed: %v", res.Header)
	}
	if res, _ := ask("GET", "/moved", nil); res.StatusCode != 302 {
		t.Errorf("moved: %d", res.StatusCode)
	}
	if res, _ := ask("POST", "/refused", bytes.NewReader(large)); res.StatusCode != 413 {
		t.Errorf("refused: %d", res.StatusCode)
	}
	if _, body := ask("GET", "/headers/x?y", nil); body != addr+"|127.0.0.1||/headers/x?y" {
		t.Errorf("headers: %q", body)
	}
	// nginx does not know the protocol; the request stays an ordinary one.
	if res, body := ask("GET", "/headers", nil, "Upgrade", "websocket", "Connection", "Upgrade"); res.StatusCode != 200 || body != addr+"|127.0.0.1|Upgrade|/headers" {
		t.Errorf("upgrade: %d %q", res.StatusCode, body)
	}
	start := time.Now()
	for range 200 {
		if res, _ := ask("GET", "/a.txt", nil); res.StatusCode != 200 {
			t.Fatalf("%d", res.StatusCode)
		}
	}
	t.Log("200 requests in", time.Since(start))
}
