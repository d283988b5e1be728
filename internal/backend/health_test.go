package backend

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestABackendThatIsAwayIsLeftAloneForLongerAndLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		s := n.set(t, Config{}, a, b)
		n.kill(errRefused, a)
		var gaps []time.Duration
		last := time.Now()
		for range 1300 {
			before := len(n.dials)
			if got := once(t, s, nil); got != b {
				t.Fatalf("got %s", got)
			}
			if slices.Contains(n.dials[before:], a) {
				gaps = append(gaps, time.Since(last))
				last = time.Now()
			}
			time.Sleep(100 * time.Millisecond)
		}
		want := []time.Duration{0, 1, 2, 4, 8, 16, 30, 30, 30}
		if len(gaps) != len(want) {
			t.Fatalf("tried after %v", gaps)
		}
		for i, g := range gaps[1:] {
			if w := want[i+1] * time.Second; g < w || g > w+200*time.Millisecond {
				t.Errorf("tried after %v, want %v", g, w)
			}
		}
		if st := status(s, a); st.State != StateDisabled || st.Failures != int64(len(want)) || !errors.Is(st.Err, errRefused) {
			t.Errorf("%+v", st)
		}
		n.revive(a)
		time.Sleep(30 * time.Second)
		once(t, s, nil)
		once(t, s, nil)
		if st := status(s, a); st.State != StateUp || time.Since(st.Since) != 0 {
			t.Errorf("%+v", st)
		}
		n.kill(errRefused, a) // and everything begins anew
		once(t, s, nil)
		once(t, s, nil)
		before := len(n.dials)
		time.Sleep(time.Second)
		once(t, s, nil)
		once(t, s, nil)
		if !slices.Contains(n.dials[before:], a) {
			t.Error("not tried again after a second")
		}
	})
}

// While the one session that finds out whether a backend is back has to wait for it, others go elsewhere.
func TestOneSessionTriesABackendThatMayBeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		s := n.set(t, Config{}, a, b)
		n.kill(errHang, a)
		var all sync.WaitGroup
		all.Go(func() { once(t, s, nil) }) // one of these
		all.Go(func() { once(t, s, nil) })
		all.Wait()
		if st := status(s, a); st.State != StateDisabled {
			t.Fatalf("%+v", st)
		}
		time.Sleep(time.Second)
		n.dials = nil
		start := time.Now()
		for range 20 {
			all.Go(func() { once(t, s, nil) })
		}
		synctest.Wait()
		if got := status(s, b).Active + status(s, a).Active; got != 1 {
			t.Errorf("%d sessions wait, want 1", got)
		}
		all.Wait()
		if got := time.Since(start); got != DefaultConnectTimeout {
			t.Errorf("it waited %v", got)
		}
		tries := slices.DeleteFunc(n.dials, func(addr string) bool { return addr != a })
		if len(tries) != 1 {
			t.Errorf("%d sessions tried, want 1", len(tries))
		}
	})
}

func TestManyFailuresAtTheSameTimeAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		s := n.set(t, Config{Balance: RoundRobin}, a, b)
		n.kill(errHang, a)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { once(t, s, nil) })
		}
		all.Wait()
		n.revive(a)
		time.Sleep(time.Second) // not 2^9
		once(t, s, nil)
		once(t, s, nil)
		if st := status(s, a); st.State != StateUp || st.Failures != 10 {
			t.Errorf("%+v", st)
		}
	})
}

func TestWhenAllAreAwayTheyAreAskedAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		s := n.set(t, Config{DisableTime: time.Hour}, a, b, c)
		n.kill(errRefused, a, b, c)
		e := refused(t, s)
		if e.Status != http.StatusServiceUnavailable || e.RetryAfter <= 0 || !errors.Is(e, errRefused) || len(n.dials) != 3 {
			t.Errorf("%d after %v, dialled %v: %v", e.Status, e.RetryAfter, n.dials, e)
		}
		n.revive(c)
		time.Sleep(time.Second)
		if got := once(t, s, nil); got != c {
			t.Errorf("got %s", got)
		}
		if got := once(t, s, nil); got != c || status(s, c).State != StateUp {
			t.Errorf("got %s", got)
		}
	})
}

func TestTheLeastRecentFailureIsAskedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		s := n.set(t, Config{DisableTime: time.Hour, Retries: -1}, a, b, c)
		n.kill(errRefused, a, b, c)
		for range 9 {
			refused(t, s)
			time.Sleep(time.Millisecond)
		}
		for i := range 6 {
			if n.dials[i] != n.dials[i+3] {
				t.Fatalf("dialled %v", n.dials)
			}
		}
	})
}

func TestBackendsThatDoNotEvenRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		s := n.set(t, Config{ConnectTimeout: time.Second, DisableTime: time.Hour}, a, b)
		n.kill(errHang, a, b)
		if e := refused(t, s); e.Status != http.StatusGatewayTimeout || len(n.dials) != 2 {
			t.Errorf("%d, dialled %v", e.Status, n.dials)
		}
		start := time.Now()
		if e := refused(t, s); e.Status != http.StatusGatewayTimeout || time.Since(start) != time.Second {
			t.Errorf("%d after %v: those known to be away are not all waited for", e.Status, time.Since(start))
		}
		n.kill(errRefused, a)
		if e := refused(t, n.set(t, Config{ConnectTimeout: time.Second}, a, b)); e.Status != http.StatusServiceUnavailable {
			t.Errorf("%d, but one has refused", e.Status)
		}
	})
}

func TestAClientThatGoesAwayIsNobodysFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		s := n.set(t, Config{}, a, b)
		n.kill(errHang, a, b)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := s.Try(ctx, nil, dial); err != context.Canceled {
			t.Errorf("got %v", err)
		}
		for _, st := range s.Status() {
			if st.Failures != 0 || st.Active != 0 || st.State != StateUp {
				t.Errorf("%+v", st)
			}
		}
	})
}

