package spawner

import "os"

// Listen says how the workers of a [Pool] come to their listening sockets.
//
// A program with a placeholder, "{socket}" (the path of a Unix socket) or "{port}" (a TCP port), in its
// arguments or environment, [PoolConfig].Env included, makes its socket itself, there. Every other
// program is given a listening socket: as descriptor 0, the way of FastCGI, or with ListenFDs as
// descriptor 3. Such a socket stays while its worker is replaced, so that nobody is refused in between.
type Listen struct {
	// Network is "unix" or "tcp" (on the loopback interface). "" = unix, or tcp if there is a "{port}".
	Network string

	// Path is the Unix socket. With several workers that do not share it, "-0", "-1" … is appended. A dead socket
	// in its place is removed, any other file is an error. "" = sockets in a private directory.
	Path string
	// Dir is where the private directory is made. "" = os.TempDir().
	Dir string
	// Mode, Owner and Group (names or numbers) are those of the socket at Path, as far as the pool makes it itself. 0 = 0600,
	// "" = the server's.
	Mode         os.FileMode
	Owner, Group string

	// Host is the loopback address for TCP. "" = 127.0.0.1.
	Host string
	// Port is the port of the first worker, the next ones follow. 0 = free ports.
	Port int

	// Backlog bounds the connections that wait to be accepted; the system may bound them lower. 0 = 1024.
	Backlog int
	// Shared has all workers accept on one socket. The pool cannot know then which worker has
	// which session, so it has to be Static, without MaxServed, MaxAge and MaxMemory.
	Shared bool
	// ListenFDs hands the socket over as descriptor 3 with LISTEN_FDS=1 and LISTEN_PID, as systemd does. Since
	// the process id is not known before, /bin/sh sets LISTEN_PID and executes the program.
	ListenFDs bool
}
