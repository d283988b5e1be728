package fastcgi

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/gatewaytest"
)

func TestResponsesRecordByRecord(t *testing.T) {
	join := func(records ...[]byte) []byte { return slices.Concat(records...) }
	tests := []struct {
		name   string
		say    []byte
		want   string
		status int   // of a GatewayError
		err    error // otherwise; nil: the end in order
		log    string
	}{
		{name: "output and end", say: join(out(1, "hello"), end(1, 0, 0)), want: "hello"},
		{name: "padding everywhere", say: join(padded(TypeStdout, 1, "he", 7), padded(TypeStdout, 1, "", 255), padded(TypeStdout, 1, "llo", 1), padded(TypeEndRequest, 1, "\x00\x00\x00\x00\x00\x00\x00\x00", 8)), want: "hello"},
		{name: "an empty STDOUT ends nothing", say: join(out(1, "a"), out(1, ""), out(1, "b"), end(1, 0, 0)), want: "ab"},
		{name: "STDERR goes to the log", say: join(errout(1, "one\ntw"), out(1, "a"), errout(1, "o\nthree"), end(1, 0, 0)), want: "a", log: "stderr path=/u line=one|stderr path=/u line=two|stderr path=/u line=three"},
		{name: "an application status goes to the log", say: join(out(1, "a"), end(1, 3, 0)), want: "a", log: "application status path=/u status=3"},
		{name: "unknown types and management records are skipped", say: join(padded(99, 1, "xyz", 3), padded(TypeUnknownType, 0, "12345678", 0), out(1, "a"), end(1, 0, 0)), want: "a"},
		{name: "overloaded", say: end(1, 0, StatusOverloaded), status: 503},
		{name: "cannot multiplex", say: end(1, 0, StatusCantMpxConn), status: 503},
		{name: "unknown role", say: end(1, 0, StatusUnknownRole), status: 502},
		{name: "no end", say: out(1, "a"), want: "a", err: io.ErrUnexpectedEOF},
		{name: "half a record", say: out(1, "abc")[:9], want: "a", err: io.ErrUnexpectedEOF},
		{name: "another version", say: []byte("\x02\x06\x00\x01\x00\x00\x00\x00"), err: &ProtocolError{}},
		{name: "another request", say: out(2, "a"), err: &ProtocolError{}},
		{name: "END_REQUEST of seven bytes", say: AppendRecord(nil, TypeEndRequest, 1, make([]byte, 7)), err: &ProtocolError{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := backendFunc(t, func(_ int, w *wire) {
				id, params := w.begin()
				if v, _ := params.Lookup("REQUEST_URI"); id != 1 || v != "/u" {
					t.Errorf("request %d: %v", id, params)
				}
				if _, content := w.expect(TypeStdin); content != "" {
					t.Errorf("STDIN %q", content)
				}
				w.say(tt.say)
			})
			log := &logLines{}
			x := open(t, client(t, &Client{Backends: []string{addr}, NoMultiplex: true, Log: slog.New(log)}), false)
			got, err := io.ReadAll(x)
			if string(got) != tt.want {
				t.Errorf("read %q, want %q", got, tt.want)
			}
			var ge *cgi.GatewayError
			var pe *ProtocolError
			switch {
			case tt.status != 0:
				if !errors.As(err, &ge) || ge.Status != tt.status {
					t.Errorf("error %v, want status %d", err, tt.status)
				}
			case tt.err == nil:
				if err != nil {
					t.Errorf("error %v", err)
				}
			case errors.As(tt.err, &pe):
				if !errors.As(err, &pe) {
					t.Errorf("error %v, want a ProtocolError", err)
				}
			case !errors.Is(err, tt.err):
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if all := strings.Join(log.all(), "|"); all != tt.log {
				t.Errorf("log %q, want %q", all, tt.log)
			}
		})
	}
}

func TestAConnectionIsKeptAndAClientThatGoesIsTold(t *testing.T) {
	told := make(chan bool, 1)
	addr := backendFunc(t, func(n int, w *wire) {
		if n > 0 {
			t.Error("a second connection")
		}
		for i := range 3 {
			id, _ := w.begin()
			w.expect(TypeStdin)
			w.say(out(id, fmt.Sprint(i)), end(id, 0, 0))
		}
		w.begin()
		w.expect(TypeAbortRequest)
		told <- true
	})
	c := client(t, &Client{Backends: []string{addr}, NoMultiplex: true})
	for i := range 3 {
		x := open(t, c, false)
		if b, err := io.ReadAll(x); string(b) != fmt.Sprint(i) || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
		x.Close()
	}
	open(t, c, true).Close()
	<-told
}

func TestBackendsThatDoNotAnswerTheQuestion(t *testing.T) {
	for name, answer := range map[string]func(w *wire){
		"hangs up":            func(*wire) {},
		"UNKNOWN_TYPE":        func(w *wire) { w.say(appendUnknown(nil, TypeGetValues)) },
		"nothing at all":      func(w *wire) { w.r.ReadByte() },
		"no word about it":    func(w *wire) { w.say(AppendRecord(nil, TypeGetValuesResult, 0, nil)) },
		"something different": func(w *wire) { w.say([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
	} {
		t.Run(name, func(t *testing.T) {
			addr := backendFunc(t, func(n int, w *wire) {
				if n == 0 {
					w.expect(TypeGetValues)
					answer(w)
					return
				}
				id, _ := w.begin()
				w.say(out(id, "ok"), end(id, 0, 0))
				w.r.ReadByte()
				w.r.Discard(1 << 20)
			})
			x := open(t, client(t, &Client{Backends: []string{addr}}), false)
			if b, err := io.ReadAll(x); string(b) != "ok" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

func TestOtherBackendsAreAskedAndNoneIsAnError(t *testing.T) {
	addr := serve(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })})
	c := client(t, &Client{Backends: []string{"unix:/nonexistent/socket", addr}})
	for range 4 {
		x := open(t, c, false)
		if b, err := io.ReadAll(x); !strings.HasSuffix(string(b), "\r\n\r\nok") || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		x.Close()
	}
	w := httptest.NewRecorder()
	(&Endpoint{Client: client(t, &Client{Backends: []string{"unix:/nonexistent/socket"}})}).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestAuthorizer(t *testing.T) {
	addr := serve(t, &Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			v, _ := Params(r.Context()).Lookup("AUTH_LEVEL")
			fmt.Fprintf(w, "level %s", v)
		}),
		Authorizer: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for _, name := range []string{"CONTENT_LENGTH", "PATH_INFO", "SCRIPT_NAME"} {
				if _, ok := Params(r.Context()).Lookup(name); ok {
					t.Errorf("%s in the authorizer role", name)
				}
			}
			if r.Header.Get("X-Key") != "good" {
				http.Error(w, "no", http.StatusForbidden)
				return
			}
			w.Header()["Variable-AUTH_LEVEL"] = []string{"7"}
		}),
	})
	c := client(t, &Client{Backends: []string{addr}})
	h := &Authorizer{Client: c, Next: &Endpoint{Client: c}}
	for key, want := range map[string]string{"good": "200 level 7", "bad": "403 no\n"} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-Key", key)
		h.ServeHTTP(w, r)
		if got := fmt.Sprint(w.Code, " ", w.Body); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}

// Who has said how long the body is, and has sent all of it, need not end well.
func TestACompleteResponseCountsHoweverTheConnectionEnds(t *testing.T) {
	addr := backendFunc(t, func(_ int, w *wire) {
		id, _ := w.begin()
		w.say(out(id, "Content-Length: 2\n\nhi"))
	})
	c := gatewaytest.Dial(t, gatewaytest.Start(t, &Endpoint{Client: client(t, &Client{Backends: []string{addr}, NoMultiplex: true})}))
	for range 2 { // on one connection, which would be cut otherwise
		c.Send(gatewaytest.Request(""))
		if body := c.Body(c.Head()); body != "hi" {
			t.Errorf("%q", body)
		}
	}
}
