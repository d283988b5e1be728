package cgi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wspawn/wspawn/internal/gateway"
	"github.com/wspawn/wspawn/internal/relay"
	"github.com/wspawn/wspawn/internal/stream"
)

// backendReader reads the response with a time limit for each piece.
type backendReader struct {
	c       *call
	timeout time.Duration
}

func (r *backendReader) Read(p []byte) (int, error) {
	for {
		if r.timeout > 0 {
			r.c.ex.SetReadDeadline(time.Now().Add(r.timeout))
		}
		n, err := r.c.ex.Read(p)
		// As long as the client sends, the program has every reason to wait.
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && r.c.body.running() && r.c.body.failure() == nil {
			continue
		}
		return n, err
	}
}

// readers are used again: a new one for each request was half of all the memory that requests took.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 8<<10) }}

func putReader(br *bufio.Reader) {
	br.Reset(nil)
	readers.Put(br)
}

// respond brings the response to the client. See call.run for what it returns.
func (c *call) respond() (redirect *http.Request, err error) {
	br := readers.Get().(*bufio.Reader)
	br.Reset(&backendReader{c, gateway.OrDefault(c.g.ReadTimeout, DefaultReadTimeout)})
	resp, err := ReadResponse(br, ResponseOptions{MaxHeader: c.g.maxHeader(), Bare: c.g.Bare, Interim: c.interim})
	if err == nil && resp.Status == http.StatusSwitchingProtocols {
		glued, _ := br.Peek(br.Buffered())
		glued = bytes.Clone(glued)
		putReader(br) // not held by a tunnel
		return nil, c.upgrade(resp, glued)
	}
	defer putReader(br)
	if err != nil {
		return nil, err
	}
	if c.in.Upgrade {
		c.ex.CloseWrite() // declined: nothing will follow, and a client that ends is gone from now on
		defer context.AfterFunc(c.r.Context(), c.cancel)()
	}
	if target, ok := c.localRedirect(resp, br); ok {
		return localRequest(c.in.Request, resp.Status, target)
	}
	return nil, c.answer(resp, br)
}

// interim sends a response before the response.
func (c *call) interim(r *Response) error {
	// net/http says 100 itself when the body is read, and HTTP/1.0 has no such thing.
	if r.Status == http.StatusContinue || !c.r.ProtoAtLeast(1, 1) {
		return nil
	}
	h := c.w.Header()
	before := h.Clone()
	gateway.Copy(h, r.Header)
	c.patience()
	c.w.WriteHeader(r.Status)
	clear(h)
	for name, values := range before {
		h[name] = values
	}
	return nil
}

// patience gives the client its time to take the next piece.
func (c *call) patience() {
	gateway.Patience(c.rc, gateway.OrDefault(c.g.ClientTimeout, DefaultClientTimeout))
}

// answer sends an ordinary response.
func (c *call) answer(resp *Response, br *bufio.Reader) error {
	file, err := c.sendfile(resp)
	if err != nil {
		return err
	}
	h := c.w.Header()
	gateway.Copy(h, resp.Header)
	gateway.Offer(h, c.r, resp.Status, resp.Header["Upgrade"])
	if c.r.ProtoMajor == 1 && !c.body.settled() {
		gateway.Last(h, c.r)
	}
	if file != nil {
		defer file.Close()
		return c.sendFile(resp, file)
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // net/http must not guess what a program meant
	}
	length := int64(-1)
	if l := resp.Header.Get("Content-Length"); l != "" {
		length, _ = strconv.ParseInt(l, 10, 64)
	}
	c.patience()
	c.w.WriteHeader(resp.Status)
	if c.r.Method == http.MethodHead || resp.Status == http.StatusNoContent || resp.Status == http.StatusNotModified {
		c.rc.Flush()
		io.Copy(io.Discard, resp.Body) // what the program has to say nevertheless
		return nil
	}
	return c.copyBody(resp.Body, br, length)
}

