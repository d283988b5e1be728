package scgi

import (
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// As an application the test binary serves the listening socket that it finds on descriptor 0.
func TestMain(m *testing.M) {
	switch os.Getenv("SCGI_TEST_APPLICATION") {
	case "":
		goleak.VerifyTestMain(m)
	case "scgi":
		Serve(nil, application())
	case "uwsgi":
		(&Server{Handler: application(), Protocol: UWSGI}).Serve(nil)
	}
	os.Exit(1)
}

// application answers in all the ways there are.
func application() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", hello)
	mux.HandleFunc("/length", length)
	mux.HandleFunc("/stream", streamed)
	mux.HandleFunc("/ws", echoMessages)
	return mux
}
