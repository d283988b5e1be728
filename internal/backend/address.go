package backend

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// An Address is what [net.Dial] wants.
type Address struct {
	Network string // "tcp" or "unix"
	Addr    string // "HOST:PORT" or a path
}

// String returns what [ParseAddress] takes.
func (a Address) String() string {
	if a.Network == "unix" {
		return "unix:" + a.Addr
	}
	return a.Addr
}

// name returns the host and the port if the host is a name and not an address.
func (a Address) name() (host, port string, ok bool) {
	if a.Network != "tcp" {
		return "", "", false
	}
	host, port, _ = net.SplitHostPort(a.Addr)
	_, err := netip.ParseAddr(host)
	return host, port, err != nil
}

// ParseAddress reads "HOST:PORT", "unix:PATH" or an absolute path.
func ParseAddress(s string) (Address, error) {
	if path := strings.TrimPrefix(s, "unix:"); path != s || strings.HasPrefix(s, "/") {
		if path == "" {
			return Address{}, fmt.Errorf("backend %q: the path is missing", s)
		}
		return Address{"unix", path}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || !isPort(port) {
		hint := ""
		if strings.Contains(s, "://") {
			hint = ", not a URL"
		}
		return Address{}, fmt.Errorf("backend %q: want HOST:PORT, unix:PATH or an absolute path%s", s, hint)
	}
	return Address{"tcp", s}, nil
}

// isPort reports whether s is a number that connections go to, or may be the name of a service.
func isPort(s string) bool {
	if n, err := strconv.Atoi(s); err == nil {
		return n > 0 && n <= 65535
	}
	for i := range len(s) {
		if c := s[i] | 0x20; (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '-' {
			return false
		}
	}
	return s != ""
}
