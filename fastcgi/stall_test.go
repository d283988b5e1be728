package fastcgi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/gatewaytest"
)

// The program is in this process, so what the application needs is counted as well.
func TestStalledTunnelsAreCheap(t *testing.T) {
	for name, single := range map[string]bool{"a connection per request": true, "a shared connection": false} {
		t.Run(name, func(t *testing.T) {
			gatewaytest.Stalls(t, func(t *testing.T, o cgi.Options) http.Handler {
				addr := serve(t, &Server{Handler: raw(gatewaytest.Serve)})
				c := client(t, &Client{Backends: []string{addr}, NoMultiplex: single})
				return &Endpoint{Client: c, Gateway: cgi.Gateway{Options: o}}
			})
		})
	}
}

// Shutdown ends tunnels whose program does not read, and does not wait for it longer than it may.
func TestShutdownOfStalledTunnels(t *testing.T) {
	for name, single := range map[string]bool{"a connection per request": true, "a shared connection": false} {
		t.Run(name, func(t *testing.T) {
			stuck := make(chan bool)
			addr := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				nc, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer nc.Close()
				io.WriteString(nc, "Status: 101\nUpgrade: websocket\n\n")
				<-stuck
			})})
			defer close(stuck)
			e := &Endpoint{Client: client(t, &Client{Backends: []string{addr}, NoMultiplex: single}), Gateway: cgi.Gateway{Options: cgi.Options{Upgrade: true}}}
			front := gatewaytest.Start(t, e)
			for range 3 {
				c := gatewaytest.Dial(t, front)
				c.Send(gatewaytest.Upgrade(""))
				c.Head()
				c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				for piece := make([]byte, 1<<20); ; {
					if _, err := c.Write(piece); err != nil {
						break
					}
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			if err := e.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || e.Gateway.Active() > 0 {
				t.Errorf("%v, %d requests are left", err, e.Gateway.Active())
			}
		})
	}
}
