package wsframe

import (
	"slices"
	"strings"
	"testing"
)

func TestHandshakeAnswers(t *testing.T) {
	tests := []struct {
		name    string
		request string
		status  int
		reason  string   // part of it
		header  []string // "Name: value" of the answer
	}{
		{"the plain request is accepted", handshake(), 101, "", []string{
			"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: " + testAccept}},
		{"tokens in any case and among others are accepted",
			handshake("Upgrade: h2c, WebSocket", "Connection: keep-alive, uPGRADE"), 101, "", nil},
		{"lists over several lines are accepted",
			handshake("+Connection: x", "Upgrade: foo", "+Upgrade: ,websocket"), 101, "", nil},
		{"an absolute request target is accepted", handshake("GET http://example.com/chat HTTP/1.1"), 101, "", nil},

		{"POST gets 405", handshake("POST /chat HTTP/1.1"), 405, "GET", []string{"Allow: GET"}},
		{"HEAD gets 405", handshake("HEAD /chat HTTP/1.1"), 405, "", []string{"Allow: GET"}},
		{"CONNECT gets 405", handshake("CONNECT /chat HTTP/1.1"), 405, "GET", []string{"Allow: GET"}},
		{"HTTP/1.0 gets 400", handshake("GET /chat HTTP/1.0"), 400, "HTTP/1.1", nil},
		{"an empty Host gets 400", handshake("Host: "), 400, "Host", nil},
		{"a body gets 400", handshake("+Content-Length: 3") + "abc", 400, "body", nil},
		{"a chunked body gets 400", handshake("+Transfer-Encoding: chunked") + "0\r\n\r\n", 400, "body", nil},

		{"a page view gets 426", handshake("Upgrade:", "Connection:", "Sec-WebSocket-Key:", "Sec-WebSocket-Version:"),
			426, "Upgrade", []string{"Upgrade: websocket", "Connection: close", "Connection: Upgrade"}},
		{"another Upgrade gets 426", handshake("Upgrade: websocket2, h2c"), 426, "Upgrade", []string{"Upgrade: websocket"}},
		{"letters that only Unicode takes for those of websocket get 426", handshake("Upgrade: web\u017focket, websoc\u212aet"), 426, "Upgrade", nil},
		{"no upgrade in Connection gets 426", handshake("Connection: keep-alive"), 426, "Connection", []string{"Upgrade: websocket"}},

		{"version 8 gets 426", handshake("Sec-WebSocket-Version: 8"), 426, "13", []string{"Sec-WebSocket-Version: 13"}},
		{"version 0 gets 426", handshake("Sec-WebSocket-Version: 0"), 426, "13", []string{"Sec-WebSocket-Version: 13"}},
		{"version 255 gets 426", handshake("Sec-WebSocket-Version: 255"), 426, "13", nil},
		{"no version gets 400", handshake("Sec-WebSocket-Version:"), 400, "missing", []string{"Sec-WebSocket-Version: 13"}},
		{"an empty version gets 400", handshake("Sec-WebSocket-Version: "), 400, "number", nil},
		{"version 256 gets 400", handshake("Sec-WebSocket-Version: 256"), 400, "number", nil},
		{"version 013 gets 400", handshake("Sec-WebSocket-Version: 013"), 400, "number", nil},
		{"a list of versions gets 400", handshake("Sec-WebSocket-Version: 13, 8"), 400, "number", nil},
		{"version +13 gets 400", handshake("Sec-WebSocket-Version: +13"), 400, "number", nil},
		{"version 99999999999999999999 gets 400", handshake("Sec-WebSocket-Version: 99999999999999999999"), 400, "number", nil},
		{"a repeated version gets 400", handshake("+Sec-WebSocket-Version: 13"), 400, "repeated", nil},

		{"no key gets 400", handshake("Sec-WebSocket-Key:"), 400, "missing", nil},
		{"an empty key gets 400", handshake("Sec-WebSocket-Key: "), 400, "base64", nil},
		{"a key of 13 bytes gets 400", handshake("Sec-WebSocket-Key: SGVsbG8sIHdvcmxkIQ=="), 400, "base64", nil},
		{"a key of 17 bytes gets 400", handshake("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE="), 400, "base64", nil},
		{"a key without padding gets 400", handshake("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"), 400, "base64", nil},
		{"a key with stray bits gets 400", handshake("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR=="), 400, "base64", nil},
		{"a key in URL letters gets 400", handshake("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j_Q=="), 400, "base64", nil},
		{"a repeated key gets 400", handshake("+Sec-WebSocket-Key: " + testKey), 400, "repeated", nil},

		{"a protocol with a blank gets 400", handshake("+Sec-WebSocket-Protocol: a b"), 400, "token", nil},
		{"a quoted protocol gets 400", handshake(`+Sec-WebSocket-Protocol: "a"`), 400, "token", nil},
		{"a protocol beyond ASCII gets 400", handshake("+Sec-WebSocket-Protocol: \xe4"), 400, "token", nil},
		{"the same protocol twice gets 400", handshake("+Sec-WebSocket-Protocol: a, b", "+Sec-WebSocket-Protocol: a"), 400, "twice", nil},
		{"65 protocols get 400", handshake("+Sec-WebSocket-Protocol: " + numbered(65)), 400, "64", nil},
		{"empty protocols are skipped", handshake("+Sec-WebSocket-Protocol: , ,a,,", "+Sec-WebSocket-Protocol:"), 101, "", nil},

		{"broken extensions get 400", handshake("+Sec-WebSocket-Extensions: a;;b"), 400, "Extensions", nil},
		{"65 extensions get 400", handshake("+Sec-WebSocket-Extensions: " + numbered(65)), 400, "64", nil},
		{"extensions are not answered", handshake("+Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), 101, "", nil},

		{"the same origin is accepted", handshake("+Origin: http://example.com"), 101, "", nil},
		{"a foreign origin gets 403", handshake("+Origin: http://evil.example"), 403, "origin not allowed", nil},
		{"two origins get 400", handshake("+Origin: http://example.com", "+Origin: http://example.com"), 400, "Origin", nil},

		{"hostile cookies are accepted", handshake("+Cookie: a=%ZZ; =; ;;; b=\"x; c(=1; \xff=\xff; d=ok"), 101, "", nil},
	}
	addr := serve(t, acceptAll(nil, nil))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := readAnswer(t, dialRaw(t, addr, tt.request))
			if a.status != tt.status {
				t.Fatalf("status %d %q, want %d", a.status, a.body, tt.status)
			}
			for _, line := range tt.header {
				name, value, _ := strings.Cut(line, ": ")
				if !slices.Contains(a.header.Values(name), value) {
					t.Errorf("%s is %q, want %q", name, a.header.Values(name), value)
				}
			}
			for _, name := range []string{"Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"} {
				if got := values(a.header, name); got != nil {
					t.Errorf("answer has %s %q", name, got)
				}
			}
			if a.status == 101 {
				return
			}
			reason := a.header.Get("X-WebSocket-Reject-Reason")
			if reason == "" || !strings.Contains(reason, tt.reason) {
				t.Errorf("reason %q, want part %q", reason, tt.reason)
			}
			if want := reason + "\n"; a.body != want && !strings.HasPrefix(tt.request, "HEAD") {
				t.Errorf("body %q, want %q", a.body, want)
			}
			if a.header.Get("Content-Length") == "" || a.header.Get("Connection") != "close" ||
				a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Content-Type") != "text/plain; charset=utf-8" {
				t.Errorf("header %q", a.header)
			}
		})
	}
}
