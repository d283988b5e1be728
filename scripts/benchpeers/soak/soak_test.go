package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
