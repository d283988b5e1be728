package trim

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func collections() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumForcedGC
}

func TestManySessionsAndSilenceCollectGarbageOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := New()
		defer tr.Stop()
		before := collections()
		for range worth - 1 {
			tr.Changed()
		}
		time.Sleep(2 * after)
		if n := collections() - before; n != 0 {
			t.Errorf("%d collections for few sessions", n)
		}
		for range 3 {
			for range worth {
				tr.Changed()
			}
			time.Sleep(after / 2) // not silent yet
		}
		time.Sleep(time.Hour)
		if n := collections() - before; n != 2 {
			t.Errorf("%d collections, want the two that empty pools", n)
		}
	})
}

var garbage []byte

func TestLittleGarbageIsNotCollected(t *testing.T) {
	tr := New()
	defer tr.Stop()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		garbage = make([]byte, 100<<10)
	}
	runtime.ReadMemStats(&after)
	if n := after.NumGC - before.NumGC; n != 0 {
		t.Errorf("%d collections for 10 MiB", n)
	}
}
