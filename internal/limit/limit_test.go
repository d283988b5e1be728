package limit

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const none = -1

// open is a Config that limits nothing.
func open() Config {
	return Config{Sessions: none, SessionsPerAddress: none, Rate: none, RatePerAddress: none}
}

func acquire(t *testing.T, l *Limiter, addr string) (release func()) {
	t.Helper()
	release, refusal := l.Acquire(t.Context(), addr)
	if refusal != nil {
		t.Fatalf("%s: %v", addr, refusal)
	}
	return release
}

func refused(t *testing.T, l *Limiter, addr, reason string, status int, retry string) {
	t.Helper()
	before := l.Refused(reason)
	release, refusal := l.Acquire(t.Context(), addr)
	if refusal == nil || release != nil {
		t.Fatalf("%s was not refused", addr)
	}
	if refusal.Status != status || refusal.Reason == "" || refusal.Header.Get("Retry-After") != retry || l.Refused(reason) != before+1 {
		t.Fatalf("%s: %v, header %v, counted %v", addr, refusal, refusal.Header, l.Stats().Refused)
	}
}

func TestSessionsOfAll(t *testing.T) {
	c := open()
	c.Sessions = 2
	c.RetryAfter = 7 * time.Second
	l := New(c)
	one := acquire(t, l, "192.0.2.1:1")
	acquire(t, l, "192.0.2.2:1")
	refused(t, l, "192.0.2.3:1", Sessions, 503, "7")
	one()
	one() // counts once
	acquire(t, l, "@")
	refused(t, l, "@", Sessions, 503, "7")
	if s := l.Stats(); s.Sessions != 2 || s.Refused[Sessions] != 2 {
		t.Errorf("%+v", s)
	}
}

func TestSessionsOfAnAddress(t *testing.T) {
	tests := []struct {
		name, first, second string
		same                bool
	}{
		{"ports do not count", "192.0.2.1:1", "192.0.2.1:2", true},
		{"neighbours", "192.0.2.1:1", "192.0.2.2:1", false},
		{"IPv4 in IPv6", "192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"the same /64", "[2001:db8::1]:1", "[2001:db8::ffff:1]:1", true},
		{"another /64", "[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"zones do not count", "[fe80::1%a]:1", "[fe80::1%b]:1", true},
		{"without a port", "192.0.2.1", "192.0.2.1:2", true},
		{"Unix sockets are nobody's", "@", "@", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := open()
			c.SessionsPerAddress = 1
			l := New(c)
			release := acquire(t, l, tt.first)
			if !tt.same {
				acquire(t, l, tt.second)
				return
			}
			refused(t, l, tt.second, SessionsPerAddress, 429, "5")
			release()
			acquire(t, l, tt.second)
		})
	}
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open()
		c.Rate, c.Burst = 2, 3
		l := New(c)
		for range 3 {
			acquire(t, l, "192.0.2.1:1")
		}
		refused(t, l, "192.0.2.2:1", Rate, 503, "1")
		time.Sleep(500 * time.Millisecond)
		acquire(t, l, "192.0.2.2:1")
		refused(t, l, "192.0.2.2:1", Rate, 503, "1")
		time.Sleep(time.Hour)
		for range 3 {
			acquire(t, l, "192.0.2.1:1")
		}
		refused(t, l, "192.0.2.1:1", Rate, 503, "1")
	})
}

func TestRatesOfAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open()
		c.RatePerAddress, c.BurstPerAddress = 0.1, 2
		l := New(c)
		for range 2 {
			acquire(t, l, "[2001:db8::1]:1")()
		}
		refused(t, l, "[2001:db8::2]:1", RatePerAddress, 429, "10")
		acquire(t, l, "192.0.2.2:1") // others are not concerned
		time.Sleep(7500 * time.Millisecond)
		refused(t, l, "[2001:db8::2]:1", RatePerAddress, 429, "3")
		time.Sleep(2500 * time.Millisecond)
		acquire(t, l, "[2001:db8::2]:1")
	})
}

// What one address does too much of must not use up what is there for all.
func TestAnAddressTakesNothingFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Sessions: none, SessionsPerAddress: 1, Rate: 1, Burst: 2, RatePerAddress: none})
		acquire(t, l, "192.0.2.1:1")
		for range 100 {
			refused(t, l, "192.0.2.1:1", SessionsPerAddress, 429, "5")
		}
		acquire(t, l, "192.0.2.2:1")
	})
}

func TestDefaultsProtect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{})
		for range 200 {
			acquire(t, l, "192.0.2.1:1")
		}
		refused(t, l, "192.0.2.1:1", RatePerAddress, 429, "1")
		time.Sleep(time.Minute)
		for range 50 {
			acquire(t, l, "192.0.2.1:1")
		}
		refused(t, l, "192.0.2.1:1", SessionsPerAddress, 429, "5")
		for i := l.Stats().Sessions; i < 10_000; i++ {
			time.Sleep(time.Millisecond)
			acquire(t, l, fmt.Sprintf("10.0.%d.%d:1", i/250, i%250))
		}
		refused(t, l, "192.0.2.2:1", Sessions, 503, "5")
	})
}

