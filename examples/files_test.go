//go:build unix

package examples

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/wspawn/wspawn/internal/browsertest"
	"github.com/wspawn/wspawn/wsframe"
)

// Where the examples with a configuration file are run.

func TestEchoPLBehindATunnel(t *testing.T) {
	t.Parallel()
	base := serveFile(t, "echo-pl/wspawn.toml", "")
	var clients []*client
	for i := range 3 { // at once: each has a process of its own
		c := dial(t, base+"ws/echo", nil)
		c.send(fmt.Sprint("client ", i, "\n"))
		c.want(fmt.Sprint("client ", i, "\n"))
		clients = append(clients, c)
	}
	for _, c := range clients {
		c.leave()
	}
	c := dial(t, base+"ws/echo-incremental", nil)
	for _, word := range []string{"a", "b", "c", "d", "e"} {
		c.send(word)
		c.want(word)
	}
	c.wantEnd()
	for path, want := range map[string]int{"count.html": 200, "echo.pl": 404, "wspawn.toml": 404, "ws/echo": 426} {
		if got, _ := get(t, pageURL(base, path)); got != want {
			t.Errorf("/%s answers %d, want %d", path, got, want)
		}
	}
}

func TestCountToFive(t *testing.T) {
	browser := browsertest.New(t)
	for name, serve := range map[string]func(t *testing.T) string{
		"by a tunnel":                func(t *testing.T) string { return serveFile(t, "echo-pl/wspawn.toml", "") },
		"by a proxy in front of one": chain,
	} {
		t.Run(name, func(t *testing.T) {
			p := browser.Open(t, pageURL(serve(t), "count.html"))
			p.Wait(`document.getElementById("count").textContent === "5"`)
			p.Wait(`document.getElementById("state").textContent.startsWith("closed: 1000")`)
		})
	}
}

// chain runs both servers of that example and returns the URL of the one in front.
func chain(t *testing.T) string {
	t.Helper()
	behind, err := url.Parse(serveFile(t, "chain/tunnel.toml", ""))
	if err != nil {
		t.Fatal(err)
	}
	return serveFile(t, "chain/wspawn.toml", "TUNNEL="+behind.Host)
}

func TestChain(t *testing.T) {
	t.Parallel()
	c := dial(t, chain(t)+"ws/echo", nil)
	c.send("through both\n")
	c.want("through both\n")
	c.leave()

	// The port of nobody.
	base := serveFile(t, "chain/wspawn.toml", "TUNNEL=127.0.0.1:1")
	if _, resp, err := wsframe.Dial(t.Context(), base+"ws/echo", nil); err == nil || resp == nil || resp.StatusCode != 503 {
		t.Errorf("without the tunnel: %v, want 503", err)
	}
}

func TestNoVNC(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "vnc")
	vnc := exec.Command("Xtigervnc", "-displayfd", "1", "-rfbport", "-1", "-rfbunixpath", socket, "-SecurityTypes", "None", "-geometry", "320x240", "-desktop", "a screen")
	stdout, err := vnc.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, vnc)
	display, err := bufio.NewReader(stdout).ReadString('\n') // it is ready
	if err != nil {
		t.Fatal(err)
	}
	paint := func(color string) {
		t.Helper()
		cmd := exec.Command("xsetroot", "-solid", color)
		cmd.Env = append(os.Environ(), "DISPLAY=:"+strings.TrimSpace(display))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: run scripts/setup\n%s", err, out)
		}
	}
	paint("#c03060")

	base := serveFile(t, "novnc/wspawn.toml", "VNC=unix:"+socket)
	page := browsertest.New(t).Open(t, pageURL(base, "index.html"))
	page.Wait(`document.getElementById("state").textContent.startsWith("connected to a screen")`)
	page.Wait(`document.querySelector("#screen canvas").width === 320`)
	shows := func(color string) {
		t.Helper()
		page.Wait(fmt.Sprintf(`document.querySelector("#screen canvas").getContext("2d").getImageData(160, 120, 1, 1).data.join() === %q`, color))
	}
	shows("192,48,96,255")
	paint("#20a040") // what changes is seen as well
	shows("32,160,64,255")

	picture := browsertest.Get(page, chromedp.CaptureScreenshot())
	keep(t, "novnc.png", picture)
	if img, err := png.Decode(bytes.NewReader(picture)); err != nil {
		t.Error(err)
	} else if r, g, b, _ := img.At(img.Bounds().Dx()/2, img.Bounds().Dy()/2).RGBA(); r>>8 != 32 || g>>8 != 160 || b>>8 != 64 {
		t.Errorf("the middle of the page is %d, %d, %d", r>>8, g>>8, b>>8)
	}
	for path, want := range map[string]int{"novnc/vnc.html": 200, "wspawn.toml": 404} {
		if got, _ := get(t, pageURL(base, path)); got != want {
			t.Errorf("/%s answers %d, want %d", path, got, want)
		}
	}
}

