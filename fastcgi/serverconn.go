package fastcgi

import (
	"errors"
	"io"
	"net"
	"sync"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/rawio"
)

// ErrAborted is what the body and the hijacked connection of a request return
// when the gateway has aborted it, because the client is gone.
var ErrAborted = errors.New("fastcgi: request aborted")

// A serverConn is a connection of a gateway, and its requests. One goroutine
// reads it. With a gateway that does not count, a request whose input nobody reads
// stops that goroutine, and so the gateway.
type serverConn struct {
	s    *Server
	link *link

	mu       sync.Mutex // guards the fields below
	requests map[uint16]*request
	active   int  // those that have not sent their END_REQUEST
	closing  bool // behind the last request

	running sync.WaitGroup // handlers

	// The fields below belong to the goroutine that reads.
	parser Parser
	begun  bool
	window int // what the gateway takes of each output; 0: it does not count
}

// run reads until the connection ends.
func (c *serverConn) run() {
	r := rawio.NewReader(c.link.nc)
	err := r.Loop(func(chunk []byte) error {
		return c.parser.Feed(chunk[rawio.Gap:], c.record)
	})
	var bad *ProtocolError
	if errors.As(err, &bad) && c.s.Log != nil {
		c.s.Log.Warn("bad gateway", "remote", c.link.nc.RemoteAddr(), "err", err)
	}
	c.cut()
	c.link.close()
	c.running.Wait()
}

// cut ends all requests, and makes the reader of the connection return.
func (c *serverConn) cut() {
	c.mu.Lock()
	left := c.requests
	c.requests = nil
	c.mu.Unlock()
	c.link.fail(net.ErrClosed)
	for _, q := range left {
		q.abandon(io.ErrUnexpectedEOF)
	}
}

func (c *serverConn) request(id uint16) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests[id]
}

// record takes a piece of a record.
func (c *serverConn) record(h Header, piece []byte, last bool) error {
	if h.ID == 0 {
		return c.management(h, piece, last)
	}
	q := c.request(h.ID)
	if h.Type == TypeBeginRequest {
		if q != nil {
			return protocolError("request %d begins twice", h.ID)
		}
		content, done, err := c.parser.whole(piece, last, 8)
		if err != nil || !done {
			return err
		}
		return c.begin(h.ID, content)
	}
	if q == nil {
		return nil // it has ended, and the gateway does not know yet
	}
	switch h.Type {
	case TypeParams:
		return q.param(piece, last && h.Length == 0)
	case TypeStdin:
		if !q.started {
			return protocolError("STDIN before the end of PARAMS")
		}
		if h.Length == 0 {
			q.input.finish(io.EOF)
			return nil
		}
		return c.input(q, piece)
	case TypeAbortRequest:
		if last {
			q.aborted()
		}
	case TypeWindow:
		content, done, err := c.parser.whole(piece, last, 4)
		if err != nil || !done {
			return err
		}
		n, err := parseWindow(content)
		if err != nil {
			return err
		}
		return q.budget.add(n)
	}
	return nil // DATA is for filters; what is unknown may be skipped
}

func (c *serverConn) input(q *request, piece []byte) error {
	for {
		piece = piece[q.input.put(piece):]
		if len(piece) == 0 {
			return nil
		}
		if c.window > 0 {
			return protocolError("request %d gets more than its window", q.id)
		}
		<-q.input.space // also when the request ends
	}
}

// management answers records that are about the connection (section 4).
func (c *serverConn) management(h Header, piece []byte, last bool) error {
	switch h.Type {
	case TypeGetValues:
		content, done, err := c.parser.whole(piece, last, MaxContent)
		if err != nil || !done {
			return err
		}
		asked, err := ParsePairs(content)
		if err != nil {
			return err
		}
		var known cgi.List
		for _, v := range asked {
			if value, ok := c.s.value(v.Name); ok {
				known.Set(v.Name, value)
			}
		}
		return c.link.later(func(dst []byte) []byte {
			return AppendRecord(dst, TypeGetValuesResult, 0, AppendPairs(nil, known))
		})
	case TypeWindow:
		content, done, err := c.parser.whole(piece, last, 4)
		if err != nil || !done {
			return err
		}
		if c.begun {
			return protocolError("WINDOW for the connection behind a request")
		}
		c.window, err = parseWindow(content)
		return err
	default:
		if !last {
			return nil
		}
		return c.link.later(func(dst []byte) []byte { return appendUnknown(dst, h.Type) })
	}
}

// begin makes a request, or refuses it.
func (c *serverConn) begin(id uint16, content []byte) error {
	role, keep, err := ParseBegin(content)
	if err != nil {
		return err
	}
	c.begun = true
	refuse := func(status ProtocolStatus) error {
		err := c.link.later(func(dst []byte) []byte { return AppendEnd(dst, id, 0, status) })
		if !keep {
			c.hangUp()
		}
		return err
	}
	handler := c.s.Handler
	if role == RoleAuthorizer {
		handler = c.s.Authorizer
	}
	if handler == nil || role != RoleAuthorizer && role != RoleResponder {
		return refuse(StatusUnknownRole)
	}
	c.mu.Lock()
	full := len(c.requests) >= c.s.maxRequests() || c.closing
	c.mu.Unlock()
	if full || !c.s.enter() {
		return refuse(StatusOverloaded)
	}
	q := newRequest(c, id, role, keep, handler)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests == nil {
		c.s.exit()
		return net.ErrClosed
	}
	c.requests[id] = q
	c.active++
	return nil
}

// forget frees the id of a request, whose END_REQUEST is the next thing sent: the gateway
// may use the id again as soon as it has seen that.
func (c *serverConn) forget(q *request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests[q.id] == q {
		delete(c.requests, q.id)
	}
}

// ended counts a request whose END_REQUEST is on its way.
func (c *serverConn) ended(q *request) {
	c.mu.Lock()
	c.active--
	c.mu.Unlock()
	c.s.exit()
	if !q.keep {
		c.hangUp()
	}
}

// hangUp closes the connection behind the last request: the gateway does not want
// to use it again.
func (c *serverConn) hangUp() {
	c.mu.Lock()
	c.closing = true
	last := c.active == 0
	c.mu.Unlock()
	if last {
		c.link.finish()
	}
}

func (c *serverConn) remoteAddr() net.Addr { return c.link.nc.RemoteAddr() }
