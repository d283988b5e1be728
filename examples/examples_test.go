//go:build unix

package examples

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/browsertest"
	"github.com/wspawn/wspawn/wsframe"
)

func TestCount(t *testing.T) {
	each(t, "count", 6, func(t *testing.T, program string) {
		c := dial(t, serve(t, program, "4", "0.05"), nil)
		c.want("1", "2", "3", "4")
		c.wantEnd()
	})
}

func TestCountComesAtOnce(t *testing.T) {
	each(t, "count", 6, func(t *testing.T, program string) {
		// The second number is an hour away: the first one cannot be waiting in
		// a buffer for the end.
		c := dial(t, serve(t, program, "2", "3600"), nil)
		c.want("1")
		c.leave()
	})
}

func TestGreeter(t *testing.T) {
	each(t, "greeter", 6, func(t *testing.T, program string) {
		c := dial(t, serve(t, program), nil)
		for _, name := range []string{"Ada", "Jörg Müller", `\n %s $(id)`, ""} {
			c.send(name)
			c.want("Hello, " + name + "!")
		}
		c.leave()
	})
}

func TestEcho(t *testing.T) {
	each(t, "echo", 6, func(t *testing.T, program string) {
		c := dial(t, serve(t, program), nil)
		texts := []string{"a", "", "  \\ spaces\t", "-n", "日本", strings.Repeat("long ", 20000)}
		for _, text := range texts {
			c.send(text)
			c.want(text)
		}
		for _, text := range texts { // all at once
			c.send(text)
		}
		c.want(texts...)
		c.leave()
	})
}

func TestEchoOfBytes(t *testing.T) {
	for _, program := range []string{"echo-c", "echo-go"} {
		t.Run(program, func(t *testing.T) {
			c := dial(t, serve(t, "--binary", "--framing", "raw", filepath.Join(bin, program)), nil)
			want := []byte("\x00\n\xff\r\n")
			if err := c.conn.WriteMessage(wsframe.OpBinary, want); err != nil {
				t.Fatal(err)
			}
			op, got, err := c.conn.ReadMessage(nil)
			if err != nil || op != wsframe.OpBinary || string(got) != string(want) {
				t.Fatalf("got %v %q, %v; want %q", op, got, err, want)
			}
			c.leave()
		})
	}
}

func TestDumpEnv(t *testing.T) {
	each(t, "dump-env", 6, func(t *testing.T, program string) {
		url := serve(t, "--env", "PLACE=here", program)
		c := dial(t, url+"?a=b&c", http.Header{"X-Test": {"one"}})
		got := map[string]string{}
		for {
			_, line, err := c.conn.ReadMessage(nil)
			if err != nil {
				break
			}
			name, value, _ := strings.Cut(string(line), "=")
			got[name] = value
		}
		for name, want := range map[string]string{
			"REQUEST_METHOD": "GET",
			"QUERY_STRING":   "a=b&c",
			"HTTP_X_TEST":    "one",
			"REMOTE_ADDR":    "127.0.0.1",
			"PLACE":          "here",
		} {
			if got[name] != want {
				t.Errorf("%s is %q, want %q", name, got[name], want)
			}
		}
		if secret, ok := got["WSPAWN_EXAMPLES_SECRET"]; ok {
			t.Errorf("the environment of the server leaked: %q", secret)
		}
	})
}

func TestChat(t *testing.T) {
	for _, tt := range []struct{ name, first, second string }{
		{"Bash", "./chat/chat.sh", "./chat/chat.sh"},
		{"Python", "./chat/chat.py", "./chat/chat.py"},
		{"both in one room", "./chat/chat.sh", "./chat/chat.py"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			room := filepath.Join(t.TempDir(), "room")
			urls := []string{serve(t, tt.first, room), serve(t, tt.second, room)}

			ann := dial(t, urls[0], nil)
			ann.want("What is your name?")
			ann.send("Ann")
			ann.want("* Ann came in")

			bob := dial(t, urls[1], nil)
			bob.want("What is your name?")
			bob.send("Bob")
			bob.want("* Ann came in", "* Bob came in")
			ann.want("* Bob came in")

			ann.send("hello \\ $HOME")
			bob.want("Ann: hello \\ $HOME")
			ann.want("Ann: hello \\ $HOME")
			bob.send("grüß dich")
			ann.want("Bob: grüß dich")
			bob.want("Bob: grüß dich")

			// One who leaves without a name was never here.
			eve := dial(t, urls[1], nil)
			eve.want("What is your name?")
			eve.leave()

			ann.leave()
			bob.want("* Ann left")
			bob.leave()
			waitUntil(t, "the room is gone", func() bool {
				_, err := os.Stat(room)
				return errors.Is(err, os.ErrNotExist)
			})
		})
	}
}

func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(timeout); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// pageURL returns the URL of a page beside the WebSocket.
func pageURL(url, page string) string {
	return "http" + strings.TrimPrefix(url, "ws") + page
}

