package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/gatewaytest"
	"github.com/wspawn/wspawn/internal/stream"
	"github.com/wspawn/wspawn/internal/streamtest"
)

const (
	key      = "AAAAAAAAAAAAAAAAAAAAAA=="
	accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
)

func TestAccept(t *testing.T) {
	if got := accept("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("%s", got)
	}
	if !strings.Contains(accepted, accept(key)+"\r\n") {
		t.Errorf("the tests need %s", accept(key))
	}
}

// switching is a raw backend that answers an upgrade and goes on with f.
func switching(t *testing.T, f func(p *peer)) string {
	return raw(t, func(p *peer) {
		if p.request() != nil {
			io.WriteString(p, accepted)
			f(p)
		}
	})
}

// opened asks for an upgrade, with bytes behind it, and expects to get it.
func opened(t *testing.T, addr, behind string) *gatewaytest.Conn {
	t.Helper()
	c := gatewaytest.Dial(t, addr)
	c.Send(gatewaytest.Upgrade("") + behind)
	if r := c.Head(); r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("answer %d", r.StatusCode)
	}
	return c
}

var on = Config{Upgrade: true}

func TestRequestsThatMayBeUpgrades(t *testing.T) {
	const socket = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n"
	tests := []struct {
		name, request string
		off           bool
		want          string // Upgrade and Connection at the backend
		status        int
	}{
		{name: "an upgrade", request: "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n" + socket, want: "websocket|Upgrade"},
		{name: "in other letters", request: "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, uPgrade\r\nUpgrade: WebSocket\r\n", want: "WebSocket|Upgrade"},
		{name: "another protocol", request: "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: foo/1\r\n", want: "foo/1|Upgrade"},
		{name: "two protocols", request: "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: foo/1\r\nUpgrade: bar\r\n", want: "foo/1, bar|Upgrade"},
		{name: "another method", request: "POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nContent-Length: 0\r\n" + socket, want: "websocket|Upgrade"},
		{name: "not enabled", off: true, request: "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n" + socket, want: "|"},
		{name: "not named in Connection", request: "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n" + socket, want: "|"},
		{name: "no Connection", request: "GET / HTTP/1.1\r\nHost: h\r\n" + socket, want: "|"},
		{name: "HTTP/1.0", request: "GET / HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\n" + socket, want: "|"},
		{name: "with a body", request: "POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nContent-Length: 1\r\n" + socket, want: "|"},
		{name: "h2c", request: "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", want: "|"},
		{name: "h2c beside others", request: "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: H2C, websocket\r\n", want: "|"},
		{name: "two keys", request: "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n" + socket, status: 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got string
			backend := origin(t, func(w http.ResponseWriter, r *http.Request) {
				got = r.Header.Get("Upgrade") + "|" + r.Header.Get("Connection")
				if r.Header.Get("Http2-Settings") != "" {
					t.Error("HTTP2-Settings came through")
				}
				io.WriteString(w, "ordinary")
			})
			c := gatewaytest.Dial(t, front(t, Config{Upgrade: !tt.off}, backend))
			c.Send(tt.request + "\r\n")
			if strings.Contains(tt.request, "Content-Length: 1") {
				c.Send("x")
			}
			res := c.Head()
			if body := c.Body(res); tt.status == 0 && (res.StatusCode != 200 || body != "ordinary") || tt.status != 0 && res.StatusCode != tt.status {
				t.Errorf("%d %q", res.StatusCode, body)
			}
			if got != tt.want {
				t.Errorf("the backend saw %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTheRequestForAnUpgradeOnTheWire(t *testing.T) {
	got := make(chan string, 1)
	addr := front(t, Config{Upgrade: true, StripPrefix: "/app", Forwarding: ForwardDrop}, raw(t, func(p *peer) {
		var all strings.Builder
		for !strings.HasSuffix(all.String(), "\r\n\r\n") {
			line, err := p.r.ReadString('\n')
			if err != nil {
				return
			}
			all.WriteString(line)
		}
		got <- all.String()
	}))
	c := gatewaytest.Dial(t, addr)
	c.Send("GET /app/a%2Fb?c HTTP/1.1\r\nHost: h:1\r\nupgrade: websocket\r\nconnection: keep-alive, upgrade, x-hop\r\nx-hop: 1\r\nsec-websocket-key: " + key + "\r\nsec-websocket-protocol: a\r\nsec-websocket-protocol: b\r\n\r\n")
	want := "GET /a%2Fb?c HTTP/1.1\r\nHost: h:1\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " + key + "\r\nSec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\nUpgrade: websocket\r\n\r\n"
	if s := <-got; s != want {
		t.Errorf("%q, want %q", s, want)
	}
	if res := c.Head(); res.StatusCode != 502 {
		t.Errorf("%d", res.StatusCode)
	}
}

func TestAnswersToUpgrades(t *testing.T) {
	const accept = "Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n"
	tests := []struct {
		name, answer string
		config       Config
		status       int
		body         string
	}{
		{name: "right", answer: accepted, status: 101},
		{name: "no Connection line", answer: "HTTP/1.1 101 Sw\r\nUpgrade: websocket\r\n" + accept + "\r\n", status: 101},
		{name: "in other letters", answer: "HTTP/1.1 101\r\nupgrade: WebSocket\r\nsec-websocket-accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n", status: 101},
		{name: "a length of nothing", answer: "HTTP/1.1 101 Sw\r\nUpgrade: websocket\r\nContent-Length: 0\r\n" + accept + "\r\n", status: 101},
		{name: "after hints", answer: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + accepted, status: 103},
		{name: "no protocol", answer: "HTTP/1.1 101 Sw\r\nConnection: Upgrade\r\n" + accept + "\r\n", status: 502},
		{name: "another protocol", answer: "HTTP/1.1 101 Sw\r\nUpgrade: h2c\r\n" + accept + "\r\n", status: 502},
		{name: "one protocol more", answer: "HTTP/1.1 101 Sw\r\nUpgrade: websocket, h2c\r\n" + accept + "\r\n", status: 502},
		{name: "no accept", answer: "HTTP/1.1 101 Sw\r\nUpgrade: websocket\r\n\r\n", status: 502},
		{name: "two of them", answer: "HTTP/1.1 101 Sw\r\nUpgrade: websocket\r\n" + accept + accept + "\r\n", status: 502},
		{name: "a wrong one", answer: "HTTP/1.1 101 Sw\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", status: 502},
		{name: "in small letters", answer: strings.Replace(accepted, "ICX+Y", "icx+y", 1), status: 502},
		{name: "no", answer: "HTTP/1.1 403 Forbidden\r\nX-A: b\r\nContent-Length: 2\r\n\r\nno", status: 403, body: "no"},
		{name: "an ordinary answer", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", status: 200, body: "ok"},
		{name: "an ordinary answer up to the end", answer: "HTTP/1.0 200 OK\r\n\r\nok", status: 200, body: "ok"},
		{name: "the wrong version", answer: "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n", status: 426},
		{name: "a status that is none", answer: "HTTP/1.1 099 x\r\n\r\n", status: 502},
		{name: "nothing", answer: "", status: 502},
		{name: "half a head", answer: "HTTP/1.1 101 Sw\r\nUpgrade: websocket\r\n", status: 502},
		{name: "no HTTP", answer: "hello\n", status: 502},
		{name: "a large head", config: Config{MaxHeader: 1000}, answer: "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 6000) + "\r\n\r\n", status: 502},
		{name: "hints without an end", config: Config{MaxHeader: 1000}, answer: strings.Repeat("HTTP/1.1 100 Continue\r\nA: b\r\n\r\n", 100), status: 502},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Upgrade = true
			c := gatewaytest.Dial(t, front(t, tt.config, raw(t, func(p *peer) {
				p.request()
				io.WriteString(p, tt.answer)
			})))
			c.Send(gatewaytest.Upgrade(""))
			res := c.Head()
			if res.StatusCode != tt.status {
				t.Fatalf("%d, want %d", res.StatusCode, tt.status)
			}
			switch tt.status {
			case 101:
				if got := res.Header["Upgrade"]; len(got) != 1 || !strings.EqualFold(got[0], "websocket") || res.Header.Get("Content-Length") != "" || res.Header.Get("Connection") != "Upgrade" {
					t.Errorf("%v", res.Header)
				}
				c.ExpectEnd()
			case 103:
				if res := c.Head(); res.StatusCode != 101 || res.Header.Get("Link") != "" {
					t.Errorf("%d %v", res.StatusCode, res.Header)
				}
			case 502:
			default:
				if body := c.Body(res); body != tt.body {
					t.Errorf("body %q", body)
				}
			}
		})
	}
}

func TestADeclinedUpgradeLeavesTheConnectionInUse(t *testing.T) {
	c := gatewaytest.Dial(t, front(t, on, origin(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusForbidden) })))
	for range 3 {
		c.Send(gatewaytest.Upgrade(""))
		if body := c.Body(c.Head()); body != "no\n" {
			t.Errorf("%q", body)
		}
	}
}

func TestTunnels(t *testing.T) {
	echo := func(p *peer) { io.Copy(p, p.r) }
	long := strings.Repeat("0123456789", 2000)
	t.Run("bytes glued to the request", func(t *testing.T) {
		c := opened(t, front(t, on, switching(t, echo)), long)
		c.Expect(long)
		c.Send("late")
		c.Expect("late")
	})
	t.Run("bytes glued to the answer", func(t *testing.T) {
		c := opened(t, front(t, on, raw(t, func(p *peer) {
			p.request()
			io.WriteString(p, accepted+long)
			io.Copy(p, p.r)
		})), "")
		c.Expect(long)
		c.Send("x")
		c.Expect("x")
	})
	t.Run("the client ends first", func(t *testing.T) {
		c := opened(t, front(t, on, switching(t, func(p *peer) {
			b, _ := io.ReadAll(p.r)
			fmt.Fprintf(p, "got %s, last words", b)
		})), "")
		c.Send("hello")
		c.CloseWrite()
		c.Expect("got hello, last words")
		c.ExpectEnd()
	})
	t.Run("the client ends with its request", func(t *testing.T) {
		c := gatewaytest.Dial(t, front(t, on, raw(t, func(p *peer) {
			p.request()
			time.Sleep(50 * time.Millisecond)
			io.WriteString(p, accepted)
			io.Copy(p, p.r)
			io.WriteString(p, "bye")
		})))
		c.Send(gatewaytest.Upgrade("") + "hello ")
		c.CloseWrite()
		c.Head()
		c.Expect("hello bye")
		c.ExpectEnd()
	})
	t.Run("the backend ends first", func(t *testing.T) {
		got := make(chan string, 1)
		c := opened(t, front(t, on, switching(t, func(p *peer) {
			io.WriteString(p, "all there is")
			p.CloseWrite()
			b, _ := io.ReadAll(p.r)
			got <- string(b)
		})), "")
		c.Expect("all there is")
		c.ExpectEnd()
		c.Send("and all of ours")
		c.CloseWrite()
		if s := <-got; s != "and all of ours" {
			t.Errorf("%q", s)
		}
	})
	t.Run("the client resets", func(t *testing.T) {
		ended := make(chan struct{})
		c := opened(t, front(t, on, switching(t, func(p *peer) {
			io.Copy(io.Discard, p.r)
			close(ended)
		})), "")
		c.SetLinger(0)
		c.Close()
		<-ended
	})
	t.Run("the backend resets", func(t *testing.T) {
		c := opened(t, front(t, on, switching(t, func(p *peer) {
			p.r.ReadByte()
			p.SetLinger(0)
		})), "")
		c.Send("x")
		if _, err := io.ReadAll(c.R); errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
	t.Run("bulk both ways", func(t *testing.T) {
		c := opened(t, front(t, on, switching(t, echo)), "")
		c.EchoBulk()
	})
	t.Run("timeouts and limits of requests do not count", func(t *testing.T) {
		const short = time.Second
		c := opened(t, front(t, Config{Upgrade: true, ReadTimeout: short, WriteTimeout: short, ClientTimeout: short, MaxBody: 3}, switching(t, echo)), "")
		time.Sleep(short + short/4)
		c.Send("hello")
		c.Expect("hello")
	})
	for name, config := range map[string]Config{
		"idle":                {Upgrade: true, IdleTimeout: 500 * time.Millisecond},
		"life":                {Upgrade: true, MaxLife: time.Second},
		"expiry":              {Upgrade: true, Expires: func(*http.Request) time.Time { return time.Now().Add(time.Second) }},
		"half that is silent": {Upgrade: true, HalfTimeout: 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{})
			c := opened(t, front(t, config, switching(t, func(p *peer) {
				io.CopyN(p, p.r, 1)
				if strings.HasPrefix(name, "half") {
					p.CloseWrite()
				}
				io.Copy(io.Discard, p.r)
				close(ended)
			})), "")
			c.Send("x")
			c.Expect("x")
			io.ReadAll(c.R)
			<-ended
		})
	}
	t.Run("a Unix socket", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Upgrade") == "" {
				io.WriteString(w, r.Host)
				return
			}
			c, _, err := stream.Upgrade(w, r, http.Header{"Sec-WebSocket-Accept": {accept(r.Header.Get("Sec-WebSocket-Key"))}})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.Copy(c, c)
		})}
		go s.Serve(ln)
		t.Cleanup(func() { s.Close() })
		addr := front(t, on, path)
		c := opened(t, addr, "")
		c.Send("hello")
		c.Expect("hello")
		c.CloseWrite()
		c.ExpectEnd()
		if _, body := fetch(t, newRequest(t, "GET", "http://"+addr+"/", nil)); body != addr {
			t.Errorf("%q", body)
		}
	})
}

