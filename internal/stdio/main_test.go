package stdio

import (
	"flag"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// helpers are little programs inside the test binary, selected by the environment variable
// STDIO_TEST_HELPER.
var helpers = map[string]func(){}

func TestMain(m *testing.M) {
	if name := os.Getenv("STDIO_TEST_HELPER"); name != "" {
		helpers[name]()
		return
	}
	flag.Parse()
	flag.Set("test.parallel", "24") // these tests wait more than they work
	goleak.VerifyTestMain(m)
}

// bound is the time after which a test gives up waiting for something that has to happen.
const bound = 30 * time.Second

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(bound); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("still not true: %s", what)
}
