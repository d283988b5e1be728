package rawio

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// Direct returns a connection that is c, with Read and Write by raw system calls. For others than those of TCP and Unix
// sockets it is c itself.
func Direct(c net.Conn) net.Conn {
	raw := rawConn(c)
	if raw == nil {
		return c
	}
	switch s := c.(type) {
	case *net.TCPConn:
		return &tcpConn{s, direct{s, raw}}
	case *net.UnixConn:
		return &unixConn{s, direct{s, raw}}
	}
	return c
}

// A tcpConn has the methods of both: Read and Write of direct, since those of net are embedded deeper.
type tcpConn struct {
	*net.TCPConn
	direct
}

// A unixConn is the same for Unix sockets.
type unixConn struct {
	*net.UnixConn
	direct
}

type direct struct {
	c   net.Conn
	raw syscall.RawConn
}

func (d *direct) rawConn() syscall.RawConn { return d.raw }

// A transfer is one Read or Write.
type transfer struct {
	p     []byte
	n     int
	errno syscall.Errno

	// Its methods, made once, since a method value allocates.
	read, write func(fd uintptr) (done bool)
}

var transfers = sync.Pool{New: func() any {
	t := new(transfer)
	t.read, t.write = t.readSome, t.writeAll
	return t
}}

func (t *transfer) readSome(fd uintptr) (done bool) {
	for {
		n, errno := read(fd, t.p)
		switch errno {
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			t.n, t.errno = n, errno
			return true
		}
	}
}

func (t *transfer) writeAll(fd uintptr) (done bool) {
	for t.n < len(t.p) {
		n, errno := write(fd, t.p[t.n:])
		t.n += n
		switch errno {
		case 0, syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			t.errno = errno
			return true
		}
	}
	return true
}

func (d *direct) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return d.c.Read(p)
	}
	t := transfers.Get().(*transfer)
	t.p = p
	n, err := d.end(t, "read", d.raw.Read(t.read))
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

func (d *direct) Write(p []byte) (int, error) {
	t := transfers.Get().(*transfer)
	t.p = p
	return d.end(t, "write", d.raw.Write(t.write))
}

// end returns what became of a transfer, with the errors of package net.
func (d *direct) end(t *transfer, op string, err error) (int, error) {
	n, errno := t.n, t.errno
	t.p, t.n, t.errno = nil, 0, 0
	transfers.Put(t)
	if errno != 0 {
		err = os.NewSyscallError(op, errno)
	}
	if err == nil {
		return n, nil
	}
	var raw *net.OpError // of the waiting, under another name
	if errors.As(err, &raw) {
		err = raw.Err
	}
	return n, &net.OpError{Op: op, Net: d.c.LocalAddr().Network(), Source: d.c.LocalAddr(), Addr: d.c.RemoteAddr(), Err: err}
}
