package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/wsframe"
)

// Two hundred sessions on four workers, by each way to choose one.
func TestSessionsAreSpreadOverAPool(t *testing.T) {
	const sessions, workers = 200, 4
	for _, test := range []struct {
		balance, name string
		low, high     int
		keyed         bool
	}{
		{"least-connections", "", 50, 50, false},
		{"round-robin", "", 50, 50, false},
		{"random", "", 40, 60, false},
		{"hash", "", 30, 70, true},
		{"sticky", "", 30, 70, true},
		{"header", "X-Room", 30, 70, true},
		{"cookie", "room", 30, 70, true},
	} {
		t.Run(test.balance, func(t *testing.T) {
			c := pooled(t, "", func(p *config.Pool) { p.Max, p.MaxSessions = workers, 0 })
			b := config.New[config.Backends]()
			b.Pool, b.Balance, b.HashName = "p", test.balance, test.name
			c.Backends = map[string]*config.Backends{"b": b}
			c.Route[0].Tunnel.Pool, c.Route[0].Tunnel.Backends = "", "b"
			h, _ := run(t, c)
			awaitReady(t, h, workers)
			open := func(i int) *wsframe.Conn {
				path := "/"
				o := &wsframe.DialOptions{Header: http.Header{}}
				switch test.balance {
				case "hash":
					path += fmt.Sprint("room/", i)
				case "sticky":
					from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(i>>8), byte(i))}
					o.DialContext = (&net.Dialer{LocalAddr: from}).DialContext
				case "header":
					o.Header.Set("X-Room", fmt.Sprint(i))
				case "cookie":
					o.Header.Set("Cookie", fmt.Sprint("room=", i))
				}
				return dial(t, h, path, o)
			}
			count, pids := map[string]int{}, make([]string, sessions)
			for i := range sessions {
				pids[i] = ask(t, open(i), "pid")
				count[pids[i]]++
			}
			t.Logf("%v", count)
			if len(count) != workers {
				t.Errorf("%d workers have sessions", len(count))
			}
			for pid, n := range count {
				if n < test.low || n > test.high {
					t.Errorf("worker %s has %d sessions, want %d to %d", pid, n, test.low, test.high)
				}
			}
			for i := 0; test.keyed && i < sessions; i += 7 {
				if pid := ask(t, open(i), "pid"); pid != pids[i] {
					t.Errorf("session %d is at %s, and was at %s", i, pid, pids[i])
				}
			}
		})
	}
}

