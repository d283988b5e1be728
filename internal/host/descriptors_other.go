//go:build !unix

package host

// descriptors is for systems without such a limit.
func descriptors() int { return 1 << 16 }
