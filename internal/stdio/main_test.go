package stdio

import (
	"flag"
	"os"
	"testing"

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
