package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wspawn/wspawn/fastcgi"
	"github.com/wspawn/wspawn/scgi"
)

// backendScript is the command
//
//	backend PROTOCOL SOCKET
//
// of the scripts: an application that listens on a Unix socket until the end of the script, and answers with method, path and
// body of each request; sessions of wspawn get their lines back. PROTOCOL is scgi, uwsgi or fastcgi; or echo, which has no protocol
// and sends back what comes.
func backendScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: backend PROTOCOL SOCKET")
	}
	ln, err := net.Listen("unix", ts.MkAbs(args[1]))
	ts.Check(err)
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if framing, ok := scgi.Variables(r).Lookup("WEBSOCKET_FRAMING"); ok {
			flush := http.NewResponseController(w).Flush
			for lines := bufio.NewScanner(r.Body); flush() == nil && lines.Scan(); {
				fmt.Fprintf(w, "%s: %s\n", framing, lines.Text())
			}
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s %s %s\n", r.Method, r.URL.Path, body)
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		switch args[0] {
		case "scgi":
			scgi.Serve(ln, answer)
		case "uwsgi":
			(&scgi.Server{Handler: answer, Protocol: scgi.UWSGI}).Serve(ln)
		case "fastcgi":
			fastcgi.Serve(ln, answer)
		case "echo":
			for {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					io.Copy(nc, nc)
					nc.Close()
				}()
			}
		}
	}()
	ts.Defer(func() {
		ln.Close()
		<-ended
	})
}
