//go:build unix

package stdio

import (
	"bytes"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/internal/framing"
)

// window is how many messages an echo has under way.
const window = 16

// echoer returns a function that sends some messages in one write and reads what cat makes of them.
func echoer(t testing.TB, o Options, size int) func() {
	c := serve(t, sh("exec cat"), serviceOptions{Options: o}).connect()
	var in, out []byte
	for i := range window {
		p := strings.Repeat(string(rune('a'+i)), size)
		sent := p
		if o.Delimiters == framing.Strip {
			sent = p[:1] + "\r\n" + p[1:] // which does not come back
		}
		in = append(in, messageIn(opText, sent)...)
		head := []byte{0x81, byte(len(p))}
		if len(p) > 125 {
			head = []byte{0x81, 126, byte(len(p) >> 8), byte(len(p))}
		}
		out = append(append(out, head...), p...)
	}
	got := make([]byte, len(out))
	return func() {
		if _, err := c.NC.Write(in); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < len(got); {
			k, err := c.NC.Read(got[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += k
		}
		if !bytes.Equal(got, out) {
			t.Fatal("the echo is another one")
		}
	}
}

// An echo allocates nothing, neither per message nor per batch, once it runs.
func TestEchoAllocatesNothing(t *testing.T) {
	if raceEnabled {
		return // it allocates by itself
	}
	for _, tt := range []struct {
		name string
		o    Options
		size int
		most float64
	}{
		{"lines", Options{}, 64, 0},
		{"lines of 3 KiB", Options{}, 3 << 10, 0},
		{"lines without the newlines in messages", Options{Options: framing.Options{Delimiters: framing.Strip}}, 64, 0},
		{"null", Options{Options: framing.Options{Framing: framing.Null}}, 64, 0},
		{"length", Options{Options: framing.Options{Framing: framing.Length}}, 64, 0},
		{"frames", frames, 64, 0},
		// Objects are longer than frames, so their memory is made for each batch. It grows.
		{"json", Options{Options: framing.Options{Framing: framing.JSON}}, 64, 4},
		{"frames of 3 KiB", frames, 3 << 10, 0},
		// More than the pipes hold: a goroutine and a slice of a queue come and go.
		{"lines of 20 KiB", Options{}, 20 << 10, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			echo := echoer(t, tt.o, tt.size)
			for range 200 {
				echo()
			}
			if n := testing.AllocsPerRun(1000, echo); n > tt.most {
				t.Errorf("%v allocations for %d messages", n, window)
			}
		})
	}
}

func BenchmarkEcho(b *testing.B) {
	echo := echoer(b, Options{}, 32)
	b.ReportAllocs()
	for b.Loop() {
		echo()
	}
	b.ReportMetric(float64(window)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