func TestBackendsOfUpgrades(t *testing.T) {
	echo := func(p *peer) { io.Copy(p, p.r) }
	t.Run("one is dead", func(t *testing.T) {
		addr := front(t, on, streamtest.Dead(t), switching(t, echo))
		for range 4 {
			c := opened(t, addr, "hello")
			c.Expect("hello")
		}
	})
	t.Run("all are dead", func(t *testing.T) {
		c := gatewaytest.Dial(t, front(t, on, streamtest.Dead(t)))
		c.Send(gatewaytest.Upgrade(""))
		if res := c.Head(); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
	})
	t.Run("slow", func(t *testing.T) {
		c := gatewaytest.Dial(t, front(t, Config{Upgrade: true, ReadTimeout: 100 * time.Millisecond}, raw(t, func(p *peer) {
			io.Copy(io.Discard, p.r)
		})))
		c.Send(gatewaytest.Upgrade(""))
		if res := c.Head(); res.StatusCode != 504 {
			t.Errorf("%d", res.StatusCode)
		}
	})
	t.Run("it takes the request and dies", func(t *testing.T) {
		var asked atomic.Int32
		rude := func(p *peer) {
			p.request()
			asked.Add(1)
			p.SetLinger(0)
		}
		c := gatewaytest.Dial(t, front(t, on, raw(t, rude), raw(t, rude)))
		c.Send(gatewaytest.Upgrade(""))
		if res := c.Head(); res.StatusCode != 502 || asked.Load() != 1 {
			t.Errorf("%d, asked %d times", res.StatusCode, asked.Load())
		}
	})
}

