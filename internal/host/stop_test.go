//go:build unix

package host

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/wspawn/wspawn/wsframe"
)

func TestEverySignalCanBeAStep(t *testing.T) {
	for _, signal := range []string{"HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "sigusr1"} {
		file := filepath.Join(t.TempDir(), "signal")
		c := settings("sh", "-c", `for s in HUP INT QUIT TERM USR1 USR2 WINCH; do trap "echo $s >$0; exit" $s; done; echo ready; while sleep 0.01; do :; done`, file)
		c.Program["p"].Stop = signal + ",1h,KILL"
		h, _ := run(t, c)
		conn := dial(t, h, "/", nil)
		if got := read(t, conn); got != "ready" {
			t.Fatalf("%q", got)
		}
		conn.Close(wsframe.CloseNormal, "")
		want := signal
		if signal == "sigusr1" {
			want = "USR1"
		}
		eventually(t, signal+" arrives", func() bool {
			b, _ := os.ReadFile(file)
			return string(b) == want+"\n"
		})
	}
}