func TestAKilledWorkerCostsNobodyElseAnything(t *testing.T) {
	const sessions = 200
	h, _ := run(t, pooled(t, "", func(p *config.Pool) { p.Max, p.MaxSessions = 4, 0 }))
	awaitReady(t, h, 4)
	conns, pids := make([]*wsframe.Conn, sessions), make([]string, sessions)
	for i := range conns {
		conns[i] = dial(t, h, "/", nil)
		pids[i] = ask(t, conns[i], "pid")
	}
	victim := pids[0]
	var work sync.WaitGroup
	var rounds atomic.Int64
	over := make(chan struct{})
	for i, c := range conns {
		if pids[i] == victim {
			continue
		}
		work.Go(func() { // the others talk all the time
			for {
				select {
				case <-over:
					return
				case <-time.After(5 * time.Millisecond):
				}
				word := fmt.Sprint("word ", i)
				if err := c.WriteMessage(wsframe.OpText, []byte(word)); err != nil {
					t.Errorf("session %d: %v", i, err)
					return
				}
				if _, p, err := c.ReadMessage(nil); err != nil || string(p) != word {
					t.Errorf("session %d: %q, %v", i, p, err)
					return
				}
				rounds.Add(1)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	pid, _ := strconv.Atoi(victim)
	killed := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for i, c := range conns {
		if pids[i] != victim {
			continue
		}
		lost++
		var e *wsframe.CloseError
		if _, _, err := c.ReadMessage(nil); !errors.As(err, &e) || e.Code != wsframe.CloseInternalError || !e.Remote {
			t.Errorf("session %d of the worker: %v, want 1011", i, err)
		}
	}
	told := time.Since(killed)
	eventually(t, "another worker is there", func() bool { // clients are told by the end of their stream, maybe before the pool
		now := strings.Fields(ready(h))
		return len(now) == 4 && !slices.Contains(now, victim)
	})
	t.Logf("%d clients were told within %v; there is another worker after %v", lost, told, time.Since(killed))
	if lost < sessions/8 {
		t.Errorf("only %d sessions were at that worker", lost)
	}
	for range 8 {
		echo(t, dial(t, h, "/", nil), "new sessions find their way")
	}
	before := rounds.Load()
	eventually(t, "the others go on", func() bool { return rounds.Load() > before+sessions })
	close(over)
	work.Wait()
}

func TestACrashLoopCostsLittle(t *testing.T) {
	starts := filepath.Join(t.TempDir(), "starts")
	c := routes(tunnelRoute("/", "p"))
	p := config.New[config.Pool]()
	p.Command, p.Max = []string{"sh", "-c", "echo >> " + starts + "; exit 3"}, 4
	c.Pool = map[string]*config.Pool{"p": p}
	used := func() time.Duration {
		var sum time.Duration
		for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
			var u syscall.Rusage
			if err := syscall.Getrusage(who, &u); err != nil {
				t.Fatal(err)
			}
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
		return sum
	}
	h, _ := run(t, c)
	begin, before := time.Now(), used()
	time.Sleep(3 * time.Second)
	share := float64(used()-before) / float64(time.Since(begin))
	lines, err := os.ReadFile(starts)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d starts in %v, %.1f %% of a processor", len(lines), time.Since(begin), 100*share)
	if len(lines) > 40 { // the first four die together; after that it is one at a time, and ever more seldom
		t.Errorf("%d starts", len(lines))
	}
	if share > 0.25 {
		t.Errorf("%.0f %% of a processor", 100*share)
	}
	_, resp, err := wsframe.Dial(t.Context(), h.URLs("ws")[0], nil)
	if err == nil || resp == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a client is told %v", err)
	}
}

func TestAPoolStartsFromZeroAndGoesBackToIt(t *testing.T) {
	h, _ := run(t, pooled(t, "", func(p *config.Pool) {
		p.Scaling, p.Max, p.IdleTimeout = "ondemand", 3, config.Duration(50*time.Millisecond)
	}))
	if n := h.programs.Running(); n != 0 {
		t.Fatalf("%d workers before anybody came", n)
	}
	for range 2 {
		var conns []*wsframe.Conn
		pids := map[string]bool{}
		for range 3 {
			c := dial(t, h, "/", nil)
			pids[ask(t, c, "pid")] = true
			conns = append(conns, c)
		}
		if len(pids) != 3 {
			t.Errorf("three sessions at %d workers", len(pids))
		}
		for _, c := range conns {
			c.Close(wsframe.CloseNormal, "")
		}
		eventually(t, "the workers are gone", func() bool { return h.programs.Running() == 0 })
	}
}

// children counts the processes that are children of this one and can still do something.
func children(t *testing.T) (n int) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range dirs {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[0] != "Z" && f[1] == strconv.Itoa(os.Getpid()) {
			n++
		}
	}
	return n
}

func TestMaxHoldsWhileWorkersIgnoreTERM(t *testing.T) {
	c := pooled(t, "deaf", func(p *config.Pool) { p.Scaling, p.Max, p.RecycleSessions = "ondemand", 2, 1 })
	c.Program["worker"].Stop = "TERM,300ms,KILL"
	h, _ := run(t, c)
	var most atomic.Int64
	over := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(2 * time.Millisecond):
				most.Store(max(most.Load(), int64(children(t))))
			}
		}
	})
	pids := map[string]bool{}
	for range 30 { // each worker should serve one; but a second one is not retired while the first one is still going
		c := dial(t, h, "/", nil)
		pids[ask(t, c, "pid")] = true
		c.Close(wsframe.CloseNormal, "")
		time.Sleep(20 * time.Millisecond)
	}
	close(over)
	work.Wait()
	t.Logf("%d workers", len(pids))
	if n := most.Load(); n != 2 || len(pids) < 3 {
		t.Errorf("%d workers, %d at once", len(pids), n)
	}
}

func TestStoppingLeavesNoWorkerAndNoSocket(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	public := filepath.Join(t.TempDir(), "s")
	c := pooled(t, "deaf", func(p *config.Pool) { p.Max, p.Address = 3, "unix:"+public })
	c.Program["worker"].Stop = "TERM,100ms,KILL"
	c.Pool["private"] = &config.Pool{}
	*c.Pool["private"] = *c.Pool["p"]
	c.Pool["private"].Address = ""
	c.Route = append(c.Route, tunnelRoute("/private", "private"))
	h, stop := run(t, c)
	awaitReady(t, h, 6)
	conns := []*wsframe.Conn{dial(t, h, "/", nil), dial(t, h, "/private", nil)}
	pids := strings.Fields(ready(h))
	if sockets, _ := filepath.Glob(public + "-*"); len(sockets) != 3 {
		t.Errorf("%v", sockets)
	}
	closed := make(chan error, len(conns))
	for _, c := range conns {
		go func() { _, _, err := c.ReadMessage(nil); closed <- err }()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	for range conns {
		var e *wsframe.CloseError
		if err := <-closed; !errors.As(err, &e) || e.Code != wsframe.CloseGoingAway {
			t.Errorf("a client saw %v", err)
		}
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("worker %s is left", pid)
		}
	}
	for _, dir := range []string{tmp, filepath.Dir(public)} {
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%v is left in %s", left, dir)
		}
	}
}

