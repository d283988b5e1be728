package fastcgi

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/wspawn/wspawn/cgi"
)

// uri is what a request needs at least.
func uri(s string) cgi.List {
	return cgi.List{{Name: "CONTENT_LENGTH", Value: "0"}, {Name: "REQUEST_METHOD", Value: "GET"}, {Name: "SERVER_PROTOCOL", Value: "HTTP/1.1"}, {Name: "REQUEST_URI", Value: s}}
}

// Requests that come together share a connection also when there is none yet.
func TestABurstOpensOneConnection(t *testing.T) {
	const requests = 500
	var together sync.WaitGroup
	together.Add(requests)
	app := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI == "/" {
			together.Done()
			together.Wait()
		}
		fmt.Fprint(w, r.RequestURI)
	})}
	backend, conns := counted(t, app)
	c := client(t, &Client{Backends: []string{backend}, IdleTimeout: time.Millisecond})
	if _, err := io.ReadAll(open(t, c, false)); err != nil { // what the backend can do is known now
		t.Fatal(err)
	}
	for left := 1; left > 0; time.Sleep(time.Millisecond) {
		app.mu.Lock()
		left = len(app.conns)
		app.mu.Unlock()
	}
	before := conns()
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() {
			x, err := c.Open(t.Context(), RoleResponder, uri("/"), false)
			if err != nil {
				t.Error(err)
				return
			}
			defer x.Close()
			if _, err := io.ReadAll(x); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := conns() - before; n != 1 {
		t.Errorf("%d connections", n)
	}
}
