package stdio

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// Each session is a program. All of them are open at once, and all end with a shutdown.
func TestThousandsOfSessionsNeedFewThreads(t *testing.T) {
	n := 5000
	if raceEnabled {
		n = 500
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	old := limit
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old)
	// The server needs a socket, two pipe ends and a pidfd for each.
	if most := (int(limit.Max) - 100) / 4; most < n {
		t.Logf("only %d sessions: no more than %d files may be open", most, limit.Max)
		n = most
	}
	s := startServer(t, serverConfig{Path: "/bin/cat", Stderr: spawner.StderrDiscard})
	before := s.status("VmRSS")
	clients := make([]*client, n)
	var wg sync.WaitGroup
	var opened atomic.Int64
	enough := time.Now().Add(20 * time.Second) // on a machine that is busy with other things
	for first := range 4 {                     // who connect at the same time
		wg.Go(func() {
			for i := first; i < n; i += 4 {
				if opened.Load() > 500 && time.Now().After(enough) {
					return
				}
				c, resp := try(t, s.addr)
				if resp.StatusCode != 101 {
					t.Errorf("client %d: %s", i, resp.Status)
					return
				}
				clients[i] = c
				opened.Add(1)
				c.SendText(fmt.Sprint(i))
				if got := c.Next(); got != text(fmt.Sprint(i)) {
					t.Errorf("client %d: %v", i, got)
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	clients = slices.DeleteFunc(clients, func(c *client) bool { return c == nil })
	n = len(clients)
	if got := s.running(); got != fmt.Sprint(n) {
		t.Errorf("%s programs are running, want %d", got, n)
	}
	threads := s.status("Threads")
	t.Logf("%d sessions: %d threads, %d KiB each", n, threads, (s.status("VmRSS")-before)/int64(n))
	if threads >= 40 {
		t.Errorf("%d threads", threads)
	}
	for i, c := range clients {
		wg.Go(func() {
			if f := c.Next(); f != closing(1001, "server is shutting down") {
				t.Errorf("client %d: %v", i, f)
			}
			c.NC.Write(masked(true, wsframe.OpClose, "\x03\xe9"))
		})
	}
	s.stop() // within its bound, and it looks for what is left
	wg.Wait()
}
