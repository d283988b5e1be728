package client

import (
	"strings"
	"testing"
)

func TestURLsMayBeAbbreviated(t *testing.T) {
	for in, want := range map[string]string{
		":8080":                       "ws://localhost:8080",
		":8080/path?q=1":              "ws://localhost:8080/path?q=1",
		"8080":                        "ws://localhost:8080",
		"8080/path":                   "ws://localhost:8080/path",
		"8080?a=b":                    "ws://localhost:8080?a=b",
		"localhost:8080/x":            "ws://localhost:8080/x",
		"localhost/x?to=http://other": "ws://localhost/x?to=http://other",
		"example.com":                 "ws://example.com",
		"10.0.0.1:80/":                "ws://10.0.0.1:80/",
		"[::1]:8080/x":                "ws://[::1]:8080/x",
		"//host/x":                    "ws://host/x",
		"http://host/x":               "ws://host/x",
		"HTTPS://host/x":              "wss://host/x",
		"ws://host:1/x":               "ws://host:1/x",
		"wss://u:p@host":              "wss://u:p@host",
		"ws+unix:///run/a.sock:/x":    "ws+unix:///run/a.sock:/x",
		"70000":                       "ws://70000", // no port: a host
	} {
		if got, err := ExpandURL(in); err != nil || got != want {
			t.Errorf("ExpandURL(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestBrokenURLsAreRefusedWithoutTellingThePassword(t *testing.T) {
	for _, in := range []string{"", "/path", "::1", "::1:8080/x", "ws://", "http:///x", "ws://u:secret@host:bad/", "ws://u:secret@/x", "u:secret@", "a b"} {
		got, err := ExpandURL(in)
		if err == nil {
			t.Errorf("ExpandURL(%q) = %q", in, got)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("ExpandURL(%q): %v", in, err)
		}
	}
}

func TestHeadersAreReadLikeThoseOfCurl(t *testing.T) {
	h, err := ParseHeader([]string{"X-One: 1", "x-one:2", "Empty:", "Colon: a:b"})
	if err != nil || len(h["X-One"]) != 2 || h.Get("X-One") != "1" || h.Get("Colon") != "a:b" || len(h["Empty"]) != 1 {
		t.Errorf("got %v, %v", h, err)
	}
	for _, bad := range []string{"", "nothing", ": value"} {
		if _, err := ParseHeader([]string{bad}); err == nil {
			t.Errorf("%q is no error", bad)
		}
	}
}
