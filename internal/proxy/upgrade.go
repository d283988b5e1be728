package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"time"

	"github.com/wspawn/wspawn/internal/backend"
	"github.com/wspawn/wspawn/internal/gateway"
	"github.com/wspawn/wspawn/internal/relay"
	"github.com/wspawn/wspawn/internal/stream"
)

// switched is the end of the HTTP part of an upgrade: not an error, but the way past package httputil, which has
// its own idea of tunnels.
type switched struct {
	header   http.Header // of the 101
	protocol string
	far      net.Conn
	glued    []byte // what came behind the 101
	lease    *backend.Lease
}

func (*switched) Error() string { return "switched protocols" }

// exchange sends a request for an upgrade over a connection of its own and reads the answer. The error is *switched if
// it is a 101.
func (c *call) exchange(out *http.Request) (*http.Response, error) {
	var head bytes.Buffer
	key := out.Header["Sec-Websocket-Key"]
	out.Body, out.Header = nil, spelled(out.Header)
	if err := out.Write(&head); err != nil {
		return nil, &failure{Status: http.StatusBadRequest, Reason: "the request cannot be passed on", Err: err}
	}
	var far net.Conn
	var lease *backend.Lease
	err := c.p.c.Backends.Try(out.Context(), c.r, func(ctx context.Context, l *backend.Lease) error {
		nc, err := l.Dial(ctx)
		if err != nil {
			return err
		}
		if d := gateway.OrDefault(c.p.c.WriteTimeout, DefaultTimeout); d > 0 {
			nc.SetWriteDeadline(time.Now().Add(d))
		}
		if n, err := nc.Write(head.Bytes()); err != nil {
			nc.Close()
			if n == 0 {
				err = l.Failed(err)
			}
			return err
		}
		far, lease = nc, l
		return nil
	})
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(out.Context(), func() { far.Close() })
	end := func() {
		stop()
		far.Close()
		lease.Release()
	}
	res, br, err := c.readAnswer(far, out)
	switch {
	case err != nil:
		if out.Context().Err() != nil {
			err = out.Context().Err() // and the connection was closed for that reason
		}
	case res.StatusCode == http.StatusSwitchingProtocols:
		if err = c.verify(res, key); err != nil {
			break
		}
		if !stop() {
			err = context.Canceled
			break
		}
		glued, _ := br.Peek(br.Buffered())
		return nil, &switched{res.Header, res.Header.Get("Upgrade"), far, glued, lease}
	case stream.Extended(c.r) && res.StatusCode < 300:
		// The client would take it for a tunnel.
		err = fmt.Errorf("answer %d to a request for an upgrade", res.StatusCode)
	}
	if err != nil {
		end()
		return nil, err
	}
	// Declined: nothing will follow, and a client that ends is gone from now on.
	unlink := context.AfterFunc(c.r.Context(), func() { c.cancel(nil) })
	res.Body = &answerBody{ReadCloser: &ending{res.Body, func() { unlink(); end() }}, c: c, lease: lease}
	return res, nil
}

// ending is a body that ends a connection.
type ending struct {
	io.Reader
	end func()
}

func (e *ending) Close() error {
	e.end()
	return nil
}

// readAnswer reads the head of an answer, and passes on what comes before it.
func (c *call) readAnswer(far net.Conn, out *http.Request) (*http.Response, *bufio.Reader, error) {
	limited := &io.LimitedReader{R: far, N: int64(c.p.maxHeader())}
	br := bufio.NewReader(limited)
	for {
		if d := gateway.OrDefault(c.p.c.ReadTimeout, DefaultTimeout); d > 0 {
			far.SetReadDeadline(time.Now().Add(d))
		}
		res, err := http.ReadResponse(br, out)
		if err != nil {
			if limited.N <= 0 {
				err = errors.New("the head of the answer is too large")
			}
			return nil, nil, err
		}
		if res.StatusCode/100 != 1 || res.StatusCode == http.StatusSwitchingProtocols {
			far.SetDeadline(time.Time{})
			limited.N = math.MaxInt64
			return res, br, nil
		}
		if trace := httptrace.ContextClientTrace(out.Context()); trace != nil && trace.Got1xxResponse != nil {
			trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header))
		}
	}
}

// verify checks that a 101 is one that the client can take.
func (c *call) verify(res *http.Response, key []string) error {
	protocols := gateway.List(res.Header["Upgrade"])
	if len(protocols) == 0 {
		return errors.New("answer 101: it names no protocol")
	}
	for _, p := range protocols {
		if !gateway.Contains(c.asked, p) {
			return fmt.Errorf("answer 101: it switches to %.100q, which the client did not ask for", p)
		}
	}
	if gateway.Contains(protocols, "websocket") {
		lines := res.Header["Sec-Websocket-Accept"]
		if len(key) != 1 || len(lines) != 1 || lines[0] != accept(key[0]) {
			return errors.New("answer 101: Sec-WebSocket-Accept does not belong to the key of the client")
		}
	}
	return nil
}

// accept answers a key (RFC 6455, section 4.2.2).
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// spelled returns h with the names of WebSocket fields as RFC 6455 writes them: some programs know them in no other
// way.
func spelled(h http.Header) http.Header {
	all := make(http.Header, len(h))
	for name, values := range h {
		if rest, ok := strings.CutPrefix(name, "Sec-Websocket-"); ok {
			name = "Sec-WebSocket-" + rest
		}
		all[name] = values
	}
	return all
}

// join answers with 101 and joins client and backend until the end.
func (c *call) join(s *switched) error {
	defer s.lease.Release()
	defer s.far.Close()
	far, ok := s.far.(relay.Far)
	if !ok {
		return fmt.Errorf("backend connection is a %T", s.far)
	}
	header := spelled(s.header)
	for _, name := range gateway.List(s.header["Connection"]) {
		if name := textproto.CanonicalMIMEHeaderKey(name); name != "Upgrade" {
			delete(header, name)
		}
	}
	if stream.Extended(c.r) {
		delete(header, "Sec-WebSocket-Accept") // it belongs to a key that we have invented
	}
	conn, early, err := stream.Upgrade(c.w, c.r, header)
	if errors.Is(err, http.ErrNotSupported) {
		return &failure{Status: http.StatusNotImplemented, Reason: "this connection cannot be upgraded", Err: err}
	} else if err != nil {
		return nil // the client is gone
	}
	start, log := time.Now(), c.p.c.Log
	if log != nil {
		log.Info("tunnel opened", "remote", c.r.RemoteAddr, "path", c.r.URL.Path, "protocol", s.protocol, "backend", s.lease.ID())
	}
	o := relay.Options{
		FromClient: early, FromFar: s.glued,
		Idle: c.p.c.IdleTimeout, Life: c.p.c.MaxLife, Half: gateway.OrDefault(c.p.c.HalfTimeout, relay.DefaultHalf),
	}
	if c.p.c.Expires != nil {
		o.Expires = c.p.c.Expires(c.r)
	}
	t := relay.New(conn, far, o)
	c.here.Tunnel(t, far.CloseWrite)
	result := t.Run()
	if log != nil {
		log.Info("tunnel closed", "remote", c.r.RemoteAddr, "path", c.r.URL.Path, "backend", s.lease.ID(), "in", result.ToFar, "out", result.ToClient,
			"duration", time.Since(start).Round(time.Millisecond), "end", result.End.String())
	}
	return nil
}
