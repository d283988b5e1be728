package tunnel

import (
	"bufio"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/frametest"
	"github.com/wspawn/wspawn/wsframe"
)

func init() { serverOnly = serverMain }

// serverMain serves tunnels to a backend in a process of its own, until its stdin ends. Each line of
// that is answered with the resident memory, in KiB, behind a collection.
func serverMain(addr string) {
	set, err := backend.Fixed(addr)
	if err != nil {
		panic(err)
	}
	set.Start()
	e := &Endpoint{Dial: Backends(set, 0)}
	ts := httptest.NewServer(&wsframe.Handler{Endpoint: e})
	fmt.Println(ts.Listener.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		debug.FreeOSMemory()
		b, err := os.ReadFile("/proc/self/status")
		if err != nil {
			panic(err)
		}
		_, after, _ := strings.Cut(string(b), "VmRSS:")
		fmt.Println(strings.Fields(after)[0])
	}
}

// idleSize is what an idle session may take, in KiB; it is about 8.
const idleSize = 12

func TestIdleSessionsTakeLittleMemory(t *testing.T) {
	if raceEnabled {
		return // it takes several times the memory
	}
	far := listen(t, "unix", echo)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "TUNNEL_TEST_SERVER="+far.String())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	out := bufio.NewScanner(pipe)
	line := func() string {
		if !out.Scan() {
			t.Fatal("the server is gone")
		}
		return out.Text()
	}
	addr := line()
	size := func() int {
		io.WriteString(in, "\n")
		n, err := strconv.Atoi(line())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	connect := func(n int) {
		for range n {
			c := frametest.Connect(t, addr, "/")
			c.SendText("x")
			c.Expect(text("x"))
		}
	}
	connect(50)
	time.Sleep(2 * quietAfter)
	before := size()
	const sessions = 1000
	connect(sessions)
	eventually(t, fmt.Sprintf("an idle session takes less than %d KiB", idleSize), func() bool {
		each := float64(size()-before) / sessions
		t.Logf("%.1f KiB each", each)
		return each < idleSize
	})
}
