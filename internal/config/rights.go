package config

import "github.com/wspawn/wspawn/spawner"

// Rights finds what a server that runs as this process does may not give to its programs, in a configuration that [Config.Check] finds
// nothing wrong with. It is one *multierror.Error of *[Problem], or nil.
func (c *Config) Rights() error {
	var p problems
	for _, name := range keys(c.Program) {
		g := c.Program[name]
		pattern, err := g.Pattern()
		if err != nil {
			continue
		}
		who := "user"
		if g.User == "" {
			who = "group"
		}
		for _, one := range []struct {
			key  string
			part spawner.Program
		}{
			{who, spawner.Program{User: pattern.User, Group: pattern.Group}}, {"limits", spawner.Program{Limits: pattern.Limits}},
			{"nice", spawner.Program{Nice: pattern.Nice}},
		} {
			p.add(join("program", name)+"."+one.key, one.part.Rights())
		}
	}
	return p.all.ErrorOrNil()
}
