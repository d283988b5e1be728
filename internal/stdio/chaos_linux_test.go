package stdio

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

// Programs and clients that do anything at any time: every session ends and leaves nothing.
func TestAnythingAtAnyTime(t *testing.T) {
	scripts := []string{
		"exec cat", "yes", "yes | tr -d '\\n'", "seq 3000", "exec sleep 1000", "read x; echo \"$x\"; exit 3", "exec <&-; seq 100",
		"exec >&-; cat > /dev/null", "sleep 1000 & cat", "sleep 1000 & exit 1", "kill -9 $$", "exec >&- 2>&-; exec sleep 1000",
		"cat > /dev/null; seq 1000", "head -c 200000 > /dev/null; echo enough", "echo error >&2; exec cat >&2",
		`while :; do echo '{"type":"text","data":"x"}'; done`, `echo '{"type":"close","code":4000}'; exec cat > /dev/null`,
	}
	sessions := 60
	if raceEnabled {
		sessions = 30
	}
	for name, o := range map[string]Options{
		"lines":  {Queue: 8 << 10, Options: framing.Options{MaxLine: 5000}},
		"refuse": {Options: framing.Options{LongLine: framing.Refuse, MaxLine: 5000, Delimiters: framing.Refuse, OtherType: framing.Refuse, InvalidUTF8: framing.Refuse}},
		"json":   {Options: framing.Options{Framing: framing.JSON}, Events: true, Queue: 100 << 10},
		"length": {Options: framing.Options{Framing: framing.Length}, Queue: 8 << 10},
		"raw":    {Options: framing.Options{Framing: framing.Raw, Binary: true}},
		"stderr": {PassStderr: true, Queue: 100 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			var mu sync.Mutex // guards random
			number := func(n int) int {
				mu.Lock()
				defer mu.Unlock()
				return random.IntN(n)
			}
			o.StallTimeout = 3 * time.Second // for clients that leave with more unsent than the network holds
			s := serve(t, nil, serviceOptions{
				Options: o,
				wire:    wsframe.Options{CloseTimeout: 200 * time.Millisecond, WriteTimeout: 500 * time.Millisecond, PingInterval: 50 * time.Millisecond, PingGrace: 50 * time.Millisecond},
				resolve: func(*wsframe.Request) (*Target, error) {
					p := sh(scripts[number(len(scripts))])
					p.Stop = spawner.Ladder{{After: 0}, {After: 50 * time.Millisecond, Signal: syscall.SIGTERM}, {After: 50 * time.Millisecond, Signal: os.Kill}}
					p.Linger = 20 * time.Millisecond
					if o.PassStderr {
						p.Stderr = spawner.StderrPipe
					}
					return &Target{Program: p}, nil
				},
			})
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					for range sessions / 10 {
						c, resp := try(t, s.addr)
						if resp.StatusCode != http.StatusSwitchingProtocols {
							t.Errorf("%s", resp.Status)
							return
						}
						misbehave(c, number)
					}
				})
			}
			wg.Wait()
			for i := range sessions / 10 * 10 {
				s.summary(i)
			}
			if n := s.spawner.Running(); n != 0 {
				t.Errorf("%d programs are running", n)
			}
		})
	}
}

// misbehave uses a connection in some way and ends it in some way.
func misbehave(c *client, number func(int) int) {
	done := make(chan struct{})
	if number(3) > 0 {
		go func() {
			defer close(done)
			for {
				f, err := c.Read()
				if err != nil {
					return
				}
				switch f.Op {
				case wsframe.OpPing:
					c.NC.Write(masked(true, wsframe.OpPong, f.Payload)) // perhaps inside of another frame
				case wsframe.OpClose:
					c.NC.Write(masked(true, wsframe.OpClose, f.Payload[:min(2, len(f.Payload))]))
				}
			}
		}()
	} else {
		close(done)
	}
	for range number(6) {
		b := messageIn([]wsframe.Opcode{opText, opText, opText, opBin}[number(4)], strings.Repeat("x\"\\ä", number(1<<uint(number(15)))))
		if number(10) == 0 {
			b = b[:number(len(b))]
		}
		c.NC.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		for range 1 + number(10) {
			c.NC.Write(b)
		}
		time.Sleep(time.Duration(number(20)) * time.Millisecond)
	}
	switch number(4) {
	case 0:
		c.NC.Write(masked(true, wsframe.OpClose, "\x03\xe8"))
		time.Sleep(time.Duration(number(20)) * time.Millisecond)
	case 1:
		c.NC.CloseWrite()
		time.Sleep(time.Duration(number(200)) * time.Millisecond)
	case 2:
		c.Reset()
	}
	c.NC.Close()
	<-done
}

