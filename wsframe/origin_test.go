package wsframe

import (
	"errors"
	"net/http"
	"testing"
)

func TestSameOrigin(t *testing.T) {
	tests := []struct {
		origin, host string
		ok           bool
	}{
		{"", "example.com", true},
		{"http://example.com", "example.com", true},
		{"https://example.com", "example.com", true},
		{"https://EXAMPLE.com", "example.COM", true},
		{"https://example.com", "example.com:443", true},
		{"http://example.com:80", "example.com", true},
		{"http://example.com:8080", "example.com:8080", true},
		{"http://[::1]:8080", "[::1]:8080", true},
		{"http://[::1]", "[::1]", true},
		{"null", "example.com", false},
		{"null", "null", false},
		{"example.com", "example.com", false},
		{"//example.com", "example.com", false},
		{"http://example.com:8080", "example.com", false},
		{"http://example.com", "example.com:443", false},
		{"http://example.com", "example.com:8080", false},
		{"https://example.com.evil.example", "example.com", false},
		{"https://evilexample.com", "example.com", false},
		{"https://example.com@evil.example", "example.com", false},
		{"https://evil.example@example.com", "example.com", false},
		{"https://example.com/", "example.com", false},
		{"https://example.com?x", "example.com", false},
		{"https://example.com#x", "example.com", false},
		{"https://example.com, https://evil.example", "example.com", false},
		{"https://evil.example https://example.com", "example.com", false},
		{`https://example.com\@evil.example`, "example.com", false},
		{"https://sub.example.com", "example.com", false},
		{"chrome-extension://example.com", "example.com", false},
		{"file://", "example.com", false},
		{"http://", "", false},
		{"http://%zz", "example.com", false},
	}
	for _, tt := range tests {
		err := SameOrigin(&Request{Request: &http.Request{Host: tt.host}, Origin: tt.origin})
		if ok := err == nil; ok != tt.ok {
			t.Errorf("origin %q at host %q: %v", tt.origin, tt.host, err)
		}
		var rej *Rejection
		if err != nil && (!errors.As(err, &rej) || rej.Status != 403) {
			t.Errorf("origin %q: error %v is not a 403", tt.origin, err)
		}
	}
}

func TestAllowOriginHook(t *testing.T) {
	secret := errors.New("set origins in the config")
	for name, tt := range map[string]struct {
		err    error
		status int
		reason string
	}{
		"nil allows any origin":        {nil, 101, ""},
		"an error is 403 and not told": {secret, 403, "origin not allowed"},
		"a rejection is the answer":    {Reject(404, "no such page"), 404, "no such page"},
	} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan error, 1)
			addr := serve(t, acceptAll(&AcceptOptions{AllowOrigin: func(r *Request) error { return tt.err }}, failed))
			a := readAnswer(t, dialRaw(t, addr, handshake("+Origin: http://evil.example")))
			if a.status != tt.status || a.header.Get("X-WebSocket-Reject-Reason") != tt.reason {
				t.Errorf("answer %d %q", a.status, a.header)
			}
			if tt.err == nil {
				return
			}
			if err := <-failed; !errors.Is(err, tt.err) {
				t.Errorf("error %v does not have the cause", err)
			}
		})
	}
}
