package cgi

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadResponse(t *testing.T) {
	long := strings.Repeat("x", 1000)
	tests := []struct {
		name, in string
		bare     bool
		err      error
		status   int
		reason   string
		header   http.Header
		body     string
	}{
		{name: "fields, LF", in: "Content-Type: text/plain\nX-A: b\n\nbody", status: 200, header: http.Header{"Content-Type": {"text/plain"}, "X-A": {"b"}}, body: "body"},
		{name: "fields, CR LF", in: "Content-Type: text/plain\r\nX-A: b\r\n\r\nbody", status: 200, header: http.Header{"Content-Type": {"text/plain"}, "X-A": {"b"}}, body: "body"},
		{name: "ends mixed", in: "X-A: a\nX-B: b\r\n\nbody", status: 200, header: http.Header{"X-A": {"a"}, "X-B": {"b"}}, body: "body"},
		{name: "only one blank line belongs to the head", in: "X-A: a\n\n\n\nbody", status: 200, header: http.Header{"X-A": {"a"}}, body: "\n\nbody"},
		{name: "status", in: "Status: 404 Not There\n\n", status: 404, reason: "Not There"},
		{name: "status without a reason", in: "Status: 404\n\n", status: 404},
		{name: "status in other case", in: "sTATUS:404\n\n", status: 404},
		{name: "status at the end", in: "X-A: a\nStatus: 404\n\n", status: 404, header: http.Header{"X-A": {"a"}}},
		{name: "status twice, the first counts", in: "Status: 404\nStatus: 500\n\n", status: 404},
		{name: "status 200 does not count", in: "Status: 200\nStatus: 500\n\n", status: 500},
		{name: "status is no number", in: "Status: ok\n\n", err: ErrMalformed},
		{name: "status is too small", in: "Status: 99\n\n", err: ErrMalformed},
		{name: "status is too long", in: "Status: 2000\n\n", err: ErrMalformed},
		{name: "status is signed", in: "Status: +20\n\n", err: ErrMalformed},
		{name: "status line", in: "HTTP/1.1 404 Not There\r\nX-A: a\r\n\r\n", status: 404, reason: "Not There", header: http.Header{"X-A": {"a"}}},
		{name: "status line of another version", in: "HTTP/7.9 404\n\n", status: 404},
		{name: "status line without a minor version", in: "HTTP/2 404 \n\n", status: 404},
		{name: "status line, then a status", in: "HTTP/1.1 200 OK\nStatus: 404\n\n", status: 404},
		{name: "status line that is none", in: "HTTP/x 404\n\n", err: ErrMalformed},
		{name: "status line behind a field is none", in: "X-A: a\nHTTP/1.1 404 Not\n\n", status: 200, header: http.Header{"X-A": {"a"}}},
		{name: "location", in: "Location: http://h/\n\n", status: 302, header: http.Header{"Location": {"http://h/"}}},
		{name: "location and status", in: "Location: /a\nStatus: 201\n\n", status: 201, header: http.Header{"Location": {"/a"}}},
		{name: "empty location", in: "Location:\n\n", status: 200, header: http.Header{"Location": {""}}},
		{name: "white space around values", in: "X-A: \t a b \t\nX-B:\n\n", status: 200, header: http.Header{"X-A": {"a b"}, "X-B": {""}}},
		{name: "a field twice", in: "Set-Cookie: a\nset-cookie: b\n\n", status: 200, header: http.Header{"Set-Cookie": {"a", "b"}}},
		{name: "a folded value", in: "X-A: a\n  b\n\tc\nX-B: d\n\n", status: 200, header: http.Header{"X-A": {"a b c"}, "X-B": {"d"}}},
		{name: "bad names and values are left out", in: "X-A: a\nX B: b\nX-C : c\n: d\nX-E: e\x00\nX-F: f\rg\nno colon\n (x): y\nX-G: g\n\n", status: 200, header: http.Header{"X-A": {"a"}, "X-G": {"g"}}},
		{name: "what is not ASCII stays", in: "X-A: \xc3\xa4\xff\n\n", status: 200, header: http.Header{"X-A": {"\xc3\xa4\xff"}}},
		{name: "length", in: "Content-Length: 3\n\nabc", status: 200, header: http.Header{"Content-Length": {"3"}}, body: "abc"},
		{name: "length twice", in: "Content-Length: 3\nContent-Length: 3\n\nabc", status: 200, header: http.Header{"Content-Length": {"3"}}, body: "abc"},
		{name: "two lengths", in: "Content-Length: 3\nContent-Length: 4\n\nabc", err: ErrMalformed},
		{name: "no length", in: "Content-Length: x\n\nabc", err: ErrMalformed},
		{name: "negative length", in: "Content-Length: -3\n\nabc", err: ErrMalformed},
		{name: "chunks", in: "Transfer-Encoding: Chunked\nContent-Length: 3\n\n3\r\nabc\r\n0\r\n\r\n", status: 200, header: http.Header{"Transfer-Encoding": {"Chunked"}}, body: "abc"},
		{name: "another coding", in: "Transfer-Encoding: gzip\n\n", err: ErrMalformed},
		{name: "two codings", in: "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n", err: ErrMalformed},
		{name: "interim answers are skipped", in: "Status: 103\nLink: a\n\nHTTP/1.1 100 Continue\n\nX-A: a\n\nbody", status: 200, header: http.Header{"X-A": {"a"}}, body: "body"},
		{name: "nothing behind an interim answer", in: "Status: 103\n\n", bare: true, err: ErrNoResponse},
		{name: "too many interim answers", in: strings.Repeat("Status: 103\n\n", 100) + "\n", err: ErrMalformed},
		{name: "101 is none of them", in: "Status: 101\nUpgrade: a\n\nStatus: 200\n\n", status: 101, header: http.Header{"Upgrade": {"a"}}, body: "Status: 200\n\n"},
		{name: "101 has no coding and no length", in: "Status: 101\nUpgrade: a\nTransfer-Encoding: gzip\n\n0\r\n", status: 101, header: http.Header{"Upgrade": {"a"}, "Transfer-Encoding": {"gzip"}}, body: "0\r\n"},
		{name: "an empty head", in: "\nbody", status: 200, body: "body"},
		{name: "nothing", in: "", err: ErrNoResponse},
		{name: "nothing, bare", in: "", bare: true, err: ErrNoResponse},
		{name: "no head", in: "hello\nX-A: a\n\n", err: ErrMalformed},
		{name: "no head, bare", in: "hello\nX-A: a\n\n", bare: true, status: 200, body: "hello\nX-A: a\n\n"},
		{name: "half a head", in: "X-A: a\nX-B: b", err: ErrMalformed},
		{name: "half a head, bare", in: "X-A: a\nX-B: b", bare: true, status: 200, body: "X-A: a\nX-B: b"},
		{name: "a line over the limit", in: "X-A: " + long + "\n\n", err: ErrHeaderTooLarge},
		{name: "a line over the limit, bare", in: "X-A: " + long + "\n\n", bare: true, err: ErrHeaderTooLarge},
		{name: "lines over the limit", in: strings.Repeat("X-A: a\n", 200) + "\n", err: ErrHeaderTooLarge},
		{name: "a long first line without a colon", in: long + "\n", err: ErrHeaderTooLarge},
		{name: "a long first line without a colon, bare", in: long + "\n", bare: true, status: 200, body: long + "\n"},
		{name: "exactly the limit", in: "X-A: " + strings.Repeat("x", 1000-7) + "\n\n", status: 200, header: http.Header{"X-A": {strings.Repeat("x", 1000-7)}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for kind, in := range map[string]io.Reader{"whole": strings.NewReader(tt.in), "byte by byte": iotest.OneByteReader(strings.NewReader(tt.in))} {
				r, err := ReadResponse(bufio.NewReaderSize(in, 16), ResponseOptions{MaxHeader: 1000, Bare: tt.bare})
				if !errors.Is(err, tt.err) || err == nil && tt.err != nil {
					t.Fatalf("%s: error %v, want %v", kind, err, tt.err)
				}
				if err != nil {
					continue
				}
				if r.Status != tt.status || r.Reason != tt.reason || !maps.EqualFunc(r.Header, tt.header, slices.Equal) {
					t.Errorf("%s: %d %q %q, want %d %q %q", kind, r.Status, r.Reason, r.Header, tt.status, tt.reason, tt.header)
				}
				if body, err := io.ReadAll(r.Body); err != nil || string(body) != tt.body {
					t.Errorf("%s: body %q, %v, want %q", kind, body, err, tt.body)
				}
			}
		})
	}
}

