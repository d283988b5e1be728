package spawner

import (
	"fmt"
	"os"
)

const canReadMemory = true

// residentMemory returns the resident set of a process in bytes, or 0.
func residentMemory(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident int64
	fmt.Sscan(string(b), &size, &resident)
	return resident * int64(os.Getpagesize())
}
