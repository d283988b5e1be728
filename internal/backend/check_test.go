package backend

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestHTTPProbe(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Host != "app.test" && r.URL.Path == "/health":
			w.WriteHeader(http.StatusMisdirectedRequest)
		case r.URL.Path == "/teapot":
			w.WriteHeader(http.StatusTeapot)
		case r.URL.Path == "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer s.Close()
	for _, tt := range []struct {
		host, path string
		status     int
		ok         bool
	}{
		{"", "", 0, true},
		{"app.test", "/health", 200, true},
		{"", "/health", 0, false},
		{"", "/teapot", 418, true},
		{"", "/teapot", 0, false},
		{"", "/broken", 0, false},
	} {
		nc, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if err := HTTPProbe(tt.host, tt.path, tt.status)(t.Context(), nc); (err == nil) != tt.ok {
			t.Errorf("%+v: %v", tt, err)
		}
		nc.Close()
	}
}

// A backend that takes connections and says nothing, on a real socket.
func TestAProbeIsBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := New(Config{
		Backends: Servers(l.Addr().String()),
		Check:    Check{Interval: 10 * time.Millisecond, Fall: 1, Probe: HTTPProbe("", "", 0)},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	for s.Status()[0].State != StateDown {
		time.Sleep(time.Millisecond)
	}
	s.Close()
}

// Close does not wait for a check to give up.
func TestCloseEndsAProbe(t *testing.T) {
	asked := make(chan bool)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := New(Config{Backends: Servers(l.Addr().String()), Check: Check{Interval: time.Hour, Timeout: time.Hour, Probe: func(_ context.Context, nc net.Conn) error {
		close(asked)
		_, err := nc.Read(make([]byte, 1))
		return err
	}}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	<-asked
	s.Close()
	if st := s.Status()[0]; st.State != StateUp || st.Err != nil {
		t.Errorf("%+v", st)
	}
}
