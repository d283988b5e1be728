package wsframe

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// idleClientsVariable makes the test binary a client of many connections: "URL NUMBER WINDOW". Both ends in one process would
// need twice the descriptors, and the memory of both would be counted.
const idleClientsVariable = "WSFRAME_TEST_IDLE_CLIENTS"

// idleMessage fills the windows.
var idleMessage = []byte(strings.Repeat("hello, hello ", 2000))

// idleClients opens connections, has a compressed message echoed on each, says so in a line, and waits for the end of
// its input.
func idleClients(order string) {
	var url string
	var connections, window int
	fmt.Sscan(order, &url, &connections, &window)
	var all sync.WaitGroup
	var opened atomic.Int64
	one := func() error {
		c, _, err := Dial(context.Background(), url, &DialOptions{Options: Options{Compression: &Compression{Window: window, PeerWindow: window}}})
		if err != nil {
			return err
		}
		if c.Extensions() == "" {
			return fmt.Errorf("no compression")
		}
		for range 2 { // the second refers to the first
			if err := c.WriteMessage(OpText, idleMessage); err != nil {
				return err
			}
			if _, p, err := c.ReadMessage(nil); err != nil || !bytes.Equal(p, idleMessage) {
				return fmt.Errorf("an echo of %d bytes: %w", len(p), err)
			}
		}
		return nil
	}
	for range 16 {
		all.Go(func() {
			for opened.Add(1) <= int64(connections) {
				if err := one(); err != nil {
					fmt.Println(err)
					os.Exit(1)
				}
			}
		})
	}
	all.Wait()
	fmt.Println("idle")
	io.Copy(io.Discard, os.Stdin)
}

// idleEcho sends back what comes, and holds nothing while nothing comes.
type idleEcho struct{}

func (idleEcho) Open(context.Context, *Request) (Session, error) { return idleEcho{}, nil }
func (idleEcho) Run(context.Context, *Conn) error                { panic("it is started") }
func (idleEcho) Abort()                                          {}
func (idleEcho) Start(_ context.Context, c *Conn, done func(error)) {
	var message []byte
	c.ReceiveThen(func(b *Batch) error {
		for part := b.Next(); part != nil; part = b.Next() {
			if message = append(message, part.Payload...); !part.End {
				continue
			}
			if err := c.WriteMessage(part.Op, message); err != nil {
				return err
			}
			message = nil
		}
		return nil
	}, done)
}

// What a session costs a server that has compressed and inflated something and waits: the windows that were agreed on,
// and what it costs without compression.
func TestIdleCompressedSessionsAreSmall(t *testing.T) {
	measured(t)
	const limit = 12 << 10
	connections := 10_000
	if testing.Short() {
		connections = 5000
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, window := range []int{0, 4096} {
		t.Run(fmt.Sprint(window), func(t *testing.T) {
			h := &Handler{Endpoint: idleEcho{}, Options: AcceptOptions{Options: Options{Compression: &Compression{Window: window, PeerWindow: window}}}}
			var sessions atomic.Int64
			h.OnOpen = func(*Request, *Conn) func(error) {
				sessions.Add(1)
				return func(error) { sessions.Add(-1) }
			}
			addr := serve(t, h)
			before := inUse()
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=ws://%s %d %d", idleClientsVariable, addr, connections, window))
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, _ := bufio.NewReader(out).ReadString('\n')
			each := 0
			for range 20 { // the last answers may be under way, and what is in pools goes with the second collection
				if each = (inUse() - before) / connections; each < limit {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			if n := sessions.Load(); line != "idle\n" || n != int64(connections) {
				t.Errorf("%d sessions, and the clients say %q", n, line)
			}
			if t.Logf("%d bytes for each of %d sessions", each, connections); each >= limit {
				t.Errorf("that is more than %d", limit)
			}
			in.Close()
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			eventually(t, "all sessions end", func() bool { return sessions.Load() == 0 })
		})
	}
}
