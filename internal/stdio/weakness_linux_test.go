package stdio

import (
	"context"
	"encoding/json"
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
// a program for ever by not being read; stderr and output without line ends; pings behind stalled data.
// What programs leave behind, alive or as zombies, and a shutdown are in ending_linux_test.go, the memory
// that endless output takes is in memory_linux_test.go.

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
				c.NC.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
				if n, _ := c.NC.Write(m); n < len(m) {
					return // there is no way back into a frame
				}
			}
		}()
		var got []frame
		f := c.Next()
		for ; f.Op != wsframe.OpClose; f = c.Next() {
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
		c.NC.Close()
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
			for len(left) < 4<<10 { // line by line it would take long on a slow machine
				left = fmt.Appendf(left, "%d\n", n)
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
	got, end := c.All()
	total, n := 0, 0
	for _, f := range got {
		total += len(f.Payload) + 1
		if i, err := strconv.Atoi(f.Payload); i != n+1 && (err != nil || total < 1<<20) {
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
	c.Expect(text("a"), text("Password: "))
	c.ExpectClose(closing(1011, "exit status 1"))
}

func TestBrokenStdinLosesNoOutput(t *testing.T) {
	name, raise := signalFile(t)
	s := serve(t, waiting("exec <&-; echo ready; "+waitFor+"seq 5000", name), serviceOptions{})
	c := s.connect()
	c.Expect(text("ready"))
	for range 10 {
		c.SendText("nobody takes this")
	}
	c.Send(masked(true, wsframe.OpPing, ""))
	c.Expect(pong("")) // so it has been tried
	raise()
	got, end := c.All()
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
				c.NC.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
				c.NC.Write(masked(true, wsframe.OpClose, "\x03\xe8"))
				c.NC.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
				c.NC.Read(make([]byte, 100)) // what a client does before it gives up
				c.NC.Close()
			}},
			{"by the end of its stream", func(c *client) { c.NC.CloseWrite() }},
			{"by closing", func(c *client) { c.NC.Close() }},
			{"by a reset", (*client).Reset},
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
				whole := load.bytes < 1<<21
				if !whole {
					c.NC.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
				}
				if n, _ := c.NC.Write(b); n < len(b) && whole {
					t.Fatalf("only %d bytes of %d could be sent", n, len(b))
				}
				leave.f(c)
				next := s.connectWhenFree()
				next.Reset()
				if sum := s.summary(0); sum.Exit.Signal != syscall.SIGTERM || sum.StopErr != nil {
					t.Errorf("%+v", sum)
				}
			})
		}
	}
}

func init() {
	// sip reads its input in small pieces, with pauses, and adds it to the file SIP.
	helpers["sip"] = func() {
		f, err := os.OpenFile(os.Getenv("SIP"), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			os.Exit(1)
		}
		buf := make([]byte, 2<<10)
		for {
			n, err := os.Stdin.Read(buf)
			if err != nil {
				return
			}
			f.Write(buf[:n])
			time.Sleep(60 * time.Millisecond)
		}
	}
}

// A program that takes its input slowly gets all of it, also what was queued when the client left.
func TestSlowProgramGetsAllOfItsInput(t *testing.T) {
	for _, leave := range []struct {
		name string
		f    func(c *client)
	}{
		{"by a Close frame", func(c *client) { c.Send(masked(true, wsframe.OpClose, "\x03\xe8")) }},
		{"by the end of its stream", func(c *client) { c.NC.CloseWrite() }},
	} {
		t.Run("after the client has left "+leave.name, func(t *testing.T) {
			t.Parallel()
			name, _ := signalFile(t)
			p := helper(t, "sip", "SIP="+name)
			p.Stop = spawner.Ladder{{After: 0}, {After: bound, Signal: os.Kill}}
			s := serve(t, p, serviceOptions{Options: Options{Queue: 64 << 10}})
			c := s.connect()
			m := messageIn(opText, strings.Repeat("x", 999))
			const n = 220 // more than pipe and queue
			c.Send([]byte(strings.Repeat(string(m), n)))
			leave.f(c)
			sum := s.summary(0)
			if got := readFile(t, name); len(got) != 1000*n || !sum.Exit.Success() {
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
		c.Expect(text("done"))
		c.ExpectClose(closing(1000, "exit status 0"))
	}
	p := sh(script)
	p.Stderr = spawner.StderrPipe
	all, end := serve(t, p, serviceOptions{Options: Options{PassStderr: true}}).connect().All()
	size, out := 0, ""
	for _, f := range all {
		var v struct{ Stream, Data string }
		if err := json.Unmarshal([]byte(f.Payload), &v); err != nil {
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
		c.Send(m)
	}
	for i := range 20 {
		c.Send(masked(true, wsframe.OpPing, fmt.Sprint(i)))
		c.Expect(pong(fmt.Sprint(i)))
		c.Send(m)
	}
	raise()
	c.NC.CloseWrite()
	c.Expect(text(strconv.Itoa(1000 * (n + 20))))
	c.ExpectClose(closing(1000, "exit status 0"))
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
