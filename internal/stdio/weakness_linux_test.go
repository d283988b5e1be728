package stdio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// What follows are the places where a plain join of a WebSocket and two pipes goes wrong: output that is
// lost when the program ends, or with a line that has no end, or with a broken stdin; clients that hold
// a program for ever by not being read; stderr and output without line ends; pings behind stalled data;
// what programs leave behind, alive or as zombies; and a shutdown. The memory that endless output takes
// is in memory_linux_test.go.

func TestOutputPendingAtExitIsDelivered(t *testing.T) {
	const lines = 20000
	s := serve(t, sh(fmt.Sprintf("seq %d", lines)), serviceOptions{})
	want := numbers(lines)
	for i := range 30 {
		c := s.connect()
		stop, done := make(chan struct{}), make(chan struct{})
		go func() { // nobody reads this, and in the end there is nobody who could
			defer close(done)
			m := messageIn(opText, strings.Repeat("x", 100))
			for {
				select {
				case <-stop:
					return
				default:
				}
				c.nc.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
				if n, _ := c.nc.Write(m); n < len(m) {
					return // there is no way back into a frame
				}
			}
		}()
		var got []frame
		f := c.next()
		for ; f.op != wsframe.OpClose; f = c.next() {
			got = append(got, f)
		}
		close(stop)
		<-done
		if got = messages(got); !slices.Equal(got, want) {
			t.Fatalf("run %d: %d lines of %d arrived", i, len(got), lines)
		}
		if f != closing(1000, "exit status 0") {
			t.Fatalf("run %d: %v", i, f)
		}
		c.nc.Close()
	}
}

func init() {
	// fill writes numbers until nobody takes more of them, tells the file FILL how many bytes that were,
	// and ends.
	helpers["fill"] = func() {
		syscall.SetNonblock(1, true)
		total := 0
		var left []byte
		for n, idle := 1, 0; idle < 100; {
			if len(left) == 0 {
				left = fmt.Appendf(nil, "%d\n", n)
				n++
			}
			switch k, err := syscall.Write(1, left); {
			case err == syscall.EAGAIN:
				time.Sleep(5 * time.Millisecond)
				idle++
			case err != nil:
				os.Exit(1)
			default:
				left, total, idle = left[k:], total+k, 0
			}
		}
		os.WriteFile(os.Getenv("FILL"), fmt.Append(nil, total), 0o600)
	}
}

// The client takes its last output long after the program is gone, and after the time at which others
// that hold the output open would be cut off.
func TestOutputPendingAtExitWaitsForASlowClient(t *testing.T) {
	name := t.TempDir() + "/total"
	p := helper(t, "fill", "FILL="+name)
	p.Linger = 20 * time.Millisecond
	s := serve(t, p, serviceOptions{})
	c := s.connect()
	eventually(t, "the program is reaped while its output is pending", func() bool { return s.spawner.Running() == 0 })
	time.Sleep(1500 * time.Millisecond)
	got, end := c.all()
	total, n := 0, 0
	for _, f := range got {
		total += len(f.payload) + 1
		if i, err := strconv.Atoi(f.payload); i != n+1 && (err != nil || total < 1<<20) {
			t.Fatalf("%v behind %d", f, n)
		}
		n++
	}
	if total--; strconv.Itoa(total) != readFile(t, name) && strconv.Itoa(total+1) != readFile(t, name) {
		t.Errorf("%d bytes of %s arrived", total, readFile(t, name))
	}
	if end != closing(1000, "exit status 0") {
		t.Errorf("got %v", end)
	}
}

func TestUnfinishedLastLineIsDelivered(t *testing.T) {
	s := serve(t, sh(`printf 'a\nPassword: '; exit 1`), serviceOptions{})
	c := s.connect()
	c.expect(text("a"), text("Password: "))
	c.expectClose(closing(1011, "exit status 1"))
}

func TestBrokenStdinLosesNoOutput(t *testing.T) {
	name, raise := signalFile(t)
	s := serve(t, waiting("exec <&-; echo ready; "+waitFor+"seq 5000", name), serviceOptions{})
	c := s.connect()
	c.expect(text("ready"))
	for range 10 {
		c.sendText("nobody takes this")
	}
	c.send(masked(true, wsframe.OpPing, ""))
	c.expect(frame{true, wsframe.OpPong, ""}) // so it has been tried
	raise()
	got, end := c.all()
	if !slices.Equal(got, numbers(5000)) || end != closing(1000, "exit status 0") {
		t.Errorf("%d lines of 5000 arrived, %v", len(got), end)
	}
}

