// Package h2test is an HTTP/2 client for tests: it opens extended CONNECT streams (RFC 8441), and does what real
// clients avoid.
//
// Servers in a test binary with this package offer extended CONNECT.
package h2test

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	_ "github.com/wspawn/wspawn/internal/xconnect" // before net/http
)

// Timeout bounds everything that waits for the server.
const Timeout = time.Minute

const initialWindow = 65535 // RFC 9113, section 6.5.2

// A Client is one connection. Its methods may be called at the same time.
type Client struct {
	t      testing.TB
	nc     net.Conn
	framer *http2.Framer
	done   chan struct{} // the reader has ended

	writing sync.Mutex // guards the fields below, and writes of frames
	headers bytes.Buffer
	encoder *hpack.Encoder
	nextID  uint32

	mu       sync.Mutex // guards the fields below
	changed  *sync.Cond
	settings map[http2.SettingID]uint32 // nil before the first
	window   int64                      // of the connection
	streams  map[uint32]*Stream
	goAway   bool
	err      error // of the connection
}

// Dial connects without TLS, by prior knowledge. The connection ends with the test.
func Dial(t testing.TB, network, addr string) *Client {
	t.Helper()
	nc, err := net.DialTimeout(network, addr, Timeout)
	if err != nil {
		t.Fatal(err)
	}
	return New(t, nc)
}

// DialTLS connects with TLS, and believes every certificate.
func DialTLS(t testing.TB, addr string) *Client {
	t.Helper()
	nc, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	if p := nc.ConnectionState().NegotiatedProtocol; p != "h2" {
		nc.Close()
		t.Fatalf("the server speaks %q", p)
	}
	return New(t, nc)
}

// New speaks HTTP/2 on nc.
func New(t testing.TB, nc net.Conn) *Client {
	t.Helper()
	c := &Client{
		t: t, nc: nc, framer: http2.NewFramer(nc, nc), nextID: 1, done: make(chan struct{}),
		window: initialWindow, streams: map[uint32]*Stream{},
	}
	c.changed = sync.NewCond(&c.mu)
	c.encoder = hpack.NewEncoder(&c.headers)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	t.Cleanup(c.Close)
	if _, err := nc.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	if err := c.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	go c.read()
	c.await("SETTINGS", func() bool { return c.settings != nil || c.err != nil })
	return c
}

// Close cuts the connection.
func (c *Client) Close() {
	c.nc.Close()
	<-c.done
}

// Setting returns a setting that the server has sent.
func (c *Client) Setting(id http2.SettingID) (uint32, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.settings[id]
	return v, ok
}

// AwaitGoAway waits until the server wants no more streams.
func (c *Client) AwaitGoAway() {
	c.t.Helper()
	c.await("GOAWAY", func() bool { return c.goAway })
}

// AwaitEnd waits until the server has ended the connection.
func (c *Client) AwaitEnd() {
	c.t.Helper()
	c.await("the end of the connection", func() bool { return c.err != nil })
}

// await waits for something that the server does.
func (c *Client) await(what string, ready func() bool) {
	c.t.Helper()
	stop := c.wakeAt(time.Now().Add(Timeout))
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for start := time.Now(); !ready(); c.changed.Wait() {
		if time.Since(start) >= Timeout {
			c.t.Errorf("no %s within %v", what, Timeout)
			return
		}
	}
}

// wakeAt makes those who wait look at the clock.
func (c *Client) wakeAt(t time.Time) (stop func()) {
	timer := time.AfterFunc(time.Until(t), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})
	return func() { timer.Stop() }
}

// Raw runs f with the framer, for frames that a Client does not send.
func (c *Client) Raw(f func(*http2.Framer) error) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return f(c.framer)
}

// Fields are the header fields of a request, in order: name, value, name, value.
type Fields []string

