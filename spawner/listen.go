package spawner

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Listen says how the workers of a [Pool] come to their listening sockets.
//
// A program with a placeholder, "{socket}" (the path of a Unix socket) or "{port}" (a TCP port), in its
// arguments or environment, [PoolConfig].Env included, makes its socket itself, there. Every other
// program is given a listening socket: as descriptor 0, the way of FastCGI, or with ListenFDs as
// descriptor 3. Such a socket stays while its worker is replaced, so that nobody is refused in between; but connections that
// a worker has not accepted when it ends are closed where another one does not come at once.
// Windows programs cannot be given one.
//
// What answers at a Path or Port before the pool has started a worker there is adopted: it is used like a worker,
// but never stopped, and when it is gone a worker takes its place.
type Listen struct {
	// Network is "unix" or "tcp" (on the loopback interface). "" = unix, or tcp if there is a Port or a "{port}".
	Network string

	// Path is the Unix socket. With several workers that do not share it, "-0", "-1" … is appended. A dead socket
	// in its place is removed, any other file is an error. "" = sockets in a private directory.
	Path string
	// Replace takes the place of what answers at Path, instead of adopting it: for the successor of a pool whose
	// workers are still there. They keep the connections they have.
	Replace bool
	// Dir is where the private directory is made. "" = os.TempDir().
	Dir string
	// Mode, Owner and Group (names or numbers) are those of the socket at Path, if the pool makes it. 0 = 0600,
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

// The placeholders.
const (
	socketPlaceholder = "{socket}"
	portPlaceholder   = "{port}"
)

// complete checks l and fills in its defaults. n is the number of workers, words is where placeholders may stand.
// own reports whether a worker makes its socket itself.
func (l *Listen) complete(n int, words ...[]string) (own bool, err error) {
	var wantsPath, wantsPort bool
	if !l.ListenFDs {
		for _, list := range words {
			for _, s := range list {
				wantsPath = wantsPath || strings.Contains(s, socketPlaceholder)
				wantsPort = wantsPort || strings.Contains(s, portPlaceholder)
			}
		}
	}
	own = wantsPath || wantsPort
	if l.Network == "" {
		l.Network = "unix"
		if wantsPort || l.Port != 0 {
			l.Network = "tcp"
		}
	}
	if l.Host == "" {
		l.Host = "127.0.0.1"
	}
	if l.Mode == 0 {
		l.Mode = 0o600
	}
	if l.Backlog == 0 {
		l.Backlog = 1024
	}
	ip := net.ParseIP(l.Host)
	switch {
	case l.Network != "unix" && l.Network != "tcp":
		err = fmt.Errorf("network %q: neither unix nor tcp", l.Network)
	case wantsPath && l.Network == "tcp":
		err = fmt.Errorf("%s needs a unix socket", socketPlaceholder)
	case wantsPort && l.Network == "unix":
		err = fmt.Errorf("%s needs a tcp port", portPlaceholder)
	case own && l.Shared:
		err = errors.New("a socket that each worker makes itself cannot be shared")
	case l.Network == "unix" && l.Port != 0, l.Network == "tcp" && l.Path != "":
		err = errors.New("both a path and a port")
	case l.Path != "" && !filepath.IsAbs(l.Path):
		err = fmt.Errorf("path %q is not absolute", l.Path)
	case l.Mode&^0o777 != 0:
		err = fmt.Errorf("mode %#o is out of range", l.Mode)
	case ip == nil || !ip.IsLoopback():
		err = fmt.Errorf("host %q is not a loopback address", l.Host)
	case l.Port < 0 || l.Port+n-1 > 65535:
		err = fmt.Errorf("port %d is out of range", l.Port)
	case l.Backlog < 0:
		err = fmt.Errorf("backlog %d is negative", l.Backlog)
	case !own:
		err = canHandOver()
	}
	return own, err
}

// place is where one worker after the other listens.
type place struct {
	l       *Listen
	network string
	address string // of a free tcp port: "host:0" until there is one
	own     bool   // the worker makes the socket
	public  bool   // configured, so something else may be there

	mu     sync.Mutex // guards the field below and the socket file: workers may share the place
	socket *os.File   // the listening socket that is handed over; nil: none
}

// places returns where n workers listen; dir is the private directory.
func (l *Listen) places(n int, own bool, dir string) []*place {
	all := make([]*place, n)
	for i := range all {
		if l.Shared && i > 0 {
			all[i] = all[0]
			continue
		}
		pl := &place{l: l, network: l.Network, own: own, public: l.Path != "" || l.Port != 0}
		switch {
		case l.Network == "tcp" && l.Port != 0:
			pl.address = net.JoinHostPort(l.Host, strconv.Itoa(l.Port+i))
		case l.Network == "tcp":
			pl.address = net.JoinHostPort(l.Host, "0")
		case l.Path == "":
			pl.address = filepath.Join(dir, strconv.Itoa(i))
		case l.Shared || n == 1:
			pl.address = l.Path
		default:
			pl.address = l.Path + "-" + strconv.Itoa(i)
		}
		all[i] = pl
	}
	return all
}

// answered reports whether something accepts connections at pl.
func (pl *place) answered() bool {
	c, err := net.DialTimeout(pl.network, pl.address, time.Second)
	if err == nil {
		c.Close()
		return true
	}
	// A full queue of connections (EAGAIN), slowness and missing rights are signs of life.
	ne, ok := errors.AsType[net.Error](err)
	return errors.Is(err, fs.ErrPermission) || ok && ne.Timeout()
}

// prepare makes pl ready for the start of a worker: dead sockets go, and the socket to hand over is made.
// adopted reports that something else is there and answers.
func (pl *place) prepare() (adopted bool, err error) {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if pl.socket != nil {
		return false, nil
	}
	if pl.public && !pl.l.Replace && pl.answered() {
		return true, nil
	}
	if pl.network == "unix" {
		if err := removeSocket(pl.address); err != nil {
			return false, err
		}
	}
	if pl.own {
		return false, nil
	}
	socket, address, err := pl.listen()
	if err != nil {
		return false, fmt.Errorf("listen on %q: %w", pl.address, err)
	}
	if pl.socket = socket; pl.address != address { // one that is configured is read without the mutex
		pl.address = address
	}
	return false, nil
}

// choose returns the address for the next worker that makes its socket itself.
func (pl *place) choose() (string, error) {
	host, port, _ := net.SplitHostPort(pl.address)
	if pl.network == "unix" || port != "0" {
		return pl.address, nil
	}
	// Somebody may take it before the worker does. Then the worker ends, and the next one gets another.
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// close closes and removes the socket, unless somebody else has taken its place.
func (pl *place) close() {
	pl.mu.Lock()
	defer pl.mu.Unlock()
	if pl.socket == nil && !pl.own {
		return
	}
	if pl.socket != nil {
		pl.socket.Close()
		pl.socket = nil
	}
	if pl.network == "unix" && !pl.answered() {
		removeSocket(pl.address)
	}
}

// removeSocket removes a dead socket. Nothing there is fine as well.
func removeSocket(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%q exists and is not a socket", path)
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// fill replaces the placeholders in words.
func fill(words []string, network, address string) []string {
	name, value := socketPlaceholder, address
	if network == "tcp" {
		name = portPlaceholder
		_, value, _ = net.SplitHostPort(address)
	}
	filled := make([]string, len(words))
	for i, s := range words {
		filled[i] = strings.ReplaceAll(s, name, value)
	}
	return filled
}