func TestStuckStdinFreesItsPlace(t *testing.T) {
	for _, load := range []struct {
		name  string
		bytes int
		queue int64
	}{
		{"more than a pipe", 70 << 10, 0},
		{"more than a pipe and the queue", 1200 << 10, 0},
		{"far more than a pipe and a small queue", 400 << 10, 64 << 10},
		{"more than pipe, queue and network hold", 30 << 20, 64 << 10},
	} {
		for _, leave := range []struct {
			name string
			f    func(c *client)
		}{
			{"by a Close frame", func(c *client) {
				c.nc.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
				c.nc.Write(masked(true, wsframe.OpClose, "\x03\xe8"))
				c.nc.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
				c.nc.Read(make([]byte, 100)) // what a client does before it gives up
				c.nc.Close()
			}},
			{"by the end of its stream", func(c *client) { c.nc.CloseWrite() }},
			{"by closing", func(c *client) { c.nc.Close() }},
			{"by a reset", (*client).reset},
		} {
			t.Run(load.name+" "+leave.name, func(t *testing.T) {
				t.Parallel()
				s := serve(t, stubborn("exec sleep 1000"), serviceOptions{
					Options: Options{Queue: load.queue, StallTimeout: 4 * time.Second},
					spawn:   spawner.Config{MaxProcesses: 1},
				})
				c := s.connect()
				b := messageIn(opText, strings.Repeat("x", 1000))
				b = []byte(strings.Repeat(string(b), load.bytes/1000))
				c.nc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
				if n, _ := c.nc.Write(b); n < len(b) && load.bytes < 1<<21 {
					t.Fatalf("only %d bytes of %d could be sent", n, len(b))
				}
				leave.f(c)
				next := s.connectWhenFree()
				next.reset()
				if sum := s.summary(0); sum.Exit.Signal != syscall.SIGTERM || sum.StopErr != nil {
					t.Errorf("%+v", sum)
				}
			})
		}
	}
}

// A program that takes its input slowly gets all of it, also what was queued when the client left.
func TestSlowProgramGetsAllOfItsInput(t *testing.T) {
	for _, leave := range []struct {
		name string
		f    func(c *client)
	}{
		{"by a Close frame", func(c *client) { c.send(masked(true, wsframe.OpClose, "\x03\xe8")) }},
		{"by the end of its stream", func(c *client) { c.nc.CloseWrite() }},
	} {
		t.Run("after the client has left "+leave.name, func(t *testing.T) {
			t.Parallel()
			name, _ := signalFile(t)
			p := waiting(`while dd bs=8192 count=1 2>/dev/null | tee -a "$1" | grep -q .; do sleep 0.25; done`, name)
			p.Stop = spawner.Ladder{{After: 0}, {After: bound, Signal: os.Kill}}
			s := serve(t, p, serviceOptions{Options: Options{Queue: 64 << 10}})
			c := s.connect()
			m := messageIn(opText, strings.Repeat("x", 999))
			const n = 220 // more than pipe and queue
			c.send([]byte(strings.Repeat(string(m), n)))
			leave.f(c)
			sum := s.summary(0)
			if got := readFile(t, name); len(got) != 1000*n || !sum.Exit.Success() && sum.Exit.Code != 1 {
				t.Errorf("%d bytes of %d arrived: %+v", len(got), 1000*n, sum)
			}
		})
	}
}

func TestLongStderrLineDoesNotStopTheProgram(t *testing.T) {
	const script = "head -c 10000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo done"
	for _, mode := range []spawner.StderrMode{spawner.StderrLog, spawner.StderrDiscard} {
		p := sh(script)
		p.Stderr = mode
		c := serve(t, p, serviceOptions{}).connect()
		c.expect(text("done"))
		c.expectClose(closing(1000, "exit status 0"))
	}
	p := sh(script)
	p.Stderr = spawner.StderrPipe
	all, end := serve(t, p, serviceOptions{Options: Options{PassStderr: true}}).connect().all()
	size, out := 0, ""
	for _, f := range all {
		var v struct{ Stream, Data string }
		if err := json.Unmarshal([]byte(f.payload), &v); err != nil {
			t.Fatalf("%v: %v", f, err)
		}
		if v.Stream == "stderr" {
			size += len(v.Data)
		} else {
			out += v.Data
		}
	}
	if size != 10000000 || out != "done" || end != closing(1000, "exit status 0") {
		t.Errorf("%d bytes of stderr, %q, %v", size, out, end)
	}
}