func TestUpgradeOfAResponse(t *testing.T) {
	tests := []struct {
		in, protocol string
		ok           bool
	}{
		{"Status: 101\nUpgrade: websocket\n\n", "websocket", true},
		{"Upgrade: websocket\nStatus: 101\n\n", "websocket", true},
		{"HTTP/1.1 101\nUpgrade: a/1, b\nUpgrade: c\n\n", "a/1, b, c", true},
		{"Status: 101\n\n", "", false},
		{"Status: 101\nUpgrade: ,\n\n", "", false},
		{"Upgrade: websocket\n\n", "", false},
	}
	for _, tt := range tests {
		r, err := ReadResponse(bufio.NewReader(strings.NewReader(tt.in)), ResponseOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if protocol, ok := r.Upgrade(); protocol != tt.protocol || ok != tt.ok {
			t.Errorf("%q: %q, %v", tt.in, protocol, ok)
		}
	}
}

func TestSpellingIsKept(t *testing.T) {
	r, err := ReadResponse(bufio.NewReader(strings.NewReader("Status: 101\nSec-WebSocket-Accept: x\nUpgrade: websocket\n\n")), ResponseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if h := r.Spelled(); !slices.Contains(slices.Collect(maps.Keys(h)), "Sec-WebSocket-Accept") || h["Upgrade"] == nil || r.Header.Get("Sec-WebSocket-Accept") != "x" {
		t.Errorf("%v, %v", h, r.Header)
	}
}

func TestInterimAnswersAreShown(t *testing.T) {
	var seen []int
	o := ResponseOptions{Interim: func(r *Response) error {
		seen = append(seen, r.Status)
		return nil
	}}
	if _, err := ReadResponse(bufio.NewReader(strings.NewReader("Status: 103\n\nStatus: 102\n\n\n")), o); err != nil || !slices.Equal(seen, []int{103, 102}) {
		t.Errorf("%v, %v", seen, err)
	}
	fail := errors.New("fail")
	o.Interim = func(*Response) error { return fail }
	if _, err := ReadResponse(bufio.NewReader(strings.NewReader("Status: 103\n\n\n")), o); err != fail {
		t.Error(err)
	}
}

// A response that was read is read again from what it is written as, and nothing behind the head is
// lost.
func FuzzReadResponse(f *testing.F) {
	for _, s := range []string{
		"Status: 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n\x81\x02hi", "HTTP/1.1 200 OK\n\nbody", "Location: /a\n\n", "hello", "X-A: a\n b\n\n",
		"Status: 103\nLink: a\n\nContent-Length: 3\n\nabc", "Transfer-Encoding: chunked\n\n0\r\n\r\n", "\n", "X: \nX: y\n\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, bare bool) {
		o := ResponseOptions{MaxHeader: 4096, Bare: bare}
		r, err := ReadResponse(bufio.NewReaderSize(bytes.NewReader(in), 16), o)
		if err != nil {
			return
		}
		if r.Status < 100 || r.Status > 999 || r.Status < 200 && r.Status != 101 {
			t.Fatalf("status %d", r.Status)
		}
		for name, values := range r.Header {
			if !validName(name) || !slices.Equal(values, slices.DeleteFunc(slices.Clone(values), func(v string) bool { return !validValue(v) })) {
				t.Fatalf("field %q: %q", name, values)
			}
		}
		body := "tail"
		if _, chunked := r.Header["Transfer-Encoding"]; !chunked {
			rest, err := io.ReadAll(r.Body)
			if err != nil || !bytes.HasSuffix(in, rest) {
				t.Fatalf("body %q, %v of %q", rest, err, in)
			}
			body = string(rest)
		}
		o = ResponseOptions{MaxHeader: 1 << 20}
		br := bufio.NewReader(strings.NewReader(string(r.AppendHead(nil)) + body))
		again, err := ReadResponse(br, o)
		if err != nil {
			t.Fatalf("%v of %q", err, r.AppendHead(nil))
		}
		if again.Status != r.Status || again.Reason != r.Reason || !maps.EqualFunc(again.Header, r.Header, slices.Equal) || !maps.Equal(again.spelling, r.spelling) {
			t.Fatalf("%+v became %+v", r, again)
		}
		if rest, err := io.ReadAll(br); err != nil || string(rest) != body {
			t.Fatalf("body %q became %q", body, rest)
		}
	})
}
