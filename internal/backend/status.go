package backend

import (
	"fmt"
	"time"
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

// An Error is a session that no backend takes. It has the fields of cgi.GatewayError, and so one can be converted
// into the other.
type Error struct {
	Status     int           // for the client: 503, or 504 when everything that was tried took too long
	Reason     string        // for the client, one line
	RetryAfter time.Duration // for a Retry-After line; 0: none
	Err        error         // for the log; may be nil
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Reason, e.Err)
	}
	return e.Reason
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
