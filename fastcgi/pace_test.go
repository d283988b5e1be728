package fastcgi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/wsframe"
)

// A crowd is many requests on one connection, each of which sends and gets echoed a message per round.
type crowd struct {
	members []func(round int) error
	flooded atomic.Int64 // messages that the program has been able to send to the stalled tunnel
	stalled *wsframe.Conn
	conns   func() int64
}

// gather begins the requests. With stalled, one more tunnel gets messages without end, and nobody reads them.
func gather(t testing.TB, plain, tunnels int, stalled bool) *crowd {
	t.Helper()
	w := &crowd{}
	app := http.NewServeMux()
	app.HandleFunc("/plain", func(rw http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(rw)
		rc.Flush()
		b := make([]byte, 4096)
		for {
			n, err := r.Body.Read(b)
			if err != nil {
				return
			}
			rw.Write(b[:n])
			rc.Flush()
		}
	})
	app.HandleFunc("/tunnel", func(rw http.ResponseWriter, r *http.Request) {
		c, err := wsframe.Accept(rw, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		var buf []byte
		for {
			op, b, err := c.ReadMessage(buf)
			if err != nil || c.WriteMessage(op, b) != nil {
				return
			}
			buf = b
		}
	})
	app.HandleFunc("/flood", func(rw http.ResponseWriter, r *http.Request) {
		c, err := wsframe.Accept(rw, r, &wsframe.AcceptOptions{Options: wsframe.Options{WriteTimeout: -1}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		for c.WriteMessage(wsframe.OpText, flood(w.flooded.Load())) == nil {
			w.flooded.Add(1)
		}
	})
	var addr string
	addr, w.conns = counted(t, &Server{Handler: app})
	c := client(t, &Client{Backends: []string{addr}})
	front := httptest.NewServer(&Endpoint{Client: c, Gateway: cgi.Gateway{Options: cgi.Options{Upgrade: true}}})
	t.Cleanup(front.Close)
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	t.Cleanup(cancel)
	dial := func(path string) *wsframe.Conn {
		ws, _, err := wsframe.Dial(ctx, "ws"+strings.TrimPrefix(front.URL, "http")+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ws.CloseNow() })
		return ws
	}
	for i := range plain {
		x, err := c.Open(ctx, RoleResponder, uri("/plain")[1:], true)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { x.Close() })
		for head := ""; !strings.HasSuffix(head, "\r\n\r\n"); {
			b := make([]byte, 1)
			if _, err := x.Read(b); err != nil {
				t.Fatal(err)
			}
			head += string(b)
		}
		b := make([]byte, 64)
		w.members = append(w.members, func(round int) error {
			want := fmt.Sprintf("plain %4d %8d", i, round)
			if _, err := io.WriteString(x, want); err != nil {
				return err
			}
			if _, err := io.ReadFull(x, b[:len(want)]); err != nil || string(b[:len(want)]) != want {
				return fmt.Errorf("%q, %w, want %q", b[:len(want)], err, want)
			}
			return nil
		})
	}
	for i := range tunnels {
		ws := dial("/tunnel")
		var buf []byte
		w.members = append(w.members, func(round int) error {
			want := fmt.Sprintf("tunnel %4d %8d", i, round)
			if err := ws.WriteMessage(wsframe.OpText, []byte(want)); err != nil {
				return err
			}
			_, b, err := ws.ReadMessage(buf)
			if err != nil || string(b) != want {
				return fmt.Errorf("%q, %w, want %q", b, err, want)
			}
			buf = b
			return nil
		})
	}
	if stalled {
		w.stalled = dial("/flood")
	}
	return w
}

func flood(n int64) []byte { return fmt.Appendf(nil, "%1000d", n) }

// rounds lets everybody go at his own pace until everybody has done n rounds. It returns how many the fastest has
// done, and all together.
func (w *crowd) rounds(t testing.TB, n int) (most, all int) {
	t.Helper()
	var wg sync.WaitGroup
	var behind atomic.Int64 // who has not done n rounds
	behind.Store(int64(len(w.members)))
	done := make([]int, len(w.members))
	for i, round := range w.members {
		wg.Go(func() {
			for {
				if err := round(done[i]); err != nil {
					t.Error(err)
					behind.Store(0)
					return
				}
				done[i]++
				if done[i] == n {
					behind.Add(-1)
				}
				if behind.Load() <= 0 {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, d := range done {
		most, all = max(most, d), all+d
	}
	return most, all
}

// A thousand requests on one connection, fifty of them tunnels, one of which is not read: that one stands still
// and nobody else does, and nobody is favoured.
func TestTheOthersKeepTheirPace(t *testing.T) {
	const tunnels, rounds, phases, factor = 50, 20, 50, 20
	w := gather(t, 1000-tunnels, tunnels-1, true)
	still := false
	for range phases { // until the way to the client that does not read is full
		before := w.flooded.Load()
		if most, _ := w.rounds(t, rounds); most > factor*rounds {
			t.Errorf("the slowest has done %d rounds, the fastest %d", rounds, most)
		}
		if t.Failed() {
			return
		}
		if still = before > 0 && w.flooded.Load() == before; still {
			break
		}
	}
	if !still {
		t.Error("the stalled tunnel does not stand still")
	}
	if n := w.conns(); n != 2 { // one for the question, one for everything
		t.Errorf("%d connections", n)
	}
	// It was only stalled: everything is there, and it goes on.
	for i := range w.flooded.Load() + 1000 {
		if _, b, err := w.stalled.ReadMessage(nil); err != nil || string(b) != string(flood(i)) {
			t.Fatalf("message %d: %q, %v", i, b, err)
		}
	}
}

// What a reader that stalls costs the others of its connection: rounds of the same crowd with and without one, in
// turns. The ratio of their throughputs should be 1.
func BenchmarkStalledReader(b *testing.B) {
	const plain, tunnels, rounds = 100, 50, 10
	free, other := gather(b, plain, tunnels, false), gather(b, plain, tunnels, true)
	for before := int64(-1); before != other.flooded.Load() || before == 0; {
		before = other.flooded.Load()
		free.rounds(b, rounds)
		other.rounds(b, rounds)
	}
	var took, messages [2]float64
	for b.Loop() {
		for i, w := range []*crowd{free, other} {
			start := time.Now()
			_, all := w.rounds(b, rounds)
			took[i] += time.Since(start).Seconds()
			messages[i] += float64(all)
		}
	}
	b.ReportMetric(messages[0]/took[0], "free-msgs/s")
	b.ReportMetric(messages[1]/took[1], "stalled-msgs/s")
	b.ReportMetric(messages[1]/took[1]/(messages[0]/took[0]), "stalled/free")
}
