package clientip

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// hostAt takes the host that the client asked for, "" where nobody says: of the same hop as [Resolver.schemeAt].
func (s *Resolver) hostAt(h http.Header, at, hops int) (string, error) {
	if s.host == "" {
		return "", nil
	}
	host := pick(items(h[s.host]), at, hops)
	if host == "" {
		return "", nil
	}
	if err := checkHost(host); err != nil {
		return "", fmt.Errorf("header %s: %w", s.host, err)
	}
	return host, nil
}

// checkHost takes a name or an address, with or without a port, and nothing that somebody behind could read in
// another way: no user, path or escape.
func checkHost(s string) error {
	bad := fmt.Errorf("%.260q is no host", s)
	name, port, hasPort := s, "", false
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return bad
		}
		if addr, err := netip.ParseAddr(s[1:end]); err != nil || !addr.Is6() || addr.Zone() != "" {
			return bad
		}
		if name, port, hasPort = "v6", strings.TrimPrefix(s[end+1:], ":"), s[end+1:] != ""; hasPort && s[end+1] != ':' {
			return bad
		}
	} else {
		name, port, hasPort = strings.Cut(s, ":")
	}
	if _, err := strconv.ParseUint(port, 10, 16); hasPort && err != nil {
		return bad
	}
	if name == "" || len(name) > 255 || name[0] == '.' || strings.Contains(name, "..") ||
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") != "" {
		return bad
	}
	return nil
}
