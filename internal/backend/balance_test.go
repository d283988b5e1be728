package backend

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

func TestTwoHundredSessionsOverFourBackends(t *testing.T) {
	for _, balance := range []Balance{LeastConnections, RoundRobin} {
		s := new(world).set(t, Config{Balance: balance}, a, b, c, d)
		for range 200 {
			open(t, s, nil)
		}
		for _, st := range s.Status() {
			if st.Active != 50 || st.Total != 50 {
				t.Errorf("%s: %s has %d sessions, want 50", balance, st.ID, st.Active)
			}
		}
	}
}

func TestWeightsAreKeptExactly(t *testing.T) {
	weights := map[string]int{a: 1, b: 2, c: 5}
	for _, balance := range []Balance{LeastConnections, RoundRobin} {
		for name, use := range map[string]func(testing.TB, *Set){
			"sessions that stay":             func(t testing.TB, s *Set) { open(t, s, nil) },
			"sessions that are over at once": func(t testing.TB, s *Set) { once(t, s, nil) },
		} {
			s := new(world).set(t, Config{Balance: balance, Backends: []Server{{Address: a}, {Address: b, Weight: 2}, {Address: c, Weight: 5}}})
			for range 80 {
				use(t, s)
			}
			for _, st := range s.Status() {
				if want := int64(10 * weights[st.ID]); st.Total != want {
					t.Errorf("%s, %s: %s got %d, want %d", balance, name, st.ID, st.Total, want)
				}
			}
		}
	}
}

