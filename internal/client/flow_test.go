package client

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspawn/wspawn/wsframe"
)

func unlimited() *wsframe.AcceptOptions {
	return &wsframe.AcceptOptions{Options: wsframe.Options{MaxFrame: -1, MaxMessage: -1, MaxFragments: -1}}
}

func TestALineUpToTheLimitIsOneFrameAndALongerOneIsFragments(t *testing.T) {
	for _, size := range []int{maxLine - 3, maxLine, 5 * maxLine} {
		line := bytes.Repeat([]byte("ü"), size/2)
		if size%2 == 1 {
			line = append(line, '.')
		}
		frames := 0
		var got []byte
		url := serve(t, unlimited(), func(c *wsframe.Conn) {
			for {
				f, err := c.ReadFrame(nil)
				if err != nil {
					return
				}
				frames++
				got = append(got, f.Payload...)
				if f.Fin {
					break
				}
			}
			_, next, _ := c.ReadMessage(nil)
			c.WriteMessage(wsframe.OpText, next)
			drain(c)
		})
		in := io.MultiReader(bytes.NewReader(line), strings.NewReader("\r\nnext\n"))
		out, _, err := connect(t, Config{URL: url, Stdin: in})
		if err != nil || out != "next\n" || !bytes.Equal(got, line) {
			t.Errorf("%d bytes: got %d, then %q, %v", size, len(got), out, err)
		}
		if size < maxLine && frames != 1 || size > maxLine && frames < 5 {
			t.Errorf("%d bytes in %d frames", size, frames)
		}
	}
}

func TestACarriageReturnAtTheCutBelongsToTheNewline(t *testing.T) {
	got := make(chan []byte, 1)
	url := serve(t, unlimited(), func(c *wsframe.Conn) {
		_, p, _ := c.ReadMessage(nil)
		got <- p
		drain(c)
	})
	want := strings.Repeat("x", maxLine-1)
	_, _, err := connect(t, Config{URL: url, Stdin: strings.NewReader(want + "\r\n")})
	if p := <-got; err != nil || string(p) != want {
		t.Errorf("got %d bytes, %v", len(p), err)
	}
}

func TestALineThatIsNotUTF8IsRefused(t *testing.T) {
	got := make(chan *wsframe.CloseError, 1)
	url := serve(t, unlimited(), func(c *wsframe.Conn) {
		_, p, _ := c.ReadMessage(nil)
		c.WriteMessage(wsframe.OpText, p)
		got <- drain(c)
	})
	out, _, err := connect(t, Config{URL: url, Stdin: strings.NewReader("good\nbad \xff\nmore\n")})
	wantEnd(t, err, StatusUsage, "line 2 of the input is not UTF-8")
	if e := <-got; out != "good\n" || e.Code != wsframe.CloseNormal {
		t.Errorf("output %q, peer got %v", out, e)
	}

	// The beginning of the line is on its way already: the message cannot be completed.
	long := "good\n" + strings.Repeat("x", 2*maxLine) + "\xff\n"
	_, _, err = connect(t, Config{URL: url, Stdin: strings.NewReader(long)})
	wantEnd(t, err, StatusUsage, "line 2 of the input is not UTF-8")
	if e := <-got; e.Code != wsframe.CloseInternalError {
		t.Errorf("peer got %v", e)
	}
}

func TestMemoryStaysFlatForLongMessages(t *testing.T) {
	const pieces, size = 1024, 64 << 10 // 64 MiB
	url := serve(t, unlimited(), func(c *wsframe.Conn) {
		w, err := c.NextWriter(wsframe.OpText)
		if err != nil {
			return
		}
		piece := bytes.Repeat([]byte("0123456789abcdef"), size/16)
		for range pieces {
			w.Write(piece)
		}
		w.Close()
		_, r, err := c.NextReader()
		if err != nil {
			return
		}
		if n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{r}, piece); n != pieces*size || err != nil {
			t.Errorf("peer got %d bytes, %v", n, err)
		}
		c.Close(1000, "")
	})
	var heap heapWatch
	written := 0
	count := writerFunc(func(p []byte) (int, error) {
		written += len(p)
		heap.look(written)
		return len(p), nil
	})
	read := 0
	in := io.LimitReader(readerFunc(func(p []byte) (int, error) {
		for i := range p {
			p[i] = 'x'
		}
		read += len(p)
		heap.look(read)
		return len(p), nil
	}), pieces*size)
	_, _, err := connect(t, Config{URL: url, Stdin: in, Stdout: count, Wait: -1})
	if err != nil || written != pieces*size+1 {
		t.Errorf("%d bytes, %v", written, err)
	}
	if heap.most > heap.first+16<<20 {
		t.Errorf("the heap grew from %d to %d KiB", heap.first>>10, heap.most>>10)
	}
}

// A heapWatch looks at the memory in use from time to time.
type heapWatch struct {
	mu          sync.Mutex // guards the fields below
	next        int
	first, most uint64
}

func (h *heapWatch) look(progress int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if progress < h.next {
		return
	}
	h.next += 8 << 20
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if h.first == 0 {
		h.first = m.HeapAlloc
	}
	h.most = max(h.most, m.HeapAlloc)
}

func TestAStalledOutputHoldsTheServerBack(t *testing.T) {
	stuck := make(chan error, 1)
	o := unlimited()
	o.WriteTimeout = 200 * time.Millisecond
	url := serve(t, o, func(c *wsframe.Conn) {
		p := make([]byte, 1<<20)
		for range 256 {
			if err := c.WriteMessage(wsframe.OpBinary, p); err != nil {
				stuck <- err
				return
			}
		}
		stuck <- nil
	})
	r, w := io.Pipe()
	go func() {
		if err := <-stuck; err == nil {
			t.Error("256 MiB went into an output that nobody reads")
		}
		io.Copy(io.Discard, r)
	}()
	_, _, err := connect(t, Config{URL: url, Stdout: w})
	r.Close()
	wantEnd(t, err, StatusAbnormal, "1006")
}

func TestAStalledServerHoldsTheInputBack(t *testing.T) {
	signals := make(chan os.Signal, 2)
	release := make(chan struct{})
	url := serve(t, nil, func(c *wsframe.Conn) { <-release })
	defer close(release)
	var read atomic.Int64 // the reader is not waited for
	idle := time.AfterFunc(300*time.Millisecond, func() { signals <- os.Interrupt; signals <- os.Interrupt })
	in := readerFunc(func(p []byte) (int, error) {
		idle.Reset(300 * time.Millisecond)
		if read.Add(int64(len(p))) > 256<<20 {
			return 0, io.EOF
		}
		for i := range p {
			p[i] = '\n'
		}
		return len(p), nil
	})
	_, _, err := connect(t, Config{URL: url, Stdin: in, Signals: signals})
	wantEnd(t, err, StatusAbnormal, "stopped")
	if read.Load() > 256<<20 {
		t.Error("256 MiB went to a server that does not read")
	}
}
