package main

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"strings"
)

//go:embed console.html
var consolePage string

// consolePolicy lets only the script and the style of the page itself run,
// whatever a URL or a message contains.
var consolePolicy = fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; connect-src ws: wss:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	elementHash("script"), elementHash("style"))

// elementHash is the CSP source of the only element of that name.
func elementHash(element string) string {
	_, rest, _ := strings.Cut(consolePage, "<"+element+">")
	content, _, found := strings.Cut(rest, "</"+element+">")
	if !found {
		panic("console.html has no " + element)
	}
	sum := sha256.Sum256([]byte(content))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

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