// Heavy ones get their turns between those of others, not all at once.
func TestRoundRobinIsSmooth(t *testing.T) {
	s := new(world).set(t, Config{Balance: RoundRobin, Backends: []Server{{Address: a, Weight: 4}, {Address: b, Weight: 2}, {Address: c}}})
	var got []string
	for range 7 {
		got = append(got, once(t, s, nil)[:1])
	}
	if want := []string{"a", "b", "a", "c", "a", "b", "a"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLeastConnectionsPrefersWhoHasFewer(t *testing.T) {
	s := new(world).set(t, Config{}, a, b, c)
	leases := map[string][]*Lease{}
	for range 30 {
		l := open(t, s, nil)
		leases[l.ID()] = append(leases[l.ID()], l)
	}
	for _, l := range leases[b][:4] {
		l.Release()
	}
	for range 4 {
		if l := open(t, s, nil); l.ID() != b {
			t.Errorf("got %s", l.ID())
		}
	}
}

func TestRandomOfTwoIsEvenUnderLoad(t *testing.T) {
	s := new(world).set(t, Config{Balance: RandomTwo, Backends: []Server{{Address: a}, {Address: b}, {Address: c}, {Address: d, Weight: 3}}})
	for range 6000 {
		open(t, s, nil)
	}
	for _, st := range s.Status() {
		if want := 1000 * st.Weight; math.Abs(float64(st.Active-want)) > 50 {
			t.Errorf("%s has %d sessions, want %d or nearly so", st.ID, st.Active, want)
		}
	}
}

// request is one whose key is n, for all that look for one.
func request(n int) *http.Request {
	r := httptest.NewRequest("GET", fmt.Sprintf("/path/%d", n), nil)
	r.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:%d", n>>16&255, n>>8&255, n&255, 1024+n%1000)
	r.Header.Set("X-Key", fmt.Sprint("key", n))
	r.AddCookie(&http.Cookie{Name: "X-Key", Value: fmt.Sprint("key", n)})
	return r
}

var hashing = []Balance{HashPath, HashClient, HashHeader, HashCookie}

func TestHashesSpreadEvenlyAndMoveOnlyWhatTheyMust(t *testing.T) {
	// Addresses that differ in one letter, as they do in practice.
	addrs := []string{"unix:/run/app-0", "unix:/run/app-1", "unix:/run/app-2", "unix:/run/app-3"}
	const keys = 10_000
	for _, balance := range hashing {
		t.Run(balance.String(), func(t *testing.T) {
			config := Config{Balance: balance, HashName: "X-Key"}
			all, fewer := new(world).set(t, config, addrs...), new(world).set(t, config, addrs[:3]...)
			count := map[string]int{}
			for n := range keys {
				r := request(n)
				at := once(t, all, r)
				count[at]++
				if n < 1000 && once(t, all, request(n)) != at {
					t.Fatalf("key %d: %s, and then another one", n, at)
				}
				if without := once(t, fewer, r); at != addrs[3] && without != at {
					t.Fatalf("key %d moved from %s to %s", n, at, without)
				}
			}
			for _, id := range addrs {
				if fair := keys / len(addrs); math.Abs(float64(count[id]-fair)) > 0.05*float64(fair) {
					t.Errorf("%s has %d keys of %d, want %d within 5 %%", id, count[id], keys, fair)
				}
			}
		})
	}
}

func TestHashesRespectWeights(t *testing.T) {
	s := new(world).set(t, Config{Balance: HashPath, Backends: []Server{{Address: a}, {Address: b, Weight: 3}}})
	for n := range 10_000 {
		once(t, s, request(n))
	}
	if got := status(s, b).Total; got < 7300 || got > 7700 {
		t.Errorf("weight 3 beside 1 has %d of 10000", got)
	}
}

func TestKeysOfABackendThatIsAwayAreSharedByTheOthers(t *testing.T) {
	var n world
	s := n.set(t, Config{Balance: HashPath, DisableTime: 1 << 40}, a, b, c, d)
	n.kill(errRefused, b)
	for n := range 4000 {
		once(t, s, request(n))
	}
	for _, id := range []string{a, c, d} {
		if got := status(s, id).Total; got < 1200 || got > 1466 {
			t.Errorf("%s has %d of 4000", id, got)
		}
	}
}

func TestWhatHashesLookAt(t *testing.T) {
	same := func(balance Balance, x, y *http.Request) bool {
		c := Config{Balance: balance, HashName: "X-Key"}
		kx, _ := c.key(x)
		ky, _ := c.key(y)
		return kx == ky
	}
	get := func(url string) *http.Request { return httptest.NewRequest("GET", url, nil) }
	if !same(HashPath, get("http://host/p?one"), get("http://HOST/p?two")) {
		t.Error("the query or the case of the host counts")
	}
	if same(HashPath, get("http://host/p"), get("http://other/p")) || same(HashPath, get("http://host/p"), get("http://host/q")) {
		t.Error("the host or the path does not count")
	}
	one, two := request(1), request(1)
	two.RemoteAddr = "10.0.0.1:9"
	if !same(HashClient, one, two) {
		t.Error("the port of the client counts")
	}
}

func TestRequestsWithoutAKeyGoWhereLeastIsToDo(t *testing.T) {
	for _, r := range []*http.Request{nil, httptest.NewRequest("GET", "/", nil)} {
		s := new(world).set(t, Config{Balance: HashCookie, HashName: "session"}, a, b, c, d)
		for range 40 {
			open(t, s, r)
		}
		for _, st := range s.Status() {
			if st.Active != 10 {
				t.Errorf("%s has %d sessions, want 10", st.ID, st.Active)
			}
		}
	}
}

func TestNamesOfBalances(t *testing.T) {
	for b := LeastConnections; b <= RandomTwo; b++ {
		if got, err := ParseBalance(b.String()); got != b || err != nil {
			t.Errorf("%s: %v, %v", b, got, err)
		}
	}
	if b, err := ParseBalance("fair"); b != LeastConnections || err != nil {
		t.Errorf("fair: %v, %v", b, err)
	}
	if _, err := ParseBalance("best"); err == nil {
		t.Error("best is a balance")
	}
}

func BenchmarkTry(bench *testing.B) {
	for _, balance := range []Balance{LeastConnections, RoundRobin, HashPath, RandomTwo} {
		bench.Run(balance.String(), func(bench *testing.B) {
			s := new(world).set(bench, Config{Balance: balance}, a, b, c, d)
			r, ctx := request(1), bench.Context()
			use := func(_ context.Context, l *Lease) error { l.Release(); return nil }
			bench.ReportAllocs()
			for bench.Loop() {
				if err := s.Try(ctx, r, use); err != nil {
					bench.Fatal(err)
				}
			}
		})
	}
}

func TestTryAllocatesLittle(t *testing.T) {
	s := new(world).set(t, Config{Balance: HashPath}, a, b, c, d)
	r, ctx := request(1), t.Context()
	use := func(_ context.Context, l *Lease) error { l.Release(); return nil }
	if n := testing.AllocsPerRun(100, func() { s.Try(ctx, r, use) }); n > 3 {
		t.Errorf("%v allocations", n)
	}
}
