//go:build unix

package cgirun_test

import (
	"testing"

	"github.com/wspawn/wspawn/internal/gatewaytest"
	"github.com/wspawn/wspawn/scgi"
)

// Gateway and server are in this process, so that it is the memory of both.
func TestStalledTunnelsAreCheap(t *testing.T) {
	for name, m := range map[string]gatewaytest.Maker{
		"SCGI": overSCGI(scgi.SCGI, patience), "uwsgi": overSCGI(scgi.UWSGI, patience), "FastCGI": overFastCGI(patience),
	} {
		t.Run(name, func(t *testing.T) { gatewaytest.Stalls(t, m) })
	}
}
