//go:build unix

package cgirun_test

import (
	"strings"
	"testing"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/gatewaytest"
	"github.com/wspawn/wspawn/scgi"
)

// One variable, and all of them, may be larger than 64 KiB; only uwsgi cannot say that.
func TestLargeVariables(t *testing.T) {
	for _, tt := range []struct {
		name   string
		m      gatewaytest.Maker
		status int
	}{
		{"SCGI", overSCGI(scgi.SCGI, patience), 200},
		{"uwsgi", overSCGI(scgi.UWSGI, patience), 431},
		{"FastCGI", overFastCGI(patience), 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := gatewaytest.Dial(t, gatewaytest.Start(t, tt.m(t, cgi.Options{})))
			large := strings.Repeat("x", 100000)
			c.Send(gatewaytest.Request(gatewaytest.Script("print:\n", "var:HTTP_X_A", "var:HTTP_X_B"), "X-A: "+large, "X-B: "+large))
			r := c.Head()
			if body := c.Body(r); r.StatusCode != tt.status || tt.status == 200 && body != "HTTP_X_A="+large+"\nHTTP_X_B="+large+"\n" {
				t.Errorf("%d, %d bytes", r.StatusCode, len(body))
			}
		})
	}
}
