package limit

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// SessionsPerUser is why a session is refused of a user who has too many.
const SessionsPerUser = "sessions per user"

// Users bounds how many sessions a user may have at once. Its methods may be called at the same time; the fields must
// not change after the first call, but by Set.
type Users struct {
	// Max is how many. 0 or negative = no limit.
	Max int
	// Of returns the name of the user whom a request is from, "" if nobody knows: such sessions have no limit here. Required.
	Of func(*http.Request) string

	mu       sync.Mutex     // guards the field below, and Max
	sessions map[string]int // of users who have some
}

// Set changes Max. Sessions that exist stay, even if they are more than may be.
func (u *Users) Set(max int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.Max = max
}

// Acquire counts a new session until release is called; further calls do nothing. When the session may not be,
// release is nil and the answer says why.
func (u *Users) Acquire(r *http.Request) (release func(), refusal *wsframe.Rejection) {
	name := u.Of(r)
	if name == "" {
		return func() {}, nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.Max > 0 && u.sessions[name] >= u.Max {
		rej := wsframe.Reject(http.StatusTooManyRequests, "too many connections of this user at once")
		rej.Err = fmt.Errorf("limit of %s, of %q", SessionsPerUser, name)
		return nil, rej.RetryAfter(5 * time.Second)
	}
	if u.sessions == nil {
		u.sessions = make(map[string]int)
	}
	u.sessions[name]++
	return sync.OnceFunc(func() { u.release(name) }), nil
}

func (u *Users) release(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sessions[name]--; u.sessions[name] == 0 {
		delete(u.sessions, name)
	}
}
