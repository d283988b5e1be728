package fastcgi

import (
	"context"
	"fmt"
	"io"
	"net"
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

// countConns counts what a Client dials.
func countConns(n *atomic.Int64) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		n.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
}

// A thousand requests on one connection, fifty of them tunnels, and one whose response nobody reads.
func TestOneStalledReaderHoldsUpNobody(t *testing.T) {
	const requests, tunnels = 1000, 50
	var together sync.WaitGroup // all plain requests are on the connection at the same time
	together.Add(requests - tunnels - 1)
	app := http.NewServeMux()
	app.HandleFunc("/plain", func(w http.ResponseWriter, r *http.Request) {
		together.Done()
		together.Wait()
		io.WriteString(w, strings.Repeat("x", 10000))
	})
	app.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 10000)); err != nil {
				return
			}
		}
	})
	app.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := wsframe.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			op, b, err := c.ReadMessage(nil)
			if err != nil {
				return
			}
			c.WriteMessage(op, b)
		}
	})
	var dialed atomic.Int64
	c := client(t, &Client{Backends: []string{serve(t, &Server{Handler: app})}, Dial: countConns(&dialed)})
	front := httptest.NewServer(&Endpoint{Client: c, Gateway: cgi.Gateway{Options: cgi.Options{Upgrade: true}}})
	defer front.Close()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()

	uri := func(s string) cgi.List {
		return cgi.List{{Name: "CONTENT_LENGTH", Value: "0"}, {Name: "REQUEST_METHOD", Value: "GET"}, {Name: "SERVER_PROTOCOL", Value: "HTTP/1.1"}, {Name: "REQUEST_URI", Value: s}}
	}
	endless, err := c.Open(ctx, RoleResponder, uri("/endless"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer endless.Close()
	if _, err := io.ReadFull(endless, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	var sessions []*wsframe.Conn
	for range tunnels {
		ws, _, err := wsframe.Dial(ctx, "ws"+strings.TrimPrefix(front.URL, "http")+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		sessions = append(sessions, ws)
	}
	var wg sync.WaitGroup
	for range requests - tunnels - 1 {
		wg.Go(func() {
			x, err := c.Open(ctx, RoleResponder, uri("/plain"), false)
			if err != nil {
				t.Error(err)
				return
			}
			defer x.Close()
			if b, err := io.ReadAll(x); err != nil || len(b) < 10000 {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
	for i, ws := range sessions {
		wg.Go(func() {
			for j := range 20 {
				want := fmt.Sprint("message ", i, " ", j)
				if err := ws.WriteMessage(wsframe.OpText, []byte(want)); err != nil {
					t.Error(err)
					return
				}
				if _, b, err := ws.ReadMessage(nil); err != nil || string(b) != want {
					t.Errorf("%q, %v, want %q", b, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := dialed.Load(); n != 2 { // one for the question, one for everything
		t.Errorf("%d connections", n)
	}
	// The stalled one was only stalled.
	if _, err := io.ReadFull(endless, make([]byte, 1<<20)); err != nil {
		t.Errorf("the stalled request: %v", err)
	}
}

// A backend that shares connections without counting.
func TestAStalledReaderIsAbortedWhereNothingIsCounted(t *testing.T) {
	told := make(chan bool, 1)
	addr := backendFunc(t, func(n int, w *wire) {
		if n == 0 {
			w.expect(TypeGetValues)
			w.say(AppendRecord(nil, TypeGetValuesResult, 0, AppendPairs(nil, cgi.List{{Name: valueMpxs, Value: "1"}})))
			return
		}
		first, _ := w.begin()
		w.expect(TypeStdin)
		second, _ := w.begin()
		w.expect(TypeStdin)
		w.say(out(first, strings.Repeat("x", 60000)), out(first, strings.Repeat("x", 60000)), out(second, "second"), end(second, 0, 0))
		if id, _ := w.expect(TypeAbortRequest); id != first {
			t.Errorf("aborted %d", id)
		}
		told <- true
		w.say(end(first, 0, 0))
		w.r.ReadByte()
	})
	c := client(t, &Client{Backends: []string{addr}, StallTimeout: 50 * time.Millisecond})
	stalled := open(t, c, false)
	if b, err := io.ReadAll(open(t, c, false)); string(b) != "second" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := io.ReadAll(stalled); err == nil {
		t.Error("the stalled request ended in order")
	}
	<-told // before the client is closed
}
