package rawio

import (
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/streamtest"
)

func TestQuietStreamsWakeOnceForDataAndForTheirEnd(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	woken := make(chan int, 10)
	for i, do := range []func(){
		func() { w.Write([]byte("x")) },
		func() { r.Read(make([]byte, 1)); w.Write([]byte("y")) },
		func() { r.Read(make([]byte, 1)); w.Close() },
	} {
		if i > 0 {
			do() // there is something already
		}
		if whenReadable(r, func() { woken <- i }) == 0 {
			t.Fatal("a pipe cannot be waited for")
		}
		if i == 0 {
			select {
			case <-woken:
				t.Fatal("woken by nothing")
			case <-time.After(50 * time.Millisecond):
			}
			do()
		}
		select {
		case got := <-woken:
			if got != i {
				t.Errorf("call %d, want %d", got, i)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("step %d: not woken", i)
		}
	}
	if len(woken) != 0 {
		t.Error("woken twice")
	}
}

func TestForgottenWaitIsNotCalledAndKeepsNothing(t *testing.T) {
	a, b := streamtest.TCP(t)
	defer a.Close()
	defer b.Close()
	key := whenReadable(a, func() { t.Error("called") })
	if key == 0 {
		t.Fatal("a connection cannot be waited for")
	}
	forget(key)
	forget(key)
	b.Write([]byte("x"))
	again := make(chan struct{})
	if whenReadable(a, func() { close(again) }) == 0 {
		t.Fatal("not a second time")
	}
	<-again
	forget(0)
}

func TestManyQuietStreams(t *testing.T) {
	var all sync.WaitGroup
	for range 200 {
		a, b := streamtest.TCP(t)
		all.Go(func() {
			defer a.Close()
			defer b.Close()
			for range 20 {
				woken := make(chan struct{})
				key := whenReadable(a, func() { close(woken) })
				if key == 0 {
					t.Error("refused")
					return
				}
				b.Write([]byte("x"))
				select {
				case <-woken:
				case <-time.After(20 * time.Second):
					t.Error("not woken")
					return
				}
				forget(key) // too late, which must do no harm to others
				a.Read(make([]byte, 1))
			}
		})
	}
	all.Wait()
	nobodyWaits(t)
}

// nobodyWaits waits until no stream is waited for.
func nobodyWaits(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		quiet.mu.Lock()
		idle := !quiet.running && len(quiet.calls) == 0
		quiet.mu.Unlock()
		if idle {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the goroutine does not end")
		}
	}
}

// Whoever wakes it, and at whatever moment: each sleep ends once.
func TestSleepersWakeOnce(t *testing.T) {
	a, b := streamtest.TCP(t)
	defer a.Close()
	defer b.Close()
	var z Sleeper
	z.Wake()
	woken := make(chan int, 10)
	for i := range 500 {
		var others sync.WaitGroup
		others.Go(func() { z.Wake() })
		if i%2 == 0 {
			others.Go(func() { b.Write([]byte("x")) })
		}
		if !z.Sleep(a, func() { woken <- i }) {
			t.Fatal("a connection cannot be waited for")
		}
		others.Wait()
		z.Wake()
		select {
		case got := <-woken:
			if got != i {
				t.Fatalf("woken for %d, want %d", got, i)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("sleep %d: not woken", i)
		}
		if z.Asleep() {
			t.Fatal("still asleep")
		}
		if i%2 == 0 {
			a.Read(make([]byte, 1))
		}
	}
	nobodyWaits(t)
	if z.Sleep(struct{ net.Conn }{a}, nil) || z.Asleep() {
		t.Error("a wrapped connection can be waited for")
	}
}