func TestDisablingCanBeSwitchedOff(t *testing.T) {
	var n world
	n.kill(errRefused, a)
	s := n.set(t, Config{DisableTime: -1, Balance: RoundRobin}, a, b)
	for range 10 {
		if got := once(t, s, nil); got != b {
			t.Errorf("got %s", got)
		}
	}
	if st := status(s, a); st.State != StateUp || st.Failures != 5 && st.Failures != 10 {
		t.Errorf("%+v", st)
	}
}

// One session does not wait for every backend there is.
func TestTwoThatTakeTooLongAreEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		n.kill(errHang, a, b, c, d)
		start := time.Now()
		if e := refused(t, n.set(t, Config{}, a, b, c, d)); e.Status != http.StatusGatewayTimeout || time.Since(start) != 2*DefaultConnectTimeout {
			t.Errorf("%d after %v", e.Status, time.Since(start))
		}
	})
}

func TestAtMostSoManyBackendsAreTried(t *testing.T) {
	var n world
	addrs := []string{a, b, c, d, "e.test:1", "f.test:1"}
	n.kill(errRefused, addrs...)
	refused(t, n.set(t, Config{}, addrs...))
	if len(n.dials) != 5 {
		t.Errorf("dialled %v", n.dials)
	}
}

func TestOtherErrorsEndTheTryAndReleaseTheLease(t *testing.T) {
	s := new(world).set(t, Config{}, a, b)
	broken := errors.New("sent half of it")
	calls := 0
	err := s.Try(t.Context(), nil, func(ctx context.Context, l *Lease) error {
		calls++
		return broken
	})
	if err != broken || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
	func() {
		defer func() { recover() }()
		s.Try(t.Context(), nil, func(context.Context, *Lease) error { panic(http.ErrAbortHandler) })
	}()
	for _, st := range s.Status() {
		if st.Active != 0 || st.Failures != 0 {
			t.Errorf("%+v", st)
		}
	}
}

func TestUnreachableAloneIsNoFailureButFailedIs(t *testing.T) {
	for name, use := range map[string]func(l *Lease) error{
		StateUp:       func(l *Lease) error { return Unreachable(errors.New("all connections are busy")) },
		StateDisabled: func(l *Lease) error { return l.Failed(errors.New("hung up")) },
	} {
		s := new(world).set(t, Config{}, a, b)
		var at []string
		err := s.Try(t.Context(), nil, func(_ context.Context, l *Lease) error {
			at = append(at, l.ID())
			return use(l)
		})
		if e, ok := errors.AsType[*Error](err); !ok || e.Status != 503 || len(at) != 2 || at[0] == at[1] {
			t.Errorf("%v after %v", err, at)
		}
		if st := status(s, a); st.State != name {
			t.Errorf("%+v", st)
		}
	}
}

func TestBackupsWorkWhenNobodyElseCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		s := n.set(t, Config{Backends: []Server{{Address: a, MaxSessions: 2}, {Address: b, Backup: true}, {Address: c, Backup: true}}})
		for range 2 {
			if l := open(t, s, nil); l.ID() != a {
				t.Errorf("got %s", l.ID())
			}
		}
		l := open(t, s, nil)
		if l.ID() == a {
			t.Error("a is full")
		}
		s = n.set(t, Config{Backends: []Server{{Address: a}, {Address: b, Backup: true}}})
		n.kill(errRefused, a)
		for range 5 {
			if got := once(t, s, nil); got != b {
				t.Errorf("got %s", got)
			}
		}
		n.revive(a)
		time.Sleep(time.Second)
		for range 5 {
			if got := once(t, s, nil); got != a {
				t.Errorf("got %s", got)
			}
		}
	})
}

// A Unix socket whose backlog is full says so at once. That is no failure, just a reason to wait a little.
func TestAFullBacklogIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		s := n.set(t, Config{Retries: -1}, "unix:/s")
		n.kill(&net.OpError{Op: "dial", Err: syscall.EAGAIN}, "/s")
		time.AfterFunc(3*time.Second, func() { n.revive("/s") })
		start := time.Now()
		once(t, s, nil)
		if took := time.Since(start); took < 3*time.Second || took > 3100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		n.kill(&net.OpError{Op: "dial", Err: syscall.EAGAIN}, "/s")
		if e := refused(t, s); e.Status != http.StatusGatewayTimeout {
			t.Errorf("got %d", e.Status)
		}
	})
}

func TestChecksTakeABackendOutAndBringItBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		s := n.set(t, Config{DisableTime: time.Hour, Check: Check{Interval: 10 * time.Second}}, a, b)
		s.Start()
		s.Start()
		n.kill(errRefused, a)
		synctest.Wait()
		want := func(at time.Duration, state string) {
			t.Helper()
			time.Sleep(at)
			synctest.Wait()
			if st := status(s, a); st.State != state {
				t.Errorf("%s, want %s", st.State, state)
			}
		}
		// The first check, at once, has met a healthy backend or not; that is as it may be.
		want(time.Second, StateUp)
		want(10*time.Second, StateUp)
		want(20*time.Second, StateDown)
		for range 4 {
			if got := once(t, s, nil); got != b {
				t.Errorf("got %s", got)
			}
		}
		n.revive(a)
		want(10*time.Second, StateDown)
		want(10*time.Second, StateUp)

		// It also ends what sessions saw, long before the hour is over.
		n.kill(errRefused, a)
		once(t, s, nil)
		once(t, s, nil)
		want(time.Second, StateDisabled)
		n.revive(a)
		want(20*time.Second, StateUp)
	})
}
