package client

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var scheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://`)

// ExpandURL completes an abbreviated URL. What people type and what they copy from elsewhere becomes
// a WebSocket URL:
//
//	:8080, :8080/chat        ws://localhost:8080, …
//	8080, 8080/chat          likewise
//	example.com/chat         ws://example.com/chat
//	http://…, https://…      ws://…, wss://…
//
// Everything else with a scheme stays as it is.
func ExpandURL(raw string) (string, error) {
	if raw == "" {
		return "", errors.New("URL is empty")
	}
	port := raw
	if i := strings.IndexAny(raw, "/?#"); i >= 0 {
		port = raw[:i]
	}
	if m := scheme.FindStringSubmatch(raw); m != nil {
		switch rest := raw[len(m[1]):]; strings.ToLower(m[1]) {
		case "http":
			raw = "ws" + rest
		case "https":
			raw = "wss" + rest
		}
	} else if _, err := strconv.ParseUint(port, 10, 16); err == nil {
		raw = "ws://localhost:" + raw
	} else if strings.HasPrefix(raw, "::") {
		return "", fmt.Errorf("URL %q: an IPv6 address belongs into brackets, as in [::1]:8080", raw)
	} else if strings.HasPrefix(raw, ":") {
		raw = "ws://localhost" + raw
	} else if strings.HasPrefix(raw, "//") {
		raw = "ws:" + raw
	} else {
		raw = "ws://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		// The error of net/url has the whole URL, with a password that may be in it.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return "", fmt.Errorf("URL: %w", err)
	}
	if u.Hostname() == "" && !strings.HasSuffix(u.Scheme, "+unix") {
		return "", fmt.Errorf("URL %q has no host", u.Redacted())
	}
	return raw, nil
}
