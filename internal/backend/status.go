package backend

import (
	"time"

	"github.com/wspawn/wspawn/internal/gateway"
)

// The states of a backend that is no worker.
const (
	StateUp       = "up"
	StateDisabled = "disabled" // could not be reached, see Config.DisableTime
	StateDown     = "down"     // says Config.Check
	StateLeaving  = "leaving"  // names lead to it no more, but it has sessions
)

// Status describes one backend of a [Set].
type Status struct {
	ID      string  // stable
	Address Address // where it listens
	State   string  // one of those above, or that of a worker
	Since   time.Time
	Backup  bool
	Weight  int
	Active  int   // sessions
	Total   int64 // sessions since it is known
	// Failures is how often it could not be reached, and Err why the last time, or why a check failed.
	Failures int64
	Err      error
}

// Status lists the backends.
func (s *Set) Status() []Status {
	if s.c.Pool != nil {
		return s.poolStatus()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Status, 0, len(s.members)+len(s.leaving))
	for _, members := range [][]*member{s.members, s.leaving} {
		for _, m := range members {
			list = append(list, Status{
				ID: m.id, Address: m.addr, State: m.state(), Since: m.since, Backup: m.backup, Weight: m.weight,
				Active: m.active, Total: m.total, Failures: m.failures, Err: m.err,
			})
		}
	}
	return list
}

// An Error is a session that no backend takes: 503, or 504 when everything that was tried took too long.
type Error = gateway.Error
