package backend

import (
	"log/slog"
	"time"
)

// A member is one backend of a set. Set.mu guards the fields but id, addr and hash, which do not change.
type member struct {
	id   string
	addr Address
	hash uint64 // of id

	weight int
	backup bool
	max    int  // sessions; 0: no limit
	gone   bool // names do not lead to it any more

	active          int
	total, failures int64
	credit          int // see inTurn

	// Passive health: what sessions saw.
	streak   int       // failures since it was reached last
	until    time.Time // it is not asked before, if streak > 0
	trial    bool      // a session finds out whether it can be reached again
	failedAt time.Time
	err      error

	// Active health: what checks saw.
	sick      bool
	good, bad int // results in a row

	since time.Time // when the state was last another one
}

func newMember(id string, a Address) *member {
	return &member{id: id, addr: a, hash: mix(hash(offset, id)), weight: 1, since: time.Now()}
}

// usable reports whether a session may go there, as far as health is concerned.
func (m *member) usable(now time.Time) bool {
	return !m.sick && (m.streak == 0 || !m.trial && !now.Before(m.until))
}

func (m *member) full() bool { return m.max > 0 && m.active >= m.max }

func (m *member) state() string {
	switch {
	case m.gone:
		return StateLeaving
	case m.sick:
		return StateDown
	case m.streak > 0:
		return StateDisabled
	}
	return StateUp
}

// failed notes that m could not be reached. s.mu is held.
func (s *Set) failed(m *member, err error) {
	now := time.Now()
	m.failures++
	m.good = 0
	m.failedAt, m.err = now, err
	if s.c.DisableTime == 0 || m.streak > 0 && now.Before(m.until) {
		return // the latter is the same trouble: sessions that were on their way there already, or for which there was no better place
	}
	if m.streak == 0 {
		m.since = now
	}
	d := s.c.DisableTime
	for range m.streak {
		d = min(2*d, maxDisableTime)
	}
	m.streak++
	m.until = now.Add(d)
	s.log(slog.LevelWarn, "backend cannot be reached", "backend", m.id, "err", err, "disabled", d)
	s.serve()
}

// reached notes that m took a session. s.mu is held.
func (s *Set) reached(m *member) {
	if m.streak == 0 {
		return
	}
	m.streak = 0
	m.since = time.Now()
	s.log(slog.LevelInfo, "backend can be reached again", "backend", m.id)
	s.serve()
}

// checked notes the result of a check.
func (s *Set) checked(m *member, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		m.good = 0
		m.bad++
		m.err, m.failedAt = err, time.Now()
		if m.bad >= s.c.Check.Fall && !m.sick {
			m.sick = true
			m.since = m.failedAt
			s.log(slog.LevelWarn, "backend is down", "backend", m.id, "err", err)
			s.serve()
		}
		return
	}
	m.bad = 0
	m.good++
	if m.good < s.c.Check.Rise {
		return
	}
	if m.sick {
		m.sick = false
		m.since = time.Now()
		s.log(slog.LevelInfo, "backend is up", "backend", m.id)
		s.serve()
	}
	s.reached(m)
}
