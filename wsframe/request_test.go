package wsframe

import (
	"bufio"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/internal/stream"
)

func TestParseRequestTakesAnExtendedConnectWithoutKey(t *testing.T) {
	r := httptest.NewRequest("GET", "https://example.com/chat", nil)
	r.ProtoMajor, r.ProtoMinor, r.ContentLength = 2, 0, -1
	r.Header.Set("Sec-WebSocket-Version", "13")
	if _, err := ParseRequest(r); err == nil {
		t.Error("accepted without the mark")
	}
	req, err := ParseRequest(stream.MarkExtended(r))
	if err != nil || req.Key != "" || req.Version != 13 {
		t.Errorf("request %+v, error %v", req, err)
	}
	r.Header.Del("Sec-WebSocket-Version")
	if _, err := ParseRequest(stream.MarkExtended(r)); err == nil {
		t.Error("accepted without a version")
	}
}

// FuzzHandshake feeds the server's side with heads as net/http parses them: it
// never panics, what it accepts is a handshake, and what it refuses has an answer.
func FuzzHandshake(f *testing.F) {
	for _, s := range []string{
		handshake(),
		handshake("+Sec-WebSocket-Protocol: a, B,c", "+Sec-WebSocket-Protocol: d"),
		handshake("+Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x; y=\"z\""),
		handshake("+Cookie: a=b; c", "+Origin: https://example.com:8443"),
		handshake("Sec-WebSocket-Version: 8"),
		handshake("Sec-WebSocket-Key: AAAA"),
		handshake("Upgrade: a , websocket", "Connection: keep-alive,Upgrade"),
		handshake("POST / HTTP/1.1", "+Content-Length: 3") + "abc",
		handshake("GET / HTTP/1.0"),
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, head string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
		if err != nil {
			return
		}
		req, err := ParseRequest(r)
		var rej *Rejection
		if err != nil {
			if !errors.As(err, &rej) || rej.Status < 400 || rej.Status > 499 || rej.Reason != oneLine(rej.Reason) {
				t.Fatalf("error %#v", err)
			}
			w := httptest.NewRecorder()
			rej.Write(w)
			if w.Code != rej.Status || w.Body.Len() == 0 {
				t.Fatalf("answer %d %q", w.Code, w.Body)
			}
			return
		}
		key, err := base64.StdEncoding.DecodeString(req.Key)
		if err != nil || len(key) != 16 || len(r.Header["Sec-Websocket-Key"]) != 1 {
			t.Errorf("accepted with the key %q", req.Key)
		}
		if r.Method != "GET" || r.Host == "" || !r.ProtoAtLeast(1, 1) || r.ContentLength != 0 || r.Header.Get("Sec-WebSocket-Version") != "13" {
			t.Errorf("accepted %q", head)
		}
		if !strings.Contains(strings.ToLower(strings.Join(r.Header["Upgrade"], ",")), "websocket") ||
			!strings.Contains(strings.ToLower(strings.Join(r.Header["Connection"], ",")), "upgrade") {
			t.Errorf("accepted %q", head)
		}
		seen := make(map[string]bool)
		for _, p := range req.Protocols {
			if !isToken(p) || seen[p] {
				t.Errorf("protocols %q", req.Protocols)
			}
			seen[p] = true
			if q, ok := req.Offers(strings.ToUpper(p)); !ok || !strings.EqualFold(p, q) {
				t.Errorf("Offers(%q) = %q", p, q)
			}
		}
		if err := SameOrigin(req); err == nil && req.Origin != "" && !strings.Contains(strings.ToLower(req.Origin), "://") {
			t.Errorf("origin %q is that of host %q", req.Origin, req.Host)
		}
		// An answer built from it cannot carry more lines than were meant.
		header := make(http.Header)
		if err := addFields(header, http.Header{"X-Origin": {req.Origin}}, req.Cookies); err == nil {
			for name, lines := range header {
				for _, v := range lines {
					if strings.ContainsAny(name+v, "\r\n\x00") {
						t.Errorf("line %q: %q", name, v)
					}
				}
			}
		}
	})
}

func TestIsUpgradeSeesAlsoBadHandshakes(t *testing.T) {
	r := httptest.NewRequest("POST", "/", nil)
	if IsUpgrade(r) || !IsUpgrade(stream.MarkExtended(r)) {
		t.Error("wrong without an Upgrade header")
	}
	r.Header.Set("Upgrade", "h2c, WebSocket")
	if !IsUpgrade(r) {
		t.Error("wrong with one")
	}
}