// keep leaves a picture in build, for people.
func keep(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll("../build", 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("../build", name), data, 0o666); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestPHPBehindFastCGI(t *testing.T) {
	for name, serve := range map[string]func(t *testing.T) string{
		"cgi-fcgi": func(t *testing.T) string { return serveFile(t, "php/wspawn.toml", "") },
		"fpm-fcgi": func(t *testing.T) string { return serveFile(t, "php/fpm.toml", "PHP_FPM="+fpm(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := pageURL(serve(t), "")
			for _, path := range []string{"", "index.php", "index.php/more"} {
				status, body := get(t, base+path+"?name=%3Ci%3E")
				if status != 200 || !strings.Contains(body, ", "+name+"</h1>") || !strings.Contains(body, "<th>name<td>&lt;i&gt;") {
					t.Errorf("GET /%s: %d\n%s", path, status, body)
				}
			}
			resp, err := http.PostForm(base, url.Values{"name": {"me"}})
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), `<table id="post"><tr><th>name<td>me`) {
				t.Errorf("POST: %v\n%s", err, body)
			}
			for _, path := range []string{"README.md", "wspawn.toml", "no.php"} {
				if status, _ := get(t, base+path); status != 404 {
					t.Errorf("/%s answers %d", path, status)
				}
			}
		})
	}
}

// fpm runs php-fpm and returns its socket.
func fpm(t *testing.T) string {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "fpm") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, conf := dir+"/s", dir+"/fpm.conf"
	text := fmt.Sprintf("[global]\nerror_log = %s/log\ndaemonize = no\n[www]\nuser = %s\nlisten = %s\npm = static\npm.max_children = 2\n", dir, me.Username, socket)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	found, _ := filepath.Glob("/usr/sbin/php-fpm*")
	if len(found) == 0 {
		t.Fatal("php-fpm is missing: run scripts/setup")
	}
	args := []string{"-n", "-F", "-y", conf}
	if me.Uid == "0" {
		args = append(args, "-R")
	}
	start(t, exec.Command(found[0], args...))
	waitUntil(t, "php-fpm listens", func() bool { _, err := os.Stat(socket); return err == nil })
	return socket
}

// Every configuration file of the examples is right, as its users check it.
func TestConfigurationsAreRight(t *testing.T) {
	files := glob("*.toml")
	top, err := filepath.Glob("*.toml")
	if err != nil || len(files) < 6 {
		t.Fatal(err, files)
	}
	for _, file := range append(files, top...) {
		out, err := exec.Command(filepath.Join(bin, "wspawn"), "check", file).CombinedOutput()
		if err != nil || !regexp.MustCompile(`all is well`).Match(out) {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}

// The first screen of the README is what it says: a server, and a client beside it.
func TestFirstScreenOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```console\n\\$ go run \\./cmd/wspawn ([^\n]*)\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(blocks) != 2 || bytes.Contains(readme[:bytes.Index(readme, blocks[0][0])], []byte("##")) {
		t.Fatalf("%q", blocks)
	}
	server := exec.Command("bash", "-c", "exec "+filepath.Join(bin, "wspawn")+" --port 0 --log-level error "+string(blocks[0][1]))
	server.Dir = ".."
	stdout, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, server)
	var printed, address string
	for lines := bufio.NewScanner(stdout); !strings.Contains(printed, "console") && lines.Scan(); {
		line := lines.Text()
		if m := regexp.MustCompile(`127\.0\.0\.1(:\d+)`).FindStringSubmatch(line); m != nil {
			address = m[1]
			line = strings.Replace(line, address, ":8080", 1)
		}
		printed += line + "\n"
	}
	if printed != string(blocks[0][2]) {
		t.Errorf("the server prints\n%s\nthe README says\n%s", printed, blocks[0][2])
	}
	client := exec.Command("bash", "-c", filepath.Join(bin, "wspawn")+" "+strings.Replace(string(blocks[1][1]), ":8080", address, 1))
	if out, err := client.Output(); err != nil || string(out) != string(blocks[1][2]) {
		t.Errorf("the client prints\n%s\nthe README says\n%s\n%v", out, blocks[1][2], err)
	}
}

// The example of the README's section about files is what it says.
func TestFileOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)## One file, many routes\n\n```toml\n(.*?)```\n\n```console\n(.*?)\n(.*?)```").FindSubmatch(readme)
	if m == nil || string(m[2]) != "$ wspawn -c wspawn.toml" {
		t.Fatalf("%q", m)
	}
	dir := t.TempDir()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	text := "listen = [\"127.0.0.1:0\"]\n" + string(m[1])
	if err := errors.Join(os.Symlink(here, dir+"/examples"), os.WriteFile(dir+"/wspawn.toml", []byte(text), 0o666)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "wspawn"), "-c", "wspawn.toml", "--log-level", "error")
	cmd.Dir = dir
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	var printed, url string
	for lines := bufio.NewScanner(stdout); url == "" && lines.Scan(); {
		line := lines.Text()
		if url = listening.FindString(line); url != "" {
			line = strings.Replace(line, url, "ws://127.0.0.1:8080/", 1)
		}
		printed += line + "\n"
	}
	if printed != string(m[3]) {
		t.Fatalf("it prints\n%s\nthe README says\n%s", printed, m[3])
	}
	dial(t, url+"count", nil).want("1")
	c := dial(t, url+"echo", nil)
	c.send("hello")
	c.want("hello")
	for path, want := range map[string]int{"": 200, "php/": 200, "app/": 503, "count": 426} {
		if got, _ := get(t, pageURL(url, path)); got != want {
			t.Errorf("/%s answers %d, want %d", path, got, want)
		}
	}
}
