package scgi_test

import (
	"log"
	"net"
	"net/http"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/scgi"
	"github.com/wspawn/wspawn/wsframe"
)

// A web server that hands everything below /app/ to two backends, WebSockets included.
func ExampleEndpoint() {
	http.Handle("/app/", &scgi.Endpoint{
		Backends: []string{"127.0.0.1:4000", "unix:/run/app.sock"},
		Options:  cgi.Options{Upgrade: true},
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}

// A WebSocket echo behind such a server.
func ExampleServe() {
	l, err := net.Listen("tcp", "127.0.0.1:4000")
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(scgi.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := wsframe.Accept(w, r, nil)
		if err != nil {
			return // it has been answered
		}
		defer c.CloseNow()
		for {
			op, message, err := c.ReadMessage(nil)
			if err != nil || c.WriteMessage(op, message) != nil {
				return
			}
		}
	})))
}