// lines collects messages of a log.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(p))
	return len(p), nil
}

func (l *lines) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.all, func(line string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) })
	})
}

func TestTheLog(t *testing.T) {
	var l lines
	log := slog.New(slog.NewTextHandler(&l, nil))
	c := opened(t, front(t, Config{Upgrade: true, Log: log}, switching(t, func(p *peer) { io.Copy(p, p.r) })), "abc")
	c.Expect("abc")
	c.CloseWrite()
	c.ExpectEnd()
	eventually(t, "the last line", func() bool { return l.has(`msg="tunnel closed"`, "in=3", "out=3", "end=closed") })
	if !l.has(`msg="tunnel opened"`, "protocol=websocket", "backend=127.0.0.1:") {
		t.Errorf("%q", l.all)
	}
	fetch(t, newRequest(t, "GET", "http://"+front(t, Config{Log: log}, streamtest.Dead(t))+"/", nil))
	if !l.has(`msg="request failed"`, "status=503", syscall.ECONNREFUSED.Error()) {
		t.Errorf("%q", l.all)
	}
}

func TestExtendedConnect(t *testing.T) {
	// Turned into a GET before, as whoever serves HTTP/2 does.
	ask := func(t *testing.T, config Config, backend string) *http.Response {
		p := newProxy(t, config, backend)
		addr := gatewaytest.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.ServeHTTP(w, stream.MarkExtended(r)) }))
		res, _ := fetch(t, newRequest(t, "GET", "http://"+addr+"/", nil, "Sec-WebSocket-Version", "13"))
		return res
	}
	var got http.Header
	answer := func(status int) string {
		return origin(t, func(w http.ResponseWriter, r *http.Request) {
			got = r.Header
			w.WriteHeader(status)
		})
	}
	if res := ask(t, on, answer(403)); res.StatusCode != 403 {
		t.Errorf("a refusal: %d", res.StatusCode)
	}
	if got.Get("Upgrade") != "websocket" || got.Get("Connection") != "Upgrade" || len(got.Get("Sec-WebSocket-Key")) != 24 || got.Get("Sec-WebSocket-Version") != "13" {
		t.Errorf("the backend saw %v", got)
	}
	if res := ask(t, on, answer(200)); res.StatusCode != 502 {
		t.Errorf("200 is no tunnel: %d", res.StatusCode)
	}
	if res := ask(t, Config{}, answer(200)); res.StatusCode != 405 {
		t.Errorf("not enabled: %d", res.StatusCode)
	}
}
