package feed

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wspawn/wspawn/internal/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// streams returns both ends of a TCP connection with small buffers.
func streams(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	near, far = streamtest.TCP(t)
	near.SetWriteBuffer(16 << 10)
	far.SetReadBuffer(16 << 10)
	return near, far
}

// plain hides what kind of stream it is.
type plain struct{ net.Conn }

func present() bool { return false }

func TestAllArrivesInOrder(t *testing.T) {
	for _, hide := range []bool{false, true} {
		near, far := streams(t)
		var w Writer
		if hide {
			w.Init(plain{near}, 1<<20, nil, present)
		} else {
			w.Init(near, 1<<20, nil, present)
		}
		var want bytes.Buffer
		got := make(chan []byte, 1)
		go func() {
			time.Sleep(200 * time.Millisecond) // so that the queue is used
			b, _ := io.ReadAll(far)
			got <- b
		}()
		for i := range 600 {
			p := []byte(strings.Repeat(string(rune('a'+i%26)), i))
			want.Write(p)
			if err := w.Write(p, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		w.Add([]byte("end"))
		want.WriteString("end")
		if !w.Finish(time.Minute) {
			t.Error("something is left")
		}
		near.CloseWrite()
		if b := <-got; !bytes.Equal(b, want.Bytes()) {
			t.Errorf("got %d bytes, want %d", len(b), want.Len())
		}
		if n := w.Written(); n != int64(want.Len()) {
			t.Errorf("%d bytes are counted", n)
		}
	}
}

func TestStalls(t *testing.T) {
	fill := func(w *Writer, stall time.Duration) error {
		for range 10000 {
			if err := w.Write(make([]byte, 10000), stall); err != nil {
				return err
			}
		}
		return nil
	}
	t.Run("for too long", func(t *testing.T) {
		near, _ := streams(t)
		var w Writer
		w.Init(near, 100000, nil, present)
		if err := fill(&w, 300*time.Millisecond); !errors.Is(err, ErrStalled) {
			t.Errorf("got %v", err)
		}
		if w.Finish(0) {
			t.Error("nothing is left")
		}
	})
	t.Run("when there is no time", func(t *testing.T) {
		near, _ := streams(t)
		var w Writer
		cut := make(chan struct{})
		time.AfterFunc(300*time.Millisecond, func() { close(cut) })
		w.Init(near, 100000, cut, present)
		if err := fill(&w, time.Hour); !errors.Is(err, ErrStalled) {
			t.Errorf("got %v", err)
		}
		if w.Finish(time.Hour) {
			t.Error("nothing is left")
		}
	})
	t.Run("when the far side leaves", func(t *testing.T) {
		near, far := streams(t)
		var w Writer
		w.Init(near, 100000, nil, present)
		time.AfterFunc(300*time.Millisecond, func() { far.Close() })
		if err := fill(&w, time.Hour); err != nil {
			t.Errorf("got %v", err)
		}
		if !w.Finish(time.Hour) {
			t.Error("something is left")
		}
	})
}
