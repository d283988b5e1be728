package fastcgi

import (
	"net/http"
	"testing"

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
