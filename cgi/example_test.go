package cgi_test

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"

	"github.com/wspawn/wspawn/cgi"
	"github.com/wspawn/wspawn/spawner"
)

func ExampleNew() {
	programs := spawner.New(spawner.Config{})
	h, err := cgi.New(cgi.Config{
		Dir: "/srv/cgi-bin", Prefix: "/cgi-bin", Spawner: programs,
		Interpreters: []cgi.Interpreter{{Suffix: ".py", Program: "python3"}},
		Options:      cgi.Options{Upgrade: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/cgi-bin/", h)
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}

func ExampleReadResponse() {
	output := "Status: 404 Not Found\nContent-Type: text/plain\n\nno such thing\n"
	r, err := cgi.ReadResponse(bufio.NewReader(strings.NewReader(output)), cgi.ResponseOptions{})
	if err != nil {
		log.Fatal(err)
	}
	body, _ := io.ReadAll(r.Body)
	fmt.Printf("%d %s, %s: %s", r.Status, r.Reason, r.Header.Get("Content-Type"), body)
	// Output: 404 Not Found, text/plain: no such thing
}
