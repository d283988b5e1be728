package fastcgi

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/backend"
)

// maxReplay is how much of a request body is remembered, bytes, to be sent again
// when a kept connection turns out to be stale. It is given back with the first
// byte of the response.
const maxReplay = 64 << 10

// replayTimeout bounds the time in which what was remembered must be taken.
const replayTimeout = 10 * time.Second

// An Exchange is one request to a FastCGI application and its response. It
// implements [cgi.Exchange]; see there who may call what when. Read returns
// STDOUT; STDERR goes to the log.
type Exchange struct {
	client *Client
	lease  *backend.Lease // until Close
	role   Role
	vars   cgi.List
	empty  bool // no input, and its end is sent with the parameters
	safe   bool // may be asked twice

	answered atomic.Bool // something of a response has come
	stderr   stderrLines // of the goroutine that reads the connection

	wmu      sync.Mutex // guards writes and the fields below
	replay   []byte
	overflow bool // replay has not everything
	ended    bool // the input

	mu       sync.Mutex // guards the fields below; never held while waiting
	on       carrier
	closed   bool
	done     bool // Read has seen the end
	readBy   time.Time
	writeBy  time.Time
	patience *time.Timer // see Endpoint.UpgradeWait
}

// Read returns output of the application, io.EOF behind a request that ended in
// order, a [*cgi.GatewayError] when the application refused it, and
// io.ErrUnexpectedEOF when the connection ended first.
//
// A request that went out on a kept connection which turns out to be stale is
// sent again on a new one, once, if nothing of a response has come, what was
// written of the body is not over 64 KiB, and either the backend cannot have
// read all of it or the method is idempotent.
func (x *Exchange) Read(p []byte) (int, error) {
	for {
		on, err := x.carrier()
		if err != nil {
			return 0, err
		}
		n, err := on.read(p)
		if n > 0 || err == nil {
			return n, nil // an error comes back with the next call
		}
		if x.again(on, err) {
			continue
		}
		if _, refused := errors.AsType[*cgi.GatewayError](err); err == io.EOF || refused {
			x.mu.Lock()
			x.done = true
			x.mu.Unlock()
		}
		return 0, err
	}
}

// Ready reports whether the next Read will return at once. It is for the
// goroutine that reads, which may want to collect output.
func (x *Exchange) Ready() bool {
	on, err := x.carrier()
	return err != nil || on.ready()
}

func (x *Exchange) carrier() (carrier, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, net.ErrClosed
	}
	return x.on, nil
}

// Write sends input.
func (x *Exchange) Write(p []byte) (int, error) {
	x.wmu.Lock()
	defer x.wmu.Unlock()
	on, err := x.carrier()
	switch {
	case err != nil:
		return 0, err
	case x.ended || x.empty:
		return 0, net.ErrClosed
	}
	x.remember(on, p)
	if err := on.write(p); err != nil && !x.hopeful(on, err) {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite ends the input.
func (x *Exchange) CloseWrite() error {
	x.wmu.Lock()
	defer x.wmu.Unlock()
	on, err := x.carrier()
	if err != nil {
		return err
	}
	if x.ended || x.empty {
		return nil
	}
	x.ended = true
	if err := on.closeWrite(); err != nil && !x.hopeful(on, err) {
		return err
	}
	return nil
}

// remember keeps p while it may have to be sent again. x.wmu is held.
func (x *Exchange) remember(on carrier, p []byte) {
	switch {
	case !on.kept() || x.answered.Load():
		x.replay = nil
	case len(x.replay)+len(p) > maxReplay:
		x.replay, x.overflow = nil, true
	default:
		x.replay = append(x.replay, p...)
	}
}

// hopeful reports whether a write that failed may succeed later, when the
// goroutine that reads has found out and sends everything again. x.wmu is held.
func (x *Exchange) hopeful(on carrier, err error) bool {
	return on.kept() && !x.overflow && !x.answered.Load() && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed)
}

// again moves a request that failed with err to a new connection, if that
// cannot do harm.
func (x *Exchange) again(on carrier, err error) bool {
	if !on.kept() || x.answered.Load() || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return false
	}
	// A reset means that the backend closed before it had read all of this. After
	// an orderly end it may have worked on the request.
	early := unread(err)
	if s, ok := on.(*single); ok && s.reset.Load() {
		early = true // the kernel says so only once, and said it to the one who wrote
	}
	if !early && !(x.safe && errors.Is(err, io.ErrUnexpectedEOF)) {
		return false
	}
	on.abort() // and so a write on it ends
	x.wmu.Lock()
	defer x.wmu.Unlock()
	if x.overflow {
		return false
	}
	next, err := x.client.fresh(x, on)
	if err != nil {
		return false
	}
	x.mu.Lock()
	if x.closed {
		x.mu.Unlock()
		next.abort()
		return false
	}
	x.on = next
	x.mu.Unlock()
	next.setWriteDeadline(time.Now().Add(replayTimeout))
	err = next.write(x.replay)
	if err == nil && x.ended {
		err = next.closeWrite()
	}
	x.mu.Lock()
	next.setReadDeadline(x.readBy)
	next.setWriteDeadline(x.writeBy)
	x.mu.Unlock()
	x.replay = nil
	return err == nil
}

