//go:build unix

package cgirun_test

import (
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/gatewaytest"
	"github.com/wspawn/wspawn/scgi"
)

// Gateway and server are in this process, so that it is the memory of both.
func TestStalledTunnelsAreCheap(t *testing.T) {
	const stall = 5 * time.Second // longer than it takes to fill all buffers
	for name, m := range map[string]gatewaytest.Maker{
		"SCGI": overSCGI(scgi.SCGI, stall), "uwsgi": overSCGI(scgi.UWSGI, stall), "FastCGI": overFastCGI(stall),
	} {
		t.Run(name, func(t *testing.T) { gatewaytest.Stalls(t, m) })
	}
}
