package fastcgi

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/gatewaytest"
)

// A counter is a listener that counts what it accepts.
type counter struct {
	net.Listener
	n atomic.Int64
}

func (l *counter) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return nc, err
}

// counted is serve; conns is the number of connections so far.
func counted(t testing.TB, s *Server) (addr string, conns func() int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{Listener: l}
	done := make(chan error, 1)
	go func() { done <- s.Serve(c) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String(), c.n.Load
}

// ask sends a GET with a target that is taken literally.
func ask(t testing.TB, addr, target string, lines ...string) (status int, body string) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(bound))
	fmt.Fprintf(nc, "GET %s HTTP/1.0\r\nHost: h\r\n%s\r\n", target, strings.Join(append(lines, ""), "\r\n"))
	b, err := io.ReadAll(nc)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(b), "\r\n\r\n")
	fmt.Sscanf(head, "HTTP/1.0 %d", &status)
	return status, body
}

func TestWhichScriptARequestMeans(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"page.php", "index.php", "dir/index.php", "a.phtml"} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "folder.php"), 0o700); err != nil {
		t.Fatal(err)
	}
	backend := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i, name := range []string{"SCRIPT_NAME", "PATH_INFO", "SCRIPT_FILENAME", "DOCUMENT_ROOT", "PATH_TRANSLATED", "REQUEST_URI"} {
			v, ok := Params(r.Context()).Lookup(name)
			if !ok {
				v = "-"
			}
			io.WriteString(w, strings.Repeat(" ", min(i, 1))+v)
		}
	})})
	php := func(change func(e *Endpoint)) *Endpoint {
		e := &Endpoint{Root: root, SplitPath: []string{".php", ".phtml"}, Index: "index.php"}
		if change != nil {
			change(e)
		}
		return e
	}
	r := root
	tests := []struct {
		name   string
		e      *Endpoint
		target string
		want   string // SCRIPT_NAME and so on, or a status
	}{
		{"one application for everything", &Endpoint{}, "/a/b?c", " /a/b - - - /a/b?c"},
		{"Prefix", &Endpoint{Prefix: "/app"}, "/app/a%20b?c", "/app /a b - - - /app/a%20b?c"},
		{"Prefix alone", &Endpoint{Prefix: "/app"}, "/app", "/app - - - - /app"},
		{"Prefix that ends with a slash", &Endpoint{Prefix: "/app/"}, "/app/x", "/app /x - - - /app/x"},
		{"half of a segment is no Prefix", &Endpoint{Prefix: "/app"}, "/apple", "404"},
		{"another path than Prefix", &Endpoint{Prefix: "/app"}, "/", "404"},
		{"Prefix and Root", &Endpoint{Prefix: "/app", Root: "/srv"}, "/app/x", "/app /x /srv/app /srv /srv/x /app/x"},

		{"SplitPath", php(nil), "/page.php/more/x.php?q", "/page.php /more/x.php " + r + "/page.php " + r + " " + r + "/more/x.php /page.php/more/x.php?q"},
		{"a second suffix", php(nil), "/a.phtml", "/a.phtml - " + r + "/a.phtml " + r + " - /a.phtml"},
		{"a suffix alone is no script", php(nil), "/.php", "404"},
		{"no script in the path", php(nil), "/page.txt", "404"},
		{"a script that is not there", php(nil), "/none.php", "404"},
		{"a directory that is called like a script", php(nil), "/folder.php", "404"},
		{"dots", php(nil), "/x/../page.php", "404"},
		{"encoded dots", php(nil), "/%2e%2e/page.php", "404"},
		{"an upload that is no script", php(nil), "/page.txt/x.php", "404"},
		{"Index", php(nil), "/dir/?q", "/dir/index.php - " + r + "/dir/index.php " + r + " - /dir/?q"},
		{"Index that is not there", php(nil), "/other/", "404"},
		{"SkipCheck", php(func(e *Endpoint) { e.SkipCheck = true }), "/none.php", "/none.php - " + r + "/none.php " + r + " - /none.php"},

		{"Docroot", php(func(e *Endpoint) { e.Docroot = "/far" }), "/page.php/i", "/page.php /i /far/page.php /far /far/i /page.php/i"},
		{"Docroot does not move the check", php(func(e *Endpoint) { e.Docroot = "/far" }), "/none.php", "404"},
		{"Docroot without Root", php(func(e *Endpoint) { e.Root, e.Docroot = "", "/far/" }), "/none.php", "/none.php - /far/none.php /far/ - /none.php"},

		{"BrokenScriptFilename", php(func(e *Endpoint) { e.BrokenScriptFilename = true }), "/page.php/more", "/page.php /more " + r + "/page.php/more " + r + " " + r + "/more /page.php/more"},

		{"StripRequestURI", &Endpoint{StripRequestURI: "/app"}, "/app/x?q", " /app/x - - - /x?q"},
		{"StripRequestURI that ends with a slash", &Endpoint{StripRequestURI: "/app/"}, "/app/x", " /app/x - - - /x"},
		{"StripRequestURI of everything", &Endpoint{StripRequestURI: "/app"}, "/app?q", " /app - - - /?q"},
		{"StripRequestURI of half a segment", &Endpoint{StripRequestURI: "/app"}, "/apple", " /apple - - - /apple"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.e.Client = client(t, &Client{Backends: []string{backend}})
			status, body := ask(t, gatewaytest.Start(t, tt.e), tt.target)
			if status != 200 {
				body = fmt.Sprint(status)
			}
			if body != tt.want {
				t.Errorf("%q, want %q", body, tt.want)
			}
		})
	}
}

