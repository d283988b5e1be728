package console

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/wspawn/wspawn/internal/browsertest"
	"github.com/wspawn/wspawn/wsframe"
)

func get(t *testing.T, method, command string) (*http.Response, string) {
	t.Helper()
	w := httptest.NewRecorder()
	Handler(command).ServeHTTP(w, httptest.NewRequest(method, "/any/path?x=1", nil))
	resp := w.Result()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestThePolicyAllowsTheScriptAndStyleOfThePageAndNothingElse(t *testing.T) {
	resp, body := get(t, "GET", "cat")
	policy := resp.Header.Get("Content-Security-Policy")
	for _, element := range []string{"script", "style"} {
		found := regexp.MustCompile(`(?s)<`+element+`\b[^>]*>(.*?)</`+element+`>`).FindAllStringSubmatch(body, -1)
		if len(found) != 1 {
			t.Fatalf("%d %s elements, want 1", len(found), element)
		}
		sum := sha256.Sum256([]byte(found[0][1]))
		want := element + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "';"
		if !strings.Contains(policy, want) {
			t.Errorf("policy %q lacks %q", policy, want)
		}
	}
	if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q is not strict", policy)
	}
	if inline := regexp.MustCompile(`\s(on\w+|style)=`).FindString(body); inline != "" {
		t.Errorf("the page has the attribute %q, which the policy forbids", inline)
	}
	if external := regexp.MustCompile(`(src|href)="[^d]`).FindString(body); external != "" {
		t.Errorf("the page refers to other files: %q", external)
	}
}

func TestTheCommandIsText(t *testing.T) {
	_, body := get(t, "GET", `sh -c '</title><script>alert("x")</script>'`)
	if strings.Contains(body, `alert("x")`) || strings.Count(body, "<script") != 1 {
		t.Error("the command came through as markup")
	}
	if want := "<h1>sh -c &#39;&lt;/title&gt;&lt;script&gt;"; !strings.Contains(body, want) {
		t.Errorf("no %q in the page", want)
	}
}

func TestMethods(t *testing.T) {
	resp, body := get(t, "POST", "cat")
	if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: status %d, Allow %q: %s", resp.StatusCode, resp.Header.Get("Allow"), body)
	}
	server := httptest.NewServer(Handler("cat"))
	defer server.Close()
	resp, err := http.Head(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.ContentLength < 1000 {
		t.Errorf("HEAD: status %d, length %d", resp.StatusCode, resp.ContentLength)
	}
}