func TestExemptAddresses(t *testing.T) {
	c := Config{Sessions: 3, SessionsPerAddress: 1, RatePerAddress: none}
	l := New(c)
	for _, a := range []string{"127.0.0.1:1", "127.0.0.1:2", "[::1]:3"} {
		acquire(t, l, a)
	}
	refused(t, l, "127.0.0.1:4", Sessions, 503, "5") // but those of all
	c.Sessions, c.Exempt = 10, func(a netip.Addr) bool { return a == netip.MustParseAddr("2001:db8::1") }
	l.Set(c)
	for range 2 {
		acquire(t, l, "[2001:db8::1]:1")
	}
	acquire(t, l, "[2001:db8::2]:1")
	refused(t, l, "[2001:db8::3]:1", SessionsPerAddress, 429, "5")
	acquire(t, l, "[::ffff:127.0.0.1]:5")
	refused(t, l, "127.0.0.1:6", SessionsPerAddress, 429, "5")
}

func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open()
		c.Sessions, c.Wait, c.Waiting = 1, 10*time.Second, 2
		l := New(c)
		first := acquire(t, l, "192.0.2.1:1")
		got := make(chan int, 3)
		for i := range 2 {
			go func() {
				if release, refusal := l.Acquire(t.Context(), "192.0.2.2:1"); refusal == nil {
					got <- i
					time.Sleep(time.Second)
					release()
				} else {
					got <- -1
				}
			}()
			synctest.Wait() // one after the other
		}
		refused(t, l, "192.0.2.3:1", Waiting, 503, "5")
		if s := l.Stats(); s.Waiting != 2 || s.Sessions != 1 {
			t.Fatalf("%+v", s)
		}
		first()
		if a, b := <-got, <-got; a != 0 || b != 1 {
			t.Fatalf("turns of %d and %d", a, b)
		}
		// While the second one has its second, one waits for nothing, and another loses patience.
		l.Set(Config{Sessions: 1, Wait: 100 * time.Millisecond})
		refused(t, l, "192.0.2.3:1", Waiting, 503, "5")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, refusal := l.Acquire(ctx, "192.0.2.3:1"); refusal == nil {
			t.Fatal("a client that went away got a session")
		}
		time.Sleep(time.Minute)
		if s := l.Stats(); s.Waiting != 0 || s.Sessions != 0 {
			t.Fatalf("%+v", s)
		}
	})
}

func TestWaitersCountForTheirAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open()
		c.Sessions, c.SessionsPerAddress, c.Wait = 1, 2, time.Minute
		l := New(c)
		release := acquire(t, l, "192.0.2.1:1")
		done := make(chan func(), 1)
		go func() { done <- acquire(t, l, "192.0.2.1:1") }()
		synctest.Wait()
		refused(t, l, "192.0.2.1:1", SessionsPerAddress, 429, "5")
		release()
		(<-done)()
	})
}

func TestNewLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open()
		c.Sessions, c.Wait = 2, time.Minute
		l := New(c)
		a, b := acquire(t, l, "192.0.2.1:1"), acquire(t, l, "192.0.2.1:1")
		done := make(chan func(), 1)
		go func() { done <- acquire(t, l, "192.0.2.1:1") }()
		synctest.Wait()
		c.Sessions = 3 // there is room for the one that waits
		l.Set(c)
		third := <-done
		c.Sessions, c.Wait = 1, 0
		l.Set(c)
		a()
		refused(t, l, "192.0.2.1:1", Sessions, 503, "5")
		b()
		refused(t, l, "192.0.2.1:1", Sessions, 503, "5")
		third()
		acquire(t, l, "192.0.2.1:1")
		if s := l.Stats(); s.Sessions != 1 {
			t.Fatalf("%+v", s)
		}
	})
}

// A flood from very many addresses must not cost more memory than was said, and be forgotten when it is over.
func TestMemoryIsBounded(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	synctest.Test(t, func(t *testing.T) {
		c := open()
		c.RatePerAddress, c.BurstPerAddress = 1, 2
		c.Addresses = 50_000
		l := New(c)
		before := heap()
		held := acquire(t, l, "192.0.2.1:1")
		for i := range 200_000 {
			acquire(t, l, fmt.Sprintf("[2001:%x:%x::1]:1", i>>16, i&0xffff))()
		}
		// The table of a Go map grows by doubling.
		if used := heap() - before; used > 400*50_000 {
			t.Errorf("%d bytes per address", used/50_000)
		} else {
			t.Logf("%d bytes per address", used/50_000)
		}
		if n := l.Stats().Addresses; n != 50_001 {
			t.Errorf("%d addresses", n)
		}
		refused := l.Refused(RatePerAddress)
		time.Sleep(time.Minute)
		for range 50_000 { // one quiet address lets two others be forgotten
			acquire(t, l, "192.0.2.2:1")()
			time.Sleep(time.Second)
		}
		if n := l.Stats().Addresses; n > 2 {
			t.Errorf("%d addresses are left", n)
		}
		if refused != l.Refused(RatePerAddress) {
			t.Error("somebody was refused")
		}
		held()
	})
}

