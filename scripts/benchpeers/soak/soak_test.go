package main

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/wspawn/wspawn/wsframe"
)

// An attack that is refused for a mistake of its own proves nothing.
func TestWhatAttacksSendIsWhatItClaimsToBe(t *testing.T) {
	type read struct {
		n    int
		code wsframe.CloseCode
	}
	got := make(chan read, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := wsframe.Accept(w, r, &wsframe.AcceptOptions{Options: wsframe.Options{Compression: &wsframe.Compression{}}})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		_, b, err := c.ReadMessage(nil)
		var closed *wsframe.CloseError
		if errors.As(err, &closed) {
			got <- read{code: closed.Code}
			return
		}
		got <- read{n: len(b)}
	}))
	defer s.Close()
	a := &attack{server: &process{address: strings.TrimPrefix(s.URL, "http://")}}
	defer a.close()
	tests := []struct {
		name, more string
		send       []byte
		want       read
	}{
		{"a message", "", frame(0x81, make([]byte, 64<<10)), read{n: 64 << 10}},
		{"fragments", "", fragmented(16_000), read{n: 16_000}},
		{"a bomb", askDeflate, deflated(64 << 20), read{code: wsframe.CloseTooBig}},
		{"the largest message", askDeflate, deflated(1<<20 - 1), read{n: 1<<20 - 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := a.session(t.Context(), "/", tt.more)
			if err != nil {
				t.Fatal(err)
			}
			defer a.drop(c)
			if _, err := c.Write(tt.send); err != nil {
				t.Fatal(err)
			}
			if r := <-got; r != tt.want {
				t.Errorf("%+v, want %+v", r, tt.want)
			}
		})
	}
}

func TestHeadersOverHTTP2AreWhatTheyClaimToBe(t *testing.T) {
	var sent bytes.Buffer
	p := newPeer(nil, &sent)
	p.get("/missing")
	p.connect("/echo")
	p.WriteHeaders(http2.HeadersFrameParam{StreamID: 5, BlockFragment: p.fields(":method", "GET", ":scheme", "http", ":path", "/")})
	p.WriteContinuation(5, true, largeField)
	p.out.Flush()
	sent.Next(len(http2.ClientPreface))
	server := http2.NewFramer(nil, &sent)
	server.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for _, want := range []struct {
		id        uint32
		method, x string
		end       bool
	}{{1, "GET", "", true}, {3, "CONNECT", "", false}, {5, "GET", strings.Repeat("a", 16384-6), false}} {
		f, err := server.ReadFrame()
		h, ok := f.(*http2.MetaHeadersFrame)
		if err != nil || !ok {
			t.Fatalf("stream %d: %v, %v", want.id, f, err)
		}
		var x string
		for _, field := range h.RegularFields() {
			if field.Name == "x" {
				x = field.Value
			}
		}
		if h.StreamID != want.id || h.PseudoValue("method") != want.method || x != want.x || h.StreamEnded() != want.end {
			t.Errorf("stream %d: %v, %d bytes", want.id, h, len(x))
		}
	}
}

func TestFigures(t *testing.T) {
	for _, tt := range []struct {
		sorted []float64
		want   string
	}{
		{nil, "none"},
		{[]float64{1}, "1.00 / 1.00"},
		{[]float64{1, 2, 3, 40}, "2.50 / 40.0"},
	} {
		if got := figures(tt.sorted, 0.99); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.sorted, got, tt.want)
		}
	}
}
