package gateway_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/gateway"
	"github.com/wspawn/wspawn/internal/stream"
)

func TestErrorPages(t *testing.T) {
	const upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	for _, tt := range []struct {
		name, request string
		err           gateway.Error
		body, retry   string
		reason        string // X-WebSocket-Reject-Reason
		last          bool   // of its connection
	}{
		{name: "the text of the status", request: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", err: gateway.Error{Status: 502, Err: errors.New("secret")}, body: "502 Bad Gateway\n"},
		{name: "a reason", request: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", err: gateway.Error{Status: 504, Reason: "late"}, body: "504 late\n"},
		{name: "a moment", request: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", err: gateway.Error{Status: 503, RetryAfter: time.Millisecond}, body: "503 Service Unavailable\n", retry: "1"},
		{name: "more than a second", request: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", err: gateway.Error{Status: 503, RetryAfter: 1001 * time.Millisecond}, body: "503 Service Unavailable\n", retry: "2"},
		{name: "a body that does not come", request: fixed, err: gateway.Error{Status: 413}, body: "413 Request Entity Too Large\n", last: true},
		{name: "a body that came", request: fixed + "abcdef", err: gateway.Error{Status: 413}, body: "413 Request Entity Too Large\n", last: true},
		{name: "an upgrade", request: upgrade, err: gateway.Error{Status: 502, Reason: "no"}, body: "502 no\n", reason: "no", last: true},
		{name: "an upgrade with what must not be the next request", request: upgrade + upgrade, err: gateway.Error{Status: 502}, body: "502 Bad Gateway\n", reason: "Bad Gateway", last: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, br := exchange(t, func(w http.ResponseWriter, r *http.Request) {
				for _, name := range []string{"Content-Length", "Content-Encoding", "Etag", "Last-Modified", "Cache-Control", "X-Kept"} {
					w.Header().Set(name, "1")
				}
				tt.err.Answer(w, r)
			}, tt.request)
			r, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil || string(body) != tt.body || r.StatusCode != tt.err.Status || r.Close != tt.last {
				t.Errorf("%d %q, %v, close %v", r.StatusCode, body, err, r.Close)
			}
			h := r.Header
			for _, name := range []string{"Content-Encoding", "Etag", "Last-Modified", "Cache-Control"} {
				if h.Get(name) != "" {
					t.Errorf("%s belongs to another body", name)
				}
			}
			if h.Get("X-Kept") != "1" || h.Get("Retry-After") != tt.retry || h.Get("X-Websocket-Reject-Reason") != tt.reason || h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%v", h)
			}
			if tt.last {
				if rest, err := io.ReadAll(br); err != nil || len(rest) > 0 {
					t.Errorf("behind the answer: %q, %v", rest, err)
				}
			}
		})
	}
}

func TestWhatBelongsToAConnection(t *testing.T) {
	h := http.Header{"X-A": {"1"}, "Connection": {"Upgrade"}}
	gateway.Copy(h, http.Header{"X-A": {"2"}, "Set-Cookie": {"a", "b"}, "Connection": {"x"}, "Keep-Alive": {"x"}, "Proxy-Connection": {"x"},
		"Te": {"x"}, "Trailer": {"x"}, "Transfer-Encoding": {"x"}, "Upgrade": {"x"}})
	r1 := &http.Request{ProtoMajor: 1}
	gateway.Last(h, &http.Request{ProtoMajor: 2})
	gateway.Last(h, stream.MarkExtended(r1))
	gateway.Last(h, r1)
	if want := (http.Header{"X-A": {"2"}, "Set-Cookie": {"a", "b"}, "Connection": {"close", "Upgrade"}}); !reflect.DeepEqual(h, want) {
		t.Errorf("%v, want %v", h, want)
	}
	for _, tt := range []struct {
		name   string
		r      *http.Request
		status int
		want   bool
	}{{"426", r1, 426, true}, {"400", r1, 400, false}, {"HTTP/2", &http.Request{ProtoMajor: 2}, 426, false}, {"extended CONNECT", stream.MarkExtended(r1), 426, false}} {
		h := http.Header{}
		gateway.Offer(h, tt.r, tt.status, []string{"websocket"})
		if _, ok := h["Upgrade"]; ok != tt.want || h.Get("Connection") == "Upgrade" != tt.want {
			t.Errorf("%s: %v", tt.name, h)
		}
	}
}

func TestUpgrade(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: h\r\n"
	const websocket = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
	for _, tt := range []struct {
		name, request string
		off           bool
		asked         string
		left          string // Upgrade, Connection and HTTP2-Settings of the request
		status        int
	}{
		{name: "a WebSocket", request: get + websocket, asked: "websocket", left: "websocket|Upgrade|"},
		{name: "several protocols", request: get + "Upgrade: a/1, b\r\nUpgrade: c\r\nConnection: x, UPGRADE\r\n", asked: "a/1 b c", left: "a/1, b|x, UPGRADE|"},
		{name: "off", off: true, request: get + websocket, left: "|Upgrade|"},
		{name: "HTTP/1.0", request: "GET / HTTP/1.0\r\n" + websocket, left: "|Upgrade|"},
		{name: "a body", request: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n" + websocket, left: "|Upgrade|"},
		{name: "a body of unknown length", request: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" + websocket, left: "|Upgrade|"},
		{name: "no protocol", request: get + "Upgrade: ,\r\nConnection: Upgrade\r\n", left: "|Upgrade|"},
		{name: "not in Connection", request: get + "Upgrade: websocket\r\nConnection: upgrades\r\n", left: "|upgrades|"},
		{name: "h2c", request: get + "Upgrade: H2C\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n", left: "||"},
		{name: "h2c beside others", request: get + "Upgrade: websocket, h2c\r\nConnection: upgrade, x\r\n", left: "|x|"},
		{name: "two keys", request: get + websocket + "Sec-WebSocket-Key: a\r\nSec-WebSocket-Key: b\r\n", status: 400},
		{name: "two versions", request: get + websocket + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8\r\n", status: 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			done := make(chan bool)
			exchange(t, func(w http.ResponseWriter, r *http.Request) {
				defer close(done)
				before := r.Header.Clone()
				got, asked, err := gateway.Upgrade(r, !tt.off)
				if e, _ := errors.AsType[*gateway.Error](err); tt.status != 0 {
					if e == nil || e.Status != tt.status {
						t.Error(err)
					}
					return
				}
				if err != nil || strings.Join(asked, " ") != tt.asked || asked != nil != (tt.asked != "") {
					t.Fatalf("asked %q, %v", asked, err)
				}
				left := got.Header.Get("Upgrade") + "|" + got.Header.Get("Connection") + "|" + got.Header.Get("Http2-Settings")
				if left != tt.left {
					t.Errorf("left %q, want %q", left, tt.left)
				}
				if !reflect.DeepEqual(before, r.Header) {
					t.Error("the request of the caller was changed")
				}
			}, tt.request+"\r\n")
			wait(t, done)
		})
	}
	r := stream.MarkExtended(httptest.NewRequest("GET", "/", nil))
	if _, asked, err := gateway.Upgrade(r, true); err != nil || len(asked) != 1 || asked[0] != "websocket" {
		t.Errorf("%q, %v", asked, err)
	}
	_, _, err := gateway.Upgrade(r, false)
	if e, _ := errors.AsType[*gateway.Error](err); e == nil || e.Status != 405 {
		t.Error(err)
	}
}

func TestTokensAreComparedAsASCII(t *testing.T) {
	for token, want := range map[string]bool{"websocket": true, "WebSocket": true, "web\u017focket": false, "websoc\u212aet": false, "web": false} {
		if got := gateway.Contains([]string{"h2c", token}, "websocket"); got != want {
			t.Errorf("%q: %v", token, got)
		}
	}
}

func TestOrDefault(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{0: 7, -1: 0, 5: 5} {
		if got := gateway.OrDefault(d, 7); got != want {
			t.Errorf("%d: %d, want %d", d, got, want)
		}
	}
}
