// Package spawner starts programs, watches them and stops them, with everything they started.
//
// A [Program] says what to run; a [Spawner] starts it, as often as its limits allow, and owns every
// [Process] until it is finished. The caller moves the bytes: it reads Stdout and writes Stdin.
//
//	s := spawner.New(spawner.Config{Log: log})
//	defer s.Close(ctx)
//	p, err := s.Start(ctx, &spawner.Program{Path: "cat"}, spawner.StartOptions{})
//	if err != nil {
//		return err
//	}
//	defer p.ClosePipes()
//	// talk to p.Stdin and p.Stdout
//	return p.Stop(ctx)
//
// # Life of a process
//
// Every process leads a process group of its own, and sits in a cgroup of its own where
// [Program].Cgroup names a delegated one. When the program itself ends, Done is closed and OnExit called;
// on Linux it stays a zombie until Finish, so that the number of its group cannot be given to others while
// what is left of the group is killed. A session therefore ends in one of two ways: it calls Stop,
// which walks down the [Ladder] and finishes; or the program ended by itself, the session reads the
// rest of Stdout (for at most Linger, because others of the group may hold it open), and calls
// Finish. A process that is neither stopped nor finished is stopped by Close.
//
// Nothing is inherited: not the environment, not descriptors (on Linux the first Start marks all of the
// server's that are not close-on-exec). What the server's own death
// leaves behind is killed by the kernel (the program itself, on Linux) and by the guard process
// (its whole group, see [Config].Guard).
//
// # Pools and spares
//
// A [Pool] runs workers: processes of one program that serve many sessions, accepted on a socket. It decides how many
// of them there are, hands out sessions, and replaces workers that die, grow old or grow too large.
// [Spares] are for the other kind of program, one session on the standard streams of one process: they keep
// some of those started ahead.
//
// # Cost
//
// On Linux no goroutine and no thread waits for a process: one goroutine of the Spawner watches all
// of them, and their stderr, through pidfds in an epoll instance that is parked in Go's network poller.
// An idle process costs the server about two kilobytes: 450 bytes of heap, the rest is what the poller
// and the collector keep for the two pipe ends.
//
// # Rules for programs that use this package on Linux
//
// Linux 5.4 is needed, 5.14 for cgroups. Processes are killed when the thread that started them ends,
// and Go ends a thread when a goroutine returns while it is locked to it: no goroutine of the whole program may do
// that (return without runtime.UnlockOSThread).
//
// # Other platforms
//
// Elsewhere the package works in a plain way: a goroutine waits for each process, which is reaped as
// soon as it ends. What the platform lacks is refused with [ErrUnsupported] before anything is started.
// On Windows there are no groups: signals reach the program alone, and only [os.Kill] works.
package spawner