// serve runs a server with the console and, on the same path, a WebSocket that
// echoes; some messages make it do other things.
func serve(t *testing.T) *httptest.Server {
	t.Helper()
	page := Handler("cat -u")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			page.ServeHTTP(w, r)
			return
		}
		req, err := wsframe.ParseRequest(r)
		if err != nil {
			t.Error(err)
			return
		}
		var o wsframe.AcceptOptions
		if len(req.Protocols) > 0 {
			o.Protocol = req.Protocols[len(req.Protocols)-1]
		}
		c, err := wsframe.Accept(w, r, &o)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		echo(c, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func echo(c *wsframe.Conn, r *http.Request) {
	for {
		op, p, err := c.ReadMessage(nil)
		switch text := string(p); {
		case err != nil:
			return
		case text == "where":
			c.WriteMessage(op, []byte(r.URL.RequestURI()))
		case text == "binary":
			c.WriteMessage(wsframe.OpBinary, []byte("\x00\x01\xfe\xffabcdefghijklmnopq"))
		case text == "flood":
			for range 3000 {
				c.WriteMessage(wsframe.OpText, []byte("drop"))
			}
			c.WriteMessage(wsframe.OpText, []byte("last drop"))
		case text == "bye":
			c.Close(4001, "as <b>you</b> wish")
			return
		case text == "vanish":
			c.CloseNow()
			return
		default:
			c.WriteMessage(op, p)
		}
	}
}

const (
	lastIs    = `[...document.querySelectorAll("#log li.in pre")].at(-1)?.textContent === `
	stateIs   = `document.getElementById("state").textContent === `
	boxIs     = `document.getElementById("text").value === `
	connected = stateIs + `"connected"`
)

func TestAConversation(t *testing.T) {
	server := serve(t)
	p := browsertest.New(t).Open(t, server.URL+"/some/path?a=b&c=d")

	want := "ws" + strings.TrimPrefix(server.URL, "http") + "/some/path?a=b&c=d"
	if url := browsertest.Get(p, chromedp.Value(chromedp.CSS("#url"))); url != want {
		t.Errorf("the URL is %q, want %q", url, want)
	}
	p.Type("#connect", "\r") // it has the focus: the keyboard is enough
	p.Wait(connected)
	p.Wait(`document.activeElement.id === "text"`)

	p.Type("#text", "where\r")
	p.Wait(lastIs + `"/some/path?a=b&c=d"`)
	p.Type("#text", "<img src=x onerror=alert(1)>\r")
	p.Wait(lastIs + `"<img src=x onerror=alert(1)>"`)
	p.Type("#text", "häß\r")
	p.Wait(lastIs + `"häß"`)
	p.Wait(`document.querySelector("#log li.in:last-child .meta").textContent.startsWith("text · 5 B · ")`)
	p.Type("#text", "\r")
	p.Wait(lastIs + `""`)

	p.Type("#text", "binary\r")
	p.Wait(lastIs + "`000000  00 01 fe ff 61 62 63 64 65 66 67 68 69 6a 6b 6c  ····abcdefghijkl\n" +
		"000010  6d 6e 6f 70 71                                   mnopq`")
	p.Wait(`document.querySelector("#log li.in:last-child .meta").textContent.startsWith("binary · 21 B · ")`)
	p.Wait(`document.getElementById("counts").textContent === "↓ 5 (72 B)   ↑ 5 (44 B)"`)

	// The history, and back to what was being written.
	p.Type("#text", "draft"+kb.ArrowUp)
	p.Wait(boxIs + `"binary"`)
	p.Type("#text", kb.ArrowUp+kb.ArrowUp+kb.ArrowUp+kb.ArrowUp+kb.ArrowUp)
	p.Wait(boxIs + `"where"`)
	p.Type("#text", kb.ArrowDown+kb.ArrowDown+kb.ArrowDown+kb.ArrowDown)
	p.Wait(boxIs + `"draft"`)

	screenshot(t, p)
	p.Click("#clear")
	p.Wait(`document.getElementById("log").children.length === 0`)
	p.Click("#connect")
	p.Wait(stateIs + `"closed: 1000, clean"`)
	p.Wait(`document.getElementById("connect").textContent === "Connect"`)
}

func TestHowAConnectionEnds(t *testing.T) {
	p := browsertest.New(t).Open(t, serve(t).URL)
	for _, tt := range []struct{ message, state string }{
		{"bye", "closed: 4001 “as <b>you</b> wish”, clean"},
		{"vanish", "closed: 1006, not clean"},
	} {
		p.Click("#connect")
		p.Wait(connected)
		p.Type("#text", tt.message+"\r")
		p.Wait(stateIs + "`" + tt.state + "`")
		p.Wait(`document.getElementById("text").disabled`)
	}
	screenshot(t, p)

	nobody := httptest.NewServer(http.NotFoundHandler())
	defer nobody.Close()
	p.Do(chromedp.SetValue(chromedp.CSS("#url"), "ws"+strings.TrimPrefix(nobody.URL, "http")))
	p.Click("#connect")
	p.Wait(`document.getElementById("state").textContent.startsWith("no connection: refused")`)
	p.Wait(`document.getElementById("connect").textContent === "Connect"`)

	p.Do(chromedp.SetValue(chromedp.CSS("#url"), "ftp://example"))
	p.Click("#connect")
	p.Wait(`document.getElementById("state").className === "bad"`)
	p.Wait(`document.getElementById("connect").textContent === "Connect"`)
}

func TestASubprotocolIsAskedForAndShown(t *testing.T) {
	p := browsertest.New(t).Open(t, serve(t).URL)
	p.Type("#protocols", "chat.v1, chat.v2,\r")
	p.Wait(stateIs + `"connected, subprotocol chat.v2"`)
}

func TestAFloodOfMessagesLeavesTheLastThousand(t *testing.T) {
	p := browsertest.New(t).Open(t, serve(t).URL)
	p.Click("#connect")
	p.Wait(connected)
	p.Type("#text", "flood\r")
	p.Wait(lastIs + `"last drop"`)
	p.Wait(`document.getElementById("log").children.length === 1000`)
	p.Wait(`(({scrollTop, clientHeight, scrollHeight}) => scrollTop + clientHeight >= scrollHeight - 1)(document.getElementById("log"))`)

	// Who scrolls up stays there.
	browsertest.Get(p, chromedp.Evaluate[int](`document.getElementById("log").scrollTop = 100`))
	p.Wait(`!document.getElementById("follow").checked`)
	p.Type("#text", "more\r")
	p.Wait(lastIs + `"more"`)
	p.Wait(`document.getElementById("log").scrollTop < 1000`)
}

// screenshot leaves a picture for people, where WSPAWN_SCREENSHOTS names a
// directory.
func screenshot(t *testing.T, p *browsertest.Page) {
	dir := os.Getenv("WSPAWN_SCREENSHOTS")
	if dir == "" {
		return
	}
	picture := browsertest.Get(p, chromedp.CaptureScreenshot())
	if err := os.WriteFile(dir+"/"+t.Name()+".png", picture, 0o644); err != nil {
		t.Fatal(err)
	}
}
