package tunnel

import (
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

// After quietAfter nobody waits for a stream any more. What happens at that very moment must not be missed.
func TestQuietStreamsAreHeard(t *testing.T) {
	t.Parallel()
	s := serve(t, &Endpoint{Dial: listen(t, "tcp", echo).dial(t)}, wsframe.Options{})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			c := s.connect(t)
			for round := range 4 {
				time.Sleep(quietAfter + time.Duration(rand.IntN(20)-10)*time.Millisecond)
				m := fmt.Sprint("round ", round)
				c.SendText(m)
				c.Expect(text(m))
			}
			time.Sleep(quietAfter + time.Duration(rand.IntN(20)-10)*time.Millisecond)
			if rand.IntN(2) == 0 {
				c.NC.CloseWrite()
				c.Expect(closing(1000, ""))
				c.NC.Close()
				return
			}
			c.Leave()
		})
	}
	wg.Wait()
}

func TestQuietStreamsThatEnd(t *testing.T) {
	t.Parallel()
	far := listen(t, "tcp", func(c net.Conn) {
		time.Sleep(quietAfter + time.Duration(rand.IntN(20)-10)*time.Millisecond)
		if rand.IntN(2) == 0 {
			c.Write([]byte("last"))
		}
	})
	s := serve(t, &Endpoint{Dial: far.dial(t)}, wsframe.Options{})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			got, end := s.connect(t).All()
			if len(got) > 1 || len(got) == 1 && got[0] != text("last") || end != closing(1000, "") {
				t.Errorf("got %v, %v", got, end)
			}
		})
	}
	wg.Wait()
}

// An idle session keeps no goroutine.
func TestIdleSessionsKeepNoGoroutine(t *testing.T) {
	far := listen(t, "unix", echo)
	s := serve(t, &Endpoint{Dial: far.dial(t)}, wsframe.Options{})
	for range 50 {
		c := s.connect(t)
		c.SendText("x")
		c.Expect(text("x"))
	}
	eventually(t, "the goroutines of the sessions have ended", func() bool {
		b := make([]byte, 1<<20)
		stacks := string(b[:runtime.Stack(b, true)])
		return !strings.Contains(stacks, "(*Reader).run") && !strings.Contains(stacks, "(*Conn).receiveThen")
	})
}
