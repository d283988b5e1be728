package host

import (
	"net/netip"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/limit"
)

// bounds count the sessions of a route. A reload that changes the route leaves them, since its sessions go on.
type bounds struct {
	sessions *limit.Limiter
	users    limit.Users
}

// holdBounds finds the bounds of the route, or makes them. Those that are there have their limits as before until setBounds.
func (s *service) holdBounds() error {
	spec := struct { // what no other route has
		Path                             string
		Host, Suffix, Methods, Listeners []string
	}{s.r.Path, s.r.Host, s.r.Suffix, s.r.Methods, s.r.Listeners}
	b, release, err := hold(s.shared, "bounds", spec, func() (*bounds, func(), error) {
		b := &bounds{sessions: limit.New(s.ownLimits())}
		b.users.Max, b.users.Of = s.r.Limits.SessionsPerUser, user
		return b, func() {}, nil
	})
	if err != nil {
		return err
	}
	s.bounds = b
	s.closers = append(s.closers, release)
	return nil
}

// setBounds is called when the service is in use.
func (s *service) setBounds() {
	s.bounds.sessions.Set(s.ownLimits())
	s.bounds.users.Set(s.r.Limits.SessionsPerUser)
}

func (s *service) ownLimits() limit.Config {
	l := &s.r.Limits
	own := limits(&config.Limits{Sessions: l.Sessions, SessionsPerAddress: l.SessionsPerAddress, Rate: l.Rate, RatePerAddress: l.RatePerAddress})
	if own.SessionsPerAddress < 0 && own.RatePerAddress < 0 {
		own.Exempt = func(netip.Addr) bool { return true }
	}
	return own
}
