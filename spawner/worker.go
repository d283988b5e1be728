package spawner

import "time"

// Worker is one process of a [Pool]. All methods may be called at the same time.
type Worker struct{}

// WorkerInfo is what [Pool.Workers] tells about a worker.
type WorkerInfo struct {
	ID               string
	Network, Address string
	Pid              int         // 0: not started yet, or adopted
	State            WorkerState //
	Adopted          bool        // answered at a configured address before the pool started one: not ours
	Sessions         int         // now
	Served           int         // since its start, running ones included
	Since            time.Time   // its start
}

// WorkerState is a stage in the life of a worker.
type WorkerState uint8

// The stages.
const (
	Starting WorkerState = iota // started or about to be, not ready yet
	Ready                       // takes sessions
	Retiring                    // takes no more, but has some
	Stopping                    // was told to end
)

// String returns the name in lower case.
func (s WorkerState) String() string {
	return [...]string{"starting", "ready", "retiring", "stopping"}[s]
}

// ID returns the name of its place in the pool, for example "php-0". A worker that replaces another one
// may have the same.
func (w *Worker) ID() string { return "" }

// Address returns where it accepts sessions, in the form that [net.Dial] takes.
func (w *Worker) Address() (network, address string) { return "", "" }

// Active returns how many sessions it has.
func (w *Worker) Active() int { return 0 }

// Release ends one session.
func (w *Worker) Release() {}

// Failed ends one session that could not begin because the worker could not be reached. A worker that is
// not reached three times in a row is replaced.
func (w *Worker) Failed(err error) {}

// Done returns a channel that is closed when its process has ended. One that was adopted
// has none; its channel is closed when it is found to be gone.
func (w *Worker) Done() <-chan struct{} { return nil }

// ExitState tells how its process ended. It is valid after Done; an adopted one has none.
func (w *Worker) ExitState() ExitState { return ExitState{} }
