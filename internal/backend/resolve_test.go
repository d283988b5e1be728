package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func (n *world) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list, ok := n.names[host]
	if !ok {
		return nil, fmt.Errorf("lookup %s: no such host", host)
	}
	var ips []netip.Addr
	for _, s := range list {
		ips = append(ips, netip.MustParseAddr(s))
	}
	return ips, nil
}

func (n *world) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name != "_app._tcp.test" || n.srv == nil {
		return "", nil, errors.New("no such name")
	}
	return name, n.srv, nil
}

func (n *world) say(name string, ips ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.names == nil {
		n.names = make(map[string][]string)
	}
	if n.names[name] = ips; len(ips) == 0 {
		delete(n.names, name)
	}
}

// members prints those of a set: address, weight, and b for backup.
func members(s *Set) string {
	var list []string
	for _, st := range s.Status() {
		m := fmt.Sprintf("%s*%d", st.Address, st.Weight)
		if st.Backup {
			m += "b"
		}
		if st.State != StateUp {
			m += " " + st.State
		}
		list = append(list, m)
	}
	return strings.Join(list, ", ")
}

func TestNamesAreLookedUpAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		n.say("app.test", "10.0.0.1", "::ffff:10.0.0.2", "fd00::3")
		s := n.set(t, Config{Resolver: &n, Backends: []Server{{Address: "app.test:80", Weight: 2}, {Address: "10.9.9.9:80", Backup: true}}})
		if got := once(t, s, nil); got != "app.test:80" {
			t.Errorf("before Start: %s", got)
		}
		want := func(after time.Duration, list string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if got := members(s); got != list {
				t.Errorf("got  %s\nwant %s", got, list)
			}
		}
		s.Start()
		want(0, "10.0.0.1:80*2, 10.0.0.2:80*2, [fd00::3]:80*2, 10.9.9.9:80*1b")
		n.say("app.test")
		want(31*time.Second, "10.0.0.1:80*2, 10.0.0.2:80*2, [fd00::3]:80*2, 10.9.9.9:80*1b")
		lease := open(t, s, nil)
		n.say("app.test", "10.0.0.4", "10.0.0.2")
		want(30*time.Second, "10.0.0.4:80*2, 10.0.0.2:80*2, 10.9.9.9:80*1b, 10.0.0.1:80*2 leaving")
		if lease.ID() != "10.0.0.1:80" || !s.Knows(lease.Place()) || s.Knows("[fd00::3]:80") {
			t.Error("it does not know who has sessions, or still knows others")
		}
		for range 6 {
			if got := once(t, s, nil); got != "10.0.0.4:80" && got != "10.0.0.2:80" {
				t.Errorf("got %s", got)
			}
		}
		lease.Release()
		want(0, "10.0.0.4:80*2, 10.0.0.2:80*2, 10.9.9.9:80*1b")
		if s.Knows(lease.Place()) {
			t.Error("it still knows who has left")
		}
	})
}

// Health and counters of an address outlive the other addresses.
func TestAnAddressThatStaysKeepsItsHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		n.say("app.test", "10.0.0.1", "10.0.0.2")
		s := n.set(t, Config{Resolver: &n, DisableTime: time.Hour}, "app.test:80")
		s.Start()
		synctest.Wait()
		n.kill(errRefused, "10.0.0.2:80")
		for range 4 {
			once(t, s, nil)
		}
		n.say("app.test", "10.0.0.3", "10.0.0.2")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := members(s); got != "10.0.0.3:80*1, 10.0.0.2:80*1 disabled" {
			t.Errorf("got %s", got)
		}
	})
}

func TestServiceRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		n.srv = []*net.SRV{
			{Target: "one.test.", Port: 81, Priority: 5, Weight: 30},
			{Target: "two.test.", Port: 82, Priority: 5},
			{Target: "spare.test.", Port: 83, Priority: 9, Weight: 1},
			{Target: "unknown.test.", Port: 84, Priority: 5, Weight: 1},
		}
		n.say("one.test", "10.0.0.1")
		n.say("two.test", "10.0.0.2", "10.0.1.2")
		n.say("spare.test", "10.0.0.3")
		s := n.set(t, Config{Resolver: &n}, "srv:_app._tcp.test")
		if e := refused(t, s); e.Status != 503 {
			t.Errorf("before Start: %v", e)
		}
		s.Start()
		once(t, s, nil) // waits for the first answer
		if got, want := members(s), "10.0.0.1:81*30, 10.0.0.2:82*1, 10.0.1.2:82*1, 10.0.0.3:83*1b"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		n.mu.Lock()
		n.srv = n.srv[2:3]
		n.mu.Unlock()
		time.Sleep(31 * time.Second)
		if got, want := members(s), "10.0.0.3:83*1"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		n.mu.Lock()
		n.srv = []*net.SRV{{Target: "."}}
		n.mu.Unlock()
		time.Sleep(31 * time.Second)
		if got, want := members(s), "10.0.0.3:83*1"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestNobodyWaitsForANameThatCannotBeFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n world
		s := n.set(t, Config{Resolver: &n}, "srv:_app._tcp.test")
		s.Start()
		var all sync.WaitGroup
		start := time.Now()
		for range 3 {
			all.Go(func() { refused(t, s) })
		}
		all.Wait()
		refused(t, s)
		if time.Since(start) != 0 {
			t.Errorf("after %v", time.Since(start))
		}
	})
}

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]Address{
		"127.0.0.1:80": {"tcp", "127.0.0.1:80"}, "[::1]:80": {"tcp", "[::1]:80"}, "host:http": {"tcp", "host:http"},
		"unix:/run/s": {"unix", "/run/s"}, "unix:s": {"unix", "s"}, "/run/s": {"unix", "/run/s"},
	} {
		if got, err := ParseAddress(in); got != want || err != nil {
			t.Errorf("%q: %v, %v", in, got, err)
		}
		if again, err := ParseAddress(want.String()); again != want || err != nil {
			t.Errorf("%q: %v, %v", want, again, err)
		}
	}
	for _, in := range []string{"", "host", ":80", "host:", "unix:", "http://host/", "http://host:80", "host:0", "host:65536", "host:-1", "host:80/"} {
		if got, err := ParseAddress(in); err == nil {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"127.0.0.1:80", "[::1]:80", "unix:/s", "/s", "unix:unix:s", "unix:", ":80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if again, err := ParseAddress(a.String()); again != a || err != nil {
			t.Errorf("%q: %v, and then %v, %v", s, a, again, err)
		}
	})
}

func TestConfigurationsThatCannotWork(t *testing.T) {
	for name, c := range map[string]Config{
		"nothing":         {},
		"no address":      {Backends: Servers("nonsense")},
		"twice":           {Backends: Servers("/s", "unix:/s")},
		"negative weight": {Backends: []Server{{Address: a, Weight: -1}}},
		"no header":       {Backends: Servers(a), Balance: HashHeader},
		"no name":         {Backends: Servers("srv:")},
		"never looked up": {Backends: Servers("srv:_app._tcp.test"), Resolve: -1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if s, err := Fixed(a, b); err != nil || len(s.Status()) != 2 || !slices.IsSortedFunc(s.Status(), func(x, y Status) int { return strings.Compare(x.ID, y.ID) }) {
		t.Errorf("%v, %v", s, err)
	}
}