// Requests over MaxConns wait for one of the connections; those that have waited too long get 503.
func TestMaxConns(t *testing.T) {
	begun, finish := make(chan bool, 10), make(chan bool)
	backend, conns := counted(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- true
		<-finish
		io.WriteString(w, "done")
	})})
	patient := client(t, &Client{Backends: []string{backend}, NoMultiplex: true, MaxConns: 2, ConnectTimeout: bound})
	front := gatewaytest.Start(t, &Endpoint{Client: patient})
	const requests = 6
	answers := make(chan string, requests)
	for range requests {
		go func() {
			status, body := ask(t, front, "/")
			answers <- fmt.Sprint(status, " ", body)
		}()
	}
	<-begun
	<-begun // as many as there may be
	for range requests {
		finish <- true
		if got := <-answers; got != "200 done" {
			t.Errorf("%q", got)
		}
	}
	if n := conns(); n > 2 {
		t.Errorf("%d connections", n)
	}
	for len(begun) > 0 {
		<-begun
	}

	hasty := client(t, &Client{Backends: []string{backend}, NoMultiplex: true, MaxConns: 1, ConnectTimeout: 2 * time.Second})
	s := httptest.NewServer(&Endpoint{Client: hasty})
	defer s.Close()
	go func() {
		status, body := ask(t, s.Listener.Addr().String(), "/")
		answers <- fmt.Sprint(status, " ", body)
	}()
	<-begun
	resp, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	finish <- true
	if got := <-answers; got != "200 done" {
		t.Errorf("%q", got)
	}
}

func TestSendfileOverFastCGI(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a b.txt")
	if err := os.WriteFile(file, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	encoded := strings.ReplaceAll(file, " ", "%20")
	c := client(t, &Client{Backends: []string{serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, value, _ := strings.Cut(r.Header.Get("X-Say"), ": ")
		w.Header()[name] = []string{value}
		io.WriteString(w, "the body of the program")
	})})}})
	on := gatewaytest.Start(t, &Endpoint{Client: c, Gateway: cgi.Gateway{Options: cgi.Options{SendfileRoots: []string{dir}}}})
	off := gatewaytest.Start(t, &Endpoint{Client: c})
	for _, tt := range []struct {
		name, say, asked, want string
	}{
		{"X-Sendfile", "X-Sendfile: " + encoded, "", "200 0123456789"},
		{"X-Sendfile, of which the client wants a part", "X-Sendfile: " + encoded, "bytes=2-3", "206 23"},
		{"X-LIGHTTPD-send-file", "X-LIGHTTPD-send-file: " + encoded, "", "200 0123456789"},
		{"X-Sendfile2 with a range", "X-Sendfile2: " + encoded + " 3-5", "", "200 345"},
		{"X-Sendfile2 with a range without an end", "X-Sendfile2: " + encoded + " 7-", "", "200 789"},
		{"X-Sendfile2 with several ranges", "X-Sendfile2: " + encoded + " 0-1, " + encoded + " 9-, " + encoded + " 4-4", "", "200 0194"},
		{"X-Sendfile2 with a range that is too long", "X-Sendfile2: " + encoded + " 5-10", "", "502"},
		{"elsewhere", "X-Sendfile: /etc/passwd", "", "403"},
		{"one of several is elsewhere", "X-Sendfile2: " + encoded + " 0-1, /etc/passwd 0-1", "", "403"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lines := []string{"X-Say: " + tt.say}
			if tt.asked != "" {
				lines = append(lines, "Range: "+tt.asked)
			}
			status, body := ask(t, on, "/", lines...)
			got := fmt.Sprint(status)
			if status < 300 {
				got += " " + body
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if status, body := ask(t, off, "/", lines...); status != 200 || body != "the body of the program" {
				t.Errorf("not enabled: %d %q", status, body)
			}
		})
	}
}
