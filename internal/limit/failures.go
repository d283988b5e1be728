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
	mu        sync.Mutex // guards the field below
	addresses table
}

// maxDebt bounds for how long somebody can be blocked.
const maxDebt = time.Hour

// Blocked returns how long an address has to wait before it may try again, 0 if it may.
func (f *Failures) Blocked(remoteAddr string) time.Duration {
	addr, ok := parse(remoteAddr)
	if !ok || f.Burst < 0 {
		return 0
	}
	f.once.Do(f.init)
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.addresses.entries[keyOf(addr)]
	if e == nil {
		return 0
	}
	b := e.bucket // nothing is taken from the real one
	return b.take(time.Since(f.start), f.addresses.rate, f.addresses.burst)
}

// Failed counts a failure of an address. Those of attempts that began at the same time all count, so that there is
// nothing to be gained.
func (f *Failures) Failed(remoteAddr string) {
	addr, ok := parse(remoteAddr)
	if !ok || f.Burst < 0 {
		return
	}
	f.once.Do(f.init)
	f.mu.Lock()
	defer f.mu.Unlock()
	t := &f.addresses
	now := time.Since(f.start)
	e := t.get(keyOf(addr))
	e.fill(now, t.rate, t.burst)
	e.tokens = max(e.tokens-1, -maxDebt.Seconds()*t.rate)
	t.put(e, now)
}

func (f *Failures) init() {
	burst, every, addresses := f.Burst, f.Every, f.Addresses
	def(&burst, 10)
	def(&every, 10*time.Second)
	def(&addresses, 65_536)
	f.start = time.Now()
	f.addresses.limit(addresses, 1/every.Seconds(), float64(burst))
}
