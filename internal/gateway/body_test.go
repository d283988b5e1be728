package gateway_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/wspawn/wspawn/internal/gateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const bound = 30 * time.Second // for what has to happen

// exchange has f answer a request that a client sends piece by piece, and returns that client.
func exchange(t *testing.T, f http.HandlerFunc, pieces ...string) (c *net.TCPConn, br *bufio.Reader) {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	nc, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(bound))
	for i, piece := range pieces {
		if i > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		io.WriteString(nc, piece)
	}
	return nc.(*net.TCPConn), bufio.NewReader(nc)
}

// wait receives what has to come.
func wait[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(bound):
		t.Fatal("it did not happen")
	}
	return v
}

const (
	fixed   = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n"
	chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
)

func TestBodiesAreReadToTheirEnd(t *testing.T) {
	const short = 50 * time.Millisecond
	for _, tt := range []struct {
		name    string
		pieces  []string
		gone    bool // the client closes then
		timeout time.Duration
		limit   int64
		max     int64 // of a http.MaxBytesReader
		body    string
		status  int // 0: none, -1: ErrGone
	}{
		{name: "in pieces", pieces: []string{fixed, "abc", "def"}, body: "abcdef"},
		{name: "of unknown length", pieces: []string{chunked, "3\r\nabc\r\n", "0\r\n\r\n"}, body: "abc"},
		{name: "as long as allowed", pieces: []string{fixed + "abcdef"}, limit: 6, body: "abcdef"},
		{name: "too long", pieces: []string{chunked + "5\r\nabcde\r\n0\r\n\r\n"}, limit: 4, status: 413},
		{name: "too long for somebody in front", pieces: []string{fixed + "abcdef"}, max: 5, status: 413},
		{name: "never", pieces: []string{fixed}, timeout: short, status: 408},
		{name: "not all of it", pieces: []string{fixed, "abc"}, timeout: short, status: 408},
		{name: "late, but nobody is in a hurry", pieces: []string{fixed, "abcdef"}, timeout: bound, body: "abcdef"},
		{name: "no chunk", pieces: []string{chunked + "x\r\n"}, status: 400},
		{name: "a client that goes", pieces: []string{fixed + "abc"}, gone: true, status: -1},
		{name: "a client that goes between chunks", pieces: []string{chunked + "3\r\nabc\r\n"}, gone: true, status: -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			done := make(chan bool)
			c, _ := exchange(t, func(w http.ResponseWriter, r *http.Request) {
				defer close(done)
				if tt.max > 0 {
					r.Body = http.MaxBytesReader(w, r.Body, tt.max)
				}
				var b gateway.Body
				b.Init(http.NewResponseController(w), r, tt.timeout, tt.limit)
				got, err := io.ReadAll(&b)
				e, _ := errors.AsType[*gateway.Error](b.Err())
				switch {
				case tt.status == 0 && (err != nil || b.Err() != nil || !b.Consumed() || string(got) != tt.body):
					t.Errorf("%q, %v, %v, consumed %v", got, err, b.Err(), b.Consumed())
				case tt.status < 0 && (err != gateway.ErrGone || b.Err() != gateway.ErrGone):
					t.Errorf("%v, %v", err, b.Err())
				case tt.status > 0 && (err == nil || e == nil || e.Status != tt.status):
					t.Errorf("%v, %v", err, b.Err())
				case tt.status != 0 && b.Consumed():
					t.Error("consumed")
				}
			}, tt.pieces...)
			if tt.gone {
				c.Close()
			}
			wait(t, done)
		})
	}
}