func TestFullQueueIs503WithRetryAfter(t *testing.T) {
	h, _ := run(t, pooled(t, "", func(p *config.Pool) { p.Max, p.MaxQueue, p.QueueTimeout = 1, 1, config.Duration(time.Minute) }))
	awaitReady(t, h, 1)
	first := dial(t, h, "/", nil)
	echo(t, first, "it is taken")
	type answer struct {
		c      *wsframe.Conn
		status int
		retry  string
	}
	answers := make(chan answer, 2)
	for range 2 { // one of them waits, the other one is refused
		go func() {
			c, resp, _ := wsframe.Dial(context.Background(), h.URLs("ws")[0], &wsframe.DialOptions{HandshakeTimeout: time.Minute})
			answers <- answer{c, resp.StatusCode, resp.Header.Get("Retry-After")}
		}()
	}
	if a := <-answers; a.status != 503 || a.retry == "" {
		t.Fatalf("%+v, want 503", a)
	}
	first.Close(wsframe.CloseNormal, "")
	a := <-answers
	if a.status != 101 {
		t.Fatalf("who has waited gets %d", a.status)
	}
	echo(t, a.c, "after some time")
	a.c.Close(wsframe.CloseNormal, "")
}

func TestPHPWorkersAreRecycledWithoutAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pid.php"), []byte("<?= getmypid() ?>"), 0o666); err != nil {
		t.Fatal(err)
	}
	c := routes(func() *config.Route {
		r := config.New[config.Route]()
		r.FastCGI = config.New[config.FastCGI]()
		r.FastCGI.Pool, r.FastCGI.Root, r.FastCGI.SplitPath = "php", config.Path(dir), []string{".php"}
		return r
	}())
	p := config.New[config.Pool]()
	p.Command, p.Max, p.RecycleSessions = []string{"php-cgi"}, 3, 7
	c.Pool = map[string]*config.Pool{"php": p}
	var log strings.Builder // of one goroutine at a time
	h, stop := runLogged(t, c, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	const enough = 12 // processes that have served
	var mu sync.Mutex
	served := map[string]int{}
	var work sync.WaitGroup
	end := time.Now().Add(30 * time.Second)
	for range 6 {
		work.Go(func() {
			for processes := 0; processes < enough && time.Now().Before(end); {
				resp, err := http.Get(h.URLs("http")[0] + "pid.php")
				if err != nil {
					t.Error(err)
					return
				}
				pid, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("%d %s %v", resp.StatusCode, pid, err)
					return
				}
				mu.Lock()
				served[string(pid)]++
				processes = len(served)
				mu.Unlock()
			}
		})
	}
	work.Wait()
	http.DefaultClient.CloseIdleConnections()
	t.Logf("requests by process: %v", served)
	if len(served) < enough {
		t.Errorf("%d processes", len(served))
	}
	// php-cgi heeds SIGTERM only when nobody keeps a connection to it.
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "killed"); n > 0 {
		t.Errorf("%d workers had to be killed:\n%s", n, log.String())
	}
}

func TestSparesAreToldOfTheRequest(t *testing.T) {
	const script = `
import json, os, sys
request = json.loads(sys.stdin.readline())
print(os.getpid(), request["path"], os.environ.get("PATH_INFO", "-"), flush=True)
for line in sys.stdin: print(line, end="", flush=True)
`
	c := routes(stdioRoute("/rooms/", "python3", "-c", script))
	c.Route[0].Stdio.Spare, c.Route[0].Stdio.RequestMessage = 2, true
	h, _ := run(t, c)
	eventually(t, "two wait", func() bool { return children(t) == 2 })
	conn := dial(t, h, "/rooms/blue?x=1", nil)
	pid, rest, _ := strings.Cut(read(t, conn), " ")
	if rest != "/rooms/blue -" {
		t.Errorf("the program was told %q", rest)
	}
	echo(t, conn, "hello")
	eventually(t, "there is a third one", func() bool { return children(t) == 3 })
	if other, _, _ := strings.Cut(read(t, dial(t, h, "/rooms/red", nil)), " "); other == pid {
		t.Error("two sessions have the same process")
	}
}

func alive(pid string) bool {
	n, _ := strconv.Atoi(pid)
	return syscall.Kill(n, 0) == nil
}
