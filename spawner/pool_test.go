package spawner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakes are workers without processes, for tests in which time is synthetic.
type fakes struct {
	boot time.Duration             // until one is ready
	life func(n int) time.Duration // of the n-th one, 0 = until it is told
	late time.Duration             // from being told to being gone
	n    atomic.Int32              // starts
}

// fakePool starts a pool of fakes.
func fakePool(t testing.TB, c PoolConfig, f *fakes) *Pool {
	t.Helper()
	c.Spawner, c.Program, c.Name = New(Config{}), &Program{Path: "x", Args: []string{"{port}"}}, "w"
	p, err := NewPool(c)
	if err != nil {
		t.Fatal(err)
	}
	p.runner = func(told, hurry context.Context, w *Worker) {
		n := int(f.n.Add(1)) - 1
		select {
		case <-time.After(f.boot):
			p.started(w)
		case <-told.Done():
		}
		var end <-chan time.Time
		if f.life != nil && f.life(n) > 0 {
			end = time.After(f.life(n))
		}
		var err error
		select {
		case <-told.Done():
			time.Sleep(f.late)
		case <-end:
			err = errors.New("died")
		}
		close(w.done)
		p.gone(w, err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

func acquire(t testing.TB, p *Pool) *Worker {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	w, err := p.Acquire(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// in returns how many workers are in a state.
func in(p *Pool, s WorkerState) int {
	n := 0
	for _, w := range p.Workers() {
		if w.State == s {
			n++
		}
	}
	return n
}

// pause lets d pass and everything come to rest.
func pause(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func expect(t *testing.T, p *Pool, want int) {
	t.Helper()
	synctest.Wait()
	if n := len(p.Workers()); n != want {
		t.Errorf("%d workers, want %d: %+v", n, want, p.Workers())
	}
}

func releaseAll(all []*Worker) {
	for _, w := range all {
		w.Release()
	}
}

func TestDynamicScaling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fakePool(t, PoolConfig{
			Scaling: Dynamic, Min: 2, Max: 6, MinSpare: 1, MaxSpare: 2, MaxSessions: 2, IdleTimeout: time.Minute,
		}, &fakes{boot: time.Second})
		expect(t, p, 2)
		pause(time.Second)
		var held []*Worker
		for i, want := range []int{2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 6, 6} {
			held = append(held, acquire(t, p))
			expect(t, p, want)
			if i == 1 {
				pause(time.Hour) // nothing to spare, nothing too much
				expect(t, p, 2)
			}
			pause(time.Second)
		}
		releaseAll(held)
		pause(59 * time.Second)
		expect(t, p, 6)
		pause(2 * time.Second)
		expect(t, p, 2)
	})
}

func TestDynamicScalingKeepsMaxSpareForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fakePool(t, PoolConfig{Scaling: Dynamic, Max: 10, MinSpare: 1, MaxSpare: 3}, &fakes{})
		var held []*Worker
		for range 6 {
			held = append(held, acquire(t, p))
		}
		expect(t, p, 7)
		releaseAll(held)
		pause(time.Hour)
		expect(t, p, 3)
	})
}

func TestOnDemandScaling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{boot: time.Second}
		p := fakePool(t, PoolConfig{Max: 3, MaxSessions: 2, IdleTimeout: time.Minute}, f)
		expect(t, p, 0)
		results := make(chan *Worker, 5)
		for range 5 { // together they need three workers, which start together
			go func() { results <- acquire(t, p) }()
		}
		expect(t, p, 3)
		begin := time.Now()
		var held []*Worker
		for range 5 {
			held = append(held, <-results)
		}
		if d := time.Since(begin); d != time.Second {
			t.Errorf("waited %v", d)
		}
		releaseAll(held)
		pause(61 * time.Second)
		expect(t, p, 0)
		if n := f.n.Load(); n != 3 {
			t.Errorf("%d starts", n)
		}
	})
}

func TestAPoolWithoutSessionLimitHasOneWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fakePool(t, PoolConfig{MaxSessions: -1}, &fakes{})
		var held []*Worker
		for range 1000 {
			held = append(held, acquire(t, p))
		}
		expect(t, p, 1)
		releaseAll(held)
	})
}

func TestTheQueueIsFairAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fakePool(t, PoolConfig{Max: 1, MaxQueue: 3, QueueWait: time.Minute}, &fakes{})
		w := acquire(t, p)
		var order []int
		for i := range 3 {
			go func() {
				w := acquire(t, p)
				order = append(order, i) // one after the other: Max is 1
				time.Sleep(time.Second)
				w.Release()
			}()
			synctest.Wait()
		}
		if _, err := p.Acquire(t.Context(), nil); !errors.Is(err, ErrPoolBusy) {
			t.Errorf("%v", err)
		}
		w.Release()
		pause(time.Hour)
		if !slices.Equal(order, []int{0, 1, 2}) {
			t.Errorf("%v", order)
		}
	})
}

func TestTheWaitInTheQueueEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fakePool(t, PoolConfig{Max: 1, QueueWait: time.Minute}, &fakes{})
		w := acquire(t, p)
		begin := time.Now()
		if _, err := p.Acquire(t.Context(), nil); !errors.Is(err, ErrPoolBusy) || time.Since(begin) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Acquire(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		p.mu.Lock()
		if len(p.queue) != 0 {
			t.Errorf("%d are waiting", len(p.queue))
		}
		p.mu.Unlock()
		w.Release()
	})
}

func TestWithoutAQueueOnlyStartsAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fakePool(t, PoolConfig{Max: 1, MaxQueue: -1}, &fakes{boot: time.Second})
		w := acquire(t, p)
		if _, err := p.Acquire(t.Context(), nil); !errors.Is(err, ErrPoolBusy) {
			t.Errorf("%v", err)
		}
		w.Release()
	})
}

func TestChoose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fakePool(t, PoolConfig{Scaling: Static, Max: 3, MaxSessions: 2}, &fakes{})
		expect(t, p, 3)
		var names []string
		last := func(ready []*Worker) *Worker {
			names = nil
			for _, w := range ready {
				names = append(names, fmt.Sprintf("%s:%d", w.ID(), w.Active()))
			}
			return ready[len(ready)-1]
		}
		var held []*Worker
		for range 3 {
			w, err := p.Acquire(t.Context(), last)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, w)
		}
		if got := strings.Join(names, " "); got != "w-0:0 w-1:0" || held[2].ID() != "w-1" {
			t.Errorf("%s, then %s", got, held[2].ID())
		}
		// Nobody will do: it waits, others are served, and in the end it gets what it asked for.
		only := func(ready []*Worker) *Worker {
			if i := slices.Index(ready, held[0]); i >= 0 {
				return ready[i]
			}
			return nil
		}
		got := make(chan *Worker, 1)
		go func() {
			w, err := p.Acquire(t.Context(), only)
			if err != nil {
				t.Error(err)
			}
			got <- w
		}()
		synctest.Wait()
		w := acquire(t, p)
		w.Release()
		held[0].Release()
		if w := <-got; w != held[0] {
			t.Errorf("got %s", w.ID())
		}
		releaseAll(held)
	})
}

func TestBackoffDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{life: func(int) time.Duration { return time.Millisecond }}
		p := fakePool(t, PoolConfig{Scaling: Static, Max: 4}, f)
		synctest.Wait()
		var at []int32
		for _, d := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute, time.Hour} {
			pause(d)
			at = append(at, f.n.Load())
		}
		// 4 at once, then one each 50-100 ms, 100-200 ms, 200-400 ms … 15-30 s.
		for i, most := range []int32{4 + 5, 4 + 8, 4 + 13, 4 + 55, 4 + 300} {
			if at[i] > most {
				t.Errorf("%d starts, %v", at[i], at)
			}
		}
		if at[4] < at[3]+120 {
			t.Errorf("it gave up: %v", at)
		}
		begin := time.Now()
		if _, err := p.Acquire(t.Context(), nil); !errors.Is(err, ErrPoolUnhealthy) || time.Since(begin) > 0 {
			t.Errorf("%v", err)
		}
	})
}

func TestFailuresAreForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Every second one lives for long: they never add up.
		f := &fakes{life: func(n int) time.Duration { return []time.Duration{time.Millisecond, time.Minute}[n%2] }}
		p := fakePool(t, PoolConfig{Scaling: Static, Max: 1, CrashLoop: 2}, f)
		for range 100 {
			pause(10 * time.Second)
			p.mu.Lock()
			if p.unhealthy {
				t.Error("unhealthy")
			}
			p.mu.Unlock()
		}
	})
}

func TestAFullPoolReplacesItsOldWorkersOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakes{boot: time.Second, late: time.Second}
		p := fakePool(t, PoolConfig{Scaling: Static, Max: 4, MaxAge: time.Hour}, f)
		pause(time.Hour)
		for f.n.Load() < 8 {
			if n := in(p, Ready); n < 3 {
				t.Errorf("%d are ready", n)
			}
			pause(100 * time.Millisecond)
		}
	})
}

func TestAWorkerThatIsNotReachedIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(fakes)
		p := fakePool(t, PoolConfig{Max: 1, MaxSessions: 2}, f)
		kept := acquire(t, p)
		for range missesAllowed {
			if w := acquire(t, p); w != kept {
				t.Fatal("another worker")
			}
			kept.Failed(errors.New("refused"))
		}
		if n := in(p, Retiring); n != 1 {
			t.Errorf("%+v", p.Workers())
		}
		kept.Release()
		if w := acquire(t, p); w == kept {
			t.Error("the same worker")
		} else {
			w.Release()
		}
	})
}

func TestErrorsOfTheServerDoNotCountAgainstAWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fakePool(t, PoolConfig{Max: 1}, new(fakes))
		var first *Worker
		for range 10 {
			w := acquire(t, p)
			if first == nil {
				first = w
			} else if w != first {
				t.Fatal("it was replaced")
			}
			w.Failed(fmt.Errorf("dial: %w", syscall.EMFILE))
		}
	})
}

func BenchmarkAcquire(b *testing.B) {
	p := fakePool(b, PoolConfig{Scaling: Static, Max: 16, MaxSessions: 4}, new(fakes))
	for in(p, Ready) < 16 {
		time.Sleep(time.Millisecond)
	}
	b.ReportAllocs()
	for b.Loop() {
		w, err := p.Acquire(context.Background(), nil)
		if err != nil {
			b.Fatal(err)
		}
		w.Release()
	}
}

func TestPoolConfigIsChecked(t *testing.T) {
	s := New(Config{})
	prog := &Program{Path: "x"}
	for want, c := range map[string]PoolConfig{
		"no program":               {Spawner: s},
		"negative":                 {Max: -1},
		"min 5 is above max 4":     {Min: 5},
		"min spare":                {MinSpare: 3, MaxSpare: 2},
		"unknown scaling":          {Scaling: 9},
		"have to be static":        {Listen: Listen{Shared: true}},
		"cannot be shared":         {Scaling: Static, Env: []string{"A={port}"}, Listen: Listen{Shared: true}},
		"needs a unix socket":      {Env: []string{"A={socket}"}, Listen: Listen{Network: "tcp"}},
		"needs a tcp port":         {Env: []string{"A={port}"}, Listen: Listen{Network: "unix"}},
		"both a path and a port":   {Listen: Listen{Network: "unix", Port: 1}},
		"is not absolute":          {Listen: Listen{Path: "s"}},
		"mode":                     {Listen: Listen{Path: "/s", Mode: 0o1000}},
		"is not a loopback":        {Listen: Listen{Host: "0.0.0.0", Port: 1}},
		"port 65534 is out of":     {Listen: Listen{Port: 65534}},
		"neither unix nor tcp":     {Listen: Listen{Network: "udp"}},
		"would read a stderr pipe": {Program: &Program{Path: "x", Stderr: StderrPipe}},
	} {
		if c.Spawner == nil {
			c.Spawner = s
			if c.Program == nil {
				c.Program = prog
			}
		}
		if _, err := NewPool(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