func TestPingIsAnsweredWhileStdinIsStuck(t *testing.T) {
	name, raise := signalFile(t)
	s := serve(t, waiting(waitFor+"wc -c | tr -d ' '", name), serviceOptions{})
	c := s.connect()
	m := messageIn(opText, strings.Repeat("x", 999))
	const n = 500
	for range n {
		c.send(m)
	}
	for i := range 20 {
		c.send(masked(true, wsframe.OpPing, fmt.Sprint(i)))
		c.expect(frame{true, wsframe.OpPong, fmt.Sprint(i)})
		c.send(m)
	}
	raise()
	c.nc.CloseWrite()
	c.expect(text(strconv.Itoa(1000 * (n + 20))))
	c.expectClose(closing(1000, "exit status 0"))
}

// The program begins to read long after pings, and the time to answer them, would have run out. The
// pongs lie behind data that nobody can take.
func TestHealthyClientIsNotCutWhileStdinIsStuck(t *testing.T) {
	name, raise := signalFile(t)
	s := serve(t, waiting(waitFor+"wc -c | tr -d ' '", name), serviceOptions{
		Options: Options{Queue: 64 << 10},
		wire:    wsframe.Options{PingInterval: 40 * time.Millisecond, PingGrace: 40 * time.Millisecond},
	})
	conn, _, err := wsframe.Dial(context.Background(), "ws://"+s.addr, &wsframe.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	type result struct {
		message string
		err     error
	}
	results := make(chan result, 1)
	go func() { // reads, and so answers pings
		_, p, err := conn.ReadMessage(nil)
		results <- result{string(p), err}
	}()
	sent := make(chan error, 1)
	const n = 2000
	go func() {
		m := []byte(strings.Repeat("x", 999))
		for range n {
			if err := conn.WriteMessage(opText, m); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	time.Sleep(time.Second)
	select {
	case r := <-results:
		t.Fatalf("cut off: %v", r)
	default:
	}
	raise()
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	conn.NetConn().(interface{ CloseWrite() error }).CloseWrite()
	if r := <-results; r.err != nil || r.message != strconv.Itoa(1000*n) {
		t.Errorf("got %v", r)
	}
}

func TestGrandchildrenAreGone(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		leave        bool
		want         frame
	}{
		{"after the client has left", "sleep 1000 & echo $!; exec cat", true, frame{}},
		{"after the program has ended", "sleep 1000 >&- & echo $!; exit 0", false, closing(1000, "exit status 0")},
		{"even if they hold the output", "sleep 1000 & echo $!; exit 3", false, closing(1011, "exit status 3")},
		{"even if they ignore signals", "(trap '' TERM HUP INT; while :; do sleep 1000; done) & echo $!; exit 0", false, closing(1000, "exit status 0")},
		{"even if they never stop writing", "(while :; do echo; done) & echo $!; exit 0", false, closing(1000, "exit status 0")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, sh(tt.script), serviceOptions{})
			c := s.connect()
			f := c.next()
			for f.payload == "" {
				f = c.next()
			}
			pid, err := strconv.Atoi(f.payload)
			if err != nil {
				t.Fatal(err)
			}
			if tt.leave {
				c.leave()
			} else if _, end := c.all(); end != tt.want {
				t.Errorf("got %v, want %v", end, tt.want)
			}
			eventually(t, "the grandchild is gone", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH || state(pid) == "Z" })
		})
	}
}

// Who leaves the group cannot be found any more, but must not hold up the session either.
func TestGrandchildrenThatEscapeDoNotHoldTheSession(t *testing.T) {
	for _, script := range []string{
		"setsid sleep 1000 & echo $!; sleep 0.2; exit 0",
		"setsid yes & echo $!; sleep 0.2; exit 0",
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			p := sh(script)
			p.Linger = 50 * time.Millisecond
			s := serve(t, p, serviceOptions{})
			c := s.connect()
			f := c.next()
			for f.payload == "y" {
				f = c.next()
			}
			pid, err := strconv.Atoi(f.payload)
			if err != nil {
				t.Fatal(err)
			}
			defer syscall.Kill(pid, syscall.SIGKILL)
			if _, end := c.all(); end != closing(1000, "exit status 0") {
				t.Errorf("got %v", end)
			}
			s.summary(0)
		})
	}
}

