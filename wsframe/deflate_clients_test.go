package wsframe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/wspawn/wspawn/internal/browsertest"
)

// echoCompressed serves echoes with the compression that the query asks for, read and written in a way
// that follows from it.
func echoCompressed(t *testing.T) (addr string) {
	var all sync.WaitGroup
	addr = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/page" {
			script, err := os.ReadFile("testdata/clients/deflate.js")
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(w, "<!doctype html><meta charset=utf-8><link rel=icon href='data:,'><title>page</title><script>%s</script>", script)
			return
		}
		number := func(name string) int {
			n, _ := strconv.Atoi(r.URL.Query().Get(name))
			return n
		}
		o := &AcceptOptions{AllowOrigin: func(*Request) error { return nil }}
		o.Compression = &Compression{Level: number("level"), Window: number("window"), PeerWindow: number("peer"), MinSize: -1}
		o.FragmentSize = number("fragment")
		c, err := Accept(w, r, o)
		if err != nil {
			t.Error(err)
			return
		}
		run := echo
		if number("window") == 512 {
			run = echoStreams
		}
		all.Go(func() {
			var e *CloseError
			if err := run(c); !errors.As(err, &e) || e.Code != CloseNormal {
				t.Errorf("%s: %v", r.URL, err)
			}
			c.CloseNow()
		})
	}))
	t.Cleanup(all.Wait)
	return addr
}

func TestCompressionWithNodeClient(t *testing.T) {
	cmd := node(t, "deflate.js", "client", "ws://"+echoCompressed(t)+"/")
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != 5*2*2*2*2 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if !strings.HasSuffix(line, ": permessage-deflate, closed 1000 ") {
			t.Error(line)
		}
	}
}

func TestCompressionWithChromium(t *testing.T) {
	addr := echoCompressed(t)
	page := browsertest.New(t).Open(t, "http://"+addr+"/page")
	for query, want := range map[string]string{
		"":                        "server_no_context_takeover; client_no_context_takeover",
		"window=512":              "client_no_context_takeover",
		"peer=512":                "server_no_context_takeover; client_max_window_bits=9",
		"peer=32768":              "server_no_context_takeover",
		"window=32768&peer=32768": "",
		"window=4096&peer=16384&level=9&fragment=1000": "client_max_window_bits=14",
	} {
		got := browsertest.Get(page, chromedp.Evaluate[string](
			`echoes(WebSocket, "ws://`+addr+`/?`+query+`")`, chromedp.EvalAwaitPromise))
		if want != "" {
			want = "; " + want
		}
		if want = "permessage-deflate" + want + ", closed 1000 "; got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
}

func TestCompressionWithNodeServer(t *testing.T) {
	base, ended, stop := nodeServer(t, "deflate.js", "server")
	agreed := make(map[string]bool)
	seed := uint64(0)
	for _, o := range []Compression{{}, {Window: 512}, {PeerWindow: 4096, Level: 9}, {Window: 32768, PeerWindow: 32768}, {Window: 4096, PeerWindow: 512}} {
		o.MinSize = -1
		for _, alone := range []bool{false, true} {
			for _, bits := range []int{0, 9, 12} {
				for _, clientBits := range []int{0, 10} {
					params := map[string]any{"threshold": int(seed%3) * 500} // the others are not compressed
					if alone {
						params["serverNoContextTakeover"] = true
					} else {
						params["clientNoContextTakeover"] = true
					}
					if bits > 0 {
						params["serverMaxWindowBits"] = bits
					}
					if clientBits > 0 {
						params["clientMaxWindowBits"] = clientBits
					}
					query, _ := json.Marshal(params)
					d := &DialOptions{}
					d.Compression = &o
					c, _, err := Dial(t.Context(), base+"/?"+url.QueryEscape(string(query)), d)
					if err != nil {
						t.Fatalf("%s: %v", query, err)
					}
					agreed[c.Extensions()] = true
					seed++
					sent := messages(rand.New(rand.NewPCG(seed, 1)), 30)
					go func() {
						for _, m := range sent {
							c.WriteMessage(OpBinary, m)
						}
					}()
					for i, m := range sent {
						if _, got, err := c.ReadMessage(nil); err != nil || !bytes.Equal(got, m) {
							t.Fatalf("%+v, %s (%s), message %d: %d bytes of %d, %v", o, query, c.Extensions(), i, len(got), len(m), err)
						}
					}
					if err := c.Close(CloseNormal, ""); err != nil {
						t.Error(err)
					}
					ended("closed 1000")
				}
			}
		}
	}
	if len(agreed) < 10 || agreed[""] {
		t.Errorf("agreed on %v", agreed)
	}
	stop()
}
