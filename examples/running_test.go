//go:build unix

package examples

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/wsframe"
)

// The files on the page about services: nginx in front of a server, as they stand there but for addresses and the program.
func TestServiceBehindNginx(t *testing.T) {
	page, err := os.ReadFile("../docs/running.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(language string) string {
		m := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(page)
		if m == nil {
			t.Fatalf("no %s", language)
		}
		return string(m[1])
	}
	dir := t.TempDir()
	env, err := filepath.Abs("dump-env/dump-env.py")
	if err != nil {
		t.Fatal(err)
	}
	replace := func(text string, pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(text, pairs[i]) {
				t.Fatalf("no %q in\n%s", pairs[i], text)
			}
		}
		return strings.NewReplacer(pairs...).Replace(text)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("index.html", "<title>chat")
	write("wspawn.toml", replace(block("toml"), "127.0.0.1:8080", "127.0.0.1:0", "127.0.0.1:9090", "127.0.0.1:0",
		"/srv/chat/chat.py", env, "/srv/chat/www", dir))
	server := strings.TrimSuffix(strings.TrimPrefix(serveFile(t, filepath.Join(dir, "wspawn.toml"), ""), "ws://"), "/")
	front := freeAddress(t)
	write("nginx.conf", "daemon off; pid pid; error_log stderr; events {}\nhttp { access_log off;\n"+
		replace(block("nginx"), "127.0.0.1:8080", server, "listen 80;", "listen "+front+";")+"}\n")
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		nginx = "/usr/sbin/nginx"
	}
	start(t, exec.Command(nginx, "-p", dir, "-e", "stderr", "-c", dir+"/nginx.conf"))
	waitUntil(t, "nginx listens", func() bool {
		c, err := net.Dial("tcp", front)
		if err == nil {
			c.Close()
		}
		return err == nil
	})

	dial := func(host string) (*wsframe.Conn, *http.Response, error) {
		return wsframe.Dial(t.Context(), "ws://"+host+"/chat", &wsframe.DialOptions{
			Origin: "http://chat.example.com",
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", front)
			},
		})
	}
	if _, resp, err := dial("other.example"); err == nil || resp == nil || resp.StatusCode != 421 {
		t.Errorf("another name: %v, %v", resp, err)
	}
	c, _, err := dial("chat.example.com")
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	got := map[string]bool{}
	for {
		_, line, err := c.ReadMessage(nil)
		if err != nil {
			break
		}
		got[string(line)] = true
	}
	for _, want := range []string{"REMOTE_ADDR=127.0.0.1", "PEER_ADDR=127.0.0.1", "HTTP_HOST=chat.example.com", "HTTP_ORIGIN=http://chat.example.com"} {
		if !got[want] {
			t.Errorf("no %s in %v", want, got)
		}
	}
}

// freeAddress is for programs that cannot choose a port themselves.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