// state returns the state of a process, "" if there is none.
func state(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return rest[:min(1, len(rest))]
}

func TestNoZombies(t *testing.T) {
	ended := serve(t, sh("seq 10000"), serviceOptions{})
	var pids []int
	for i := range 5 {
		ended.connect().all()
		pids = append(pids, ended.summary(i).Pid)
	}
	// One with output that nobody takes.
	p := helper(t, "fill", "FILL="+t.TempDir()+"/total")
	p.Linger = 10 * time.Millisecond
	s := serve(t, p, serviceOptions{})
	c := s.connect()
	eventually(t, "the program is reaped while its output is pending", func() bool { return s.spawner.Running() == 0 })
	s.mu.Lock()
	if len(s.summaries) > 0 {
		t.Error("the session has ended")
	}
	s.mu.Unlock()
	c.reset()
	pids = append(pids, s.summary(0).Pid)
	for _, pid := range pids {
		if st := state(pid); st != "" {
			t.Errorf("process %d is still there, in state %s", pid, st)
		}
	}
}

func TestShutdownEndsEverything(t *testing.T) {
	scripts := []string{
		"exec cat",
		"exec sleep 1000",
		"trap '' TERM HUP INT; echo ready; while :; do sleep 1000; done",
		"yes",
		"cat; seq 20000",
		"exec <&- >&-; exec sleep 1000",
	}
	next := 0
	s := serve(t, nil, serviceOptions{resolve: func(*wsframe.Request) (*Target, error) {
		next++
		return &Target{Program: stubborn(scripts[(next-1)%len(scripts)])}, nil
	}})
	var ends []chan frame
	for i := range 4 * len(scripts) {
		c := s.connect()
		if scripts[i%len(scripts)][0] == 't' {
			c.expect(text("ready"))
		}
		end := make(chan frame, 1)
		ends = append(ends, end)
		go func() {
			for {
				f, err := c.read()
				if err != nil {
					close(end)
					return
				}
				if f.op == wsframe.OpClose {
					c.nc.Write(masked(true, wsframe.OpClose, f.payload[:2]))
					end <- f
					return
				}
			}
		}()
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if err := s.handler.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for i, end := range ends {
		if f := <-end; f != closing(1001, "server is shutting down") {
			t.Errorf("%q: %v", scripts[i%len(scripts)], f)
		}
	}
	if n := s.spawner.Running(); n != 0 {
		t.Errorf("%d programs are running", n)
	}
	for i := range ends {
		if sum := s.summary(i); sum.StopErr != nil || state(sum.Pid) != "" {
			t.Errorf("%+v", sum)
		}
	}
}

// A shutdown that runs out of time ends sessions at once, whatever they wait for.
func TestShutdownThatRunsOutOfTime(t *testing.T) {
	p := sh("trap '' TERM HUP INT; echo ready; while :; do sleep 1000; done")
	p.Stop = spawner.Ladder{{After: time.Hour, Signal: os.Kill}}
	s := serve(t, p, serviceOptions{Options: Options{Queue: 64 << 10}, wire: wsframe.Options{CloseTimeout: time.Hour}})
	m := messageIn(opText, strings.Repeat("x", 1000))
	for i := range 9 {
		c := s.connect()
		c.expect(text("ready"))
		for range []int{0, 100, 400}[i%3] { // nothing, into the queue, more than the queue
			c.send(m)
		}
		switch i / 3 {
		case 1:
			c.nc.CloseWrite()
		case 2:
			c.send(masked(true, wsframe.OpClose, "\x03\xe8"))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	err := s.handler.Shutdown(ctx)
	var down *wsframe.ShutdownError
	if !errors.As(err, &down) || down.Left != 0 {
		t.Errorf("got %v", err)
	}
	for i := range 9 {
		if sum := s.summary(i); sum.Exit.Signal != syscall.SIGKILL {
			t.Errorf("%+v", sum)
		}
	}
}
