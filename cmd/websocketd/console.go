package main

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
)

//go:embed console.html
var consolePage string

// consoleTemplate escapes what it fills in by where it stands in the page: the
// address is made of what the client sent.
var consoleTemplate = template.Must(template.New("console").Parse(consolePage))

// serveConsole answers with a page that talks to the WebSocket of the same URL.
func (s *server) serveConsole(w http.ResponseWriter, r *http.Request) {
	scheme := "ws"
	if s.c.ssl {
		scheme = "wss"
	}
	var page bytes.Buffer
	err := consoleTemplate.Execute(&page, struct{ Address, Software string }{
		Address:  scheme + "://" + r.Host + r.URL.RequestURI(),
		Software: s.c.name + " " + versionString(),
	})
	if err != nil {
		http.Error(w, "500 console: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	if h.Get("Content-Security-Policy") == "" {
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	}
	http.ServeContent(w, r, "", s.started, bytes.NewReader(page.Bytes()))
}
