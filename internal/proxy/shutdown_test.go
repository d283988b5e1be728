package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/gatewaytest"
)

func TestShutdownWaitsForRequests(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	p := newProxy(t, Config{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-release
		io.WriteString(w, "done")
	}))
	addr := gatewaytest.Start(t, p)
	c := gatewaytest.Dial(t, addr)
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-begun
	ended := make(chan error)
	go func() { ended <- p.Shutdown(t.Context()) }()
	eventually(t, "refusal", func() bool {
		res, _ := fetch(t, newRequest(t, "GET", "http://"+addr+"/", nil))
		return res.StatusCode == 503
	})
	if p.Active() != 1 {
		t.Errorf("%d requests are answered", p.Active())
	}
	close(release)
	if body := c.Body(c.Head()); body != "done" {
		t.Errorf("%q", body)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsWhatDoesNotEnd(t *testing.T) {
	begun := make(chan struct{})
	p := newProxy(t, Config{}, origin(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	}))
	c := gatewaytest.Dial(t, gatewaytest.Start(t, p))
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if res := c.Head(); res.StatusCode != 503 {
		t.Errorf("%d", res.StatusCode)
	}
}

func TestShutdownTellsTunnels(t *testing.T) {
	p := newProxy(t, on, switching(t, func(p *peer) {
		io.Copy(io.Discard, p.r)
		io.WriteString(p, "going away")
	}))
	c := opened(t, gatewaytest.Start(t, p), "")
	ended := make(chan error)
	go func() { ended <- p.Shutdown(t.Context()) }()
	c.Expect("going away")
	c.ExpectEnd()
	c.CloseWrite()
	if err := <-ended; err != nil || p.Active() != 0 {
		t.Errorf("%v, %d left", err, p.Active())
	}
}

func TestShutdownEndsTunnels(t *testing.T) {
	p := newProxy(t, on, switching(t, func(p *peer) {
		for { // deaf
			if _, err := p.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}))
	c := opened(t, gatewaytest.Start(t, p), "")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || p.Active() != 0 {
		t.Errorf("%v, %d left", err, p.Active())
	}
	io.ReadAll(c.R)
}
