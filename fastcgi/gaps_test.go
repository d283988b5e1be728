package fastcgi

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/internal/gatewaytest"
)

// In a tunnel an empty STDOUT means nothing, and END_REQUEST is the end, also when the client has not ended.
func TestWhatEndsATunnel(t *testing.T) {
	for name, single := range map[string]bool{"a connection per request": true, "a shared connection": false} {
		t.Run(name, func(t *testing.T) {
			addr := backendFunc(t, func(n int, w *wire) {
				if n == 0 && !single {
					w.expect(TypeGetValues)
					w.say(AppendRecord(nil, TypeGetValuesResult, 0, AppendPairs(nil, cgi.List{{Name: valueMpxs, Value: "1"}})))
					return
				}
				id, _ := w.begin()
				w.say(out(id, "Status: 101\nUpgrade: websocket\n\n"), out(id, ""), padded(TypeStdout, id, "", 7), out(id, "one"))
				if _, content := w.expect(TypeStdin); content != "x" {
					t.Errorf("STDIN %q", content)
				}
				w.say(out(id, ""), out(id, "two"), end(id, 0, 0))
				w.r.ReadByte()
			})
			c := client(t, &Client{Backends: []string{addr}, NoMultiplex: single})
			k := gatewaytest.Dial(t, gatewaytest.Start(t, &Endpoint{Client: c, Gateway: cgi.Gateway{Options: cgi.Options{Upgrade: true}}}))
			k.Send(gatewaytest.Upgrade(""))
			if r := k.Head(); r.StatusCode != 101 {
				t.Fatalf("answer %d", r.StatusCode)
			}
			k.Expect("one")
			k.Send("x")
			k.Expect("two")
			k.ExpectEnd()
			c.Close() // and so the backend gets to its end
		})
	}
}

// Where no backend is, an upgrade is answered with an ordinary status.
func TestNoBackendForAnUpgrade(t *testing.T) {
	c := client(t, &Client{Backends: []string{"unix:/nonexistent/socket"}})
	k := gatewaytest.Dial(t, gatewaytest.Start(t, &Endpoint{Client: c, Gateway: cgi.Gateway{Options: cgi.Options{Upgrade: true}}}))
	k.Send(gatewaytest.Upgrade(""))
	if r := k.Head(); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("answer %d %v", r.StatusCode, r.Header)
	}
}

func TestOddParameters(t *testing.T) {
	if l, err := ParsePairs([]byte("\x80\x00\x00\x01\x80\x00\x00\x01ab")); err != nil || fmt.Sprint(l) != "[{a b}]" {
		t.Errorf("long lengths of short pairs: %v, %v", l, err)
	}
	w := dialWire(t, serve(t, &Server{Handler: http.NotFoundHandler()}))
	twice := append(params("GET"), cgi.Var{Name: "A", Value: "1"}, cgi.Var{Name: "A", Value: "2"})
	w.say(paramRecords(1, RoleResponder, false, twice))
	if _, content := w.expect(TypeStdout); len(content) < 11 || content[:11] != "Status: 400" {
		t.Errorf("a parameter that occurs twice: %q", content)
	}
}
