//go:build unix

package cgi_test

import (
	"context"
	"io"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/gatewaytest"
)

func TestShutdown(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"p": "#!/bin/sh\nprintf 'Status: 101\\nUpgrade: websocket\\n\\n'\ncat\nprintf bye\n"})
	e := newEndpoint(t, cgi.Config{File: filepath.Join(dir, "p"), Options: cgi.Options{Upgrade: true}})
	addr := gatewaytest.Start(t, e)
	c := gatewaytest.Dial(t, addr)
	c.Send(gatewaytest.Upgrade(""))
	c.Head()
	c.Send("hello")
	c.Expect("hello")
	done := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), gatewaytest.Bound)
		defer cancel()
		done <- e.Shutdown(ctx)
	}()
	c.Expect("bye")
	c.ExpectEnd()
	c.CloseWrite()
	if err := <-done; err != nil {
		t.Error(err)
	}
	late := gatewaytest.Dial(t, addr)
	late.Send(gatewaytest.Request(""))
	if r := late.Head(); r.StatusCode != 503 {
		t.Errorf("after the shutdown: %d", r.StatusCode)
	}
}

func TestShutdownEndsWhatDoesNotEnd(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"p": stubborn})
	for _, status := range []int{200, 101} {
		e := newEndpoint(t, cgi.Config{File: filepath.Join(dir, "p"), Options: cgi.Options{Upgrade: true}})
		c := gatewaytest.Dial(t, gatewaytest.Start(t, e))
		c.Send(gatewaytest.Request("", "X-Status: "+strconv.Itoa(status), "Upgrade: websocket", "Connection: Upgrade"))
		c.Head()
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		e.Shutdown(ctx)
		cancel()
		io.ReadAll(c.R) // comes to an end
	}
}

// Nothing has been opened yet that could be cut: it is the body that has to be.
func TestShutdownEndsTheCollectionOfABody(t *testing.T) {
	g := &cgi.Gateway{Options: cgi.Options{CollectBody: 1 << 20}}
	c := gatewaytest.Dial(t, gatewaytest.Start(t, g))
	c.Send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
	for g.Active() == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	g.Shutdown(ctx)
	if r := c.Head(); r.StatusCode != 503 {
		t.Errorf("answer %d", r.StatusCode)
	}
}
