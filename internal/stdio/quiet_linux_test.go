package stdio

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/rawio"
	"github.com/wspawn/wspawn/spawner"
	"github.com/wspawn/wspawn/wsframe"
)

const quietAfter = rawio.QuietAfter

// After quietAfter, nobody waits for a program any more. What it says or does at that very moment, and
// later, must not be missed.
func TestQuietProgramsAreHeard(t *testing.T) {
	t.Parallel()
	s := serve(t, sh("exec cat"), serviceOptions{})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			c, resp := try(t, s.addr)
			if resp.StatusCode != 101 {
				t.Errorf("%s", resp.Status)
				return
			}
			c.Send(masked(false, opText, "unfinished"))
			for round := range 4 {
				time.Sleep(quietAfter + time.Duration(rand.IntN(20)-10)*time.Millisecond)
				m := fmt.Sprint(" until ", round)
				c.Send(masked(true, 0, m))
				if got := c.Next(); got != text("unfinished"+m) {
					t.Errorf("got %v", got)
					return
				}
				c.Send(masked(false, opText, "unfinished"))
			}
			time.Sleep(quietAfter + time.Duration(rand.IntN(20)-10)*time.Millisecond)
			if rand.IntN(2) == 0 {
				c.NC.CloseWrite()
				c.Expect(text("unfinished"))
				if f := c.Next(); f != closing(1000, "exit status 0") {
					t.Errorf("got %v", f)
				}
				c.NC.Close()
				return
			}
			c.Leave()
		})
	}
	wg.Wait()
}

func TestQuietProgramsThatEnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, script string // with a way to make the program end at some time
		want         []frame
	}{
		{"in silence", "exec sleep $1", nil},
		{"with output", "echo first; sleep $1; printf last", []frame{text("first"), text("last")}},
		{"closing their output before", "exec >&-; sleep $1", nil},
		{"leaving others with the output", "setsid sleep 3 & sleep $1", nil},
		{"leaving others who write", "setsid sh -c 'sleep 1; while :; do echo; sleep 0.1; done' & sleep $1", []frame{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := sh(tt.script)
			p.Linger = 10 * time.Millisecond
			p.Args = append(p.Args, "sh")
			var programs []*spawner.Program
			for range 30 {
				one := *p
				one.Args = append(slices.Clone(p.Args), fmt.Sprintf("%.3f", quietAfter.Seconds()+float64(rand.IntN(20)-12)/1000))
				programs = append(programs, &one)
			}
			next := make(chan *spawner.Program, len(programs))
			for _, p := range programs {
				next <- p
			}
			s := serve(t, nil, serviceOptions{resolve: func(*wsframe.Request) (*Target, error) {
				return &Target{Program: <-next}, nil
			}})
			var wg sync.WaitGroup
			for range programs {
				wg.Go(func() {
					c, _ := try(t, s.addr)
					got, end := c.All()
					if tt.want == nil && len(got) > 0 || len(tt.want) > 0 && !slices.Equal(got, tt.want) || end != closing(1000, "exit status 0") {
						t.Errorf("got %v, %v", got, end)
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestQuietProgramsAndShutdown(t *testing.T) {
	t.Parallel()
	p := sh("trap '' TERM; while :; do sleep 1000; done")
	p.Stop = spawner.Ladder{{After: 10 * time.Millisecond, Signal: syscall.SIGTERM}, {After: 10 * time.Millisecond, Signal: os.Kill}}
	s := serve(t, p, serviceOptions{})
	for range 20 {
		s.connect()
	}
	time.Sleep(quietAfter * 3 / 2) // all of them are given up; the end of the test is a shutdown
}

// An idle session keeps no goroutine, whatever is passed on.
func TestIdleSessionsKeepNoGoroutine(t *testing.T) {
	for _, passStderr := range []bool{false, true} {
		p := sh("exec cat")
		want := "x"
		if passStderr {
			p.Stderr, want = spawner.StderrPipe, `{"stream":"stdout","data":"x"}`
		}
		s := serve(t, p, serviceOptions{Options: Options{PassStderr: passStderr}})
		for range 10 {
			c := s.connect()
			c.SendText("x")
			c.Expect(text(want))
		}
		eventually(t, "the goroutines of the sessions have ended", func() bool {
			b := make([]byte, 1<<20)
			stacks := string(b[:runtime.Stack(b, true)])
			return !strings.Contains(stacks, "(*Reader).run") && !strings.Contains(stacks, "(*Conn).receiveThen")
		})
	}
}