func TestClientThatDoesNotReadIsCut(t *testing.T) {
	s := serve(t, stubborn("yes"), serviceOptions{wire: wsframe.Options{WriteTimeout: 200 * time.Millisecond}})
	s.connect()
	sum := s.summary(0)
	if sum.Close.Code != wsframe.CloseAbnormal || sum.Close.Remote || !strings.Contains(sum.Close.Reason, "does not read") {
		t.Errorf("%+v", sum)
	}
}

func TestCloseOfTheSpawnerEndsSessions(t *testing.T) {
	s := serve(t, sh("cat; seq 1000"), serviceOptions{})
	c := s.connect()
	c.SendText("a")
	c.Expect(text("a"))
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if err := s.spawner.Close(ctx); err != nil {
		t.Error(err)
	}
	got, end := c.All()
	if !slices.Equal(got, numbers(1000)) || end != closing(1000, "exit status 0") {
		t.Errorf("%d messages, %v", len(got), end)
	}
	if _, resp := try(t, s.addr); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %v", resp.Status)
	}
}

// A program that is given up is one that the kernel does not let go of. Here it has just no time.
func TestProgramThatIsGivenUpDoesNotHoldTheSession(t *testing.T) {
	p := sh("setsid sleep 1000 & echo $!; trap '' TERM; while :; do sleep 1000; done")
	p.Stop, p.GiveUp = spawner.Ladder{{After: 0, Signal: os.Kill}}, 1
	for range 10 {
		s := serve(t, p, serviceOptions{})
		c := s.connect()
		pid := 0
		if _, err := fmt.Sscan(c.Next().Payload, &pid); err != nil {
			t.Fatal(err)
		}
		defer syscall.Kill(pid, syscall.SIGKILL)
		c.Leave()
		if sum := s.summary(0); sum.StopErr != nil && !errors.Is(sum.StopErr, spawner.ErrStuck) {
			t.Errorf("%+v", sum)
		}
		eventually(t, "the program is gone after all", func() bool { return s.spawner.Running() == 0 })
	}
}

// TLS hides the descriptor, so other code moves the bytes.
func TestTLS(t *testing.T) {
	sp := spawner.New(spawner.Config{MaxProcesses: 1})
	program := sh("exec cat")
	h := &wsframe.Handler{Endpoint: &Endpoint{
		Spawner: sp,
		Options: Options{Queue: 64 << 10},
		Resolve: func(*wsframe.Request) (*Target, error) { return &Target{Program: program}, nil },
	}}
	ts := httptest.NewUnstartedServer(h)
	ts.StartTLS()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	t.Cleanup(func() {
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		ts.Close()
		if err := sp.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	dial := func() (c *wsframe.Conn) {
		eventually(t, "there is a place for another client", func() bool {
			var err error
			c, _, err = wsframe.Dial(ctx, "wss"+strings.TrimPrefix(ts.URL, "https"), &wsframe.DialOptions{TLS: &tls.Config{InsecureSkipVerify: true}})
			return err == nil
		})
		return c
	}
	c := dial()
	message := []byte(strings.Repeat("0123456789", 50000))
	sent := make(chan error, 1)
	go func() { sent <- c.WriteMessage(opText, message) }()
	if op, p, err := c.ReadMessage(nil); err != nil || op != opText || string(p) != string(message) {
		t.Errorf("%v, %d bytes, %v", op, len(p), err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	c.Close(wsframe.CloseNormal, "")

	program = stubborn("exec sleep 1000")
	c = dial()
	// More than pipe and queue, but no more than the network holds: else the end of the stream cannot
	// be seen, and StallTimeout has to do. A pipe that gets many small pieces may hold only half.
	for range 2 {
		if err := c.WriteMessage(opText, message[:68000]); err != nil {
			t.Fatal(err)
		}
	}
	c.CloseNow()
	<-c.Done()
	program = sh("echo ready")
	c = dial()
	if _, p, err := c.ReadMessage(nil); err != nil || string(p) != "ready" {
		t.Errorf("%q, %v", p, err)
	}
	_, _, err := c.ReadMessage(nil)
	var closed *wsframe.CloseError
	if !errors.As(err, &closed) || closed.Code != 1000 || errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	c.CloseNow()
	<-c.Done()
}