func TestManyAtOnce(t *testing.T) {
	c := open()
	c.Sessions, c.SessionsPerAddress, c.Wait = 5, 20, time.Minute
	l := New(c)
	var now, most atomic.Int64
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			for range 50 {
				release, refusal := l.Acquire(context.Background(), fmt.Sprintf("192.0.2.%d:1", i%4))
				if refusal != nil {
					t.Error(refusal)
					return
				}
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				runtime.Gosched()
				now.Add(-1)
				release()
			}
		})
	}
	wg.Wait()
	if s := l.Stats(); s.Sessions != 0 || s.Waiting != 0 || most.Load() > 5 {
		t.Errorf("%+v, at most %d", s, most.Load())
	}
}

func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := Failures{Burst: 3, Every: 10 * time.Second}
		blocked := func(addr string, want time.Duration) {
			t.Helper()
			if got := f.Blocked(addr).Round(time.Millisecond); got != want {
				t.Fatalf("%s has to wait for %v, not %v", addr, got, want)
			}
		}
		for range 3 {
			blocked("192.0.2.1:1", 0)
			f.Failed("192.0.2.1:1")
		}
		blocked("192.0.2.1:9", 10*time.Second)
		blocked("192.0.2.2:9", 0)
		blocked("@", 0)
		f.Failed("192.0.2.1:1") // began before the third was over
		blocked("192.0.2.1:9", 20*time.Second)
		time.Sleep(20 * time.Second)
		blocked("192.0.2.1:1", 0)
		f.Failed("192.0.2.1:1")
		blocked("192.0.2.1:1", 10*time.Second)
		time.Sleep(time.Hour)
		for range 2 {
			f.Failed("192.0.2.1:1")
		}
		blocked("192.0.2.1:1", 0)
		for range 100_000 {
			f.Failed("192.0.2.1:1")
		}
		blocked("192.0.2.1:1", time.Hour+10*time.Second)
	})
}

func TestFailuresAreForgottenInOrder(t *testing.T) {
	f := Failures{Burst: 1, Addresses: 2}
	for _, a := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"} {
		f.Failed(a)
	}
	if f.Blocked("192.0.2.1") == 0 || f.Blocked("192.0.2.2") != 0 || f.Blocked("192.0.2.3") == 0 {
		t.Error("the one that was away longest must go")
	}
	if n, m := len(f.addresses.entries), f.addresses.idle.Len(); n != 2 || m != 2 {
		t.Errorf("%d entries, %d idle", n, m)
	}
	unlimited := Failures{Burst: -1}
	for range 100 {
		unlimited.Failed("192.0.2.1")
	}
	if unlimited.Blocked("192.0.2.1") != 0 {
		t.Error("blocked")
	}
}

func TestMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := Flow{Messages: 10, MessageBurst: 20}.Meter()
		if !m.Take(20, 1<<40) || m.Take(1, 0) {
			t.Fatal("a burst is 20 messages")
		}
		time.Sleep(time.Second)
		if !m.Take(9, 0) || m.Take(2, 0) { // the one too many above counts
			t.Fatal("ten come back in a second")
		}
		time.Sleep(time.Hour)
		if !m.Take(20, 0) || !m.Take(19, 0) || m.Take(2, 0) {
			t.Fatal("no more than twice the burst passes after a silence")
		}

		m = Flow{Bytes: 1000, ByteBurst: 5000}.Meter()
		if !m.Take(1<<40, 5000) || m.Take(1, 1) {
			t.Fatal("a burst is 5000 bytes")
		}
		time.Sleep(2 * time.Second)
		if !m.Take(1, 1999) || m.Take(1, 1) {
			t.Fatal("1000 bytes come back in a second")
		}
		if m := (Flow{Bytes: 10}).Meter(); !m.Take(1, 2<<20) {
			t.Fatal("a large message does not fit")
		}
		if m := (Flow{}).Meter(); m != nil || !m.Take(1e9, 1e9) {
			t.Fatal("limits without being asked to")
		}
	})
}

func TestMeterDoesNotAllocate(t *testing.T) {
	m := Flow{Messages: 1e6, Bytes: 1e9}.Meter()
	if n := testing.AllocsPerRun(10_000, func() { m.Take(1, 100) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMeter(b *testing.B) {
	m := Flow{Messages: 1e12, Bytes: 1e15}.Meter()
	for b.Loop() {
		m.Take(1, 32)
	}
}

func BenchmarkAcquire(b *testing.B) {
	l := New(open())
	for b.Loop() {
		release, refusal := l.Acquire(b.Context(), "192.0.2.1:1")
		if refusal != nil {
			b.Fatal(refusal)
		}
		release()
	}
}

var _ http.Handler = (*Handler)(nil)
