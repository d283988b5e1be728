package main

import (
	"bytes"
	_ "embed"
	"html"
	"net/http"
	"strings"

	"github.com/wspawn/wspawn/internal/console"
)

// The page is not that of package console: scripts read the address of the WebSocket out of the page of websocketd,
// ask for it with any method, and with If-Modified-Since.
//
//go:embed console.html
var consolePage string

var consolePolicy = console.Policy([]byte(consolePage))

// serveConsole answers with a page that talks to the WebSocket of the same
// URL. It is as old as the server, as far as caches are concerned.
func (s *server) serveConsole(w http.ResponseWriter, r *http.Request) {
	scheme := "ws"
	if s.c.ssl {
		scheme = "wss"
	}
	// Both stand in places where escaped text is just text: the value of an
	// attribute in quotes, and the content of an element.
	page := strings.NewReplacer(
		"{{address}}", html.EscapeString(scheme+"://"+r.Host+r.URL.RequestURI()),
		"{{software}}", html.EscapeString(s.c.name+" "+versionString()),
	).Replace(consolePage)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	if h.Get("Content-Security-Policy") == "" {
		h.Set("Content-Security-Policy", consolePolicy)
	}
	http.ServeContent(w, r, "", s.started, bytes.NewReader([]byte(page)))
}
