package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// lookupTimeout bounds one lookup.
const lookupTimeout = 10 * time.Second

// A Resolver looks names up as [net.Resolver] does.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// A source is one configured server, and what it stands for.
type source struct {
	id         string
	server     Server
	srv        string // a name with SRV records
	host, port string // or with addresses; "": neither
	found      []found
}

type found struct {
	addr   Address
	weight int
	backup bool
}

// CheckServer says what is wrong with the address of a [Server].
func CheckServer(address string) error {
	_, err := newSource(Server{Address: address}, true)
	return err
}

func newSource(b Server, resolve bool) (*source, error) {
	if b.Weight < 0 || b.MaxSessions < 0 {
		return nil, fmt.Errorf("backend %q: negative weight or limit", b.Address)
	}
	b.Weight = max(1, b.Weight)
	src := &source{id: b.Address, server: b}
	if name, ok := strings.CutPrefix(b.Address, "srv:"); ok {
		switch {
		case name == "":
			return nil, fmt.Errorf("backend %q: the name is missing", b.Address)
		case !resolve:
			return nil, fmt.Errorf("backend %q: SRV records have to be looked up, but that is off", b.Address)
		}
		src.srv = name
		return src, nil
	}
	a, err := ParseAddress(b.Address)
	if err != nil {
		return nil, err
	}
	src.id = a.String()
	if host, port, ok := a.name(); ok && resolve {
		src.host, src.port = host, port
	}
	src.found = []found{{a, b.Weight, b.Backup}} // a name is good enough for Dial until it is resolved
	return src, nil
}

func (src *source) dynamic() bool { return src.srv != "" || src.host != "" }

// resolve keeps one source up to date until ctx ends.
func (s *Set) resolve(ctx context.Context, src *source) {
	ticker := time.NewTicker(s.c.Resolve)
	defer ticker.Stop()
	for first := true; ; first = false {
		list, err := s.lookup(ctx, src)
		s.mu.Lock()
		if first {
			s.pending--
		}
		if err == nil {
			src.found = list
		} else if ctx.Err() == nil {
			s.log(slog.LevelWarn, "backend name cannot be looked up", "backend", src.server.Address, "err", err)
		}
		s.gather()
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// lookup finds what src stands for now.
func (s *Set) lookup(ctx context.Context, src *source) ([]found, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	var list []found
	var err error
	if src.srv == "" {
		list, err = s.addresses(ctx, src.host, src.port, src.server.Weight, src.server.Backup)
	} else {
		list, err = s.targets(ctx, src)
	}
	if err == nil && len(list) == 0 {
		err = errors.New("no addresses")
	}
	return list, err
}

func (s *Set) addresses(ctx context.Context, host, port string, weight int, backup bool) ([]found, error) {
	ips, err := s.c.Resolver.LookupNetIP(ctx, "ip", host)
	var list []found
	for _, ip := range ips {
		list = append(list, found{Address{"tcp", net.JoinHostPort(ip.Unmap().String(), port)}, weight, backup})
	}
	return list, err
}

func (s *Set) targets(ctx context.Context, src *source) ([]found, error) {
	_, records, err := s.c.Resolver.LookupSRV(ctx, "", "", src.srv)
	if err != nil {
		return nil, err
	}
	var list []found
	var errs []error
	best := uint16(1<<16 - 1)
	for _, r := range records {
		best = min(best, r.Priority)
	}
	for _, r := range records {
		host := strings.TrimSuffix(r.Target, ".")
		if host == "" {
			continue // "decidedly not available at this domain"
		}
		weight := src.server.Weight * max(1, int(r.Weight))
		more, err := s.addresses(ctx, host, strconv.Itoa(int(r.Port)), weight, src.server.Backup || r.Priority != best)
		if err != nil {
			errs = append(errs, err)
		}
		list = append(list, more...)
	}
	if len(list) > 0 {
		return list, nil
	}
	return nil, errors.Join(errs...)
}
