package clientip

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/wspawn/wspawn/internal/glob"
)

// Peers is a set of addresses. The zero value is empty. It does not change and may be used at the same time.
type Peers struct {
	prefixes []netip.Prefix
	globs    []string
	unix     bool
}

// ParsePeers reads a set of addresses, each entry one of
//
//	192.0.2.1        this address; IPv4 in IPv6 (::ffff:192.0.2.1) is the same as IPv4
//	192.0.2.0/24     these addresses; bits behind the prefix do not count
//	198.51.100.*     the address as text: "*" any number of characters, "?" one
//	loopback         127.0.0.0/8 and ::1
//	private          10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 and fc00::/7
//	unix             whoever connects to a Unix socket
//
// The error names all entries that are none of these.
func ParsePeers(list []string) (Peers, error) {
	var p Peers
	var all *multierror.Error
	for _, entry := range list {
		if err := p.add(entry); err != nil {
			all = multierror.Append(all, fmt.Errorf("trusted proxy %q: %w", entry, err))
		}
	}
	return p, all.ErrorOrNil()
}

// words are entries with a name.
var words = map[string][]string{
	"loopback": {"127.0.0.0/8", "::1/128"},
	"private":  {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"},
}

func (p *Peers) add(entry string) error {
	entry = strings.ToLower(entry)
	for _, s := range words[entry] {
		p.prefixes = append(p.prefixes, netip.MustParsePrefix(s))
	}
	switch {
	case words[entry] != nil:
	case entry == "unix":
		p.unix = true
	case strings.Contains(entry, "/"):
		prefix, err := netip.ParsePrefix(entry)
		if err != nil {
			return fmt.Errorf("not a network such as 192.0.2.0/24")
		}
		if a := prefix.Addr(); a.Is4In6() {
			if prefix.Bits() < 96 {
				return fmt.Errorf("more than all of IPv4 in IPv6")
			}
			prefix = netip.PrefixFrom(a.Unmap(), prefix.Bits()-96)
		}
		p.prefixes = append(p.prefixes, prefix.Masked())
	case glob.Has(entry):
		if strings.Trim(entry, "0123456789abcdef.:*?") != "" {
			return fmt.Errorf("not a pattern of addresses such as 192.0.2.*")
		}
		p.globs = append(p.globs, entry)
	default:
		addr, err := netip.ParseAddr(entry)
		if err != nil || addr.Zone() != "" {
			return fmt.Errorf("not an address, a network, a pattern, loopback, private or unix")
		}
		addr = addr.Unmap()
		p.prefixes = append(p.prefixes, netip.PrefixFrom(addr, addr.BitLen()))
	}
	return nil
}

// Contain reports whether a [http.Request].RemoteAddr is in the set.
func (p Peers) Contain(remoteAddr string) bool {
	if remoteAddr == "" || remoteAddr[0] == '@' || remoteAddr[0] == '/' {
		return p.unix
	}
	if ap, err := netip.ParseAddrPort(remoteAddr); err == nil {
		return p.ContainAddr(ap.Addr())
	}
	addr, err := netip.ParseAddr(remoteAddr)
	return err == nil && p.ContainAddr(addr)
}

// ContainAddr reports whether an address is in the set. A zone does not count.
func (p Peers) ContainAddr(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, prefix := range p.prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	if p.globs == nil {
		return false
	}
	text := addr.String()
	for _, g := range p.globs {
		if glob.Match(g, text) {
			return true
		}
	}
	return false
}
