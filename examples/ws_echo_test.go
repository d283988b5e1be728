//go:build unix

package examples

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/browsertest"
	"github.com/wspawn/wspawn/wsframe"
)

// behindSocket runs scgi-cgi or fcgi-cgi until the end of the test and returns its address.
func behindSocket(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, name), append([]string{"--listen", "127.0.0.1:0"}, args...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if _, a, ok := strings.Cut(lines.Text(), "listening on "); ok {
				address <- a
			} else {
				t.Log(lines.Text())
			}
		}
		ended <- cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%s ended with %v", name, err)
			}
		case <-time.After(timeout):
			cmd.Process.Kill()
			t.Errorf("%s did not end", name)
		}
	})
	select {
	case a := <-address:
		return a
	case <-time.After(timeout):
		t.Fatalf("%s does not say where it listens", name)
	}
	panic("unreachable")
}

// Each way of reaching a program that speaks WebSocket. It returns the URL of the program.
var ways = []struct {
	name  string
	serve func(t *testing.T, program string) string
}{
	{"CGI", func(t *testing.T, program string) string { return serve(t, "--cgi", program, "--upgrade") }},
	{"SCGI", func(t *testing.T, program string) string {
		return serve(t, "--scgi", behindSocket(t, "scgi-cgi", program), "--upgrade")
	}},
	{"uwsgi", func(t *testing.T, program string) string {
		return serve(t, "--uwsgi", behindSocket(t, "scgi-cgi", "--uwsgi", program), "--upgrade")
	}},
	{"FastCGI", func(t *testing.T, program string) string {
		return serve(t, "--fastcgi", behindSocket(t, "fcgi-cgi", program), "--upgrade")
	}},
}

func TestWSEcho(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			each(t, "ws_echo", 4, func(t *testing.T, program string) {
				url := way.serve(t, program)
				t.Run("ordinary requests are refused by the program", func(t *testing.T) {
					resp, err := http.Get("http" + strings.TrimPrefix(url, "ws"))
					if err != nil {
						t.Fatal(err)
					}
					resp.Body.Close()
					if resp.StatusCode != http.StatusUpgradeRequired {
						t.Errorf("got %s", resp.Status)
					}
				})
				t.Run("our client", func(t *testing.T) { speak(t, url) })
				t.Run("npm ws", func(t *testing.T) { node(t, url) })
			})
		})
	}
}

func speak(t *testing.T, url string) {
	c := dial(t, url, nil)
	for op, message := range map[wsframe.Opcode]string{
		wsframe.OpText: strings.Repeat("grüße ", 9000), wsframe.OpBinary: "\x00\xff",
	} {
		if err := c.conn.WriteMessage(op, []byte(message)); err != nil {
			t.Fatal(err)
		}
		if got, text, err := c.conn.ReadMessage(nil); err != nil || got != op || string(text) != message {
			t.Fatalf("got %v with %d bytes, %v", got, len(text), err)
		}
	}
	// The program ends by itself after its Close frame, and the end is clean.
	c.send("at last")
	if err := c.conn.WriteClose(4001, "enough"); err != nil {
		t.Fatal(err)
	}
	c.want("at last")
	_, _, err := c.conn.ReadMessage(nil)
	if end, ok := errors.AsType[*wsframe.CloseError](err); !ok || end.Code != 4001 {
		t.Errorf("got %v", err)
	}
	if _, resp, err := wsframe.Dial(t.Context(), url, &wsframe.DialOptions{Header: http.Header{"Origin": {"https://elsewhere.example"}}}); err == nil {
		t.Errorf("got %v for another origin", resp.Status)
	}
}

// node runs testdata/ws_echo.js.
func node(t *testing.T, url string) {
	want := "text 7 grüße\nbinary 3 00ff0a\ntext 0 \ntext 126 " + strings.Repeat("x", 20) + "\ntext 65536 " + strings.Repeat("y", 20) +
		"\nbinary 1000000 " + strings.Repeat("01", 20) + "\ntext 9 fragments pong between\nclosed 4000\nnot UTF-8 1007\n"
	nodeScript(t, "ws_echo.js", url, want)
}

