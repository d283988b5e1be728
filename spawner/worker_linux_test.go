package spawner

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() {
	// worker serves lines on its listening socket: descriptor 0, or 3 with LISTEN_FDS, or one of its own at
	// SOCKET or PORT.
	helpers["worker"] = func() {
		if os.Getenv("IGNORE_TERM") != "" {
			signal.Ignore(syscall.SIGTERM)
		}
		if name := os.Getenv("STARTS"); name != "" {
			f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
			if err != nil {
				panic(err)
			}
			f.WriteString("+")
		}
		if status := os.Getenv("EXIT"); status != "" {
			n, _ := strconv.Atoi(status)
			os.Exit(n)
		}
		var ln net.Listener
		var err error
		switch {
		case os.Getenv("SOCKET") != "":
			ln, err = net.Listen("unix", os.Getenv("SOCKET"))
		case os.Getenv("PORT") != "":
			ln, err = net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
		case os.Getenv("LISTEN_FDS") == "1" && os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()):
			ln, err = net.FileListener(os.NewFile(3, "listen"))
		default:
			ln, err = net.FileListener(os.Stdin)
		}
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString("a line of a worker\n")
		var ballast []byte
		for {
			c, err := ln.Accept()
			if err != nil {
				panic(err)
			}
			go func() {
				defer c.Close()
				for in := bufio.NewScanner(c); in.Scan(); {
					switch in.Text() {
					case "pid":
						fmt.Fprintln(c, os.Getpid())
					case "die":
						os.Exit(3)
					case "end":
						os.Exit(0)
					case "grow":
						ballast = make([]byte, 64<<20)
						for i := range ballast {
							ballast[i] = byte(i)
						}
						fmt.Fprintln(c, len(ballast))
					default:
						fmt.Fprintln(c, in.Text())
					}
				}
			}()
		}
	}
}

// newPool starts a pool of helper workers, which is closed at the end of the test.
func newPool(t *testing.T, c PoolConfig) *Pool {
	t.Helper()
	if c.Spawner == nil {
		c.Spawner = newSpawner(t, Config{})
	}
	if c.Program == nil {
		c.Program = helper(t, "worker")
	}
	if c.Name == "" {
		c.Name = "w"
	}
	p, err := NewPool(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closePool(t, p) })
	return p
}

// closePool closes p and checks that nothing of it is left.
func closePool(t *testing.T, p *Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	var pids []int
	for _, w := range p.Workers() {
		if w.Pid != 0 {
			pids = append(pids, w.Pid)
		}
	}
	if err := p.Close(ctx); err != nil {
		t.Error(err)
	}
	if left := p.Workers(); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
	for _, pid := range pids {
		if state(pid) != "" && readEnv(pid) {
			t.Errorf("worker %d is left", pid)
		}
	}
	if p.dir != "" {
		if _, err := os.Stat(p.dir); err == nil {
			t.Errorf("directory %s is left", p.dir)
		}
	}
}

// readEnv reports whether a process is one of our helpers.
func readEnv(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return strings.Contains(string(b), "SPAWNER_TEST_HELPER=")
}

// connect opens a connection to w.
func connect(t *testing.T, w *Worker) net.Conn {
	t.Helper()
	network, address := w.Address()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// say sends a line and returns the answer.
func say(t *testing.T, c net.Conn, line string) string {
	t.Helper()
	c.SetDeadline(time.Now().Add(bound))
	fmt.Fprintln(c, line)
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatalf("answer to %q: %v", line, err)
	}
	return strings.TrimSpace(answer)
}

// ask is say on a connection of its own, which is closed by the far side for some lines.
func ask(t *testing.T, w *Worker, line string) string {
	t.Helper()
	c := connect(t, w)
	defer c.Close()
	c.SetDeadline(time.Now().Add(bound))
	fmt.Fprintln(c, line)
	answer, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(answer)
}

func ready(t *testing.T, p *Pool, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d workers are ready", n), func() bool { return in(p, Ready) == n })
}

// watchMax fails the test when more than limit processes of the pool's spawner live at once.
func watchMax(t *testing.T, s *Spawner, limit int) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for most := 0; ; {
			if n := s.Running(); n > most {
				if most = n; most > limit {
					t.Errorf("%d processes", most)
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-ended })
}
