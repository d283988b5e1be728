package spawner

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// guardRecord is the size of one entry of the table: a process group in four bytes, big-endian, and
// the name of its cgroup, if any, up to a NUL. Entries are found by the slot of the process; a group of
// 0 is a free entry. A name that is too long is left out, and the cgroup with it.
const guardRecord = 256

// guard is this side of the guard process. The two share a file in memory, the table of the groups that
// live, and the guard waits for the end of a pipe, which the kernel sees to however the server dies.
// So a start costs one write to the table, and never wakes the guard: with messages through the pipe
// the two of them took a tenth of all the time that a short session costs.
type guard struct {
	s     *Spawner
	ended chan struct{} // closed when no guard runs and none will
	table *os.File      // nil: none could be made

	mu       sync.Mutex // guards the fields below
	proc     *os.Process
	w        *os.File // nil: no guard
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
	if g.table == nil {
		if g.table, err = newTable(); err != nil {
			return err
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
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
		Files: []*os.File{r, g.table, null},
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

// died starts a new guard once, with the same table. It returns nil if there is none.
func (g *guard) died(state *os.ProcessState, err error) *os.Process {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.w.Close()
	g.w = nil
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
	return g.proc
}

// add enters p into the table.
func (g *guard) add(p *Process) {
	if g.table == nil {
		return
	}
	dir := p.cgroup()
	if 4+len(dir) >= guardRecord {
		dir = ""
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 5+len(dir)), uint32(p.pid))
	b = append(b, dir...)
	g.table.WriteAt(append(b, 0), int64(p.slot)*guardRecord)
}

// remove clears the entry of p, which is about to be reaped.
func (g *guard) remove(p *Process) {
	if g.table != nil {
		g.table.WriteAt(make([]byte, 4), int64(p.slot)*guardRecord)
	}
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
	if g.table != nil {
		g.table.Close()
	}
}

// GuardMain is the main function of the guard process, see [Config].Guard. It waits for the end of its
// standard input, kills with SIGKILL every group that is left in the table of the [Spawner], which is
// its standard output, and returns. It ignores SIGINT, SIGTERM and SIGHUP, which are meant for the
// server.
func GuardMain() {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(20)
	debug.FreeOSMemory()
	io.Copy(io.Discard, os.Stdin)

	groups := readTable(os.Stdout)
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

// readTable returns the groups of a table, each with its cgroup or "".
func readTable(table io.ReaderAt) map[int]string {
	groups := make(map[int]string)
	record := make([]byte, guardRecord)
	for offset := int64(0); ; offset += guardRecord {
		n, err := table.ReadAt(record, offset)
		clear(record[n:])                                             // the last one may be short
		if pgid := int32(binary.BigEndian.Uint32(record)); pgid > 1 { // kill(-1) means everybody
			cgroup, _, _ := bytes.Cut(record[4:], []byte{0})
			groups[int(pgid)] = string(cgroup)
		}
		if err != nil {
			return groups
		}
	}
}