func TestTheClientIsAskedForItsBodyWhenItIsRead(t *testing.T) {
	read := make(chan bool)
	c, br := exchange(t, func(w http.ResponseWriter, r *http.Request) {
		var b gateway.Body
		b.Init(http.NewResponseController(w), r, bound, 0)
		if b.Begun() {
			t.Error("begun")
		}
		wait(t, read)
		if got, err := io.ReadAll(&b); err != nil || string(got) != "abcdef" || !b.Begun() {
			t.Errorf("%q, %v", got, err)
		}
	}, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n")
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if b, err := br.Peek(1); err == nil {
		t.Errorf("%q before anybody reads", b)
	}
	c.SetReadDeadline(time.Now().Add(bound))
	close(read)
	if r, err := http.ReadResponse(br, nil); err != nil || r.StatusCode != 100 {
		t.Fatal(r, err)
	}
	io.WriteString(c, "abcdef")
	if r, err := http.ReadResponse(br, nil); err != nil || r.StatusCode != 200 {
		t.Error(r, err)
	}
}

// An answer that comes first ends a Read, which is nobody's fault then.
func TestTheEndOfABodyThatNobodyWants(t *testing.T) {
	for _, patient := range []bool{true, false} {
		done := make(chan bool)
		exchange(t, func(w http.ResponseWriter, r *http.Request) {
			defer close(done)
			var b gateway.Body
			b.Init(http.NewResponseController(w), r, bound, 0)
			reading := make(chan error)
			go func() {
				_, err := io.ReadAll(&b)
				reading <- err
			}()
			for !b.Begun() {
				time.Sleep(time.Millisecond)
			}
			start := time.Now()
			b.End(patient)
			if err := wait(t, reading); err == nil || b.Err() != nil || b.Consumed() {
				t.Errorf("%v, %v, consumed %v", err, b.Err(), b.Consumed())
			}
			if d := time.Since(start); patient && d < gateway.DiscardTime {
				t.Errorf("after %v", d)
			}
			if n, err := b.Read(make([]byte, 1)); n != 0 || err != gateway.ErrAnswered {
				t.Errorf("%d, %v", n, err)
			}
			b.Fail(gateway.ErrGone)
			if b.Err() != nil {
				t.Errorf("%v, but the request is answered", b.Err())
			}
		}, fixed+"abc")
		wait(t, done)
	}
}

func TestTheFirstFailureCounts(t *testing.T) {
	r := httptest.NewRequest("POST", "/", nil)
	var b gateway.Body
	b.Init(http.NewResponseController(httptest.NewRecorder()), r, 0, 0)
	first := &gateway.Error{Status: 504}
	if b.Fail(first) != error(first) || b.Fail(gateway.ErrGone) != gateway.ErrGone || b.Err() != error(first) {
		t.Error(b.Err())
	}
}

// A small body that is on its way already is given a moment; nothing else is.
func TestSettled(t *testing.T) {
	over := make(chan struct{})
	close(over)
	for _, tt := range []struct {
		name   string
		length int64
		over   chan struct{}
		late   bool // the body comes while it is waited for
		want   bool
	}{
		{"read already", 6, nil, false, true},
		{"small and on its way", 6, nil, true, true},
		{"small, but given up", 6, over, true, false},
		{"large", 1 << 20, nil, true, false},
		{"of unknown length", -1, nil, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in, out := io.Pipe()
				r := httptest.NewRequest("POST", "/", in)
				r.ContentLength = tt.length
				var b gateway.Body
				b.Init(http.NewResponseController(httptest.NewRecorder()), r, 0, 0)
				go io.Copy(io.Discard, &b)
				go func() {
					if tt.late {
						time.Sleep(5 * time.Millisecond)
					}
					out.Close()
				}()
				synctest.Wait()
				if got := b.Settled(tt.over); got != tt.want {
					t.Errorf("%v", got)
				}
				time.Sleep(time.Second)
			})
		})
	}
}

// The methods may meet; the race detector looks at how.
func TestEverythingAtTheSameTime(t *testing.T) {
	for range 20 {
		done := make(chan bool)
		exchange(t, func(w http.ResponseWriter, r *http.Request) {
			defer close(done)
			var b gateway.Body
			b.Init(http.NewResponseController(w), r, bound, 0)
			var all sync.WaitGroup
			all.Go(func() { io.ReadAll(&b) })
			all.Go(func() { b.Fail(&gateway.Error{Status: 504}) })
			all.Go(func() { b.Settled(nil) })
			all.Go(func() { b.End(true) })
			for range 100 {
				if b.Consumed() {
					b.Begun()
				}
				b.Err()
			}
			all.Wait()
			b.End(false)
			if err := b.Err(); err != nil {
				if e, ok := err.(*gateway.Error); !ok || e.Status != 504 {
					t.Error(err)
				}
			}
		}, fixed+"abcdef")
		wait(t, done)
	}
}
