package auth

import (
	"bufio"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/internal/stream"
)

// Whatever a hook says, an answer has the lines that it means, and no others.
func FuzzHookAnswer(f *testing.F) {
	f.Add("Set-Cookie: a=1\nset-cookie:b=2 \r\nHeader-X-Room: 7\nREMOTE_USER: alice\nProtocol: chat\n")
	f.Add("Header-A:\nHeader-a: \xff\tx")
	for _, line := range []string{"Header-A: x\rB: y", "Header-B : x", "header-upgrade: h2c", "Header-sec-websocket-accept: x"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, output string) {
		id, refusal, err := parseAnswer(output)
		if err != nil {
			return
		}
		if !maps.EqualFunc(id.Header, refusal.Header, slices.Equal) && refusal.Header["Www-Authenticate"] == nil {
			t.Errorf("%v, but a refusal has %v", id.Header, refusal.Header)
		}
		var b strings.Builder
		for name := range id.Header {
			if stream.Reserved(name) {
				t.Errorf("%s is set", name)
			}
		}
		id.Header.Write(&b)
		got, err := textproto.NewReader(bufio.NewReader(strings.NewReader(b.String() + "\r\n"))).ReadMIMEHeader()
		if err != nil || !maps.EqualFunc(got, id.Header, slices.Equal) {
			t.Errorf("got %q, %v, want %q", got, err, id.Header)
		}
	})
}

// A file behind cookies goes the way that is without a copy, too.
func TestCookiesDoNotHideReadFrom(t *testing.T) {
	w := &reader{ResponseRecorder: httptest.NewRecorder()}
	if n, err := io.Copy(addLines(w, http.Header{"Set-Cookie": {"a=1"}}), io.LimitReader(strings.NewReader("a file"), 6)); n != 6 || err != nil || !w.called {
		t.Errorf("%d bytes, %v, ReadFrom called: %v", n, err, w.called)
	}
}

type reader struct {
	*httptest.ResponseRecorder
	called bool
}

func (r *reader) ReadFrom(from io.Reader) (int64, error) {
	r.called = true
	return io.Copy(r.ResponseRecorder, from)
}
