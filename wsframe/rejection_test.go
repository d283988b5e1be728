package wsframe

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRejectionWrite(t *testing.T) {
	tests := []struct {
		name   string
		rej    *Rejection
		status int
		body   string
		header map[string]string // "" means: not there
	}{
		{"zero value is 403 with the phrase", &Rejection{}, 403, "Forbidden\n", map[string]string{fieldReason: ""}},
		{"line breaks cannot inject", Reject(404, "no\r\nX-Evil: 1\x00such"), 404, "noX-Evil: 1 such\n",
			map[string]string{fieldReason: "noX-Evil: 1 such", "X-Evil": ""}},
		{"header is cleaned", &Rejection{Status: 302, Header: http.Header{"Location": {"/x\r\nX-Evil: 1"}, "Bad Name": {"1"}}},
			302, "Found\n", map[string]string{"Location": "/xX-Evil: 1", "X-Evil": "", "Bad Name": ""}},
		{"lines of the connection are not the application's", &Rejection{Status: 400,
			Header: http.Header{"content-length": {"99"}, "Transfer-Encoding": {"chunked"}, "Connection": {"keep-alive"}, "Sec-WebSocket-Accept": {"x"}}},
			400, "Bad Request\n", map[string]string{"Content-Length": "12", "Transfer-Encoding": "", "Connection": "close", "Sec-WebSocket-Accept": ""}},
		{"body and type replace the reason", &Rejection{Status: 401, Reason: "log in", Body: "{}",
			Header: http.Header{"Content-Type": {"application/json"}, "Www-Authenticate": {"Basic"}}},
			401, "{}", map[string]string{"Content-Type": "application/json", fieldReason: "log in", "Www-Authenticate": "Basic"}},
		{"101 is never written", Reject(101, "x"), 500, "x\n", nil},
		{"200 is a mistake", Reject(200, "x"), 500, "x\n", nil},
		{"1000 is a mistake", Reject(1000, "x"), 500, "x\n", nil},
		{"retry is in seconds, rounded up", Reject(503, "full").RetryAfter(1200 * time.Millisecond), 503, "full\n", map[string]string{"Retry-After": "2"}},
		{"retry is at least a second", Reject(429, "slow down").RetryAfter(0), 429, "slow down\n", map[string]string{"Retry-After": "1"}},
		{"a long reason is cut in the header", Reject(403, strings.Repeat("ä", 300)), 403, strings.Repeat("ä", 300) + "\n",
			map[string]string{fieldReason: strings.Repeat("ä", 256)}},
		{"a reason is cut between characters", Reject(403, "x"+strings.Repeat("ä", 300)), 403, "x" + strings.Repeat("ä", 300) + "\n",
			map[string]string{fieldReason: "x" + strings.Repeat("ä", 255)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				tt.rej.Write(w)
			}))
			a := readAnswer(t, dialRaw(t, addr, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
			if a.status != tt.status || a.body != tt.body {
				t.Errorf("answer %d %q, want %d %q", a.status, a.body, tt.status, tt.body)
			}
			for name, want := range tt.header {
				if got := a.header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if ct := a.header.Get("Content-Type"); tt.rej.Header.Get("Content-Type") == "" && ct != "text/plain; charset=utf-8" {
				t.Errorf("Content-Type %q", ct)
			}
		})
	}
}

func TestRetryAfterLeavesTheOriginalAlone(t *testing.T) {
	shared := Reject(503, "full")
	first := shared.RetryAfter(time.Second)
	second := first.RetryAfter(9 * time.Second)
	if shared.Header != nil || first.Header.Get("Retry-After") != "1" || second.Header.Get("Retry-After") != "9" {
		t.Errorf("%v %v %v", shared.Header, first.Header, second.Header)
	}
}

func TestRejectionError(t *testing.T) {
	cause := errors.New("cause")
	err := error(&Rejection{Status: 403, Reason: "no", Err: cause})
	if got, want := err.Error(), "websocket refused: 403 Forbidden: no: cause"; got != want || !errors.Is(err, cause) {
		t.Errorf("error %q, want %q", got, want)
	}
}
