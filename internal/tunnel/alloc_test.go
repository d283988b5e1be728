package tunnel

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/internal/framing"
	"github.com/wspawn/wspawn/wsframe"
)

// window is how many messages an echo has under way.
const window = 16

// echoer returns a function that sends some messages in one write and reads what comes back, from a
// server without framing, so that each payload may come in another frame.
func echoer(t testing.TB, network string, o Options, op wsframe.Opcode, size int) func() {
	s := serve(t, &Endpoint{Dial: listen(t, network, func(c net.Conn) { io.CopyBuffer(plain{c}, plain{c}, make([]byte, 128<<10)) }).dial(t), Options: o}, wsframe.Options{})
	c := s.connect(t)
	var in []byte
	for i := range window {
		in = append(in, messageIn(op, strings.Repeat(string(rune('a'+i)), size))...)
	}
	buf := make([]byte, 1<<20)
	return func() {
		if _, err := c.NC.Write(in); err != nil {
			t.Fatal(err)
		}
		// The frames are counted by their bytes: all that matters is that the payload is back.
		for got, have := 0, 0; got < window*size; {
			n, err := c.NC.Read(buf[have:])
			if err != nil {
				t.Fatal(err)
			}
			have += n
			b := buf[:have]
			for {
				head, payload := header(b)
				if head == 0 || len(b) < head+payload {
					break
				}
				got += payload
				b = b[head+payload:]
			}
			have = copy(buf, b)
		}
	}
}

// header returns the sizes of a frame; the first is 0 when there is no header yet.
func header(b []byte) (head, payload int) {
	switch {
	case len(b) < 2:
	case b[1] < 126:
		return 2, int(b[1])
	case b[1] == 126 && len(b) >= 4:
		return 4, int(b[2])<<8 | int(b[3])
	case b[1] == 127 && len(b) >= 10:
		return 10, int(b[6])<<24 | int(b[7])<<16 | int(b[8])<<8 | int(b[9])
	}
	return 0, 0
}

// plain hides ReadFrom and WriteTo.
type plain struct{ io.ReadWriter }

// A session allocates nothing, neither per message nor per batch, once it runs.
func TestSessionsAllocateNothing(t *testing.T) {
	if raceEnabled {
		return // it allocates by itself
	}
	for _, tt := range []struct {
		name    string
		network string
		o       Options
		op      wsframe.Opcode
		size    int
	}{
		{"raw", "tcp", Options{}, opText, 64},
		{"raw binary over a Unix socket", "unix", Options{Framing: binary}, opBin, 64},
		{"raw, 3 KiB", "unix", Options{Framing: binary}, opBin, 3 << 10},
		{"lines", "tcp", Options{Framing: &framing.Options{}}, opText, 64},
		{"length", "tcp", Options{Framing: &framing.Options{Framing: framing.Length}}, opText, 64},
		{"frames", "unix", Options{Framing: &framing.Options{Framing: framing.Frames}}, opText, 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			echo := echoer(t, tt.network, tt.o, tt.op, tt.size)
			for range 200 {
				echo()
			}
			if n := testing.AllocsPerRun(1000, echo); n > 0 {
				t.Errorf("%v allocations for %d messages", n, window)
			}
		})
	}
}

func BenchmarkEcho(b *testing.B) {
	echo := echoer(b, "unix", Options{Framing: binary}, opBin, 32)
	b.ReportAllocs()
	for b.Loop() {
		echo()
	}
	b.ReportMetric(float64(window)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
