package gatewaytest

import (
	"net/http"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
)

// Stalls runs tunnels whose program reads nothing, tunnels whose client reads nothing, and tunnels where nobody
// does: they cost next to no memory, no files, and nobody else's time. It measures the whole process, so
// no other test may run at the same time.
func Stalls(t *testing.T, m Maker) {
	const tunnels, limit = 12, 1 << 20 // with another one, not above the limits of fcgi-cgi
	for _, tt := range []struct {
		name    string
		program []string
		client  bool // writes as much as it can
	}{
		{"a stalled program", []string{switched, "pause:1h"}, true},
		{"a stalled client", []string{switched, "count:1000000000"}, false},
		{"both", []string{switched, "count:1000000000"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tmp := t.TempDir()
			t.Setenv("TMPDIR", tmp)
			addr := Start(t, m(t, cgi.Options{Upgrade: true}))
			open := func(program ...string) *Conn {
				c := Dial(t, addr)
				c.Send(Upgrade(Script(program...)))
				if r := c.Head(); r.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("answer %d", r.StatusCode)
				}
				return c
			}
			other := open(switched, "echo")
			talk := func() {
				for range 100 {
					other.Send("are you there?")
					other.Expect("are you there?")
				}
			}
			talk()
			before := memory()
			for range tunnels {
				c := open(tt.program...)
				for piece := make([]byte, 1<<20); tt.client; { // until nothing goes in any more
					c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
					if _, err := c.Write(piece); err != nil {
						break
					}
				}
				talk()
			}
			grown := memory() - before
			t.Logf("%d KiB for each stalled tunnel", grown/tunnels>>10)
			if grown > tunnels*limit {
				t.Errorf("%d stalled tunnels take %d KiB", tunnels, grown>>10)
			}
			if files, err := os.ReadDir(tmp); err != nil || len(files) > 0 {
				t.Errorf("temporary files: %v, %v", files, err)
			}
		})
	}
}

// memory is what the process uses, without garbage.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