// nodeScript runs a script of testdata with the npm package ws.
func nodeScript(t *testing.T, script, url, want string) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatal("no node here: run scripts/setup")
	}
	modules, err := filepath.Abs("../build/npm/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, "ws")); err != nil {
		t.Fatalf("no npm package ws (%v): run scripts/setup", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", filepath.Join("testdata", script), url)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}

func TestWSEchoPage(t *testing.T) {
	browser := browsertest.New(t)
	run := func(t *testing.T, url, query string) {
		p := browser.Open(t, pageURL(url, "ws_echo.html"+query))
		p.Wait(`document.getElementById("state").textContent === "connected"`)
		p.Type("#text", "grüße\r")
		p.Wait(`document.querySelector("#echoes li:nth-child(1)")?.firstChild.data === "grüße"`)
		p.Type("#text", "a\u00fc")
		p.Click("#bytes")
		p.Wait(`document.querySelector("#echoes li:nth-child(2)")?.firstChild.data === "61 c3 bc"`)
		p.Click("#close")
		p.Wait(`document.getElementById("state").textContent.startsWith("closed: 1000")`)
	}
	t.Run("a directory of CGI programs", func(t *testing.T) {
		url := serve(t, "--cgi", "ws_echo", "--upgrade", "--executable-only", "--static", "ws_echo")
		for _, query := range []string{"", "?ws_echo.pl"} {
			run(t, url, query)
		}
	})
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			for _, program := range []string{"./ws_echo/ws_echo.py", compiled("ws_echo/ws_echo.c")} {
				url := way.serve(t, program)
				talk(t, browser, pageURL(url, ""))
			}
		})
	}
}

// talk has a page of the browser talk with the program, whose own refusal of an ordinary request is a page of the right
// origin. Chromium sends the long message in fragments.
func talk(t *testing.T, browser *browsertest.Browser, url string) {
	t.Helper()
	browser.Open(t, url).Wait(`(window.talk ??= (async () => {
		const s = new WebSocket(location.href.replace("http", "ws"));
		s.binaryType = "arraybuffer";
		const next = name => new Promise(done => s.addEventListener(name, done, {once: true}));
		const echo = async message => { const answer = next("message"); s.send(message); return (await answer).data; };
		await next("open");
		const text = await echo("grüße"), bytes = new Uint8Array(await echo(new Uint8Array([0, 255, 10])));
		const long = "ü".repeat(500000), same = await echo(long) === long;
		const end = next("close");
		s.close(4001, "enough");
		const {code, wasClean} = await end;
		window.talked = [text, bytes, same, code, wasClean].join();
	})()) && window.talked === "grüße,0,255,10,true,4001,true"`)
}

// The commands of the top README.md, as they stand there but for addresses that must not be the same in two tests.
func TestCommandsOfTheREADME(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	browser := browsertest.New(t)
	var commands []string
	for line := range strings.Lines(string(readme)) {
		if strings.HasPrefix(line, "    ") && strings.Contains(line, "examples/ws_echo") {
			commands = append(commands, strings.TrimSpace(line))
		}
	}
	if len(commands) != 3 {
		t.Fatalf("want one as CGI, one through scgi-cgi and one through fcgi-cgi, got %q", commands)
	}
	for _, command := range commands {
		t.Run(command, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			command = strings.ReplaceAll(command, "127.0.0.1:4000", "unix:"+socket)
			command = strings.Replace(command, "wspawn ", "wspawn --port 0 --log-level warn ", 1)
			url := shell(t, command)
			if strings.HasPrefix(command, "wspawn ") {
				url += "ws_echo.py"
			} else { // two programs, which start at the same time
				for end := time.Now().Add(timeout); ; time.Sleep(10 * time.Millisecond) {
					if c, err := net.Dial("unix", socket); err == nil {
						c.Close()
						break
					} else if time.Now().After(end) {
						t.Fatal(err)
					}
				}
			}
			t.Run("npm ws", func(t *testing.T) { node(t, url) })
			t.Run("Chromium", func(t *testing.T) { talk(t, browser, pageURL(url, "")) })
		})
	}
}

// shell runs a command line at the top of the repository until the end of the test, and returns the URL that wspawn prints.
func shell(t *testing.T, command string) (url string) {
	t.Helper()
	cmd := exec.Command("bash", "-c", command)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(timeout):
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			t.Errorf("%s does not end", command)
		}
	})
	urls := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if found := listening.FindString(lines.Text()); found != "" {
				urls <- found
			}
		}
		ended <- cmd.Wait()
	}()
	select {
	case url = <-urls:
	case <-time.After(timeout):
		t.Fatalf("%s does not say where it listens", command)
	}
	return url
}
