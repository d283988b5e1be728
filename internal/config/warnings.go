package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-multierror"

	"github.com/wspawn/wspawn/internal/origin"
)

// Warnings is [Config.Warnings] of what was read from the files, and patterns of `include` that no file matches: a *multierror.Error of
// *[Located], or nil. A nil Source knows no place.
func (s *Source) Warnings(c *Config) error {
	var list mistakes
	if s != nil {
		list = slices.Clone(s.unmatched)
	}
	var many *multierror.Error
	if errors.As(s.Locate(c.Warnings()), &many) {
		for _, e := range many.Errors {
			list = append(list, e.(*Located))
		}
	}
	return list.err()
}

// Warnings finds what is allowed and yet may not be meant, in a configuration that [Config.Check] finds nothing wrong with. It is
// one *multierror.Error of *[Problem], or nil.
func (c *Config) Warnings() error {
	var p problems
	for i, l := range c.Listener {
		at := fmt.Sprintf("listener[%d]", i)
		p.add(at+".certificate", expiry(l.Certificate, l.Key))
		for j, pair := range l.Certificates {
			p.add(fmt.Sprintf("%s.certificates[%d].certificate", at, j), expiry(pair.Certificate, pair.Key))
		}
	}
	for i, r := range c.Route {
		for j, o := range r.Origins {
			if e, err := origin.Parse(o); err == nil && e.Warning() != "" {
				p.add(item(RouteSetting(i)+".origins", j), fmt.Errorf("origin %q: %s", o, e.Warning()))
			}
		}
	}
	pools, backends := map[string]bool{}, map[string]bool{}
	for _, r := range c.Route {
		_, ofPools, ofBackends := r.Uses(c)
		for name := range ofPools {
			pools[name] = true
		}
		for name := range ofBackends {
			backends[name] = true
		}
	}
	for _, name := range keys(c.Pool) {
		if !pools[name] {
			p.addf(join("pool", name), "no route uses it: it is not started")
		}
	}
	for _, name := range keys(c.Backends) {
		if !backends[name] {
			p.addf(join("backends", name), "no route uses it")
		}
	}
	return p.all.ErrorOrNil()
}

// expiry says that clients will not take a certificate, because of its dates.
func expiry(certificate, key Path) error {
	pair, err := tls.LoadX509KeyPair(string(certificate), string(key))
	if err != nil {
		return nil // there is none, or it is gone since it was checked
	}
	switch now := time.Now(); {
	case now.After(pair.Leaf.NotAfter):
		return fmt.Errorf("%s was good until %s: clients refuse it", certificate, pair.Leaf.NotAfter.Format(time.RFC3339))
	case now.Before(pair.Leaf.NotBefore):
		return fmt.Errorf("%s is good from %s on: until then clients refuse it", certificate, pair.Leaf.NotBefore.Format(time.RFC3339))
	}
	return nil
}
