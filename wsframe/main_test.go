package wsframe

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// No test may leave a goroutine behind: every Conn, Handler and server has to end.
func TestMain(m *testing.M) {
	if order, ok := os.LookupEnv(idleClientsVariable); ok {
		idleClients(order)
		return
	}
	goleak.VerifyTestMain(m)
}
