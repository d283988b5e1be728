package wsframe

import (
	"testing"

	"go.uber.org/goleak"
)

// No test may leave a goroutine behind: every Conn, Handler and server has to end.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
