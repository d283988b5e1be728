package spawner

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxGuardPending bounds what waits for a guard that does not read. Its pipe takes thousands of
// messages first, so by then it is stuck, and is replaced.
const maxGuardPending = 1 << 20

// guard is this side of the guard process. Its pipe carries "+PGID\n" (with " CGROUP" before the end of
// the line where there is one) for every group that is born and "-PGID\n" for every one that is
// reaped. The guard acts when the pipe ends, which the kernel sees to however the server dies.
type guard struct {
	s     *Spawner
	ended chan struct{} // closed when no guard runs and none will

	mu       sync.Mutex // guards the fields below, and Process.guarded
	proc     *os.Process
	w        *os.File // nil: no guard
	pending  []byte   // messages for which the pipe had no room
	writing  bool     // a goroutine writes pending ones
	restarts int
	stopping bool
}

func newGuard(s *Spawner) *guard { return &guard{s: s, ended: make(chan struct{})} }

// start starts the guard process. Without it programs run as well, so a failure is logged and no more.
func (g *guard) start() {
	g.mu.Lock()
	err := g.launch()
	proc := g.proc
	g.mu.Unlock()
	if err != nil {
		g.s.log.error(nil, "guard process not started: programs may survive a crash", err)
		close(g.ended)
		return
	}
	go g.supervise(proc)
}

// launch starts a process. The caller holds g.mu.
func (g *guard) launch() error {
	path, err := Look(g.s.c.Guard[0], "")
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	proc, err := os.StartProcess(path, g.s.c.Guard, &os.ProcAttr{
		Files: []*os.File{r, null, null},
		// Two settings that keep it small from its first moment on; nothing else of the server's.
		Env: append(minimalEnv(), "GOMAXPROCS=1", "GOGC=20"),
		Sys: guardAttr(),
	})
	if err != nil {
		w.Close()
		return err
	}
	g.proc, g.w = proc, w
	return nil
}

// supervise waits for the guard to die. It does so in a thread of its own, the only one this package
// has, because there is just one guard and os.Process.Wait works everywhere.
func (g *guard) supervise(proc *os.Process) {
	for proc != nil {
		state, err := proc.Wait()
		proc = g.died(state, err)
	}
	close(g.ended)
}

// died starts a new guard once and tells it about the live groups. It returns nil if there is none.
func (g *guard) died(state *os.ProcessState, err error) *os.Process {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.w.Close()
	g.w, g.pending = nil, nil
	if g.stopping {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("guard process %d: %v", state.Pid(), state)
	}
	if g.restarts > 0 {
		g.s.log.error(nil, "guard process died again: programs may survive a crash", err)
		return nil
	}
	g.restarts++
	if err2 := g.launch(); err2 != nil {
		g.s.log.error(nil, "guard process died and cannot be started: programs may survive a crash", errors.Join(err, err2))
		return nil
	}
	g.s.log.warn(nil, "guard process died and was started again", err)
	for _, p := range g.s.registered() {
		if p.guarded {
			g.pending = append(g.pending, p.birth()...)
		}
	}
	g.flush()
	return g.proc
}

// add tells the guard that p lives.
func (g *guard) add(p *Process) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.guarded = true
	g.send(p.birth())
}

func (p *Process) birth() string {
	if dir := p.cgroup(); dir != "" && !strings.Contains(dir, "\n") {
		return "+" + strconv.Itoa(p.Pid()) + " " + dir + "\n"
	}
	return "+" + strconv.Itoa(p.Pid()) + "\n"
}

// remove tells the guard that p is about to be reaped.
func (g *guard) remove(p *Process) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.guarded = false
	g.send("-" + strconv.Itoa(p.Pid()) + "\n")
}

// send writes a message, or leaves it to a goroutine if the pipe is full: a stuck guard holds up
// nobody. The caller holds g.mu.
func (g *guard) send(msg string) {
	if g.w == nil {
		return
	}
	if len(g.pending) == 0 && !g.writing {
		n, err := writeOnce(g.w, []byte(msg))
		if n == len(msg) || err != nil && !errors.Is(err, syscall.EAGAIN) {
			return // the guard died: supervise will see to it
		}
		msg = msg[max(n, 0):]
	}
	g.pending = append(g.pending, msg...)
	if len(g.pending) > maxGuardPending {
		g.proc.Kill() // and the next one starts with the groups of that moment
		return
	}
	g.flush()
}

// flush starts the goroutine that writes pending messages. The caller holds g.mu.
func (g *guard) flush() {
	if g.writing || len(g.pending) == 0 {
		return
	}
	g.writing = true
	go func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		for len(g.pending) > 0 && g.w != nil {
			w, b := g.w, g.pending
			g.pending = nil
			g.mu.Unlock()
			w.Write(b) // ends when the guard reads, dies or is stopped
			g.mu.Lock()
		}
		g.writing = false
	}()
}

// stop ends the guard by the end of its pipe, and kills it when that does not help.
func (g *guard) stop() {
	g.mu.Lock()
	g.stopping = true
	if g.w != nil {
		g.w.Close()
	}
	proc := g.proc
	g.mu.Unlock()
	t := time.NewTimer(2 * time.Second)
	defer t.Stop()
	select {
	case <-g.ended:
	case <-t.C:
		proc.Kill()
		<-g.ended
	}
}

// GuardMain is the main function of the guard process, see [Config].Guard. It reads the messages of a
// [Spawner] from r until the end, kills every group that is left with SIGKILL, and returns. It ignores
// SIGINT, SIGTERM and SIGHUP, which are meant for the server.
func GuardMain(r io.Reader) {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(20)

	groups := make(map[int]string) // to the cgroup, or ""
	debug.FreeOSMemory()
	lines := bufio.NewReaderSize(r, 4096+64)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil { // the end; a message that is not whole was never sent
			break
		}
		head, cgroup, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		if len(head) < 2 {
			continue
		}
		pgid, err := strconv.Atoi(head[1:])
		if err != nil || pgid <= 1 { // kill(-1) and kill(0) mean everybody and oneself
			continue
		}
		switch head[0] {
		case '+':
			groups[pgid] = cgroup
		case '-':
			delete(groups, pgid)
		}
	}

	// Once is not always enough: a group that is forking may have a child on the way.
	for range 20 {
		left := false
		for pgid, cgroup := range groups {
			alive := killGroup(pgid)
			if cgroup != "" && !killAndRemoveCgroup(cgroup) {
				alive = true
			}
			if !alive {
				delete(groups, pgid)
			}
			left = left || alive
		}
		if !left {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
