//go:build unix

package fastcgi

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	netfcgi "net/http/fcgi"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/gatewaytest"
)

// find returns the path of a program, also where only root looks. Debian has the version in the name of php-fpm.
func find(t *testing.T, patterns ...string) string {
	t.Helper()
	for _, pattern := range patterns {
		for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin") {
			if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) > 0 {
				return found[len(found)-1]
			}
		}
	}
	t.Fatalf("%s is missing: run scripts/setup", patterns[0])
	return ""
}

// run starts a program, waits until it accepts connections at the socket, and stops it at the end of the
// test.
func run(t *testing.T, cmd *exec.Cmd, socket string) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to end its children too
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		if t.Failed() {
			t.Logf("%s:\n%s", cmd.Path, &out)
		}
	})
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return
		}
		if time.Since(start) > bound {
			t.Fatalf("%s does not listen", cmd.Path)
		}
	}
}

// short is a temporary directory whose name fits into the address of a socket.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fcgi")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// php runs php-fpm and returns the address of an endpoint in front of it.
func php(t *testing.T, children, maxRequests int, o cgi.Options) (addr string, log *logLines) {
	t.Helper()
	dir := short(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`[global]
error_log = %[1]s/error.log
daemonize = no
[www]
user = %[2]s
listen = %[1]s/s
pm = static
pm.max_children = %[3]d
pm.max_requests = %[4]d
catch_workers_output = no
php_admin_value[post_max_size] = 100M
php_admin_value[memory_limit] = 256M
php_admin_flag[output_buffering] = off
php_admin_flag[log_errors] = on
`, dir, me.Username, children, maxRequests)
	if err := os.WriteFile(dir+"/fpm.conf", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-n", "-F", "-y", dir + "/fpm.conf"}
	if me.Uid == "0" {
		args = append(args, "-R")
	}
	run(t, exec.Command(find(t, "php-fpm*"), args...), dir+"/s")
	root, err := filepath.Abs("testdata/php")
	if err != nil {
		t.Fatal(err)
	}
	log = &logLines{}
	c := client(t, &Client{Backends: []string{"unix:" + dir + "/s"}, Log: slog.New(log)})
	e := &Endpoint{Client: c, Root: root, SplitPath: []string{".php"}, Gateway: cgi.Gateway{Options: o, Log: slog.New(log)}}
	return gatewaytest.Start(t, e), log
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestPHP(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	addr, log := php(t, 4, 0, cgi.Options{Upgrade: true})

	t.Run("a page, its path info and its parameters", func(t *testing.T) {
		status, body := get(t, "http://"+addr+"/page.php/more?x=1")
		if want := "hello from page.php: GET /page.php /more x=1\n"; status != 200 || body != want {
			t.Errorf("%d %q, want %q", status, body, want)
		}
	})
	t.Run("a page that is not there", func(t *testing.T) {
		if status, _ := get(t, "http://"+addr+"/nothing.php"); status != 404 {
			t.Errorf("%d", status)
		}
	})
	t.Run("a status and a header", func(t *testing.T) {
		if status, body := get(t, "http://"+addr+"/page.php?status=418"); status != 418 {
			t.Errorf("%d %q", status, body)
		}
	})
	t.Run("parameters of more than a record", func(t *testing.T) {
		r, _ := http.NewRequest("GET", "http://"+addr+"/page.php?len=HTTP_X_4", nil)
		for i := range 5 { // PHP takes no larger ones
			r.Header.Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 40000))
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, _ := io.ReadAll(resp.Body); string(b) != "40000\n" {
			t.Errorf("%d %.100q", resp.StatusCode, b)
		}
	})
	t.Run("a POST of 50 MiB", func(t *testing.T) {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		const size = 50 << 20
		resp, err := http.Post("http://"+addr+"/post.php", "application/octet-stream", io.LimitReader(zeros{}, size))
		if err == nil { // of unknown length: PHP sees no body then, but must not hang
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		r, _ := http.NewRequest("POST", "http://"+addr+"/post.php", io.LimitReader(zeros{}, size))
		r.ContentLength = size
		r.Header.Set("Content-Type", "application/octet-stream")
		resp, err = http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, _ := io.ReadAll(resp.Body); string(b) != fmt.Sprintf("%d bytes\n", size) {
			t.Errorf("%d %.100q", resp.StatusCode, b)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 8<<20 {
			t.Errorf("heap grew by %d bytes", grown)
		}
	})
	t.Run("slow output as it comes", func(t *testing.T) {
		resp, err := http.Get("http://" + addr + "/slow.php")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		r := bufio.NewReader(resp.Body)
		for i := range 3 {
			line, err := r.ReadString('\n')
			var n int
			var sent float64
			fmt.Sscanf(line, "%d %f", &n, &sent)
			// What PHP says the time is: it must still be before the next line.
			if late := float64(time.Now().UnixNano())/1e9 - sent; err != nil || n != i || late > 0.9 {
				t.Errorf("line %q, %v, %f s late", line, err, late)
			}
		}
	})
	t.Run("an upgrade is refused and does not hang", func(t *testing.T) {
		for range 5 {
			c := gatewaytest.Dial(t, addr)
			c.Send("GET /post.php HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
			if r := c.Head(); r.StatusCode != 200 || c.Body(r) != "0 bytes\n" {
				t.Errorf("%d", r.StatusCode)
			}
		}
	})
	t.Run("errors go to the log", func(t *testing.T) {
		get(t, "http://"+addr+"/page.php?warn=careful")
		if all := strings.Join(log.all(), "\n"); !strings.Contains(all, "careful") {
			t.Errorf("log:\n%s", all)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Must hold whether there are more workers than clients or fewer.
func TestPHPWorkersThatAreReplaced(t *testing.T) {
	for _, children := range []int{20, 3} {
		t.Run(fmt.Sprintf("%d workers", children), func(t *testing.T) {
			addr, log := php(t, children, 100, cgi.Options{})
			const requests, clients = 10000, 16
			transport := &http.Transport{MaxIdleConnsPerHost: clients}
			defer transport.CloseIdleConnections()
			var wg sync.WaitGroup
			var next, bad atomic.Int64
			pids := sync.Map{}
			for range clients {
				wg.Go(func() {
					for {
						i := next.Add(1)
						if i > requests {
							return
						}
						method, body := "GET", ""
						if i%4 == 0 {
							method, body = "POST", "four"
						}
						r, _ := http.NewRequest(method, "http://"+addr+"/pid.php", strings.NewReader(body))
						resp, err := transport.RoundTrip(r)
						if err != nil {
							bad.Add(1)
							t.Error(err)
							return
						}
						b, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(string(b), fmt.Sprint(len(body), " ")) {
							bad.Add(1)
							t.Errorf("request %d: %d %q %v", i, resp.StatusCode, b, err)
							return
						}
						pids.Store(string(b[2:]), true)
					}
				})
			}
			wg.Wait()
			n := 0
			pids.Range(func(any, any) bool { n++; return true })
			if n < requests/100-children {
				t.Errorf("only %d workers have answered", n)
			}
			t.Logf("%d requests, %d workers, %d errors", next.Load()-clients, n, bad.Load())
			if lines := log.all(); len(lines) > 0 {
				t.Errorf("log: %q", lines)
			}
		})
	}
}

func TestFcgiwrap(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	dir := short(t)
	script := "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\necho \"$REQUEST_METHOD $PATH_INFO\"\n[ $CONTENT_LENGTH = 0 ] || cat\necho oops >&2\n"
	if err := os.WriteFile(dir+"/script.cgi", []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command(find(t, "fcgiwrap"), "-c", "2", "-f", "-s", "unix:"+dir+"/s"), dir+"/s")
	log := &logLines{}
	c := client(t, &Client{Backends: []string{dir + "/s"}, Log: slog.New(log)})
	addr := gatewaytest.Start(t, &Endpoint{Client: c, Root: dir, SplitPath: []string{".cgi"}, UpgradeWait: 300 * time.Millisecond, Gateway: cgi.Gateway{Options: cgi.Options{Upgrade: true}}})
	for range 10 {
		resp, err := http.Post("http://"+addr+"/script.cgi/p", "text/plain", strings.NewReader("body\n"))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || string(b) != "POST /p\nbody\n" {
			t.Fatalf("%d %q", resp.StatusCode, b)
		}
	}
	// fcgiwrap answers when the script has ended, and then waits for the end of its input.
	k := gatewaytest.Dial(t, addr)
	k.Send("GET /script.cgi HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	if r := k.Head(); r.StatusCode != 200 || k.Body(r) != "GET \n" {
		t.Errorf("%d", r.StatusCode)
	}
	if all := strings.Join(log.all(), "\n"); !strings.Contains(all, "oops") {
		t.Errorf("log:\n%s", all)
	}
}

func TestGoResponder(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- netfcgi.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.RequestURI(), len(b))
		}))
	}()
	t.Cleanup(func() { l.Close(); <-done })
	c := client(t, &Client{Backends: []string{l.Addr().String()}})
	s := httptest.NewServer(&Endpoint{Client: c})
	defer s.Close()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				resp, err := http.Post(s.URL+"/a?b", "text/plain", strings.NewReader(strings.Repeat("x", 100000)))
				if err != nil {
					t.Error(err)
					return
				}
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(b) != "POST /a?b 100000" {
					t.Errorf("%d %q", resp.StatusCode, b)
				}
			}
		})
	}
	wg.Wait()
}

// Our server is asked by our client what it can do, and by nobody else.
func TestWhatBackendsSayAboutThemselves(t *testing.T) {
	dir := short(t)
	run(t, exec.Command(find(t, "fcgiwrap"), "-c", "1", "-s", "unix:"+dir+"/s"), dir+"/s")
	for _, tt := range []struct {
		name, addr string
		shares     bool
	}{
		{"ours", serve(t, &Server{Handler: http.NotFoundHandler()}), true},
		{"fcgiwrap", dir + "/s", false},
	} {
		c := client(t, &Client{Backends: []string{tt.addr}})
		if err := c.init(); err != nil {
			t.Fatal(err)
		}
		err := c.set.Try(t.Context(), nil, func(ctx context.Context, l *backend.Lease) error {
			at := c.site(l)
			if err := at.ask(ctx, l); err != nil {
				return err
			}
			if at.can.shares != tt.shares || tt.shares && at.can.window != window {
				t.Errorf("%s: %+v", tt.name, at.can)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
