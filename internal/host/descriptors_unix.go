//go:build unix

package host

import "golang.org/x/sys/unix"

// descriptors is how many this process may have. Go raises the soft limit to the hard one at the start.
func descriptors() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 1024
	}
	return int(min(uint64(l.Cur), 1<<20))
}
