package fastcgi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	stdcgi "net/http/cgi"
	"runtime/debug"
	"strconv"
	"sync"

	"github.com/wspawn/wspawn/cgi"
)

// A request is one that a gateway has begun.
type request struct {
	c       *serverConn
	id      uint16
	role    Role
	keep    bool // the connection stays open behind it
	handler http.Handler

	input   *queue
	budget  budget
	writeBy deadline
	once    sync.Once
	stop    chan struct{} // closed when nothing can be written any more
	cancel  context.CancelFunc
	over    sync.Once

	// The fields below belong to the reader of the connection until the handler
	// starts.
	params  []byte
	large   bool // params are over the limit
	started bool
}

func newRequest(c *serverConn, id uint16, role Role, keep bool, h http.Handler) *request {
	q := &request{c: c, id: id, role: role, keep: keep, handler: h, input: newQueue(), stop: make(chan struct{}), cancel: func() {}}
	if c.window > 0 {
		q.budget.limit(c.window)
	}
	return q
}

// param collects parameters, and starts the handler behind the last.
func (q *request) param(piece []byte, end bool) error {
	switch {
	case q.started:
		return protocolError("PARAMS behind their end")
	case !end && len(q.params)+len(piece) > q.c.s.maxParams():
		q.large, q.params = true, nil
	case !end && !q.large:
		q.params = append(q.params, piece...)
	case end:
		list, err := ParsePairs(q.params)
		if err != nil {
			return err
		}
		q.params, q.started = nil, true
		ctx, cancel := context.WithCancel(context.Background())
		q.cancel = cancel
		q.c.running.Add(1)
		go func() {
			defer q.c.running.Done()
			defer cancel()
			q.serve(ctx, list)
		}()
	}
	return nil
}

// aborted: the client is gone.
func (q *request) aborted() {
	if !q.started {
		q.end(nil, 0)
		return
	}
	q.giveUp(ErrAborted)
}

// abandon: the gateway is gone.
func (q *request) abandon(err error) {
	q.giveUp(err)
	if !q.started {
		q.end(nil, 0)
	}
}

func (q *request) giveUp(err error) {
	q.input.fail(err)
	q.stopWriting()
	q.cancel()
}

func (q *request) stopWriting() { q.once.Do(func() { close(q.stop) }) }

// end sends output, which the budget has allowed, and END_REQUEST. Calls after the first one do
// nothing.
func (q *request) end(output []byte, appStatus uint32) {
	q.over.Do(func() {
		q.stopWriting()
		q.input.close()
		q.writeBy.stop()
		build := func(dst []byte) []byte {
			dst = AppendStream(dst, TypeStdout, q.id, output)
			dst = AppendRecord(dst, TypeStdout, q.id, nil)
			return AppendEnd(dst, q.id, appStatus, StatusComplete)
		}
		q.c.forget(q)
		if q.started {
			q.c.link.send(nil, nil, build)
		} else {
			q.c.link.later(build)
		}
		q.c.ended(q)
	})
}

// serve runs the handler.
func (q *request) serve(ctx context.Context, list cgi.List) {
	w := &response{q: q, header: make(http.Header)}
	r, err := q.httpRequest(list)
	if err != nil {
		status := http.StatusBadRequest
		if q.large {
			status = http.StatusRequestHeaderFieldsTooLarge
		}
		http.Error(w, err.Error(), status)
		w.finish(0)
		return
	}
	w.head = r.Method == http.MethodHead
	w.remote = r.RemoteAddr
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if err, ok := v.(error); (!ok || !errors.Is(err, http.ErrAbortHandler)) && q.c.s.Log != nil {
			q.c.s.Log.Error("handler panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
		w.crash()
	}()
	q.handler.ServeHTTP(w, r.WithContext(context.WithValue(ctx, paramsKey{}, &requestInfo{list: list, q: q})))
	w.finish(0)
}

// httpRequest makes of the parameters what net/http would have made of the
// request.
func (q *request) httpRequest(list cgi.List) (*http.Request, error) {
	if q.large {
		return nil, errors.New("too many parameters")
	}
	params := make(map[string]string, len(list))
	for _, v := range list {
		if _, twice := params[v.Name]; twice {
			return nil, fmt.Errorf("parameter %q occurs twice", v.Name)
		}
		params[v.Name] = v.Value
	}
	length, known := params["CONTENT_LENGTH"]
	if length == "" {
		delete(params, "CONTENT_LENGTH")
	}
	r, err := stdcgi.RequestFromMap(params)
	if err != nil {
		return nil, err
	}
	r.URL.Scheme, r.URL.Host = "", "" // as in requests of net/http
	if r.RequestURI = params["REQUEST_URI"]; r.RequestURI == "" {
		r.RequestURI = r.URL.RequestURI()
	}
	_, messages := params[cgi.FramingVariable]
	switch {
	case known && r.ContentLength < 0:
		return nil, errors.New("CONTENT_LENGTH is below zero")
	case messages: // of a session, up to the end of the input
		r.ContentLength = -1
		r.Body = &requestBody{q: q, left: -1}
	case known && r.ContentLength == 0:
		r.Body = http.NoBody // of an upgrade, input follows that is no body
	case known:
		r.Body = &requestBody{q: q, left: r.ContentLength}
	default:
		r.ContentLength = -1
		r.Body = &requestBody{q: q, left: -1}
	}
	return r, nil
}

// read takes input.
func (q *request) read(p []byte) (int, error) {
	n, credit, err := q.input.read(p)
	if credit > 0 && q.c.window > 0 {
		q.c.link.later(func(dst []byte) []byte { return appendWindow(dst, q.id, credit) })
	}
	return n, err
}

// write sends output.
func (q *request) write(p []byte) error {
	return sendStream(q.c.link, TypeStdout, q.id, p, &q.budget, q.stop, &q.writeBy)
}

// A requestBody is the input of a request that is no upgrade.
type requestBody struct {
	q    *request
	left int64 // below 0: not known
}

func (b *requestBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.q.read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	if err == io.EOF && b.left > 0 {
		err = fmt.Errorf("%w: %s bytes of the body are missing", io.ErrUnexpectedEOF, strconv.FormatInt(b.left, 10))
	}
	return n, err
}

// Close does nothing: what was not read is dropped when the request ends.
func (b *requestBody) Close() error { return nil }

type paramsKey struct{}

type requestInfo struct {
	list cgi.List
	q    *request
}

// Params returns all parameters of a request of a [Server] in the order in which
// they came, and nil for other requests. ctx is that of the request.
func Params(ctx context.Context) cgi.List {
	if info, ok := ctx.Value(paramsKey{}).(*requestInfo); ok {
		return info.list
	}
	return nil
}

// Stderr returns the writer of a request of a [Server] to the log of the gateway, and io.Discard
// for other requests. It must not be used when the request has ended.
func Stderr(ctx context.Context) io.Writer {
	if info, ok := ctx.Value(paramsKey{}).(*requestInfo); ok {
		return stderrWriter{info.q}
	}
	return io.Discard
}

type stderrWriter struct{ q *request }

func (w stderrWriter) Write(p []byte) (int, error) {
	// What goes to a log is not counted: gateways take it at once.
	if err := sendStream(w.q.c.link, TypeStderr, w.q.id, p, &budget{}, w.q.stop, &w.q.writeBy); err != nil {
		return 0, err
	}
	return len(p), nil
}