// WebSocket are the fields of a handshake for a path, and more of them.
func WebSocket(path string, more ...string) Fields {
	return append(Fields{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", path, ":authority", "h.test:80", "sec-websocket-version", "13"}, more...)
}

// Get are the fields of an ordinary request.
func Get(path string, more ...string) Fields {
	return append(Fields{":method", "GET", ":scheme", "http", ":path", path, ":authority", "h.test:80"}, more...)
}

// Open sends a request. Unless end is set, a body follows, or what a stream carries.
func (c *Client) Open(fields Fields, end bool) *Stream {
	c.t.Helper()
	c.writing.Lock()
	defer c.writing.Unlock()
	c.headers.Reset()
	for i := 0; i < len(fields); i += 2 {
		c.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	c.mu.Lock()
	s := &Stream{c: c, id: c.nextID, window: initialWindow, header: nil, writeEnded: end}
	if w, ok := c.settings[http2.SettingInitialWindowSize]; ok {
		s.window = int64(w)
	}
	c.streams[s.id] = s
	c.nextID += 2
	c.mu.Unlock()
	c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: c.headers.Bytes(), EndStream: end, EndHeaders: true})
	return s
}

// Connect opens a WebSocket and waits for its answer, which must be 200.
func (c *Client) Connect(path string, more ...string) *Stream {
	c.t.Helper()
	s := c.Open(WebSocket(path, more...), false)
	if status, header := s.Response(); status != http.StatusOK {
		body := make([]byte, 200)
		n, _ := s.Read(body)
		c.t.Fatalf("status %d %v %q", status, header, body[:n])
	}
	return s
}

// read takes what the server sends.
func (c *Client) read() {
	defer close(c.done)
	for {
		f, err := c.framer.ReadFrame()
		c.mu.Lock()
		if se, ok := err.(http2.StreamError); ok {
			c.t.Errorf("malformed frame: %v", se)
			err = nil
		} else if err != nil {
			c.err = err
		} else {
			c.take(f)
		}
		c.changed.Broadcast()
		c.mu.Unlock()
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if err == nil && !f.IsAck() {
				c.Raw(func(w *http2.Framer) error { return w.WriteSettingsAck() })
			}
		case *http2.PingFrame:
			if err == nil && !f.IsAck() {
				c.Raw(func(w *http2.Framer) error { return w.WritePing(true, f.Data) })
			}
		case *http2.DataFrame:
			if n := f.Length; err == nil && n > 0 { // that of the connection holds up nobody
				c.Raw(func(w *http2.Framer) error { return w.WriteWindowUpdate(0, n) })
			}
		}
		if err != nil {
			return
		}
	}
}

// take notes a frame. It needs mu.
func (c *Client) take(f http2.Frame) {
	s := c.streams[f.Header().StreamID]
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			if c.settings == nil {
				c.settings = map[http2.SettingID]uint32{}
			}
			f.ForeachSetting(func(s http2.Setting) error { c.settings[s.ID] = s.Val; return nil })
		}
	case *http2.GoAwayFrame:
		c.goAway = true
	case *http2.WindowUpdateFrame:
		if s != nil {
			s.window += int64(f.Increment)
		} else if f.StreamID == 0 {
			c.window += int64(f.Increment)
		}
	case *http2.MetaHeadersFrame:
		if s == nil {
			return
		}
		if status, _ := strconv.Atoi(f.PseudoValue("status")); status >= 200 {
			s.status, s.header = status, http.Header{}
			for _, field := range f.RegularFields() {
				if strings.ToLower(field.Name) != field.Name {
					c.t.Errorf("field name %q", field.Name)
				}
				s.header.Add(field.Name, field.Value)
			}
		}
		s.ended = s.ended || f.StreamEnded()
	case *http2.DataFrame:
		if s != nil {
			s.data = append(s.data, f.Data()...)
			s.ended = s.ended || f.StreamEnded()
		}
	case *http2.RSTStreamFrame:
		if s != nil {
			s.reset, s.code = true, f.ErrCode
		}
	}
}
