package wsframe

import (
	"bytes"
	"compress/flate"
	"io"
	"runtime"
	"strings"
	"testing"
)

// A GiB in less than a MiB must cost neither memory nor time.
func TestInflateBombIsRefusedInFlatMemory(t *testing.T) {
	measured(t)
	pieces := 1024
	if testing.Short() {
		pieces = 64
	}
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9)
	for range pieces {
		w.Write(make([]byte, 1<<20))
	}
	w.Flush()
	bomb := wire(Client, fin|rsv1|wireBin, b.String())
	if b.Len() > 11<<17 {
		t.Fatalf("%d bytes", b.Len())
	}
	for way, read := range compressedWays {
		for _, limit := range []int64{0, 64 << 10} {
			c, p := deflated(t, Server, Options{MaxFrame: -1, MaxMessage: limit}, deflateParams{})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			go p.Conn.Write(bomb)
			_, err := read(c)
			runtime.ReadMemStats(&after)
			wantCloseError(t, err, CloseTooBig, false)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 12<<20 {
				t.Errorf("%s: %d bytes allocated", way, grown)
			}
		}
	}
	// Without a limit it is streamed, in flat memory as well.
	c, p := deflated(t, Server, Options{MaxFrame: -1, MaxMessage: -1}, deflateParams{})
	go p.Conn.Write(bomb)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, r, err := c.NextReader()
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, r)
	runtime.ReadMemStats(&after)
	if err != nil || n != int64(pieces)<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("%d bytes allocated", grown)
	}
}

func TestCompressedDataPathAllocatesNothing(t *testing.T) {
	measured(t)
	for _, window := range []int{0, 4096} {
		o := Options{Compression: &Compression{Window: window, PeerWindow: window}}
		a := deflateParams{serverAlone: window == 0, clientAlone: window == 0}
		s, c := deflatedPair(t, o, o, a)
		go echo(s)
		m := []byte(strings.Repeat("hello, hello ", 50))
		buf := make([]byte, 0, 4096)
		allocs := testing.AllocsPerRun(500, func() {
			if err := c.WriteMessage(OpText, m); err != nil {
				t.Fatal(err)
			}
			var err error
			if _, buf, err = c.ReadMessage(buf); err != nil {
				t.Fatal(err)
			}
		})
		if allocs >= 1 {
			t.Errorf("window %d: %v allocations", window, allocs)
		}
	}
}

// inUse returns the memory of the heap and of the stacks.
func inUse() int {
	var m runtime.MemStats
	for range 2 { // what is in a sync.Pool goes with the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}