// SetReadDeadline is that of net.Conn.
func (x *Exchange) SetReadDeadline(t time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return net.ErrClosed
	}
	x.readBy = t
	return x.on.setReadDeadline(t)
}

// SetWriteDeadline is that of net.Conn. When it passes in the middle of a
// record of a connection that is not multiplexed, the request cannot go on.
func (x *Exchange) SetWriteDeadline(t time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return net.ErrClosed
	}
	x.writeBy = t
	return x.on.setWriteDeadline(t)
}

// Close ends the request. Before Read has seen its end, the application gets
// an ABORT_REQUEST.
func (x *Exchange) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil
	}
	x.closed = true
	if x.patience != nil {
		x.patience.Stop()
	}
	if x.done {
		x.on.release()
	} else {
		x.on.abort()
	}
	x.lease.Release()
	return nil
}

// Crashed says, after a Read that returned io.ErrUnexpectedEOF, why the connection
// ended, if the application is a process of ours that has died.
func (x *Exchange) Crashed() error { return x.lease.Crashed() }

// endInputAfter ends the input if nothing has been answered by then.
func (x *Exchange) endInputAfter(d time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.patience = time.AfterFunc(d, func() {
		if !x.answered.Load() {
			x.CloseWrite()
		}
	})
}

// over turns the end of a request into what Read returns.
func (x *Exchange) over(app uint32, status ProtocolStatus) error {
	x.stderr.end()
	if log := x.client.Log; app != 0 && log != nil {
		log.Warn("application status", "path", x.stderr.path, "status", app)
	}
	err := fmtStatus(status)
	switch status {
	case StatusComplete:
		return io.EOF
	case StatusOverloaded:
		return &cgi.GatewayError{Status: http.StatusServiceUnavailable, Reason: "the backend is overloaded", RetryAfter: time.Second, Err: err}
	case StatusCantMpxConn:
		return &cgi.GatewayError{Status: http.StatusServiceUnavailable, Reason: "the backend is busy", RetryAfter: time.Second, Err: err}
	default:
		return &cgi.GatewayError{Status: http.StatusBadGateway, Err: err}
	}
}

func fmtStatus(s ProtocolStatus) error { return errors.New("fastcgi: " + s.String()) }

func pathOf(vars cgi.List) string {
	if uri, ok := vars.Lookup("REQUEST_URI"); ok {
		return uri
	}
	return ""
}

func newLines(log *slog.Logger, vars cgi.List) stderrLines {
	return stderrLines{log: log, path: pathOf(vars)}
}