func TestPages(t *testing.T) {
	browser := browsertest.New(t)

	t.Run("count", func(t *testing.T) {
		t.Parallel()
		url := serve(t, "--static", "count", "./count/count.sh", "3", "0.1")
		p := browser.Open(t, pageURL(url, "count.html"))
		p.Wait(`document.getElementById("number").textContent === "3"`)
		p.Wait(`document.getElementById("state").textContent.startsWith("closed: 1000")`)
	})
	t.Run("greeter", func(t *testing.T) {
		t.Parallel()
		url := serve(t, "--static", "greeter", "./greeter/greeter.sh")
		p := browser.Open(t, pageURL(url, "greeter.html"))
		p.Wait(`document.getElementById("state").textContent === "connected"`)
		p.Type("#name", "Ada <b>\r")
		p.Wait(`document.getElementById("greeting").textContent === "Hello, Ada <b>!"`)
	})
	t.Run("echo", func(t *testing.T) {
		t.Parallel()
		url := serve(t, "--static", "echo", "./echo/echo.py")
		p := browser.Open(t, pageURL(url, "echo.html"))
		p.Wait(`document.getElementById("state").textContent === "connected"`)
		p.Type("#text", "one\rtwo\r")
		p.Wait(`/^one \d+\.\d ms$/.test(document.querySelector("#echoes li:nth-child(1)")?.textContent)`)
		p.Wait(`/^two \d+\.\d ms$/.test(document.querySelector("#echoes li:nth-child(2)")?.textContent)`)
	})
	t.Run("a program that ends, and one that does not exist", func(t *testing.T) {
		t.Parallel()
		p := browser.Open(t, pageURL(serve(t, "--static", "echo", "head", "-n", "1"), "echo.html"))
		p.Wait(`!document.getElementById("fields").disabled`)
		p.Type("#text", "one\r")
		p.Wait(`document.querySelector("#echoes li") && document.getElementById("fields").disabled`)
		p.Wait(`document.getElementById("state").textContent === "closed: 1000 exit status 0"`)
		p = browser.Open(t, pageURL(serve(t, "--static", "echo", "--dir", "chat"), "echo.html"))
		p.Wait(`document.getElementById("state").textContent === "no connection: 1006 "`)
	})
	t.Run("chat", func(t *testing.T) {
		t.Parallel()
		url := serve(t, "--static", "chat", "./chat/chat.sh", filepath.Join(t.TempDir(), "room"))
		last := func(text string) string {
			return fmt.Sprintf(`document.querySelector("#room p:last-child")?.textContent === %q`, text)
		}
		ann := browser.Open(t, pageURL(url, "chat.html"))
		ann.Wait(last("What is your name?"))
		ann.Type("#text", "Ann\r")
		ann.Wait(last("* Ann came in"))
		bob := browser.Open(t, pageURL(url, "chat.html"))
		bob.Wait(last("What is your name?"))
		bob.Type("#text", "Bob\r")
		ann.Wait(last("* Bob came in"))
		bob.Type("#text", "hi <i>there</i>\r")
		ann.Wait(last("Bob: hi <i>there</i>"))
		bob.Wait(last("Bob: hi <i>there</i>"))
	})
}

// The comment at the top of every program has the command that runs it, and
// README.md has a link to it. Where one command is not enough there is a README.md for the directory.
func TestEveryExampleSaysHowToRunIt(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	files := glob("*.*")
	if len(files) < 30 {
		t.Fatalf("only %d files", len(files))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(filepath.Dir(file))
		if own, err := os.ReadFile(filepath.Join(name, "README.md")); err == nil {
			if !strings.Contains(string(readme), "]("+name+")") {
				t.Errorf("README.md has no link to %s", name)
			}
			if base := filepath.Base(file); base != "README.md" && !strings.Contains(string(own), "("+base+")") {
				t.Errorf("%s/README.md has no link to %s", name, base)
			}
			continue
		}
		var command string
		ext := filepath.Ext(file)
		if name == "ws_echo" || name == "frames" { // these are run in another way
			ext = name + ext
		}
		switch ext {
		case "ws_echo.html":
			command = "wspawn --cgi examples/ws_echo --upgrade --executable-only --static examples/ws_echo"
		case "ws_echo.py", "ws_echo.pl":
			command = "wspawn --cgi examples/ws_echo --upgrade"
		case "ws_echo.c":
			command = "cc -O2 -o build/ws_echo examples/ws_echo/ws_echo.c && wspawn --cgi build/ws_echo --upgrade"
		case "ws_echo.go":
			command = "go build -o build/ws_echo examples/ws_echo/ws_echo.go && wspawn --cgi build/ws_echo --upgrade"
		case ".html":
			command = fmt.Sprintf("wspawn --static examples/%s ./examples/%s/%s.sh", name, name, name)
		case ".c":
			command = fmt.Sprintf("cc -o build/%s examples/%s && wspawn build/%s", name, file, name)
		case ".go":
			command = fmt.Sprintf("go build -o build/%s examples/%s && wspawn build/%s", name, file, name)
		case "frames.py":
			command = "wspawn --framing frames ./examples/" + file
		default:
			command = "wspawn ./examples/" + file
		}
		if info, err := os.Stat(file); err != nil || !slices.Contains([]string{".html", ".c", ".go"}, filepath.Ext(file)) && info.Mode()&0o111 == 0 {
			t.Errorf("%s is not executable", file)
		}
		if !strings.Contains(string(text), command+"\n") {
			t.Errorf("%s does not say %q", file, command)
		}
		if !strings.Contains(string(readme), "("+filepath.ToSlash(file)+")") {
			t.Errorf("README.md has no link to %s", file)
		}
	}
}
