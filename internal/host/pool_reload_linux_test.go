package host

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/internal/streamtest"
	"github.com/wspawn/wspawn/wsframe"
)

func TestReloadKeepsPoolsThatDidNotChange(t *testing.T) {
	with := func(mode string, more ...*config.Route) *config.Config {
		c := pooled(t, "same", func(p *config.Pool) { p.Max = 2 })
		other := pooled(t, mode, func(p *config.Pool) { p.Program, p.Max = "other", 2 })
		c.Program["other"], c.Pool["q"] = other.Program["worker"], other.Pool["p"]
		c.Route = append(append(c.Route, tunnelRoute("/q", "q")), more...)
		return c
	}
	h, _ := run(t, with("old"))
	awaitReady(t, h, 4)
	p, q := dial(t, h, "/", nil), dial(t, h, "/q", nil)
	same, old := ask(t, p, "pid"), ask(t, q, "pid")
	pool := h.shared.parts

	// Another route, and other headers of the route of the pool: the processes stay.
	before := ready(h)
	c := with("old", stdioRoute("/cat", "cat"))
	c.Route[0].Headers = []string{"X-New: yes"}
	if err := h.Reload(c); err != nil {
		t.Fatal(err)
	}
	if after := ready(h); after != before {
		t.Errorf("the workers were %s, and are %s", before, after)
	}
	if len(h.shared.parts) != len(pool) {
		t.Errorf("%d pools and sets", len(h.shared.parts))
	}

	// One of the two pools changes: it is replaced, its session goes on where it is.
	if err := h.Reload(with("new")); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, q, "mode"); got != "old" {
		t.Errorf("the session of before is at a %q worker", got)
	}
	if got := ask(t, dial(t, h, "/q", nil), "mode"); got != "new" {
		t.Errorf("a new session is at a %q worker", got)
	}
	if got := ask(t, p, "pid"); got != same {
		t.Errorf("the other pool has another worker: %s, was %s", got, same)
	}
	q.Close(wsframe.CloseNormal, "")
	eventually(t, "the old pool is gone", func() bool { return !alive(old) && h.programs.Running() == 4 })

	// A pool that is in no configuration any more ends with its last session.
	if err := h.Reload(routes(stdioRoute("/cat", "cat"))); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, p, "pid"); got != same {
		t.Errorf("the session is at %s, was at %s", got, same)
	}
	p.Close(wsframe.CloseNormal, "")
	eventually(t, "no worker is left", func() bool { return !alive(same) })
}

// A pool with an address of its own is replaced as others are: its successor takes the address over.
func TestReloadReplacesAPoolThatHasAnAddress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	with := func(mode string, max int) *config.Config {
		return pooled(t, mode, func(p *config.Pool) { p.Max, p.MaxSessions, p.Address = max, 0, "unix:"+path })
	}
	for _, test := range []struct{ before, after int }{{1, 1}, {1, 2}, {2, 2}, {2, 1}} {
		t.Run(fmt.Sprintf("%d to %d", test.before, test.after), func(t *testing.T) {
			h, stop := run(t, with("old", test.before))
			awaitReady(t, h, test.before)
			first := dial(t, h, "/", nil)
			old := ask(t, first, "pid")
			if err := h.Reload(with("new", test.after)); err != nil {
				t.Fatal(err)
			}
			arrive(t, h, "new")
			echo(t, first, "goes on")
			first.Close(wsframe.CloseNormal, "")
			eventually(t, "the old worker is gone", func() bool { return !alive(old) })
			arrive(t, h, "new")
			if err := stop(); err != nil {
				t.Error(err)
			}
			if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

// arrive opens sessions and says at which kind of worker they have to be.
func arrive(t *testing.T, h *Host, mode string) {
	t.Helper()
	for range 4 {
		c := dial(t, h, "/", nil)
		if got := ask(t, c, "mode"); got != mode {
			t.Errorf("a new session is at a %q worker", got)
		}
		c.Close(wsframe.CloseNormal, "")
	}
}

func TestReloadDoesNotShareAPort(t *testing.T) {
	address := "127.0.0.1:" + streamtest.FreePort(t)
	with := func(mode string) *config.Config {
		return pooled(t, mode, func(p *config.Pool) { p.Max, p.MaxSessions, p.Address = 1, 0, address })
	}
	h, _ := run(t, with("old"))
	arrive(t, h, "old")
	if err := h.Reload(with("new")); err == nil || !strings.Contains(err.Error(), "in use by the pool as it was") {
		t.Errorf("got %v", err)
	}
	arrive(t, h, "old")
}

// What somebody else has started at the address of a pool is used, also by the pool as it will be.
func TestStrangersAtTheAddressOfAPoolAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	defer work.Wait()
	defer ln.Close()
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() { serveLines(c, "stranger") })
		}
	})
	with := func(mode string) *config.Config {
		return pooled(t, mode, func(p *config.Pool) { p.Max, p.MaxSessions, p.Address = 1, 0, "unix:"+path })
	}
	h, _ := run(t, with("old"))
	arrive(t, h, "stranger")
	if err := h.Reload(with("new")); err != nil {
		t.Fatal(err)
	}
	arrive(t, h, "stranger")
}
