package config

import (
	"fmt"

	"github.com/wspawn/wspawn/internal/origin"
)

// Warnings finds what is allowed and yet may not be meant, in a configuration that [Config.Check] finds nothing wrong with. It is
// one *multierror.Error of *[Problem], or nil.
func (c *Config) Warnings() error {
	var p problems
	for i, r := range c.Route {
		for _, o := range r.Origins {
			if e, err := origin.Parse(o); err == nil && e.Warning() != "" {
				p.add(RouteSetting(i)+".origins", fmt.Errorf("origin %q: %s", o, e.Warning()))
			}
		}
	}
	return p.all.ErrorOrNil()
}