// copyBody sends the body in the pieces in which it comes. Nothing waits for more to come, except that
// small pieces that are there already go together.
func (c *call) copyBody(from io.Reader, br *bufio.Reader, length int64) error {
	ready, _ := c.ex.(interface{ Ready() bool })
	quiet := func() bool { return br.Buffered() == 0 && (ready == nil || !ready.Ready()) }
	if length == 0 || quiet() && strings.HasPrefix(c.w.Header().Get("Content-Type"), "text/event-stream") {
		c.rc.Flush() // the head says something by itself; that of others goes with the first piece
	}
	buf := pieces.Get().(*[32 << 10]byte)
	defer pieces.Put(buf)
	for left := length; ; {
		n, err := from.Read(buf[:])
		piece := buf[:n]
		more := left >= 0 && int64(n) > left // than announced: it has no place in the answer
		if left >= 0 {
			piece = piece[:min(int64(n), left)]
			left -= int64(len(piece))
		}
		if len(piece) > 0 {
			c.patience()
			if _, werr := c.w.Write(piece); werr != nil {
				return gateway.ErrGone
			}
		}
		switch {
		case err != nil && left == 0, errors.Is(err, io.EOF) && left < 0:
			return nil // complete, however the program ended
		case err != nil:
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("the response is %d bytes too short", left)
			}
			c.report(err)
			c.rc.Flush() // what there is
			return http.ErrAbortHandler
		case more || len(piece) > 0 && quiet():
			c.patience()
			if c.rc.Flush() != nil {
				return gateway.ErrGone
			}
		}
		if more {
			io.Copy(io.Discard, from) // which must not hold up the answer
			return nil
		}
	}
}

// report logs what went wrong behind the head.
func (c *call) report(err error) {
	if e := c.body.failure(); e != nil {
		err = e
	}
	if c.g.Log != nil && c.r.Context().Err() == nil {
		c.g.Log.Warn("response cut off", "remote", c.r.RemoteAddr, "path", c.r.URL.Path, "err", err)
	}
}

// localRedirect recognises a response that sends the request elsewhere on this server.
func (c *call) localRedirect(resp *Response, br *bufio.Reader) (target string, ok bool) {
	target = resp.Header.Get("Location")
	if c.g.LocalRedirect == nil || len(resp.Header) != 1 || len(resp.Header["Location"]) != 1 || resp.Status/100 != 3 ||
		!strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || target == c.in.URL.RequestURI() {
		return "", false
	}
	if keep := resp.Status == http.StatusTemporaryRedirect || resp.Status == http.StatusPermanentRedirect; keep && c.in.HasBody() {
		return "", false // which is gone
	}
	// A body makes it a redirect for the client.
	_, err := br.Peek(1)
	return target, errors.Is(err, io.EOF)
}

// upgrade joins client and program, if the 101 is one that the client can take. glued came behind its head.
func (c *call) upgrade(resp *Response, glued []byte) error {
	protocol, ok := resp.Upgrade()
	rogue := ""
	switch {
	case !c.in.Upgrade:
		rogue = "nobody asked for an upgrade that is allowed here"
	case !ok:
		rogue = "it names no protocol"
	case !c.offered(protocol):
		rogue = fmt.Sprintf("it switches to %q, which the client did not ask for", clip([]byte(protocol)))
	}
	if rogue != "" {
		return &GatewayError{Status: http.StatusBadGateway, Reason: "the program did not answer correctly", Err: errors.New("answer 101: " + rogue)}
	}
	c.ex.SetReadDeadline(time.Time{})
	c.ex.SetWriteDeadline(time.Time{})
	conn, early, err := stream.Upgrade(c.w, c.r, resp.Spelled())
	if errors.Is(err, http.ErrNotSupported) {
		return &GatewayError{Status: http.StatusNotImplemented, Reason: "this connection cannot be upgraded", Err: err}
	} else if err != nil {
		return gateway.ErrGone
	}
	start := time.Now()
	if log := c.g.Log; log != nil {
		log.Info("tunnel opened", "remote", c.r.RemoteAddr, "path", c.r.URL.Path, "protocol", protocol)
	}
	o := relay.Options{
		FromClient: early, FromFar: glued,
		Idle: c.g.IdleTimeout, Life: c.g.MaxLife, Half: gateway.OrDefault(c.g.HalfTimeout, relay.DefaultHalf),
	}
	if c.g.Expires != nil {
		o.Expires = c.g.Expires(c.r)
	}
	t := relay.New(conn, c.ex, o)
	c.here.Tunnel(t, c.ex.CloseWrite)
	result := t.Run()
	if log := c.g.Log; log != nil {
		log.Info("tunnel closed", "remote", c.r.RemoteAddr, "path", c.r.URL.Path, "in", result.ToFar, "out", result.ToClient,
			"duration", time.Since(start).Round(time.Millisecond), "end", result.End.String())
	}
	return errTunnel
}

// offered reports whether each protocol of an answer is one that the client offered.
func (c *call) offered(protocols string) bool {
	for _, p := range gateway.List([]string{protocols}) {
		if !gateway.Contains(c.asked, p) {
			return false
		}
	}
	return true
}
