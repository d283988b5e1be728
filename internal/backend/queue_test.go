package backend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSessionsWaitInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(world).set(t, Config{Backends: []Server{{Address: a, MaxSessions: 1}, {Address: b, MaxSessions: 1}}})
		one, two := open(t, s, nil), open(t, s, nil)
		var mu sync.Mutex
		var order []int
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				l := open(t, s, nil)
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				time.Sleep(time.Millisecond)
				l.Release()
			})
			synctest.Wait()
		}
		one.Release()
		one.Release() // does nothing
		synctest.Wait()
		mu.Lock()
		if len(order) != 1 {
			t.Errorf("%d got one place", len(order))
		}
		mu.Unlock()
		all.Wait()
		if !slices.IsSorted(order) {
			t.Errorf("got %v", order)
		}
		two.Release()
		if st := status(s, a); st.Active != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestTheQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(world).set(t, Config{MaxQueue: 2, QueueWait: 3 * time.Second, Backends: []Server{{Address: a, MaxSessions: 1}}})
		defer open(t, s, nil).Release()
		start := time.Now()
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				if e := refused(t, s); e.Status != 503 || e.RetryAfter <= 0 || !errors.Is(e, errQueueWait) || time.Since(start) != 3*time.Second {
					t.Errorf("%v after %v", e, time.Since(start))
				}
			})
		}
		synctest.Wait()
		if e := refused(t, s); e.Status != 503 || e.RetryAfter <= 0 || !errors.Is(e, errQueueFull) || time.Since(start) != 0 {
			t.Errorf("%v after %v", e, time.Since(start))
		}
		all.Wait()
		for _, c := range []Config{{MaxQueue: -1}, {QueueWait: -1}} {
			c.Backends = []Server{{Address: a, MaxSessions: 1}}
			s := new(world).set(t, c)
			defer open(t, s, nil).Release()
			refused(t, s)
		}
		if time.Since(start) != 3*time.Second {
			t.Error("it has waited")
		}
	})
}

func TestThoseWhoGoAwayLeaveTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(world).set(t, Config{Backends: []Server{{Address: a, MaxSessions: 1}}})
		l := open(t, s, nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := s.Try(ctx, nil, dial); err != context.Canceled {
			t.Errorf("got %v", err)
		}
		l.Release()
		open(t, s, nil).Release()
	})
}

func TestCloseRefusesThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(world).set(t, Config{Backends: []Server{{Address: a, MaxSessions: 1}}})
		l := open(t, s, nil)
		var all sync.WaitGroup
		all.Go(func() {
			if e := refused(t, s); e.Reason != closing().Reason {
				t.Errorf("got %v", e)
			}
		})
		synctest.Wait()
		s.Close()
		all.Wait()
		if e := refused(t, s); e.Status != 503 {
			t.Errorf("got %v", e)
		}
		l.Release()
	})
}

// The other backend comes back while everybody waits for this one.
func TestTheQueueTriesWhoMayBeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		s := n.set(t, Config{Backends: []Server{{Address: a, MaxSessions: 1}, {Address: b, MaxSessions: 1}}})
		n.kill(errRefused, b)
		once(t, s, nil)
		once(t, s, nil)
		defer open(t, s, nil).Release()
		start := time.Now()
		var all sync.WaitGroup
		all.Go(func() {
			if l := open(t, s, nil); l.ID() != b {
				t.Errorf("got %s", l.ID())
			}
		})
		synctest.Wait()
		n.revive(b)
		all.Wait()
		if time.Since(start) != time.Second {
			t.Errorf("after %v", time.Since(start))
		}
	})
}

// When the last one that was worth waiting for goes away, nobody waits any longer.
func TestNobodyWaitsForWhatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		s := n.set(t, Config{Backends: []Server{{Address: a, MaxSessions: 1}}})
		start := time.Now()
		var all sync.WaitGroup
		first := make(chan *Lease, 1)
		all.Go(func() {
			s.Try(t.Context(), nil, func(_ context.Context, l *Lease) error {
				first <- l
				time.Sleep(time.Second)
				return l.Failed(errRefused)
			})
		})
		<-first
		n.kill(errRefused, a)
		for range 3 {
			all.Go(func() { refused(t, s) })
		}
		all.Wait()
		if time.Since(start) != time.Second {
			t.Errorf("after %v", time.Since(start))
		}
	})
}

// Many sessions, some failures: nobody is lost, no limit is exceeded.
func TestNothingIsLostInTheCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for balance := LeastConnections; balance <= RandomTwo; balance++ {
			var n world
			var servers []Server
			for i := range 5 {
				servers = append(servers, Server{Address: fmt.Sprintf("h%d.test:1", i), MaxSessions: 3, Weight: i, Backup: i == 4})
			}
			n.kill(errRefused, servers[1].Address)
			n.kill(errHang, servers[2].Address)
			s := n.set(t, Config{Balance: balance, HashName: "X-Key", Backends: servers, MaxQueue: 1000, QueueWait: time.Hour})
			var all sync.WaitGroup
			for i := range 300 {
				all.Go(func() {
					time.Sleep(time.Duration(i%7) * time.Second)
					err := s.Try(t.Context(), request(i), func(ctx context.Context, l *Lease) error {
						err := dial(ctx, l)
						if err == nil {
							for _, st := range s.Status() {
								if st.Active > 3 {
									t.Errorf("%+v", st)
								}
							}
							time.Sleep(time.Duration(i%5) * time.Second)
							l.Release()
						}
						return err
					})
					if err != nil {
						t.Errorf("%s: %v", balance, err)
					}
				})
			}
			all.Wait()
			for _, st := range s.Status() {
				if st.Active != 0 {
					t.Errorf("%+v", st)
				}
			}
			if len(s.queue) != 0 {
				t.Error("somebody waits")
			}
		}
	})
}
