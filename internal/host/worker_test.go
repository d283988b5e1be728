//go:build unix

package host

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/config"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// workerVariable makes the test binary a worker of a pool.
const workerVariable = "WSPAWN_TEST_WORKER"

// worker serves lines on the listening socket that is its standard input. The mode is the variable:
// "deaf" ignores SIGTERM, all other words are told to who asks for the mode.
func worker(mode string) {
	if mode == "deaf" {
		signal.Ignore(syscall.SIGTERM)
	}
	ln, err := net.FileListener(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			os.Exit(1)
		}
		go serveLines(c, mode)
	}
}

func serveLines(c net.Conn, mode string) {
	defer c.Close()
	for in := bufio.NewReader(c); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch line {
		case "pid\n":
			line = fmt.Sprintln(os.Getpid())
		case "mode\n":
			line = mode + "\n"
		case "exit\n":
			os.Exit(3)
		}
		io.WriteString(c, line)
	}
}

func tunnelRoute(path, pool string) *config.Route {
	r := config.New[config.Route]()
	r.Path, r.Tunnel = path, config.New[config.Tunnel]()
	r.Tunnel.Pool = pool
	r.Tunnel.Framing = "lines"
	return r
}

// pooled is a configuration with a tunnel at / to a pool of workers, "p".
func pooled(t *testing.T, mode string, change func(*config.Pool)) *config.Config {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := routes(tunnelRoute("/", "p"))
	g := config.New[config.Program]()
	g.Command, g.Env = []string{exe}, map[string]string{workerVariable: mode}
	p := config.New[config.Pool]()
	p.Program = "worker"
	c.Program = map[string]*config.Program{"worker": g}
	c.Pool = map[string]*config.Pool{"p": p}
	if change != nil {
		change(p)
	}
	return c
}

// ask sends a line and returns the one that comes back.
func ask(t *testing.T, c *wsframe.Conn, word string) string {
	t.Helper()
	if err := c.WriteMessage(wsframe.OpText, []byte(word)); err != nil {
		t.Fatal(err)
	}
	return read(t, c)
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not happen that %s", what)
		}
	}
}

// ready returns the pids of the workers that take sessions, sorted, in a line.
func ready(h *Host) string {
	var pids []string
	for _, w := range workersOf(h) {
		if w.State == spawner.Ready {
			pids = append(pids, fmt.Sprint(w.Pid))
		}
	}
	slices.Sort(pids)
	return strings.Join(pids, " ")
}

// workersOf returns all workers of all pools.
func workersOf(h *Host) (all []spawner.WorkerInfo) {
	h.shared.mu.Lock()
	defer h.shared.mu.Unlock()
	for _, part := range h.shared.parts {
		if p, ok := part.value.(*spawner.Pool); ok {
			all = append(all, p.Workers()...)
		}
	}
	return all
}

// awaitReady waits for n workers.
func awaitReady(t *testing.T, h *Host, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d workers are ready", n), func() bool { return len(strings.Fields(ready(h))) == n })
}
