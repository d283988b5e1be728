package limit

import (
	"sync"
	"time"
)

// Failures bounds how often an address may fail at something, such as a password. The zero value is ready to use.
// Its methods may be called at the same time; the fields must not change after the first call.
type Failures struct {
	// Burst failures are allowed at once. 0 = 10, negative = no limit.
	Burst int
	// Every is how long it takes until one is forgiven. 0 = 10 s.
	Every time.Duration
	// Addresses is how many are remembered, 200 bytes each. 0 = 65,536.
	Addresses int

	once      sync.Once
	start     time.Time
	mu        sync.Mutex // guards the fields below
	addresses table
}

// Try begins an attempt. It counts as a failure until forgive is called, so that attempts made at the same time
// are no more than one after the other. When there were too many failures, forgive is nil, and after
// retry the next one is allowed.
func (f *Failures) Try(remoteAddr string) (forgive func(), retry time.Duration) {
	key, ok := keyOf(remoteAddr)
	if !ok || f.Burst < 0 {
		return func() {}, 0
	}
	f.once.Do(f.init)
	f.mu.Lock()
	defer f.mu.Unlock()
	t := &f.addresses
	now := time.Since(f.start)
	e := t.get(key)
	wait := e.take(now, t.rate, t.burst)
	t.put(e, now)
	if wait > 0 {
		return nil, wait
	}
	return sync.OnceFunc(func() { f.forgive(e) }), 0
}

func (f *Failures) forgive(e *entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e.tokens = min(e.tokens+1, f.addresses.burst)
	if e.idle != nil { // it may have been forgotten
		f.addresses.put(e, time.Since(f.start))
	}
}

func (f *Failures) init() {
	burst, every, addresses := f.Burst, f.Every, f.Addresses
	def(&burst, 10)
	def(&every, 10*time.Second)
	def(&addresses, 65_536)
	f.start = time.Now()
	f.addresses.limit(addresses, 1/every.Seconds(), float64(burst))
}
